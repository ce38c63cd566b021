//! OCI resources as cgroup files.

use std::io;
use std::path::Path;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::{Cgroup, CgroupError, Home, device_rules, throttle, write};

/// The kernel's own default, which OCI leaves to it.
const DEFAULT_PERIOD_US: u64 = 100_000;

/// Refuses what would otherwise be skipped.
pub(super) fn refuse(resources: &LinuxResources) -> Result<(), CgroupError> {
    let cpu = resources.cpu().clone().unwrap_or_default();
    let memory = resources.memory().unwrap_or_default();
    let huge = resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty());
    let rdma = resources.rdma().as_ref().is_some_and(|limits| !limits.is_empty());
    let block_io = resources.block_io().clone().unwrap_or_default();
    let block_io = throttle::others(&block_io).map(|(field, set)| (field, set, "not offered"));
    for (field, set, reason) in block_io.into_iter().chain([
        ("linux.resources.hugepageLimits", huge, "not offered"),
        ("linux.resources.network", resources.network().is_some(), "not offered"),
        ("linux.resources.rdma", rdma, "not offered"),
        ("linux.resources.cpu.cpus", cpu.cpus().is_some(), "no CPU sets"),
        ("linux.resources.cpu.mems", cpu.mems().is_some(), "no CPU sets"),
        ("linux.resources.cpu.realtimeRuntime", cpu.realtime_runtime().is_some(), "not offered"),
        ("linux.resources.cpu.realtimePeriod", cpu.realtime_period().is_some(), "not offered"),
        ("linux.resources.cpu.burst", cpu.burst().is_some(), "not offered"),
        ("linux.resources.cpu.idle", cpu.idle().is_some(), "not offered"),
        ("linux.resources.memory.swappiness", memory.swappiness().is_some(), "not offered"),
        ("linux.resources.memory.kernelTCP", memory.kernel_tcp().is_some(), "not offered"),
        (
            "linux.resources.memory.disableOOMKiller",
            memory.disable_oom_killer() == Some(true),
            "a desktop out of memory would hang for good",
        ),
    ]) {
        if set {
            return Err(CgroupError::Unsupported { field, reason });
        }
    }
    Ok(())
}

pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    if let Some(memory) = resources.memory() {
        apply_memory(cgroup, memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        apply_cpu(cgroup, cpu)?;
    }
    if let Some(pids) = resources.pids() {
        let (Home::Unified(directory) | Home::Legacy(directory)) = cgroup.controller("pids")?;
        let limit = if pids.limit() > 0 { pids.limit().to_string() } else { "max".into() };
        write(&directory.join("pids.max"), &limit)?;
    }
    if let Some(block_io) = resources.block_io() {
        throttle::apply(cgroup, block_io)?;
    }
    if let Some(rules) = resources.devices()
        && !rules.is_empty()
    {
        device_rules::apply(cgroup, rules)?;
    }
    for (file, value) in resources.unified().iter().flatten() {
        apply_unified(cgroup, file, value)?;
    }
    Ok(())
}

/// Takes back memory until the new limit fits. Version 2 would kill where
/// version 1 says `EBUSY`.
pub(super) fn make_room(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let limit = resources.memory().and_then(|memory| memory.limit());
    let Some(limit) = limit.and_then(|limit| u64::try_from(limit).ok()) else { return Ok(()) };
    let used = || cgroup.usage().map(|usage| usage.memory_bytes.unwrap_or(0));
    let room = match cgroup.controller("memory")? {
        // The kernel reclaims before the write returns (`memory_high_write` in
        // `mm/memcontrol.c`), and kills nothing.
        Home::Unified(directory) => {
            let high = directory.join("memory.high");
            write(&high, &limit.to_string())?;
            let used = used();
            write(&high, "max")?;
            used? <= limit
        }
        Home::Legacy(directory) => {
            match write(&directory.join("memory.limit_in_bytes"), &limit.to_string()) {
                Ok(()) => true,
                Err(CgroupError::File { source, .. })
                    if source.kind() == io::ErrorKind::ResourceBusy =>
                {
                    false
                }
                Err(error) => return Err(error),
            }
        }
    };
    if room { Ok(()) } else { Err(CgroupError::InUse { used: used()?, limit }) }
}

fn apply_memory(cgroup: &Cgroup, memory: &LinuxMemory) -> Result<(), CgroupError> {
    match cgroup.controller("memory")? {
        Home::Unified(directory) => {
            if let Some(limit) = memory.limit() {
                write(&directory.join("memory.max"), &or_max(limit))?;
            }
            if let Some(low) = memory.reservation() {
                write(&directory.join("memory.low"), &or_max(low))?;
            }
            if let Some(total) = memory.swap() {
                // OCI counts memory and swap together, version 2 swap alone.
                let limit = memory.limit().unwrap_or(-1);
                let swap = if total < 0 || limit < 0 { total } else { (total - limit).max(0) };
                write_if_there(&directory.join("memory.swap.max"), &or_max(swap))?;
            }
        }
        Home::Legacy(directory) => {
            if let Some(limit) = memory.limit() {
                write(&directory.join("memory.limit_in_bytes"), &limit.to_string())?;
            }
            if let Some(low) = memory.reservation() {
                write(&directory.join("memory.soft_limit_in_bytes"), &low.to_string())?;
            }
            if let Some(total) = memory.swap() {
                // After the limit, which it must not be below.
                write_if_there(&directory.join("memory.memsw.limit_in_bytes"), &total.to_string())?;
            }
        }
    }
    Ok(())
}

fn apply_cpu(cgroup: &Cgroup, cpu: &LinuxCpu) -> Result<(), CgroupError> {
    if cpu.quota().is_none() && cpu.period().is_none() && cpu.shares().is_none() {
        return Ok(());
    }
    match cgroup.controller("cpu")? {
        Home::Unified(directory) => {
            if cpu.quota().is_some() || cpu.period().is_some() {
                let quota = cpu.quota().filter(|quota| *quota > 0).map_or(-1, |quota| quota);
                let period = cpu.period().unwrap_or(DEFAULT_PERIOD_US);
                write(&directory.join("cpu.max"), &format!("{} {period}", or_max(quota)))?;
            }
            if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
                write(&directory.join("cpu.weight"), &weight(shares).to_string())?;
            }
        }
        Home::Legacy(directory) => {
            if let Some(period) = cpu.period() {
                write(&directory.join("cpu.cfs_period_us"), &period.to_string())?;
            }
            if let Some(quota) = cpu.quota() {
                write(&directory.join("cpu.cfs_quota_us"), &quota.to_string())?;
            }
            if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
                write(&directory.join("cpu.shares"), &shares.to_string())?;
            }
        }
    }
    Ok(())
}

fn apply_unified(cgroup: &Cgroup, file: &str, value: &str) -> Result<(), CgroupError> {
    const FIELD: &str = "linux.resources.unified";
    let Some(directory) = cgroup.unified.as_deref().filter(|_| cgroup.legacy.is_empty()) else {
        return Err(CgroupError::Unsupported { field: FIELD, reason: "this is no version 2 host" });
    };
    // A name with a dot and no slash is a controller's file here, and no way
    // to another cgroup.
    if file.contains('/')
        || !file.contains('.')
        || file.starts_with('.')
        || file.starts_with("cgroup.")
    {
        return Err(CgroupError::Unsupported { field: FIELD, reason: "not a controller's file" });
    }
    write(&directory.join(file), value)
}

fn or_max(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

/// Version 1 shares (2 to 262144, default 1024) as version 2 weight (1 to
/// 10000), on the line that joins the ends, as the other runtimes do.
fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9_999 / 262_142
}

/// Swap is not accounted on every host: then there is none to limit.
fn write_if_there(path: &Path, value: &str) -> Result<(), CgroupError> {
    match write(path, value) {
        Err(CgroupError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_of_shares_are_the_ends_of_weight() {
        assert_eq!(weight(2), 1);
        assert_eq!(weight(262_144), 10_000);
        assert_eq!(weight(1024), 39);
    }

    proptest! {
        #[test]
        fn more_shares_never_weigh_less(a in any::<u64>(), b in any::<u64>()) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(weight(low) <= weight(high));
            prop_assert!((1..=10_000).contains(&weight(a)));
        }
    }

    #[test]
    fn what_is_not_offered_is_named() {
        let text = r#"{"blockIO":{"weight":10}}"#;
        let resources: LinuxResources = serde_json::from_str(text).unwrap();
        assert!(refuse(&resources).unwrap_err().to_string().contains("blockIO.weight"));
        let text = r#"{"memory":{"limit":1000},"cpu":{"quota":1},"pids":{"limit":3}}"#;
        let resources: LinuxResources = serde_json::from_str(text).unwrap();
        assert!(refuse(&resources).is_ok());
    }
}
