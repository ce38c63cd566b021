//! Which host gets a desktop: a pure function over a snapshot. Every host is
//! first filtered, with all reasons against it; those left are scored. The
//! same snapshot gives the same answer.

use std::{cmp::Reverse, fmt};

use crate::{
    config::Placement as Policy,
    names::{HostName, ImageRef},
    state::{CapacityRecord, LimitsRecord},
};

const MIB: i64 = 1 << 20;

/// A host as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The host.
    pub name: HostName,
    /// `Err`: why it takes nothing now.
    pub ready: Result<Resources, String>,
    /// What desktops have claimed there.
    pub claimed: CapacityRecord,
}

/// What a host that answers has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// Processors.
    pub cpus: i64,
    /// All of its memory, bytes.
    pub memory_bytes: i64,
    /// Memory that could be given out now, bytes.
    pub memory_available_bytes: i64,
    /// Disk for overlays, bytes.
    pub overlay_free_bytes: i64,
    /// Most desktops the host takes.
    pub max_desktops: i64,
    /// The highest number its network has an address for.
    pub highest_number: u32,
    /// What it can start.
    pub images: Vec<KnownImage>,
}

/// A version of an image on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage {
    /// The image.
    pub image: String,
    /// The version.
    pub version: String,
    /// Tags that point there.
    pub tags: Vec<String>,
}

/// What is to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// What it is made of.
    pub image: ImageRef,
    /// What it may use.
    pub limits: LimitsRecord,
    /// Size of the overlay that would be made, MiB; 0: one is there already.
    pub new_overlay_mib: i64,
    /// The host that has the persistent overlay.
    pub bound_to: Option<HostName>,
    /// Its number.
    pub number: u32,
}

/// Something against a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It does not answer, or never has.
    NotReady(String),
    /// The kept disk is on this other host.
    DiskElsewhere(HostName),
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

/// Chooses a host.
///
/// # Errors
/// [`NoRoom`] with the reasons per host.
pub fn place(hosts: &[HostFacts], demand: &Demand, policy: Policy) -> Result<HostName, NoRoom> {
    let mut best = None;
    let mut against = Vec::new();
    for host in hosts {
        let reasons = match &host.ready {
            Ok(resources) => reasons_against(host, resources, demand, policy),
            Err(problem) => vec![Reason::NotReady(problem.clone())],
        };
        match &host.ready {
            Ok(resources) if reasons.is_empty() => {
                let candidate = (score(host, resources, demand), Reverse(&host.name));
                best = best.max(Some(candidate));
            }
            Ok(_) | Err(_) => against.push((host.name.clone(), reasons)),
        }
    }
    match best {
        Some((_, Reverse(name))) => Ok(name.clone()),
        None => Err(NoRoom(against)),
    }
}

/// Whether no host has the image, which a host may have got just now.
pub fn lacks_image(NoRoom(hosts): &NoRoom) -> bool {
    hosts.iter().flat_map(|(_, reasons)| reasons).any(|reason| matches!(reason, Reason::NoImage(_)))
}

fn reasons_against(
    host: &HostFacts,
    has: &Resources,
    demand: &Demand,
    policy: Policy,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut unless = |fits: bool, reason: Reason| {
        if !fits {
            reasons.push(reason);
        }
    };
    if let Some(place) = &demand.bound_to {
        unless(*place == host.name, Reason::DiskElsewhere(place.clone()));
    }
    let image = || Reason::NoImage(demand.image.clone());
    unless(has.images.iter().any(|known| known.is(&demand.image)), image());
    unless(host.claimed.desktops < has.max_desktops, Reason::Full { most: has.max_desktops });

    let claimable = percent(has.memory_bytes / MIB, policy.memory_overcommit_percent);
    let left = claimable.saturating_sub(host.claimed.memory_mib);
    let wanted = demand.limits.memory_mib;
    unless(wanted <= left, Reason::MemoryClaimed { wanted, left: left.max(0) });
    let available = has.memory_available_bytes / MIB;
    let reserve = policy.memory_reserve_mib;
    unless(available >= reserve, Reason::MemoryLow { available, reserve });

    let claimable = percent(has.cpus.saturating_mul(1000), policy.cpu_overcommit_percent);
    let left = claimable.saturating_sub(host.claimed.cpu_millis);
    let wanted = demand.limits.cpu_millis;
    unless(wanted <= left, Reason::CpuClaimed { wanted, left: left.max(0) });

    if demand.new_overlay_mib > 0 {
        let wanted = demand.new_overlay_mib.saturating_add(policy.overlay_reserve_mib);
        let free = has.overlay_free_bytes / MIB;
        unless(wanted <= free, Reason::DiskFull { wanted, free });
    }
    let (number, highest) = (demand.number, has.highest_number);
    unless(number <= highest, Reason::NumberOutOfRange { number, highest });
    reasons
}

/// Larger is better: memory left to claim as a share of the host's own, in
/// thousandths; then fewer desktops.
fn score(host: &HostFacts, has: &Resources, demand: &Demand) -> (i64, Reverse<i64>) {
    let total = (has.memory_bytes / MIB).max(1);
    let claimed = host.claimed.memory_mib.saturating_add(demand.limits.memory_mib);
    let share = total.saturating_sub(claimed).saturating_mul(1000) / total;
    (share, Reverse(host.claimed.desktops))
}

fn percent(of: i64, percent: i64) -> i64 {
    i64::try_from(i128::from(of) * i128::from(percent) / 100).unwrap_or(i64::MAX)
}

/// The highest number a network such as "10.77.0.0/16" has an address for;
/// network, gateway and broadcast address are no desktop's. 0 if it cannot be
/// read.
pub fn highest_number(network: &str) -> u32 {
    let bits = network.split_once('/').and_then(|(_, prefix)| prefix.parse::<u32>().ok());
    let addresses =
        bits.and_then(|prefix| 32_u32.checked_sub(prefix)).and_then(|bits| 1_u64.checked_shl(bits));
    u32::try_from(addresses.unwrap_or(0).saturating_sub(3)).unwrap_or(u32::MAX)
}

// === impl KnownImage ===

impl KnownImage {
    fn is(&self, wanted: &ImageRef) -> bool {
        let wanted = wanted.as_str();
        if let Some((image, version)) = wanted.split_once('@') {
            return self.image == image && self.version == version;
        }
        wanted.split_once(':').is_some_and(|(image, tag)| {
            self.image == image && self.tags.iter().any(|known| known == tag)
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady(problem) => write!(f, "it is not ready: {problem}"),
            Self::DiskElsewhere(host) => write!(f, "the kept disk of this desktop is on {host}"),
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

#[cfg(test)]
mod tests;
