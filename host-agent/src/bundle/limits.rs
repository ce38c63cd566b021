//! What a desktop may use, in OCI's words.

use oci_spec::{
    OciSpecError,
    runtime::{
        LinuxBlockIo, LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder,
        LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
        LinuxThrottleDeviceBuilder,
    },
};
use rolltop_overlay::LOOP_MAJOR;

use crate::request::{DiskRates, Limits};

/// Period of the CPU quota, microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// In OCI resources.
const UNLIMITED: i64 = -1;

/// What is not limited is not mentioned: the kernel's own default holds.
pub(super) fn first_resources(
    limits: Limits,
    disks: &[u32],
) -> Result<LinuxResources, OciSpecError> {
    let mut resources = resources(
        limits.memory_mib.map(bytes),
        limits.cpu_millis.map(quota),
        limits.pids.map(count),
    )?;
    // Each runtime adds what every container has in `/dev`.
    let no_device = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
    resources.set_devices(Some(vec![no_device]));
    if limits.disk != DiskRates::default() {
        resources.set_block_io(Some(block_io(limits.disk, disks)?));
    }
    Ok(resources)
}

/// Limits for a container that has some already: what is not limited any more
/// is said so.
///
/// # Errors
/// A value the OCI types refuse; the agent's own fault.
pub fn new_resources(limits: Limits) -> Result<LinuxResources, OciSpecError> {
    resources(
        Some(limits.memory_mib.map_or(UNLIMITED, bytes)),
        Some(limits.cpu_millis.map_or(UNLIMITED, quota)),
        Some(limits.pids.map_or(UNLIMITED, count)),
    )
}

/// Rates of the disks /dev/loopN that a desktop has; what is not limited is said
/// so.
///
/// # Errors
/// A value the OCI types refuse; the agent's own fault.
pub fn disk_resources(rates: DiskRates, disks: &[u32]) -> Result<LinuxResources, OciSpecError> {
    LinuxResourcesBuilder::default().block_io(block_io(rates, disks)?).build()
}

fn block_io(rates: DiskRates, disks: &[u32]) -> Result<LinuxBlockIo, OciSpecError> {
    let of_each = |rate: Option<u64>| {
        let device = |number: &u32| {
            LinuxThrottleDeviceBuilder::default()
                .major(LOOP_MAJOR)
                .minor(*number)
                .rate(rate.unwrap_or(0))
                .build()
        };
        disks.iter().map(device).collect::<Result<Vec<_>, _>>()
    };
    LinuxBlockIoBuilder::default()
        .throttle_read_bps_device(of_each(rates.read_bytes)?)
        .throttle_write_bps_device(of_each(rates.write_bytes)?)
        .throttle_read_iops_device(of_each(rates.operations)?)
        .throttle_write_iops_device(of_each(rates.operations)?)
        .build()
}

fn bytes(mib: u64) -> i64 {
    mib.checked_mul(1 << 20).map_or(i64::MAX, count)
}

fn quota(millis: u64) -> i64 {
    millis.checked_mul(CPU_PERIOD_US).map_or(i64::MAX, |product| count(product / 1_000))
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn resources(
    memory: Option<i64>,
    quota: Option<i64>,
    pids: Option<i64>,
) -> Result<LinuxResources, OciSpecError> {
    let mut resources = LinuxResourcesBuilder::default();
    if let Some(bytes) = memory {
        resources = resources.memory(LinuxMemoryBuilder::default().limit(bytes).build()?);
    }
    if let Some(quota) = quota {
        let cpu = LinuxCpuBuilder::default().period(CPU_PERIOD_US).quota(quota).build()?;
        resources = resources.cpu(cpu);
    }
    if let Some(limit) = pids {
        resources = resources.pids(LinuxPidsBuilder::default().limit(limit).build()?);
    }
    resources.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_each_disk() {
        let block_io = |limits| first_resources(limits, &[3, 5]).unwrap().block_io().clone();
        assert!(block_io(Limits::default()).is_none());
        let disk = DiskRates { write_bytes: Some(1 << 20), ..DiskRates::default() };
        let limited = block_io(Limits { disk, ..Limits::default() }).unwrap();
        let written = limited.throttle_write_bps_device().as_ref().unwrap();
        let written: Vec<_> =
            written.iter().map(|it| (it.major(), it.minor(), it.rate())).collect();
        assert_eq!(written, [(7, 3, 1 << 20), (7, 5, 1 << 20)]);
        assert_eq!(limited.throttle_read_bps_device().as_ref().unwrap()[0].rate(), 0);
    }

    #[test]
    fn limits_are_in_the_kernels_units() {
        let limits = Limits {
            memory_mib: Some(2048),
            cpu_millis: Some(1500),
            pids: Some(512),
            ..Limits::default()
        };
        let resources = first_resources(limits, &[]).unwrap();
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(2 << 30));
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(150_000));
        assert_eq!(resources.pids().as_ref().unwrap().limit(), 512);
    }

    #[test]
    fn no_limit_asked_for_is_no_limit_set() {
        let resources = first_resources(Limits::default(), &[]).unwrap();
        assert!(
            resources.memory().is_none() && resources.cpu().is_none() && resources.pids().is_none()
        );
    }
}
