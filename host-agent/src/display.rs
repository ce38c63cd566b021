//! A desktop's display: waiting for its answer, and joining a viewer to it.

use std::{
    ffi::OsStr,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    time::Duration,
};

use futures_util::StreamExt as _;
use inotify::{Inotify, WatchMask};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use thiserror::Error;
use tokio::{
    io::AsyncReadExt as _,
    net::UnixStream,
    time::{Instant, sleep_until, timeout_at},
};

/// What every RFB server says first (RFC 6143, 7.1.1): `RFB 003.008\n`.
const RFB_BANNER_BYTES: usize = 12;
const RFB_BANNER: &[u8] = b"RFB ";
/// Between bind(2) and listen(2) of a server there is no event to wait for.
const NOT_LISTENING_YET: Duration = Duration::from_millis(2);

/// A display that cannot be reached.
#[derive(Debug, Error)]
pub enum DisplayError {
    /// It did not answer in time.
    #[error("the display did not answer within {0:?}")]
    Timeout(Duration),
    /// It answered, but not as its protocol says.
    #[error("what listens on the display's socket is no VNC server: it said {0:?}")]
    NotVnc(String),
    /// Something that is no socket stands at the socket's name.
    #[error("`{0}` in the display's directory is no socket")]
    NotASocket(String),
    /// A system call.
    #[error("cannot {verb} the display's socket")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Waits until the display server behind `name` in `dir` greets. Returns its
/// pid, as far as the socket tells.
///
/// # Errors
/// It does not within `limit`, or is something else.
pub async fn answers(dir: &Path, name: &str, limit: Duration) -> Result<Option<i32>, DisplayError> {
    let deadline = Instant::now() + limit;
    timeout_at(deadline, async {
        appears(dir, name).await?;
        let mut stream = loop {
            match connect(dir, name).await {
                Err(DisplayError::Io { source, .. })
                    if source.kind() == io::ErrorKind::ConnectionRefused =>
                {
                    sleep_until(Instant::now() + NOT_LISTENING_YET).await;
                }
                other => break other?,
            }
        };
        let mut banner = [0; RFB_BANNER_BYTES];
        stream.read_exact(&mut banner).await.map_err(failed("read from"))?;
        if banner.starts_with(RFB_BANNER) {
            Ok(server(&stream))
        } else {
            Err(DisplayError::NotVnc(String::from_utf8_lossy(&banner).into_owned()))
        }
    })
    .await
    .unwrap_or(Err(DisplayError::Timeout(limit)))
}

/// Pid of the process that listens at the other end (`SO_PEERCRED`: it was
/// noted when it began to). It may have ended since.
pub fn server(stream: &UnixStream) -> Option<i32> {
    stream.peer_cred().ok()?.pid().filter(|pid| *pid > 0)
}

/// Waits for a file called `name` in `dir`.
async fn appears(dir: &Path, name: &str) -> Result<(), DisplayError> {
    let inotify = Inotify::init().map_err(failed("watch for"))?;
    inotify
        .watches()
        .add(dir, WatchMask::CREATE | WatchMask::MOVED_TO)
        .map_err(failed("watch for"))?;
    let mut buffer = [0; 1024];
    let mut events = inotify.into_event_stream(&mut buffer[..]).map_err(failed("watch for"))?;
    // Looked for after the watch is set: a file made in between is not missed.
    if dir.join(name).symlink_metadata().is_ok() {
        return Ok(());
    }
    while let Some(event) = events.next().await {
        let event = event.map_err(failed("watch for"))?;
        if event.name.as_deref() == Some(OsStr::new(name)) {
            return Ok(());
        }
    }
    Err(failed("watch for")(io::ErrorKind::UnexpectedEof.into()))
}

/// Connects to the socket `name` in `dir`.
///
/// The directory belongs to the desktop, which may put a link to any socket of
/// the host there: so the very file is opened without following, checked, and
/// connected to through its descriptor.
///
/// # Errors
/// No such socket, not a socket, or nobody listens.
pub async fn connect(dir: &Path, name: &str) -> Result<UnixStream, DisplayError> {
    let socket = open_socket(dir, name)?;
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let stream = UnixStream::connect(&path).await.map_err(failed("connect to"))?;
    Ok(stream)
}

fn open_socket(dir: &Path, name: &str) -> Result<OwnedFd, DisplayError> {
    let open = || {
        let dir = open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let file =
            openat(&dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
        rustix::io::Result::Ok((file, kind))
    };
    match open() {
        Ok((file, FileType::Socket)) => Ok(file),
        Ok(_) => Err(DisplayError::NotASocket(name.into())),
        Err(error) => Err(failed("open")(error.into())),
    }
}

fn failed(verb: &'static str) -> impl Fn(io::Error) -> DisplayError {
    move |source| DisplayError::Io { verb, source }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        os::unix::{fs::symlink, net::UnixListener},
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Greets every connection until the test ends.
    fn serve(path: &Path, greeting: &'static [u8]) {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                if stream.write_all(greeting).is_err() {
                    return;
                }
            }
        });
    }

    #[tokio::test]
    async fn a_server_that_comes_later_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let (answer, ()) = tokio::join!(answers(dir.path(), "vnc.sock", LONG), async {
            // Runs once `answers` waits.
            tokio::task::yield_now().await;
            std::fs::write(path.join("other"), "").unwrap();
            serve(&path.join("vnc.sock"), b"RFB 003.008\n");
        });
        assert_eq!(answer.unwrap(), i32::try_from(std::process::id()).ok());
    }

    #[tokio::test]
    async fn something_else_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        serve(&dir.path().join("vnc.sock"), b"SSH-2.0-OpenSSH_9\n");
        let error = answers(dir.path(), "vnc.sock", LONG).await.unwrap_err();
        assert!(matches!(error, DisplayError::NotVnc(_)), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let error = answers(dir.path(), "vnc.sock", LONG).await.unwrap_err();
        assert!(matches!(error, DisplayError::Timeout(LONG)), "{error}");
    }

    #[tokio::test]
    async fn a_link_to_a_socket_of_the_host_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let host = tempfile::tempdir().unwrap();
        serve(&host.path().join("secret.sock"), b"RFB 003.008\n");
        symlink(host.path().join("secret.sock"), dir.path().join("vnc.sock")).unwrap();
        let error = connect(dir.path(), "vnc.sock").await.unwrap_err();
        assert!(matches!(error, DisplayError::NotASocket(_)), "{error}");
        let error = answers(dir.path(), "vnc.sock", LONG).await.unwrap_err();
        assert!(matches!(error, DisplayError::NotASocket(_)), "{error}");
    }
}
