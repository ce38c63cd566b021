//! Which host gets a desktop: a pure function over a snapshot. Every host is
//! first filtered, with all reasons against it; those left are scored. The same
//! snapshot and seed give the same answer.
//!
//! Of many hosts, not all are looked at: a walk that the seed begins finds some
//! that fit, and the best of those is taken. It is nearly as good as the best of
//! all, costs the same however many hosts there are, and keeps brokers that
//! place at the same moment from choosing the same host.

mod filter;
mod score;

use std::collections::{BTreeMap, BTreeSet};

pub use filter::{NoRoom, Reason, against_more, lacks_image, suits};
use rolltop_proto::v1::HostInfo;
pub use score::Score;

use crate::{
    config::Placement as Policy,
    names::{HostName, ImageRef},
    state::{CapacityRecord, HostPolicy, LimitsRecord, StorageRecord},
};

const MIB: i64 = 1 << 20;
/// Up to so many hosts, each is looked at.
const FEW: usize = 128;
/// Of more, so many that fit are compared.
const ENOUGH: usize = 64;

/// A host as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The host.
    pub name: HostName,
    /// `Err`: why it takes nothing now.
    pub ready: Result<Resources, String>,
    /// It is to have no desktops.
    pub draining: bool,
    /// For pools to choose by.
    pub labels: BTreeMap<String, String>,
    /// It failed starts a moment ago: taken only if no other will do.
    pub set_back: bool,
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
    /// What has its kept data; none: it did not say.
    pub storage: Option<StorageRecord>,
    /// Most desktops the host takes.
    pub max_desktops: i64,
    /// The highest number its network has an address for.
    pub highest_number: u32,
    /// What it can start.
    pub images: Vec<KnownImage>,
    /// Versions that desktops there run from: mounted, and in its memory.
    pub warm: BTreeSet<String>,
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

/// Where data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The host that had it last.
    pub host: HostName,
    /// What of that host it lies on; none: not known.
    pub storage: Option<StorageRecord>,
}

impl Place {
    /// Whether other hosts reach it.
    pub fn is_shared(&self) -> bool {
        self.storage.as_ref().is_some_and(|storage| storage.shared)
    }
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
    /// Where what it keeps is: it has to be started there.
    pub bound_to: Vec<Place>,
    /// Its number.
    pub number: u32,
    /// What its pool wants of hosts.
    pub wishes: HostPolicy,
}

/// What is said of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The host.
    pub host: HostName,
    /// `Err`: everything against it.
    pub outcome: Result<Score, Vec<Reason>>,
}

/// Chooses a host.
///
/// # Errors
/// [`NoRoom`] with the reasons per host.
pub fn place(
    hosts: &[HostFacts],
    demand: &Demand,
    policy: Policy,
    seed: u64,
) -> Result<HostName, NoRoom> {
    let enough = if hosts.len() <= FEW { usize::MAX } else { ENOUGH };
    let best = walk(hosts, seed)
        .filter(|host| filter::fits(host, demand, policy))
        .take(enough)
        .max_by_key(|host| rank(host, demand, policy, seed));
    match best {
        Some(host) => Ok(host.name.clone()),
        None => Err(NoRoom(
            hosts
                .iter()
                .map(|host| (host.name.clone(), filter::reasons_against(host, demand, policy)))
                .collect(),
        )),
    }
}

/// Says of every host what speaks for and against it: those that would do, the
/// best first, then the others as they came.
pub fn explain(hosts: &[HostFacts], demand: &Demand, policy: Policy, seed: u64) -> Vec<Verdict> {
    let (mut fit, unfit): (Vec<&HostFacts>, Vec<&HostFacts>) =
        hosts.iter().partition(|host| filter::fits(host, demand, policy));
    fit.sort_by_cached_key(|host| std::cmp::Reverse(rank(host, demand, policy, seed)));
    let fit = fit.into_iter().map(|host| Verdict {
        host: host.name.clone(),
        outcome: Ok(Score::of(host, demand, policy)),
    });
    let unfit = unfit.into_iter().map(|host| Verdict {
        host: host.name.clone(),
        outcome: Err(filter::reasons_against(host, demand, policy)),
    });
    fit.chain(unfit).collect()
}

/// Of two that are as good, the seed chooses.
fn rank(host: &HostFacts, demand: &Demand, policy: Policy, seed: u64) -> (i64, u64) {
    (Score::of(host, demand, policy).total(), mix(seed, host.name.as_str()))
}

/// Every host once, in an order that is the seed's.
fn walk(hosts: &[HostFacts], seed: u64) -> impl Iterator<Item = &HostFacts> {
    let count = hosts.len().max(1);
    let begin = mix(seed, "begin") as usize % count;
    // Any stride that has no divisor in common with the count meets each once.
    let mut stride = mix(seed, "stride") as usize % count;
    while divisor(stride, count) != 1 {
        stride = (stride + 1) % count.max(2);
    }
    (0..hosts.len()).scan(begin, move |at, _| {
        let here = hosts.get(*at);
        *at = (*at + stride) % count;
        here
    })
}

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// FNV-1a with a last stir: spreads, and is the same everywhere and always.
fn mix(seed: u64, text: &str) -> u64 {
    let hash = text.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// The seed for one claim: another for each desktop and try.
pub fn seed_of(desktop: &str, epoch: u64) -> u64 {
    mix(epoch, desktop)
}

/// The highest number a host has room for. Agents that do not tell it have a
/// network such as "10.77.0.0/16", of which network, gateway and broadcast address
/// are no desktop's; 0 if that cannot be read.
pub fn highest_number(host: &HostInfo) -> u32 {
    if host.highest_number > 0 {
        return host.highest_number;
    }
    let bits = host.network.split_once('/').and_then(|(_, prefix)| prefix.parse::<u32>().ok());
    let addresses =
        bits.and_then(|prefix| 32_u32.checked_sub(prefix)).and_then(|bits| 1_u64.checked_shl(bits));
    u32::try_from(addresses.unwrap_or(0).saturating_sub(3)).unwrap_or(u32::MAX)
}

// === impl Resources ===

impl Resources {
    /// The version that a reference means there.
    pub(crate) fn version_of(&self, image: &ImageRef) -> Option<&str> {
        self.images.iter().find(|known| known.is(image)).map(|known| known.version.as_str())
    }
}

// === impl KnownImage ===

impl KnownImage {
    /// Whether a reference means it.
    pub(crate) fn is(&self, wanted: &ImageRef) -> bool {
        wanted.means(&self.image, &self.version, &self.tags)
    }
}

#[cfg(test)]
mod tests;
