//! How fast block devices are read and written: `blockIO` of OCI resources.
//!
//! Version 2 charges what a process has written to it, whoever carries it to the
//! device and when. Version 1 charges whoever carries it: what a process reads,
//! and what it writes past the cache or waits for, is its own; what the kernel
//! writes back later is the root cgroup's. A device of one cgroup alone can
//! therefore be limited in the root cgroup too: [`Hierarchies::limit_write_back`].

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::{Cgroup, CgroupError, Hierarchies, Home, hierarchies::Hierarchy, read, write};

const CONTROLLER: (&str, &str) = ("blkio", "io");
const WRITE_BYTES: &str = "blkio.throttle.write_bps_device";
const WRITE_OPERATIONS: &str = "blkio.throttle.write_iops_device";

/// Fields of OCI that are not offered, and whether they are used.
pub(super) fn others(block_io: &LinuxBlockIo) -> [(&'static str, bool); 3] {
    [
        ("linux.resources.blockIO.weight", block_io.weight().is_some()),
        ("linux.resources.blockIO.leafWeight", block_io.leaf_weight().is_some()),
        ("linux.resources.blockIO.weightDevice", block_io.weight_device().is_some()),
    ]
}

/// A rate of 0 is none.
pub(super) fn apply(cgroup: &Cgroup, block_io: &LinuxBlockIo) -> Result<(), CgroupError> {
    let (legacy, unified) = CONTROLLER;
    let home = match cgroup.legacy_directory(legacy) {
        Some(directory) => Home::Legacy(directory),
        None => cgroup.controller(unified)?,
    };
    for (devices, key, file) in [
        (block_io.throttle_read_bps_device(), "rbps", "blkio.throttle.read_bps_device"),
        (block_io.throttle_write_bps_device(), "wbps", WRITE_BYTES),
        (block_io.throttle_read_iops_device(), "riops", "blkio.throttle.read_iops_device"),
        (block_io.throttle_write_iops_device(), "wiops", WRITE_OPERATIONS),
    ] {
        for device in devices.iter().flatten() {
            match home {
                Home::Unified(directory) => {
                    write(&directory.join("io.max"), &unified_line(device, key))?;
                }
                Home::Legacy(directory) => write(&directory.join(file), &legacy_line(device))?,
            }
        }
    }
    Ok(())
}

fn unified_line(device: &LinuxThrottleDevice, key: &str) -> String {
    let (major, minor) = (device.major(), device.minor());
    match device.rate() {
        0 => format!("{major}:{minor} {key}=max"),
        rate => format!("{major}:{minor} {key}={rate}"),
    }
}

fn legacy_line(device: &LinuxThrottleDevice) -> String {
    format!("{}:{} {}", device.major(), device.minor(), device.rate())
}

// === impl Hierarchies ===

impl Hierarchies {
    /// Whether cgroups here can have rates of block devices.
    #[must_use]
    pub fn can_throttle(&self) -> bool {
        let (legacy, unified) = CONTROLLER;
        if let Some(hierarchy) = self.legacy_with(legacy) {
            return hierarchy.mount.join(WRITE_BYTES).exists();
        }
        let controllers =
            self.unified.as_ref().map(|mount| read(&mount.join("cgroup.controllers")));
        matches!(controllers, Some(Ok(text)) if text.split_whitespace().any(|it| it == unified))
    }

    fn legacy_with(&self, controller: &str) -> Option<&Hierarchy> {
        self.legacy.iter().find(|it| it.controllers.iter().any(|name| name == controller))
    }

    /// Limits what the kernel writes back to block device `device` (major and
    /// minor) of its own accord, where that is not charged to the cgroup it
    /// comes from: bytes and writes a second, or none. Version 2 needs none of
    /// this.
    ///
    /// The device keeps the limit until it is taken away, also when something
    /// else is on it.
    ///
    /// # Errors
    /// The root cgroup cannot be changed. That there is nothing to take away is
    /// none.
    pub fn limit_write_back(
        &self,
        device: (u32, u32),
        bytes: Option<u64>,
        operations: Option<u64>,
    ) -> Result<(), CgroupError> {
        let (controller, _) = CONTROLLER;
        let Some(hierarchy) = self.legacy_with(controller) else { return Ok(()) };
        let (major, minor) = device;
        let name = format!("{major}:{minor}");
        for (file, rate) in [(WRITE_BYTES, bytes), (WRITE_OPERATIONS, operations)] {
            let path = hierarchy.mount.join(file);
            match rate {
                Some(rate) => write(&path, &format!("{name} {rate}"))?,
                // A root cgroup without the file has no limits.
                None if !path.exists() => {}
                None if is_listed(&read(&path)?, &name) => write(&path, &format!("{name} 0"))?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Whether there is a line for `device`.
fn is_listed(text: &str, device: &str) -> bool {
    text.lines().any(|line| line.split(' ').next() == Some(device))
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxThrottleDeviceBuilder;

    use super::*;

    fn device(rate: u64) -> LinuxThrottleDevice {
        LinuxThrottleDeviceBuilder::default().major(7).minor(3).rate(rate).build().unwrap()
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(unified_line(&device(0), "rbps"), "7:3 rbps=max");
        assert_eq!(unified_line(&device(5), "wiops"), "7:3 wiops=5");
        assert_eq!(legacy_line(&device(0)), "7:3 0");
    }

    #[test]
    fn a_device_is_not_taken_for_another() {
        assert!(is_listed("7:30 5\n7:3 10\n", "7:3"));
        assert!(!is_listed("7:30 5\n17:3 10\n", "7:3"));
        assert!(!is_listed("", "7:3"));
    }
}
