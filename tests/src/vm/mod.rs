//! Virtual machines to test in: Debian with systemd, pure version 2 control
//! groups, and the kernel's own NFS server and client, under QEMU without help
//! from the processor.
//!
//! `tests/vm/prepare` makes the parts, [`Rig::open`] finds them. The first guest
//! of a kernel is started once and its memory saved; [`Rig::start`] restores it
//! in a second or two. Everything a guest writes to its root is forgotten when
//! it ends; a [`DataDisk`] is kept.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::{path::Path, time::Duration};
//! use rolltop_tests::vm::{DataDisk, Rig, Spec};
//!
//! let rig = Rig::open(Path::new("target/vm"), "6.12")?;
//! let disk = DataDisk::create(Path::new("target/vm/data.ext4"))?;
//! let limit = Duration::from_secs(60);
//!
//! let mut guest = rig.start(Spec::named("host1").data(&disk))?;
//! guest.sh("echo kept >/data/file && sync /data/file", limit)?;
//! guest.cut_power()?;
//!
//! let mut guest = rig.start(Spec::named("host1").data(&disk))?;
//! assert_eq!(guest.sh("cat /data/file", limit)?, "kept\n");
//! # Ok(())
//! # }
//! ```
//!
//! # Power cuts
//! [`Guest::cut_power`] kills QEMU. What the guest had in memory is gone: its
//! page cache, what its file systems had not yet written, its processes. What
//! it has flushed (`fsync`, `sync`) is in the file of its [`DataDisk`], in the
//! order it was flushed; of what it wrote without a flush any part may be there.
//! QEMU is not told that flushes may be ignored, unlike for the root. Not played
//! is a disk that loses its own write cache: what QEMU has handed to this
//! machine's kernel stays.
//!
//! A guest started with that disk again mounts it as after a power cut (ext4
//! replays its journal), in a system that has just been booted and has never
//! seen the disk.
//!
//! # Time
//! A guest is slow: 3 to 6 times for system calls, 10 to 20 times for other
//! code, and more on a busy machine. Deadlines should be ten times what a real
//! machine needs; never assert how fast something is.

mod channel;
mod disk;
mod guest;
mod lan;
mod qemu;
mod qmp;
mod rig;
mod scratch;

pub use self::{
    channel::Output,
    disk::{DataDisk, Payload},
    guest::Guest,
    lan::Lan,
    rig::Rig,
    scratch::Scratch,
    spec::Spec,
};

mod spec;
