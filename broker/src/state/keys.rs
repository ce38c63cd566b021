//! The keys of the store. Names in them have passed [`crate::names`], so none
//! holds a '/' of its own.

use crate::names::{DesktopId, HostName, PoolName, UserName};

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
/// What is claimed on every host.
pub const CAPACITIES: &str = "capacity/";
/// Every desktop.
pub const DESKTOPS: &str = "desktop/";
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
/// Every broker that is alive.
pub const BROKERS: &str = "broker/";
/// The last uid given.
pub const UID_COUNTER: &str = "counter/uid";
/// The last epoch given.
pub const EPOCH_COUNTER: &str = "counter/epoch";
/// Set once default pools have been made.
pub const POOLS_MADE: &str = "marker/default-pools";
/// There while an import is under way: the store is not to be used.
pub const IMPORTING: &str = "marker/importing";
/// Certificate and key of the cluster's authority.
pub const CLUSTER_CA: &str = "pki/ca";
/// Certificate and key of the portal.
pub const SERVER_CERTIFICATE: &str = "pki/server";

/// A broker that is alive.
pub fn broker(name: &str) -> String {
    format!("{BROKERS}{name}")
}

/// A user.
pub fn user(name: &UserName) -> String {
    format!("{USERS}{name}")
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

/// What is claimed on a host.
pub fn capacity(name: &HostName) -> String {
    format!("{CAPACITIES}{name}")
}

/// A desktop.
pub fn desktop(id: &DesktopId) -> String {
    format!("{DESKTOPS}{id}")
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
