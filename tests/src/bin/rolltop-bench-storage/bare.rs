//! The references: the same two mounts without any care.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rolltop_sys::loop_device::{LoopDevice, LoopOptions};

/// Where the references mount.
#[derive(Debug)]
pub(crate) struct Bare {
    disk: PathBuf,
    root: PathBuf,
    options: String,
}

impl Bare {
    /// Makes the mount points in `dir`; `base` is to be the lower layer.
    pub(crate) fn new(dir: &Path, base: &Path) -> anyhow::Result<Self> {
        let (disk, root) = (dir.join("disk"), dir.join("root"));
        fs::create_dir_all(&disk)?;
        fs::create_dir_all(&root)?;
        let at = disk.display();
        let options = format!("lowerdir={},upperdir={at}/upper,workdir={at}/work", base.display());
        Ok(Self { disk, root, options })
    }

    /// By system calls, as few as there can be.
    pub(crate) fn by_calls(&self, overlay: &Path) -> anyhow::Result<()> {
        let file = File::options().read(true).write(true).open(overlay)?;
        let options =
            LoopOptions { direct_io: true, block_size: Some(4096), ..LoopOptions::default() };
        let device = LoopDevice::attach(file.as_fd(), options)?;
        let flags = MsFlags::MS_NOATIME;
        mount(Some(&device.path()), &self.disk, Some("ext4"), flags, Some("discard"))?;
        drop((device, file));
        let options = Some(self.options.as_str());
        mount(Some("overlay"), &self.root, Some("overlay"), MsFlags::empty(), options)?;
        umount2(&self.root, MntFlags::empty())?;
        umount2(&self.disk, MntFlags::empty())?;
        Ok(())
    }

    /// As an administrator would.
    pub(crate) fn by_commands(&self, overlay: &Path) -> anyhow::Result<()> {
        let (disk, root) = (self.disk.as_os_str(), self.root.as_os_str());
        let [with, options] = ["-o", "loop,noatime,discard"].map(OsStr::new);
        command("mount", [with, options, overlay.as_os_str(), disk])?;
        let [kind, name, joined] = ["-t", "overlay", &self.options].map(OsStr::new);
        command("mount", [kind, name, with, joined, name, root])?;
        command("umount", [root])?;
        command("umount", [disk])
    }
}

/// Runs a program to its end, which must be a good one.
pub(crate) fn command<'a>(
    program: &str,
    arguments: impl IntoIterator<Item = &'a OsStr>,
) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
