//! What is against a host.

use std::fmt;

use super::{Demand, HostFacts, MIB, Place};
use crate::{
    config::Placement as Policy,
    names::{HostName, ImageRef},
    state::{StorageRecord, Term},
};

/// Something against a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It does not answer, or never has.
    NotReady(String),
    /// It is to have no desktops.
    Draining,
    /// It has not got a label the pool requires.
    LabelMissing(Term),
    /// It has a label the pool forbids.
    LabelForbidden(Term),
    /// The kept disk is on this other host.
    DiskElsewhere(HostName),
    /// The kept disk is on storage that is not there now.
    StorageMissing {
        /// The storage it is on.
        wanted: String,
        /// The one that is there instead.
        there: String,
    },
    /// It has not got the image.
    NoImage(ImageRef),
    /// It has as many desktops as it takes.
    Full {
        /// Most it takes.
        most: i64,
    },
    /// Memory limits would add up too far.
    MemoryClaimed {
        /// Needed, MiB.
        wanted: i64,
        /// Left to claim, MiB.
        left: i64,
    },
    /// Too little memory is free right now.
    MemoryLow {
        /// Available, MiB.
        available: i64,
        /// What must be, MiB.
        reserve: i64,
    },
    /// Processor limits would add up too far.
    CpuClaimed {
        /// Needed, thousandths.
        wanted: i64,
        /// Left to claim, thousandths.
        left: i64,
    },
    /// The overlay does not fit on its disk.
    DiskFull {
        /// Size of the overlay and the reserve, MiB.
        wanted: i64,
        /// Free, MiB.
        free: i64,
    },
    /// Its network has no address for the number.
    NumberOutOfRange {
        /// The number.
        number: u32,
        /// The highest it has an address for.
        highest: u32,
    },
}

/// No host fits: every host with all that is against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRoom(pub Vec<(HostName, Vec<Reason>)>);

/// Whether no host has the image, which a host may have got just now.
pub fn lacks_image(NoRoom(hosts): &NoRoom) -> bool {
    hosts.iter().flat_map(|(_, reasons)| reasons).any(|reason| matches!(reason, Reason::NoImage(_)))
}

// === impl Place ===

impl Place {
    /// What is against starting on `host`, which has `storage`, what is kept here.
    fn against(&self, host: &HostName, storage: Option<&StorageRecord>) -> Option<Reason> {
        let same = self.storage.as_ref().zip(storage).map(|(wanted, there)| wanted.id == there.id);
        // Both must say so: a copy of a machine has the names of its disks too.
        let both = self.storage.iter().chain(storage);
        let shared = same == Some(true) && both.filter(|storage| storage.shared).count() == 2;
        match (*host == self.host, same) {
            _ if shared => None,
            (false, _) => Some(Reason::DiskElsewhere(self.host.clone())),
            (true, Some(false)) => Some(Reason::StorageMissing {
                wanted: self.storage.as_ref().map(|wanted| wanted.id.clone()).unwrap_or_default(),
                there: storage.map(|there| there.id.clone()).unwrap_or_default(),
            }),
            (true, Some(true) | None) => None,
        }
    }
}

/// Everything against a host.
pub(super) fn reasons_against(host: &HostFacts, demand: &Demand, policy: Policy) -> Vec<Reason> {
    let mut reasons = Vec::new();
    look(host, demand, policy, |reason| {
        reasons.push(reason());
        true
    });
    reasons
}

/// Whether nothing is against a host; no reason is put together for that.
pub(super) fn fits(host: &HostFacts, demand: &Demand, policy: Policy) -> bool {
    let mut fits = true;
    look(host, demand, policy, |_| {
        fits = false;
        false
    });
    fits
}

/// Tells `against` one reason after the other, until it has heard enough.
fn look(
    host: &HostFacts,
    demand: &Demand,
    policy: Policy,
    mut against: impl FnMut(&dyn Fn() -> Reason) -> bool,
) {
    let has = match &host.ready {
        Ok(has) => has,
        Err(problem) => {
            against(&|| Reason::NotReady(problem.clone()));
            return;
        }
    };
    macro_rules! unless {
        ($fits:expr, $reason:expr) => {
            if !$fits && !against(&|| $reason) {
                return;
            }
        };
    }
    unless!(!host.draining, Reason::Draining);
    for term in &demand.wishes.require {
        unless!(term.is_had(&host.labels), Reason::LabelMissing(term.clone()));
    }
    for term in &demand.wishes.forbid {
        unless!(!term.is_had(&host.labels), Reason::LabelForbidden(term.clone()));
    }
    for place in &demand.bound_to {
        if let Some(reason) = place.against(&host.name, has.storage.as_ref()) {
            unless!(false, reason.clone());
        }
    }
    unless!(has.version_of(&demand.image).is_some(), Reason::NoImage(demand.image.clone()));
    unless!(host.claimed.desktops < has.max_desktops, Reason::Full { most: has.max_desktops });

    let claimable = percent(has.memory_bytes / MIB, policy.memory_overcommit_percent);
    let left = claimable.saturating_sub(host.claimed.memory_mib);
    let wanted = demand.limits.memory_mib;
    unless!(wanted <= left, Reason::MemoryClaimed { wanted, left: left.max(0) });
    let available = has.memory_available_bytes / MIB;
    let reserve = policy.memory_reserve_mib;
    unless!(available >= reserve, Reason::MemoryLow { available, reserve });

    let claimable = percent(has.cpus.saturating_mul(1000), policy.cpu_overcommit_percent);
    let left = claimable.saturating_sub(host.claimed.cpu_millis);
    let wanted = demand.limits.cpu_millis;
    unless!(wanted <= left, Reason::CpuClaimed { wanted, left: left.max(0) });

    if demand.new_overlay_mib > 0 {
        let wanted = demand.new_overlay_mib.saturating_add(policy.overlay_reserve_mib);
        let free = has.overlay_free_bytes / MIB;
        unless!(wanted <= free, Reason::DiskFull { wanted, free });
    }
    let (number, highest) = (demand.number, has.highest_number);
    unless!(number <= highest, Reason::NumberOutOfRange { number, highest });
}

/// Whether a desktop that has its room on the host already may be given away
/// there: all is asked but what it has claimed. `demand` has what is made when it
/// is given.
pub fn suits(host: &HostFacts, demand: &Demand, policy: Policy) -> bool {
    reasons_against(host, demand, policy).iter().all(|reason| match reason {
        Reason::Full { .. } | Reason::MemoryClaimed { .. } | Reason::CpuClaimed { .. } => true,
        Reason::NotReady(_)
        | Reason::Draining
        | Reason::MemoryLow { .. }
        | Reason::LabelMissing(_)
        | Reason::LabelForbidden(_)
        | Reason::DiskElsewhere(_)
        | Reason::StorageMissing { .. }
        | Reason::NoImage(_)
        | Reason::DiskFull { .. }
        | Reason::NumberOutOfRange { .. } => false,
    })
}

/// What is against giving a desktop there more of what it has: `demand` has the
/// difference.
pub fn against_more(host: &HostFacts, demand: &Demand, policy: Policy) -> Vec<Reason> {
    let (memory, cpu) = (demand.limits.memory_mib > 0, demand.limits.cpu_millis > 0);
    let counts = |reason: &Reason| match reason {
        Reason::MemoryClaimed { .. } | Reason::MemoryLow { .. } => memory,
        Reason::CpuClaimed { .. } => cpu,
        Reason::NotReady(_) => true,
        Reason::Draining
        | Reason::Full { .. }
        | Reason::LabelMissing(_)
        | Reason::LabelForbidden(_)
        | Reason::DiskElsewhere(_)
        | Reason::StorageMissing { .. }
        | Reason::NoImage(_)
        | Reason::DiskFull { .. }
        | Reason::NumberOutOfRange { .. } => false,
    };
    reasons_against(host, demand, policy).into_iter().filter(counts).collect()
}

fn percent(of: i64, percent: i64) -> i64 {
    i64::try_from(i128::from(of) * i128::from(percent) / 100).unwrap_or(i64::MAX)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady(problem) => write!(f, "it is not ready: {problem}"),
            Self::Draining => f.write_str("it is being drained"),
            Self::LabelMissing(term) => {
                write!(f, "it has no label {term}, which the pool requires")
            }
            Self::LabelForbidden(term) => {
                write!(f, "it has the label {term}, which the pool forbids")
            }
            Self::DiskElsewhere(host) => write!(f, "the kept disk of this desktop is on {host}"),
            Self::StorageMissing { wanted, there } => write!(
                f,
                "the kept disk of this desktop is on storage {wanted}, and the host has {there} in its place: is \
                 something not mounted?"
            ),
            Self::NoImage(image) => write!(f, "it has no image {image}"),
            Self::Full { most } => write!(f, "it has the {most} desktops it takes"),
            Self::MemoryClaimed { wanted, left } => {
                write!(f, "{wanted} MiB of memory wanted, {left} MiB left to give out")
            }
            Self::MemoryLow { available, reserve } => {
                write!(f, "{available} MiB of memory available, {reserve} MiB must stay so")
            }
            Self::CpuClaimed { wanted, left } => {
                write!(f, "{wanted} thousandths of a processor wanted, {left} left to give out")
            }
            Self::DiskFull { wanted, free } => {
                write!(f, "{wanted} MiB of disk wanted with the reserve, {free} MiB free")
            }
            Self::NumberOutOfRange { number, highest } => {
                write!(f, "its network ends at desktop number {highest}, this would be {number}")
            }
        }
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there is no host yet");
        }
        f.write_str("no host has room for this desktop")?;
        for (host, reasons) in &self.0 {
            let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
            write!(f, "; {host}: {}", reasons.join(", "))?;
        }
        Ok(())
    }
}
