//! What desktops may use, as options: for pools, and for one desktop that runs.

use clap::Args;
use rolltop_proto::v1::Limits;

use crate::size;

/// All options.
pub(crate) const ALL: [&str; 8] = [
    "memory",
    "cpus",
    "processes",
    "network_down",
    "network_up",
    "disk_read",
    "disk_write",
    "disk_iops",
];

/// What is not given stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct NewLimits {
    /// Most memory, such as 1GiB, or "none"
    #[arg(long, value_name = "SIZE", value_parser = size::mib_or_none)]
    pub(crate) memory: Option<i64>,
    /// Most processors, such as 1.5, or "none"
    #[arg(long, value_name = "NUMBER", value_parser = size::cpu_millis)]
    pub(crate) cpus: Option<i64>,
    /// Most processes, or "none"
    #[arg(long, value_name = "NUMBER", value_parser = size::count_or_none)]
    pub(crate) processes: Option<i64>,
    /// Most that comes over a desktop's network, such as 50Mbit, or "none"
    #[arg(long, value_name = "RATE", value_parser = size::bits_or_none)]
    pub(crate) network_down: Option<i64>,
    /// Most that a desktop sends over it, such as 10Mbit, or "none"
    #[arg(long, value_name = "RATE", value_parser = size::bits_or_none)]
    pub(crate) network_up: Option<i64>,
    /// Most that a desktop reads from its own disk, such as 100MiB/s, or "none"
    #[arg(long, value_name = "RATE", value_parser = size::bytes_or_none)]
    pub(crate) disk_read: Option<i64>,
    /// Most that a desktop writes to it, such as 50MiB/s, or "none"
    #[arg(long, value_name = "RATE", value_parser = size::bytes_or_none)]
    pub(crate) disk_write: Option<i64>,
    /// Most reads of it in a second, and as many writes, or "none"
    #[arg(long, value_name = "NUMBER", value_parser = size::count_or_none)]
    pub(crate) disk_iops: Option<i64>,
}

impl NewLimits {
    /// Puts those that are given over what there is.
    pub(crate) fn over(self, limits: &mut Limits) {
        let Self { memory, cpus, processes, network_down, network_up, .. } = self;
        for (place, new) in [
            (&mut limits.memory_mib, memory),
            (&mut limits.cpu_millis, cpus),
            (&mut limits.pids, processes),
            (&mut limits.network_down_bits, network_down),
            (&mut limits.network_up_bits, network_up),
            (&mut limits.disk_read_bytes, self.disk_read),
            (&mut limits.disk_write_bytes, self.disk_write),
            (&mut limits.disk_ops, self.disk_iops),
        ] {
            if let Some(new) = new {
                *place = new;
            }
        }
    }
}
