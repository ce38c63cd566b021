//! Policy for kinds of desktops.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{HostPolicy, LimitsRecord, Record, TimeLimits};
use crate::names::{GroupName, ImageRef, PoolName, UserName};

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

impl Record for PoolRecord {}
impl Record for PoolUseRecord {}

// === impl PoolRecord ===

impl PoolRecord {
    /// Whether the pool is open to someone who is in these groups.
    pub fn admits(&self, user: &UserName, groups: &BTreeSet<GroupName>) -> bool {
        (self.users.is_empty() && self.groups.is_empty())
            || self.users.contains(user)
            || self.groups.iter().any(|group| groups.contains(group))
    }
}
