//! Terminal modes that are put back whatever happens.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// A changed terminal mode; dropping it restores the mode from before. Signals
/// that end the process must be caught while it lives: see
/// [`Endings`](super::Endings).
pub(crate) struct ModeGuard {
    terminal: OwnedFd,
    before: Termios,
}

impl ModeGuard {
    /// Every byte goes through as typed, for a shell elsewhere: no echo, no
    /// lines, no signals.
    pub(crate) fn raw(terminal: impl AsFd) -> io::Result<Self> {
        Self::change(terminal, Termios::make_raw)
    }

    /// What is typed is not shown. Lines and Ctrl-C work as ever.
    pub(crate) fn no_echo(terminal: impl AsFd) -> io::Result<Self> {
        Self::change(terminal, |mode| {
            mode.local_modes.remove(LocalModes::ECHO);
            mode.local_modes.insert(LocalModes::ECHONL);
        })
    }

    fn change(terminal: impl AsFd, edit: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        // Our own descriptor: the caller may close its before we restore.
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let before = tcgetattr(&terminal)?;
        let mut mode = before.clone();
        edit(&mut mode);
        let guard = Self { terminal, before };
        // Now, not "when all output is written": that never ends where nobody
        // reads the other side.
        tcsetattr(&guard.terminal, OptionalActions::Now, &mode)?;
        Ok(guard)
    }
}

impl Drop for ModeGuard {
    fn drop(&mut self) {
        // Fails only when the terminal is gone, and its mode with it.
        tcsetattr(&self.terminal, OptionalActions::Now, &self.before).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rustix::{
        fs::{Mode, OFlags, open},
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::InputModes,
    };

    use super::*;

    fn pty() -> (OwnedFd, OwnedFd) {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
        (ours, theirs.unwrap())
    }

    fn flags(terminal: &OwnedFd) -> (InputModes, LocalModes) {
        let mode = tcgetattr(terminal).unwrap();
        (mode.input_modes, mode.local_modes)
    }

    #[test]
    fn raw_mode_ends_with_its_guard() {
        let (_ours, terminal) = pty();
        let before = flags(&terminal);
        let guard = ModeGuard::raw(&terminal).unwrap();
        let (input, local) = flags(&terminal);
        assert!(!local.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
        assert!(!input.contains(InputModes::ICRNL));
        drop(guard);
        assert_eq!(flags(&terminal), before);
    }

    #[test]
    fn a_panic_restores_too() {
        let (_ours, terminal) = pty();
        let before = flags(&terminal);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _guard = ModeGuard::raw(&terminal).unwrap();
            assert_ne!(flags(&terminal), before);
            panic!("on purpose");
        }));
        assert!(unwound.is_err());
        assert_eq!(flags(&terminal), before);
    }

    #[test]
    fn a_secret_is_typed_unseen_but_with_line_editing() {
        let (_ours, terminal) = pty();
        let before = flags(&terminal);
        let guard = ModeGuard::no_echo(&terminal).unwrap();
        let (_, local) = flags(&terminal);
        assert!(!local.contains(LocalModes::ECHO));
        assert!(local.contains(LocalModes::ICANON | LocalModes::ISIG));
        drop(guard);
        assert_eq!(flags(&terminal), before);
    }

    #[test]
    fn what_is_no_terminal_is_an_error() {
        let (read, _write) = std::io::pipe().unwrap();
        assert!(ModeGuard::raw(&read).is_err());
    }
}
