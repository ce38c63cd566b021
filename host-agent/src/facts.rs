//! Facts about this host, read when asked for.

use std::{fs, io};

use rolltop_proto::v1;

use crate::host::Host;

/// What a broker places by. Blocking.
///
/// # Errors
/// `/proc` or the state directory cannot be read.
pub fn host_info(host: &Host) -> io::Result<v1::HostInfo> {
    let memory = Memory::read()?;
    // None as long as it has been silent since the agent began.
    let kept = host.keep.once_opened();
    let addresses = &host.config.network.addresses;
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let cpus = std::thread::available_parallelism()?.get() as u64;
    Ok(v1::HostInfo {
        name: host.config.name.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        cpus: signed(cpus),
        memory_bytes: signed(memory.total),
        memory_available_bytes: signed(memory.available),
        overlay_free_bytes: signed(host.overlay_free_bytes()?),
        desktops: signed(host.registry.len() as u64),
        max_desktops: signed(host.registry.max_desktops() as u64),
        network: addresses
            .ranges()
            .first()
            .map_or_else(String::new, |range| range.network().to_string()),
        highest_number: addresses.last_desktop(),
        runtime: host.runtimes.default_name().to_owned(),
        storage_id: kept.as_ref().map_or_else(String::new, |kept| kept.storage_id().to_string()),
        storage_shared: kept.is_some_and(|kept| kept.is_shared()),
    })
}

/// Memory of the host, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// Free, or can be made so without swapping.
    pub available: u64,
}

impl Memory {
    /// As it is now.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn read() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let bytes = |key| kibibytes(&text, key) << 10;
        Ok(Self { total: bytes("MemTotal:"), available: bytes("MemAvailable:") })
    }
}

/// A line of `/proc/meminfo`; 0 when it is not there.
fn kibibytes(meminfo: &str, key: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix(key)?.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::kibibytes;

    #[test]
    fn reads_the_kernels_form() {
        let text = "MemTotal:       24680092 kB\nMemFree:  1 kB\n";
        assert_eq!(kibibytes(text, "MemTotal:"), 24_680_092);
        assert_eq!(kibibytes(text, "MemAvailable:"), 0);
    }
}
