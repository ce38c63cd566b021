//! How QEMU is called. A saved guest can only be restored by the same call, but
//! for the files behind its disks and what its link leads to.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// Without what QEMU emulates slowly (`erms`, `fsrm`: string copies; the rest:
/// page tables and wide registers): half the time of plain `max`.
const PROCESSOR: &str = "max,-erms,-fsrm,-avx,-avx2,-la57,-smap,-smep,-pku";
const PROCESSORS: &str = "2";
pub(super) const MEMORY_MIB: &str = "1024";

/// `panic=-1` with `-no-reboot`: a guest that panics ends QEMU at once.
const KERNEL_OPTIONS: &str = "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off nokaslr \
    no_timer_check tsc=reliable net.ifnames=0 systemd.show_status=false systemd.unit=multi-user.target";

/// What a guest consists of.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    /// Firmware: the directories of the unpacked packages.
    pub(super) tools: &'a Path,
    /// `vmlinuz`, `initrd` and `modules.erofs`.
    pub(super) kernel: &'a Path,
    /// Its root, and whether what is written there is kept.
    pub(super) root: &'a Path,
    pub(super) keep_root: bool,
    pub(super) payload: &'a Path,
    pub(super) data: &'a Path,
    /// Whether the guest's flushes of its data disk are carried out.
    pub(super) keep_data: bool,
    /// A socket of a [`super::Lan`].
    pub(super) lan: Option<&'a Path>,
    /// Memory to restore.
    pub(super) memory: Option<&'a Path>,
    pub(super) sockets: &'a Sockets,
}

/// How a running guest is reached.
#[derive(Clone, Debug)]
pub(super) struct Sockets {
    pub(super) control: PathBuf,
    pub(super) commands: PathBuf,
    /// What it prints to its console.
    pub(super) console: PathBuf,
}

impl Sockets {
    pub(super) fn in_dir(dir: &Path) -> Self {
        Self {
            control: dir.join("control"),
            commands: dir.join("commands"),
            console: dir.join("console.log"),
        }
    }
}

impl Call<'_> {
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut call = Vec::new();
        let mut add = |name: &str, value: OsString| call.extend([OsString::from(name), value]);
        for dir in ["usr/share/qemu", "usr/share/seabios"] {
            add("-L", self.tools.join(dir).into());
        }
        add("-accel", "tcg,thread=multi,tb-size=512".into());
        add("-machine", "q35,hpet=off".into());
        add("-cpu", PROCESSOR.into());
        add("-smp", PROCESSORS.into());
        add("-m", MEMORY_MIB.into());
        add("-display", "none".into());
        add("-serial", option("file:", &self.sockets.console, ""));
        add("-kernel", self.kernel.join("vmlinuz").into());
        add("-initrd", self.kernel.join("initrd").into());
        add("-append", KERNEL_OPTIONS.into());
        add("-device", "virtio-rng-pci".into());

        let root = if self.keep_root { "" } else { ",snapshot=on" };
        let data = if self.keep_data { "cache=writeback" } else { "cache=unsafe" };
        let modules = self.kernel.join("modules.erofs");
        for (name, file, how) in [
            ("root", self.root, format!(",format=qcow2,cache=unsafe{root}")),
            ("modules", &modules, ",format=raw,readonly=on".into()),
            ("payload", self.payload, ",format=raw,readonly=on".into()),
            ("data", self.data, format!(",format=raw,discard=unmap,{data}")),
        ] {
            add("-drive", option("file=", file, &format!(",if=none,id={name}{how}")));
            add("-device", format!("virtio-blk-pci,drive={name},serial={name}").into());
        }

        let link = match self.lan {
            Some(lan) => option("stream,id=link,server=off,addr.type=unix,addr.path=", lan, ""),
            // Leads nowhere, and has no state that would be saved.
            None => "hubport,id=link,hubid=0".into(),
        };
        add("-netdev", link);
        add("-device", "virtio-net-pci,netdev=link,romfile=".into());
        add("-device", "virtio-serial-pci".into());
        add(
            "-chardev",
            option("socket,id=rig,server=on,wait=off,path=", &self.sockets.commands, ""),
        );
        add("-device", "virtserialport,chardev=rig,name=rig".into());
        add("-qmp", option("unix:", &self.sockets.control, ",server=on,wait=off"));
        if let Some(memory) = self.memory {
            add("-incoming", option("file:", memory, ""));
        }
        call.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(OsString::from));
        call
    }

    /// What a saved guest depends on, beside the contents of the files.
    pub(super) fn shape() -> String {
        [PROCESSOR, PROCESSORS, MEMORY_MIB, KERNEL_OPTIONS].join("\n")
    }
}

/// A path in a list of options, where a comma is written twice.
fn option(before: &str, path: &Path, after: &str) -> OsString {
    let mut option = OsString::from(before);
    option.push(path.to_string_lossy().replace(',', ",,"));
    option.push(OsStr::new(after));
    option
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(change: impl FnOnce(&mut Call<'_>)) -> Vec<String> {
        let sockets = Sockets::in_dir(Path::new("/run/guest"));
        let mut call = Call {
            tools: Path::new("/tools"),
            kernel: Path::new("/kernel"),
            root: Path::new("/root.qcow2"),
            keep_root: false,
            payload: Path::new("/payload"),
            data: Path::new("/data,disk"),
            keep_data: true,
            lan: None,
            memory: None,
            sockets: &sockets,
        };
        change(&mut call);
        call.arguments().into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn a_kept_disk_is_flushed_and_a_forgotten_root_is_not() {
        let all = arguments(|_| {});
        let data = "file=/data,,disk,if=none,id=data,format=raw,discard=unmap,cache=writeback";
        assert!(all.iter().any(|argument| argument == data), "{all:?}");
        let root = "file=/root.qcow2,if=none,id=root,format=qcow2,cache=unsafe,snapshot=on";
        assert!(all.iter().any(|argument| argument == root), "{all:?}");
    }

    #[test]
    fn a_restored_guest_differs_only_in_what_is_behind_its_devices() {
        let saved = arguments(|_| {});
        let restored = arguments(|call| {
            call.lan = Some(Path::new("/lan/1"));
            call.memory = Some(Path::new("/memory"));
        });
        let devices = |all: &[String]| {
            let pairs = all.windows(2).filter(|pair| pair[0] == "-device");
            pairs.map(|pair| pair[1].clone()).collect::<Vec<_>>()
        };
        assert_eq!(devices(&saved), devices(&restored));
        assert!(
            restored
                .ends_with(&["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned))
        );
        assert!(restored.contains(&"file:/memory".to_owned()));
    }
}
