//! The boot of an image's own init: begun, and waited for until it says that all
//! is started (`sd_notify(3)`, systemd's container interface).

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixDatagram as StdDatagram,
    },
    path::Path,
    time::Duration,
};

use tokio::net::UnixDatagram;

use super::failure::StepError;
use crate::process::Process;

/// Longest message that is read; more of it is lost.
const MAX_BYTES: usize = 4096;
/// Longest status that is told to a person, characters.
const MAX_STATUS: usize = 200;
/// Between two messages: whoever sends many costs no more than this.
const PAUSE: Duration = Duration::from_millis(5);

/// Where an init says how far it is. Made before it begins: it is bound into the
/// container.
#[derive(Debug)]
pub(super) struct Boot {
    socket: StdDatagram,
}

impl Boot {
    /// Makes the socket at `path`, which user `owner` of the host may write to:
    /// the container's root. Blocking.
    pub(super) fn listen(path: &Path, owner: u32) -> Result<Self, StepError> {
        let listen = || {
            let socket = StdDatagram::bind(path)?;
            socket.set_nonblocking(true)?;
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            chown(path, Some(owner), Some(owner))?;
            io::Result::Ok(socket)
        };
        let socket =
            listen().map_err(|source| StepError::io("listen at", path.display(), source))?;
        Ok(Self { socket })
    }

    /// Waits until init has started everything.
    ///
    /// # Errors
    /// It has ended, or has not within `limit`.
    pub(super) async fn done(self, init: &Process, limit: Duration) -> Result<(), StepError> {
        let failed = |source| StepError::io("hear from", "init", source);
        let socket = UnixDatagram::from_std(self.socket).map_err(failed)?;
        let mut status = String::new();
        let ready = ready(&socket, &mut status);
        let ended = tokio::select! {
            biased;
            ready = ready => return ready.map_err(failed),
            _ended = init.ended() => true,
            () = tokio::time::sleep(limit) => false,
        };
        if ended {
            init.reap();
            Err(StepError::InitEnded)
        } else {
            Err(StepError::NotBooted { limit, status })
        }
    }
}

async fn ready(socket: &UnixDatagram, status: &mut String) -> io::Result<()> {
    let mut message = vec![0; MAX_BYTES];
    loop {
        let length = socket.recv(&mut message).await?;
        let text = String::from_utf8_lossy(&message[..length]);
        for line in text.lines() {
            match line.split_once('=') {
                Some(("READY", "1")) => return Ok(()),
                Some(("STATUS", text)) => {
                    *status = text.chars().filter(|c| !c.is_control()).take(MAX_STATUS).collect();
                }
                _ => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn boot() -> (tempfile::TempDir, Boot, StdDatagram) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        // As whoever runs the test: nobody else can give files away.
        let me = rustix::process::geteuid().as_raw();
        let boot = Boot::listen(&path, me).unwrap();
        let sender = StdDatagram::unbound().unwrap();
        sender.connect(&path).unwrap();
        (dir, boot, sender)
    }

    #[tokio::test]
    async fn it_is_ready_when_it_says_so() {
        let (_dir, boot, init) = boot();
        let me = Process::open(std::process::id() as i32).unwrap();
        init.send(b"STATUS=half\nREADY=0").unwrap();
        init.send(&[0xff; 2 * MAX_BYTES]).unwrap();
        init.send(b"STATUS=whole\nREADY=1\n").unwrap();
        boot.done(&me, LONG).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_does_instead_is_told() {
        let (_dir, boot, init) = boot();
        let me = Process::open(std::process::id() as i32).unwrap();
        init.send(b"STATUS=Waiting for \x1b[31mGodot").unwrap();
        let error = boot.done(&me, LONG).await.unwrap_err();
        assert_eq!(error.code(), "BOOT_TIMEOUT");
        assert!(super::super::sentence(&error).contains("Waiting for [31mGodot"), "{error}");
    }
}
