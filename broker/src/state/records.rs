//! All records but the desktop's.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{HostPolicy, LimitsRecord, Record, TimeLimits};
use crate::{
    clock::Timestamp,
    names::{DesktopId, GroupName, HostName, ImageRef, PoolName, UserName},
};

/// What a user may do. The greater may more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Their own desktops.
    User,
    /// And look at everything.
    Auditor,
    /// And change everything but who may what.
    Operator,
    /// Everything.
    Admin,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// Login name.
    pub name: UserName,
    /// For people; may be empty.
    pub full_name: String,
    /// What the user may do.
    pub role: Role,
    /// The user's id inside every desktop; never given twice.
    pub uid: u32,
    /// Argon2id, as a PHC string.
    pub password_hash: String,
    /// When the account was made.
    pub created_at: Timestamp,
    /// Who vouches for them.
    #[serde(default)]
    pub source: Source,
    /// Who they are at the provider, for accounts of [`Source::Oidc`].
    #[serde(default)]
    pub identity: Option<Identity>,
}

/// Somebody at a provider: the name they go by there may change, this does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// Who they are there, for ever.
    pub subject: String,
}

/// Whose account somebody at a provider has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRecord {
    /// The account.
    pub user: UserName,
    /// Its uid; as in [`SessionRecord`].
    pub uid: u32,
}

/// Somebody was sent to the provider and has not come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInRecord {
    /// What the ID token has to repeat.
    pub nonce: String,
    /// What the code is redeemed with (PKCE).
    pub verifier: String,
    /// The digest of what that browser alone has.
    pub browser: String,
    /// Where the provider sends it back to.
    pub redirect: String,
    /// The view of the portal they wanted.
    pub view: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Somebody in a browser lets a program sign in as them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramRecord {
    /// Who.
    pub user: UserName,
    /// Their uid; as in [`SessionRecord`].
    pub uid: u32,
    /// The SHA-256 of what that program alone has, in base64url.
    pub challenge: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Someone signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Who.
    pub user: UserName,
    /// The uid the user had: an account made anew under the same name is
    /// another person.
    pub uid: u32,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when at most.
    pub expires_at: Timestamp,
}

/// A group of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The group.
    pub name: GroupName,
    /// For people; may be empty.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many are in it.
    pub members: u64,
}

/// Somebody is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The uid the user had; as in [`SessionRecord`].
    pub uid: u32,
    /// Since when.
    pub since: Timestamp,
    /// Who says so.
    pub source: Source,
}

/// Who vouches for an account, or for what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Operators of this cluster.
    #[default]
    Local,
    /// A directory, over LDAP.
    Ldap,
    /// An OpenID Connect provider.
    Oidc,
}

/// Policy for a kind of desktop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// The pool.
    pub name: PoolName,
    /// What people see.
    pub title: String,
    /// For people; may be empty.
    pub description: String,
    /// What desktops are made of.
    pub image: ImageRef,
    /// Whether overlays are kept.
    pub persistent: bool,
    /// Size of a new overlay.
    pub overlay_size_mib: i64,
    /// What one desktop may use.
    pub limits: LimitsRecord,
    /// Empty: the host's default.
    pub runtime: String,
    /// Who may use it; with no users and no groups: everyone.
    pub users: Vec<UserName>,
    /// Whose members may use it.
    #[serde(default)]
    pub groups: Vec<GroupName>,
    /// Where homes are; none: in the overlay.
    #[serde(default)]
    pub home: Option<HomePolicy>,
    /// Rules for what its desktops send, each in its one spelling; checked. None:
    /// everything outward may leave.
    #[serde(default)]
    pub egress: Vec<String>,
    /// How hosts are chosen.
    #[serde(default)]
    pub hosts: HostPolicy,
    /// How many desktops are made ahead of their users.
    #[serde(default)]
    pub warm: u32,
    /// How long its desktops may go on.
    #[serde(default)]
    pub time_limits: TimeLimits,
    /// Most desktops at once; 0: as many as fit.
    #[serde(default)]
    pub max_desktops: u32,
    /// Why it takes no new desktops, for its users; empty: it takes some.
    #[serde(default)]
    pub closed: String,
}

/// How many desktops of a pool hold room somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PoolUseRecord {
    /// How many.
    pub desktops: u32,
}

/// Where the homes of a pool's users are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HomePolicy {
    /// A volume per user.
    Volume {
        /// Size of a new one.
        size_mib: i64,
    },
    /// A directory per user, in this one of the host.
    Directory {
        /// Absolute.
        parent: String,
    },
}

/// What the desktops of one host have claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CapacityRecord {
    /// How many.
    pub desktops: i64,
    /// Sum of their memory limits.
    pub memory_mib: i64,
    /// Sum of their processor limits.
    pub cpu_millis: i64,
}

/// The storage that has kept data, as its host told when the data was last taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageRecord {
    /// Its name: see `HostInfo.storage_id`.
    pub id: String,
    /// Other hosts reach it.
    pub shared: bool,
}

/// A persistent overlay and the host that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayRecord {
    /// The desktop it belongs to.
    pub desktop: DesktopId,
    /// Where it is.
    pub host: HostName,
    /// What of that host it lies on; none: no start has noted it yet.
    #[serde(default)]
    pub storage: Option<StorageRecord>,
    /// Set while it is being deleted: no desktop may take it any more.
    pub deleting: bool,
    /// Set while it is being cloned or imported: not to be taken yet.
    #[serde(default)]
    pub making: bool,
    /// Request that cloned it; empty: none did.
    #[serde(default)]
    pub made_by: String,
}

/// A home volume and the host that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeRecord {
    /// Whose it is.
    pub user: UserName,
    /// Where it is.
    pub host: HostName,
    /// As in [`OverlayRecord`].
    #[serde(default)]
    pub storage: Option<StorageRecord>,
    /// The last start that claimed it: it has one writer.
    pub claim: Option<HomeClaim>,
    /// As in [`OverlayRecord`].
    pub deleting: bool,
    /// As in [`OverlayRecord`].
    pub making: bool,
    /// As in [`OverlayRecord`].
    pub made_by: String,
}

/// A start that took a home. It holds as long as that life of the desktop does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeClaim {
    /// The desktop.
    pub desktop: DesktopId,
    /// Which life of it.
    pub epoch: u64,
}

/// Something that is being done to kept data. Under a lease of the broker that
/// has it done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkRecord {
    /// What.
    pub kind: WorkKind,
    /// Who asked for it.
    pub by: UserName,
    /// When.
    pub since: Timestamp,
    /// Chosen by the caller; may be empty.
    pub request_id: String,
}

/// What can be done to kept data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkKind {
    /// Made larger.
    Grow,
    /// Unused blocks given back.
    Trim,
    /// Looked through.
    Check,
    /// Deleted.
    Delete,
    /// A snapshot made.
    Snapshot,
    /// A snapshot deleted.
    DeleteSnapshot,
    /// Made what it was.
    RollBack,
    /// Copied, or made by copying.
    Clone,
    /// Written to a stream.
    Export,
    /// Made from a stream.
    Import,
}

/// A right to open one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRecord {
    /// To this desktop,
    pub desktop: DesktopId,
    /// in this life of it,
    pub epoch: u64,
    /// by this user,
    pub user: UserName,
    /// until then.
    pub expires_at: Timestamp,
}

/// Who looks at a desktop now. Under a lease of the broker that relays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewerRecord {
    /// Which connection; another one here means: taken over.
    pub connection: String,
    /// Who.
    pub user: UserName,
    /// From where.
    pub address: String,
    /// Since when.
    pub since: Timestamp,
    /// The broker that relays.
    #[serde(default)]
    pub broker: String,
}

/// A connection that is to end. Under a lease of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentAwayRecord {
    /// Which; any other stays.
    pub connection: String,
    /// One sentence for who is there.
    pub because: String,
}

/// Whose number it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberRecord {
    /// The desktop: "pool/user", or "pool" of one that was made ahead.
    pub desktop: String,
}

/// The last of a row of numbers that was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRecord {
    /// 0: none yet.
    pub last: u64,
}

/// Something that is done once in the life of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// When.
    pub at: Timestamp,
}

/// The cluster's authority.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCa {
    /// Its certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
}

/// What the portal shows to browsers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCertificate {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
    /// What it was made for.
    pub names: Vec<String>,
    /// When it was made.
    pub issued_at: Timestamp,
}

impl Record for UserRecord {}
impl Record for IdentityRecord {}
impl Record for SignInRecord {}
impl Record for ProgramRecord {}
impl Record for SessionRecord {}
impl Record for GroupRecord {}
impl Record for MemberRecord {}
impl Record for PoolRecord {}
impl Record for PoolUseRecord {}
impl Record for CapacityRecord {}
impl Record for OverlayRecord {}
impl Record for HomeRecord {}
impl Record for WorkRecord {}
impl Record for TicketRecord {}
impl Record for ViewerRecord {}
impl Record for SentAwayRecord {}
impl Record for NumberRecord {}
impl Record for CounterRecord {}
impl Record for Marker {}
impl Record for ClusterCa {}
impl Record for ServerCertificate {}

// === impl Role ===

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::User, Self::Auditor, Self::Operator, Self::Admin];
        let found = all.into_iter().find(|role| role.to_string() == text);
        found.ok_or_else(|| "not \"user\", \"auditor\", \"operator\" or \"admin\"".to_owned())
    }
}

// === impl Source ===

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Ldap => "ldap",
            Self::Oidc => "oidc",
        })
    }
}

// === impl CapacityRecord ===

impl CapacityRecord {
    /// With one more desktop of these limits.
    #[must_use]
    pub fn with(self, limits: &LimitsRecord) -> Self {
        Self {
            desktops: self.desktops.saturating_add(1),
            memory_mib: self.memory_mib.saturating_add(limits.memory_mib),
            cpu_millis: self.cpu_millis.saturating_add(limits.cpu_millis),
        }
    }

    /// Without one desktop of these limits.
    #[must_use]
    pub fn without(self, limits: &LimitsRecord) -> Self {
        Self {
            desktops: (self.desktops - 1).max(0),
            memory_mib: self.memory_mib.saturating_sub(limits.memory_mib).max(0),
            cpu_millis: self.cpu_millis.saturating_sub(limits.cpu_millis).max(0),
        }
    }
}

// === impl WorkKind ===

impl std::fmt::Display for WorkKind {
    /// "it is being ...".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Grow => "grown",
            Self::Trim => "trimmed",
            Self::Check => "checked",
            Self::Delete => "deleted",
            Self::Snapshot => "kept as a snapshot",
            Self::DeleteSnapshot => "freed of a snapshot",
            Self::RollBack => "rolled back",
            Self::Clone => "cloned",
            Self::Export => "exported",
            Self::Import => "imported",
        })
    }
}

// === impl PoolRecord ===

impl PoolRecord {
    /// Whether the pool is open to someone who is in these groups.
    pub fn admits(&self, user: &UserName, groups: &BTreeSet<GroupName>) -> bool {
        (self.users.is_empty() && self.groups.is_empty())
            || self.users.contains(user)
            || self.groups.iter().any(|group| groups.contains(group))
    }
}
