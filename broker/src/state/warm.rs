//! A desktop made ahead of its user. It holds number and capacity like any, and
//! is nobody's: the claim that gives it to a user deletes this record and puts
//! the desktop's in one transaction.

use serde::{Deserialize, Serialize};

use super::{LimitsRecord, PoolRecord, Record};
use crate::{
    clock::Timestamp,
    names::{HostName, ImageRef, PoolName},
};

/// Where a warm desktop is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmState {
    /// The host is making it.
    Making,
    /// It can be claimed.
    Ready,
    /// It is to end; nobody gets it any more.
    Ending,
}

/// What of a pool is settled before the user comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// What it is made of.
    pub image: ImageRef,
    /// Size of its overlay.
    pub overlay_size_mib: i64,
    /// What it may use, and what it claims on the host.
    pub limits: LimitsRecord,
    /// Container runtime; empty: the host's default.
    pub runtime: String,
    /// Rules for what it sends.
    pub egress: Vec<String>,
}

/// A desktop made ahead of its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmRecord {
    /// Whose users may get it.
    pub pool: PoolName,
    /// Unique in the cluster while it or its desktop holds it.
    pub number: u32,
    /// Of the start that makes it.
    pub epoch: u64,
    /// Where.
    pub host: HostName,
    /// Where it is in its life.
    pub state: WarmState,
    /// The broker that has it made.
    pub pilot: String,
    /// What the host knows the start by.
    pub request_id: String,
    /// What it is made of.
    pub recipe: Recipe,
    /// The image's version; empty: not known yet.
    pub version: String,
    /// When it was claimed on its host.
    pub claimed_at: Timestamp,
}

impl Record for WarmRecord {}

impl PoolRecord {
    /// How many are kept ready: no more than may be given to anybody.
    pub fn warm_wanted(&self) -> u32 {
        match (self.closed.is_empty(), self.max_desktops) {
            (false, _) => 0,
            (true, 0) => self.warm,
            (true, most) => self.warm.min(most),
        }
    }

    /// What its desktops are made of, before their users come.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            image: self.image.clone(),
            overlay_size_mib: self.overlay_size_mib,
            limits: self.limits,
            runtime: self.runtime.clone(),
            egress: self.egress.clone(),
        }
    }
}
