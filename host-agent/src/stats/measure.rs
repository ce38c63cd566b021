//! What a desktop uses.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rolltop_launcher::cgroup::{Cgroup, CgroupError, Pressures, Usage};
use rolltop_overlay::OverlayUsage;

use crate::{
    address::{Number, link_name},
    host::Host,
    network::Traffic,
    view::View,
    work::blocking,
};

/// What a desktop uses; `None` is what this host does not count, or what has
/// gone while it was read.
#[derive(Clone, Debug)]
pub struct Stats {
    /// When it was read.
    pub at: SystemTime,
    /// Processor time, memory, processes.
    pub usage: Usage,
    /// The most memory it ever had, bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Waiting.
    pub pressures: Pressures,
    /// Its overlay.
    pub disk: Option<OverlayUsage>,
    /// Over its link.
    pub traffic: Option<Traffic>,
}

/// Measures a desktop.
///
/// # Errors
/// Its control group cannot be read.
pub async fn measure(host: &Arc<Host>, view: &View) -> Result<Stats, CgroupError> {
    let number = view.record.number;
    let group = host.cgroup(number)?;
    let overlay = view.overlay.clone();
    let overlays = host.keep.of(&overlay).await.inspect_err(|error| {
        tracing::debug!(%error, "what an overlay takes cannot be told");
    });
    let open = host.paths.desktop(number).mounts();
    let local = blocking(move || {
        let disk = overlays.ok().and_then(|overlays| {
            let usage = overlays.usage_in(&overlay, &open).inspect_err(|error| {
                tracing::debug!(%error, "what an overlay takes cannot be told");
            });
            usage.ok()
        });
        Ok::<_, CgroupError>((counters(&group)?, disk))
    });
    let (local, traffic) = tokio::join!(local, traffic(host, number));
    let ((usage, memory_peak_bytes, oom_kills, pressures), disk) = local?;
    let at = SystemTime::now();
    Ok(Stats { at, usage, memory_peak_bytes, oom_kills, pressures, disk, traffic })
}

type Counters = (Usage, Option<u64>, u64, Pressures);

fn counters(group: &Cgroup) -> Result<Counters, CgroupError> {
    Ok((group.usage()?, group.memory_peak()?, group.oom_kills()?, group.pressures()?))
}

async fn traffic(host: &Host, number: Number) -> Option<Traffic> {
    /// The kernel answers at once, unless its locks are held for long.
    const PATIENCE: Duration = Duration::from_secs(2);
    let link = link_name(number);
    match tokio::time::timeout(PATIENCE, host.network.traffic(&link)).await {
        Ok(Ok(traffic)) => traffic,
        Ok(Err(error)) => {
            tracing::debug!(%number, %error, "a link's counters cannot be read");
            None
        }
        Err(_elapsed) => None,
    }
}
