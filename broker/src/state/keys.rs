//! The keys of the store. Names in them have passed [`crate::names`], so none
//! holds a '/' of its own.

use sha2::{Digest as _, Sha256};

use super::Identity;
use crate::{
    names::{DesktopId, GroupName, HostName, PoolName, UserName},
    secret::hex,
};

/// Every user.
pub const USERS: &str = "user/";
/// Every session, by the digest of its token.
pub const SESSIONS: &str = "session/";
/// Every session again, by its user, so that one user's are found without
/// reading everybody's.
pub const SESSIONS_OF: &str = "session-of/";
/// Every pool.
pub const POOLS: &str = "pool/";
/// Every host.
pub const HOSTS: &str = "host/";
/// Every token to enrol a host, by the host.
pub const ENROLS: &str = "enrol/";
/// Every host a broker hears, by host and broker.
pub const SIGHTINGS: &str = "sighting/";
/// Every number that a lost host may still use, by host and number.
pub const HELD: &str = "held/";
/// What is claimed on every host.
pub const CAPACITIES: &str = "capacity/";
/// Every pool's last roll-out.
pub const ROLLOUTS: &str = "rollout/";
/// How many desktops every pool has.
pub const POOL_USES: &str = "pool-use/";
/// Every desktop.
pub const DESKTOPS: &str = "desktop/";
/// Every desktop made ahead of its user, by pool and number.
pub const WARM: &str = "warm/";
/// Every number in use.
pub const NUMBERS: &str = "number/";
/// Every persistent overlay and its place.
pub const OVERLAYS: &str = "overlay/";
/// Every home volume and its place.
pub const HOMES: &str = "home/";
/// What is being done to kept data.
pub const WORKS: &str = "work/";
/// Every ticket, by its digest.
pub const TICKETS: &str = "ticket/";
/// Every ticket again, by its user.
pub const TICKETS_OF: &str = "ticket-of/";
/// Who looks at what.
pub const VIEWERS: &str = "viewer/";
/// Every connection that is to end, by desktop.
pub const SENT_AWAY: &str = "sent-away/";
/// Every broker that is alive.
pub const BROKERS: &str = "broker/";
/// The last uid given.
pub const UID_COUNTER: &str = "counter/uid";
/// The last epoch given.
pub const EPOCH_COUNTER: &str = "counter/epoch";
/// Set once default pools have been made.
pub const POOLS_MADE: &str = "marker/default-pools";
/// Written when somebody ceases to be an admin.
pub const ADMINS_CHANGED: &str = "marker/admins-changed";
/// There while an import is under way: the store is not to be used.
pub const IMPORTING: &str = "marker/importing";
/// Certificate and key of the cluster's authority.
pub const CLUSTER_CA: &str = "pki/ca";
/// Certificate and key of the portal.
pub const SERVER_CERTIFICATE: &str = "pki/server";

/// Every batch of entries of the audit log, by segment.
pub const AUDIT: &str = "audit/";
/// Every segment of the audit log.
pub const AUDIT_INDEX: &str = "audit-index/";

/// A segment of the audit log.
pub fn audit_segment(segment: &str) -> String {
    format!("{AUDIT_INDEX}{segment}")
}

/// All batches of a segment of the audit log.
pub fn audit_batches(segment: &str) -> String {
    format!("{AUDIT}{segment}/")
}

/// A batch of a segment of the audit log; padded, so that their order is kept.
pub fn audit_batch(segment: &str, number: u32) -> String {
    format!("{AUDIT}{segment}/{number:010}")
}

/// The connection to a desktop that is to end.
pub fn sent_away(desktop: &DesktopId) -> String {
    format!("{SENT_AWAY}{desktop}")
}

/// A broker that is alive.
pub fn broker(name: &str) -> String {
    format!("{BROKERS}{name}")
}

/// A user.
pub fn user(name: &UserName) -> String {
    format!("{USERS}{name}")
}

/// Every token for programs, by its digest.
pub const TOKENS: &str = "token/";

/// A token for programs.
pub fn token(digest: &str) -> String {
    format!("{TOKENS}{digest}")
}

/// All tokens of a user.
pub fn tokens_made_by(user: &UserName) -> String {
    format!("token-of/{user}/")
}

/// A token of a user, by its id.
pub fn token_of(user: &UserName, id: &str) -> String {
    format!("token-of/{user}/{id}")
}

/// Everybody at a provider who has an account, by digest.
pub const IDENTITIES: &str = "identity/";

/// Somebody at a provider.
pub fn identity(identity: &Identity) -> String {
    let Identity { issuer, subject } = identity;
    // The length keeps the two apart.
    let whole = format!("{} {issuer} {subject}", issuer.len());
    format!("{IDENTITIES}{}", hex(&Sha256::digest(whole.as_bytes())))
}

/// Those sent to the provider, some of them: whose digest begins alike.
pub fn sign_ins_beside(digest: &str) -> String {
    format!("sign-in/{}/", digest.get(..2).unwrap_or_default())
}

/// Somebody sent to the provider.
pub fn sign_in(digest: &str) -> String {
    format!("{}{digest}", sign_ins_beside(digest))
}

/// All programs a user lets sign in.
pub fn programs_of(user: &UserName) -> String {
    format!("program-of/{user}/")
}

/// One of them.
pub fn program_of(user: &UserName, digest: &str) -> String {
    format!("{}{digest}", programs_of(user))
}

/// A program that may sign in, by the digest of its code.
pub fn program(digest: &str) -> String {
    format!("program/{digest}")
}

/// Every second factor, by its user.
pub const SECONDS: &str = "second/";

/// A user's second factor.
pub fn second(user: &UserName) -> String {
    format!("{SECONDS}{user}")
}

/// Every group.
pub const GROUPS: &str = "group/";
/// Who is in which group, by group.
pub const MEMBERS: &str = "member/";
/// The same by user.
pub const MEMBERS_OF: &str = "member-of/";

/// A group.
pub fn group(name: &GroupName) -> String {
    format!("{GROUPS}{name}")
}

/// All members of a group.
pub fn members(group: &GroupName) -> String {
    format!("{MEMBERS}{group}/")
}

/// A member of a group.
pub fn member(group: &GroupName, user: &UserName) -> String {
    format!("{MEMBERS}{group}/{user}")
}

/// All groups of a user.
pub fn members_of(user: &UserName) -> String {
    format!("{MEMBERS_OF}{user}/")
}

/// A group of a user.
pub fn member_of(user: &UserName, group: &GroupName) -> String {
    format!("{MEMBERS_OF}{user}/{group}")
}

/// A session.
pub fn session(digest: &str) -> String {
    format!("{SESSIONS}{digest}")
}

/// All sessions of a user.
pub fn sessions_of(user: &UserName) -> String {
    format!("{SESSIONS_OF}{user}/")
}

/// A session of a user.
pub fn session_of(user: &UserName, digest: &str) -> String {
    format!("{SESSIONS_OF}{user}/{digest}")
}

/// A pool.
pub fn pool(name: &PoolName) -> String {
    format!("{POOLS}{name}")
}

/// A host.
pub fn host(name: &HostName) -> String {
    format!("{HOSTS}{name}")
}

/// The token to enrol a host.
pub fn enrol(name: &HostName) -> String {
    format!("{ENROLS}{name}")
}

/// All brokers that hear a host.
pub fn sightings_of(host: &HostName) -> String {
    format!("{SIGHTINGS}{host}/")
}

/// A broker hears a host.
pub fn sighting(host: &HostName, broker: &str) -> String {
    format!("{SIGHTINGS}{host}/{broker}")
}

/// All numbers a lost host may still use.
pub fn held_by(host: &HostName) -> String {
    format!("{HELD}{host}/")
}

/// A number a lost host may still use.
pub fn held(host: &HostName, number: u32) -> String {
    format!("{HELD}{host}/{number:010}")
}

/// A pool's last roll-out.
pub fn rollout(name: &PoolName) -> String {
    format!("{ROLLOUTS}{name}")
}

/// All desktops of a pool.
pub fn desktops_of(pool: &PoolName) -> String {
    format!("{DESKTOPS}{pool}/")
}

/// Who looks at the desktops of a pool.
pub fn viewers_of(pool: &PoolName) -> String {
    format!("{VIEWERS}{pool}/")
}

/// How many desktops a pool has.
pub fn pool_use(name: &PoolName) -> String {
    format!("{POOL_USES}{name}")
}

/// What is claimed on a host.
pub fn capacity(name: &HostName) -> String {
    format!("{CAPACITIES}{name}")
}

/// A desktop.
pub fn desktop(id: &DesktopId) -> String {
    format!("{DESKTOPS}{id}")
}

/// All desktops of a pool that were made ahead.
pub fn warm_of(pool: &PoolName) -> String {
    format!("{WARM}{pool}/")
}

/// A desktop made ahead of its user.
pub fn warm(pool: &PoolName, number: u32) -> String {
    format!("{WARM}{pool}/{number:010}")
}

/// A number in use; padded, so that the order of keys is that of numbers.
pub fn number(number: u32) -> String {
    format!("{NUMBERS}{number:010}")
}

/// A persistent overlay.
pub fn overlay(name: &str) -> String {
    format!("{OVERLAYS}{name}")
}

/// A home volume.
pub fn home(name: &str) -> String {
    format!("{HOMES}{name}")
}

/// What is being done to the data under this key.
pub fn work(data: &str) -> String {
    format!("{WORKS}{data}")
}

/// A ticket.
pub fn ticket(digest: &str) -> String {
    format!("{TICKETS}{digest}")
}

/// All tickets of a user.
pub fn tickets_of(user: &UserName) -> String {
    format!("{TICKETS_OF}{user}/")
}

/// A ticket of a user.
pub fn ticket_of(user: &UserName, digest: &str) -> String {
    format!("{TICKETS_OF}{user}/{digest}")
}

/// Who looks at a desktop.
pub fn viewer(id: &DesktopId) -> String {
    format!("{VIEWERS}{id}")
}
