//! Capabilities of a desktop's init, from which all its processes inherit.

use std::collections::HashSet;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

/// What an ordinary system with accounts, `sudo` and services needs of root,
/// all of it within the desktop's own user namespace.
///
/// Not in it, with the reason: `SYS_ADMIN` (mounts and much else), `NET_ADMIN`
/// and `NET_RAW` (the address is the host's to give, and frames of one's own
/// making are how neighbours are deceived), `MKNOD` (devices are bound),
/// `SYS_MODULE`, `SYS_RAWIO`, `SYS_TIME`, `SYS_BOOT`, `BPF`, `PERFMON`,
/// `SYSLOG` (the host's), `DAC_READ_SEARCH` (file handles bypass paths),
/// `SYS_PTRACE` (a user may trace their own programs without it),
/// `SYS_RESOURCE` and `SYS_NICE` (past the limits of the pool).
const KEPT: [Capability; 13] = [
    // Files of others: package installation, home directories.
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    // Ending services of other users.
    Capability::Kill,
    // Login, `su`, `sudo`, services with accounts of their own.
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    // File capabilities, when packages bring them.
    Capability::Setfcap,
    // Ports below 1024.
    Capability::NetBindService,
    // Package tools and services that confine themselves.
    Capability::SysChroot,
    // PAM refuses a login it cannot log.
    Capability::AuditWrite,
    // Locked memory within its limit: realtime audio, key stores.
    Capability::IpcLock,
];

/// The sets for `process.capabilities` of a desktop's init: bounding,
/// effective and permitted alike, nothing inheritable or ambient, so that a
/// program run by another user has none unless its file grants them.
#[must_use]
pub fn default_capabilities() -> LinuxCapabilities {
    let kept: Capabilities = KEPT.into_iter().collect::<HashSet<_>>();
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(kept.clone()));
    sets.set_effective(Some(kept.clone()));
    sets.set_permitted(Some(kept));
    sets.set_inheritable(None);
    sets.set_ambient(None);
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_reaches_past_the_desktop_is_kept() {
        let kept = default_capabilities().bounding().clone().unwrap();
        for dangerous in [
            Capability::SysAdmin,
            Capability::NetAdmin,
            Capability::NetRaw,
            Capability::SysModule,
            Capability::SysRawio,
            Capability::DacReadSearch,
            Capability::SysPtrace,
            Capability::Mknod,
            Capability::Bpf,
            Capability::SysResource,
        ] {
            assert!(!kept.contains(&dangerous), "{dangerous}");
        }
    }
}
