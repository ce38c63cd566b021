//! All records but the desktop's.

use serde::{Deserialize, Serialize};

use super::{LimitsRecord, Record};
use crate::{
    clock::Timestamp,
    names::{DesktopId, Endpoint, HostName, ImageRef, PoolName, UserName},
};

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Their own desktops.
    User,
    /// Everything.
    Operator,
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
    /// Who may use it; empty: everyone.
    pub users: Vec<UserName>,
}

/// A host that was enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// The host.
    pub name: HostName,
    /// Where its agent listens.
    pub endpoint: Endpoint,
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

/// A persistent overlay and the host that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayRecord {
    /// The desktop it belongs to.
    pub desktop: DesktopId,
    /// Where it is.
    pub host: HostName,
    /// Set while it is being deleted: no desktop may take it any more.
    pub deleting: bool,
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
}

/// Whose number it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberRecord {
    /// The desktop.
    pub desktop: DesktopId,
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
impl Record for SessionRecord {}
impl Record for PoolRecord {}
impl Record for HostRecord {}
impl Record for CapacityRecord {}
impl Record for OverlayRecord {}
impl Record for TicketRecord {}
impl Record for ViewerRecord {}
impl Record for NumberRecord {}
impl Record for CounterRecord {}
impl Record for Marker {}
impl Record for ClusterCa {}
impl Record for ServerCertificate {}

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

// === impl PoolRecord ===

impl PoolRecord {
    /// Whether the pool is open to someone.
    pub fn admits(&self, user: &UserName) -> bool {
        self.users.is_empty() || self.users.contains(user)
    }
}
