//! A terminal in the container's own devpts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, fstatfs, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::inbox::Streams;
use crate::error::{AtStage, Failure, Stage};
use crate::plan::{ProcessPlan, TerminalPlan};
use crate::wire::{self, Report};

/// `include/uapi/linux/magic.h`.
const DEVPTS_MAGIC: u64 = 0x1CD1;

/// Both sides.
#[derive(Debug)]
pub(super) struct Terminal {
    master: OwnedFd,
    pub(super) slave: OwnedFd,
}

// === impl Terminal ===

impl Terminal {
    /// Opens a terminal of the devpts whose root is `pts`.
    ///
    /// That it is one has to be checked: in a running container somebody may
    /// have put something else there. In a true devpts, nobody but the kernel
    /// makes names.
    pub(super) fn open(pts: &OwnedFd, size: TerminalPlan) -> Result<Self, Failure> {
        const STAGE: Stage = Stage::OpenTerminal;
        let found = fstatfs(pts).at(STAGE, "/dev/pts")?;
        if u64::try_from(found.f_type).ok() != Some(DEVPTS_MAGIC) {
            return Err(Errno::NODEV).at(STAGE, "/dev/pts");
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let master = openat(pts, "ptmx", flags, Mode::empty()).at(STAGE, "/dev/pts/ptmx")?;
        unlockpt(&master).at(STAGE, "unlock")?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).at(STAGE, "peer")?;
        if size.columns != 0 && size.rows != 0 {
            let size =
                Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&master, size).at(STAGE, "size")?;
        }
        Ok(Self { master, slave })
    }

    /// Gives the slave to the process's user and this session, hands the
    /// master to the agent, and makes the slave the standard streams.
    pub(super) fn hand_over(
        self,
        control: BorrowedFd<'_>,
        process: &ProcessPlan,
    ) -> Result<Streams, Failure> {
        const STAGE: Stage = Stage::OpenTerminal;
        let user = Some(Uid::from_raw(process.uid));
        fchown(&self.slave, user, None::<Gid>).at(STAGE, "owner")?;
        ioctl_tiocsctty(&self.slave).at(STAGE, "control")?;
        wire::send(control, &Report::Terminal, &[self.master.as_fd()]).at(STAGE, "send")?;
        let copy = || fcntl_dupfd_cloexec(&self.slave, 3).at(STAGE, "duplicate");
        Ok(Streams { stdin: copy()?, stdout: copy()?, stderr: copy()? })
    }
}
