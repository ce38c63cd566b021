//! Units of systemd that make no sense in a container.

use rustix::fs::FileType;

use super::{PrepareError, Work};
use crate::tree::InnerPath;

/// Where an administrator's units and masks lie.
const UNITS: &str = "etc/systemd/system";
/// Where packages put theirs, before and after the merge of /usr.
const PACKAGED: [&str; 2] = ["usr/lib/systemd/system", "lib/systemd/system"];

/// By what they would do. A template (`@`) is masked as a whole.
const MASKED: [&str; 52] = [
    // Terminals: there is none but the session.
    "getty.target",
    "getty@.service",
    "serial-getty@.service",
    "console-getty.service",
    "container-getty@.service",
    "systemd-vconsole-setup.service",
    "console-setup.service",
    "keyboard-setup.service",
    // Devices: the host has them; a desktop gets the few it needs.
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    "systemd-udev-settle.service",
    "systemd-hwdb-update.service",
    "systemd-rfkill.service",
    "systemd-rfkill.socket",
    "systemd-backlight@.service",
    // Kernel: it is the host's.
    "systemd-modules-load.service",
    "kmod-static-nodes.service",
    "systemd-sysctl.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    // Disks: the root is mounted, checked and trimmed from outside.
    "systemd-remount-fs.service",
    "systemd-fsck-root.service",
    "systemd-fsck@.service",
    "systemd-growfs-root.service",
    "fstrim.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "lvm2-monitor.service",
    "multipathd.service",
    "smartmontools.service",
    // Network and clock: set up by the agent, and kept by the host.
    "networking.service",
    "NetworkManager.service",
    "NetworkManager-wait-online.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-networkd-wait-online.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "wpa_supplicant.service",
    // Identity and entropy: given from outside.
    "systemd-firstboot.service",
    "systemd-machine-id-commit.service",
    "systemd-random-seed.service",
    // Upkeep of packages: a new version of the image brings new ones.
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
];

/// Masks them, where the root has systemd. A unit that somebody wrote for this
/// very root, and those of `keep`, stay.
pub(super) fn mask(work: &mut Work<'_>, keep: &[String]) -> Result<(), PrepareError> {
    let mut has_systemd = false;
    for dir in PACKAGED {
        has_systemd |= work.is_there(dir)?;
    }
    if !has_systemd {
        return Ok(());
    }
    let mut masked = 0;
    for unit in MASKED {
        if keep.iter().any(|kept| kept == unit) {
            continue;
        }
        let path = InnerPath::fixed(UNITS).join(unit);
        let failed = work.failed("mask", &path);
        let found = work.tree.stat(&path).map_err(&failed)?;
        match found.map(|stat| crate::inside::file_type(&stat)) {
            Some(FileType::Symlink) if is_mask(work, &path).map_err(&failed)? => continue,
            // A link is what `systemctl enable` makes of an alias.
            None | Some(FileType::Symlink) => {}
            Some(_) => {
                work.changes.push(format!("{path}: kept, because it is this root's own"));
                continue;
            }
        }
        work.tree.link(&path, "/dev/null").map_err(&failed)?;
        masked += 1;
    }
    if masked > 0 {
        work.changes.push(format!("/{UNITS}: {masked} services masked"));
    }
    Ok(())
}

fn is_mask(work: &Work<'_>, path: &InnerPath) -> std::io::Result<bool> {
    let place = work.tree.place(path)?;
    let target = rustix::fs::readlinkat(&place.dir, place.name, Vec::new())?;
    Ok(target.as_bytes() == b"/dev/null")
}
