//! What there is once in a cluster, or once for a host or a number.

use serde::{Deserialize, Serialize};

use super::{LimitsRecord, Record};
use crate::clock::Timestamp;

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

impl Record for CapacityRecord {}
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
