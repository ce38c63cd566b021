//! An OCI runtime binary with runc's command line.

use std::{
    fs,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio as Standard,
    time::Duration,
};

use oci_spec::runtime::Process as ProcessSpec;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::{net::UnixListener, process::Command, time::timeout};
use uuid::Uuid;

use super::{Container, Io, RuntimeError};

/// A runtime binary and where it keeps its state.
#[derive(Clone, Debug)]
pub struct OciBinary {
    program: PathBuf,
    root: PathBuf,
    deadline: Duration,
}

/// Files for one `exec`.
struct ExecFiles {
    process: PathBuf,
    pid: PathBuf,
    console: PathBuf,
    log: PathBuf,
}

impl OciBinary {
    pub(super) fn new(program: PathBuf, root: PathBuf, deadline: Duration) -> Self {
        Self { program, root, deadline }
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(super) async fn create(&self, id: &str, bundle: &Path) -> Result<i32, RuntimeError> {
        let pid_file = bundle.join("pid");
        let log = bundle.join("create.log");
        let mut command = self.command(&log);
        command.arg("create").arg("--bundle").arg(bundle).arg("--pid-file").arg(&pid_file).arg(id);
        self.run("create", command, &log).await?;
        self.read_pid("create", &pid_file)
    }

    pub(super) async fn start(&self, id: &str, bundle: &Path) -> Result<(), RuntimeError> {
        self.simply("start", id, &bundle.join("start.log")).await
    }

    /// Again is success, which runtimes see otherwise.
    pub(super) async fn pause(&self, id: &str, bundle: &Path) -> Result<(), RuntimeError> {
        match self.simply("pause", id, &bundle.join("pause.log")).await {
            Err(_) if self.is_paused(id, bundle).await => Ok(()),
            done => done,
        }
    }

    /// Again is success.
    pub(super) async fn resume(&self, id: &str, bundle: &Path) -> Result<(), RuntimeError> {
        match self.simply("resume", id, &bundle.join("resume.log")).await {
            Err(_) if !self.is_paused(id, bundle).await => Ok(()),
            done => done,
        }
    }

    /// By the runtime's own account (`status` in the OCI runtime specification,
    /// with runc's addition); `false` if it gives none.
    async fn is_paused(&self, id: &str, bundle: &Path) -> bool {
        let mut command = self.command(&bundle.join("state.log"));
        let told = command.stdout(Standard::piped()).arg("state").arg(id).output();
        let Ok(Ok(told)) = timeout(self.deadline, told).await else { return false };
        let state: Option<serde_json::Value> = serde_json::from_slice(&told.stdout).ok();
        state.is_some_and(|state| state["status"] == "paused")
    }

    async fn simply(&self, verb: &'static str, id: &str, log: &Path) -> Result<(), RuntimeError> {
        let mut command = self.command(log);
        command.arg(verb).arg(id);
        self.run(verb, command, log).await
    }

    pub(super) async fn delete(&self, id: &str, bundle: &Path) -> Result<(), RuntimeError> {
        if !self.root.join(id).exists() {
            return Ok(());
        }
        let log = bundle.join("delete.log");
        let mut command = self.command(&log);
        command.arg("delete").arg("--force").arg(id);
        self.run("delete", command, &log).await
    }

    pub(super) async fn exec(
        &self,
        container: &Container<'_>,
        spec: &ProcessSpec,
        io: Io,
    ) -> Result<(i32, Option<OwnedFd>), RuntimeError> {
        // Names of their own: several commands may run in a desktop at once.
        let unique = container.bundle.join(Uuid::new_v4().simple().to_string());
        let file = |suffix: &str| unique.with_extension(suffix);
        let files = ExecFiles {
            process: file("json"),
            pid: file("pid"),
            console: file("tty"),
            log: file("log"),
        };
        let result = self.exec_with(container, spec, io, &files).await;
        for path in [&files.process, &files.pid, &files.console, &files.log] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "a leftover stays until the desktop ends");
                }
                Ok(()) | Err(_) => {}
            }
        }
        result
    }

    async fn exec_with(
        &self,
        container: &Container<'_>,
        spec: &ProcessSpec,
        io: Io,
        files: &ExecFiles,
    ) -> Result<(i32, Option<OwnedFd>), RuntimeError> {
        let failed = |verb| move |source| RuntimeError::Io { verb, source };
        let json =
            serde_json::to_vec(spec).map_err(|error| self.error("exec", error.to_string()))?;
        fs::write(&files.process, json).map_err(failed("write process.json"))?;
        let mut command = self.command(&files.log);
        command.args(["exec", "--detach", "--process"]).arg(&files.process);
        command.arg("--pid-file").arg(&files.pid);
        let mut listener = None;
        match io {
            Io::Files { stdin, stdout, stderr } => {
                command.arg(container.id).stdin(stdin).stdout(stdout).stderr(stderr);
            }
            Io::Terminal => {
                listener = Some(
                    UnixListener::bind(&files.console).map_err(failed("listen for the console"))?,
                );
                command.arg("--console-socket").arg(&files.console).arg(container.id);
            }
        }
        let run = self.run("exec", command, &files.log);
        let terminal = match listener {
            None => {
                run.await?;
                None
            }
            Some(listener) => {
                let accept = async {
                    let (stream, _) =
                        listener.accept().await.map_err(failed("take the console"))?;
                    let stream = stream.into_std().map_err(failed("take the console"))?;
                    stream.set_nonblocking(false).map_err(failed("take the console"))?;
                    crate::work::blocking(move || receive_descriptor(&stream))
                        .await
                        .map_err(failed("take the console"))
                };
                let ((), terminal) = tokio::try_join!(run, accept)?;
                Some(terminal)
            }
        };
        Ok((self.read_pid("exec", &files.pid)?, terminal))
    }

    /// What the runtime has to say goes to `log`: its standard error would be
    /// inherited, and kept open, by the container.
    fn command(&self, log: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            // Nothing of ours means anything to it; NOTIFY_SOCKET it would even
            // take for its container's.
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .arg("--root")
            .arg(&self.root)
            .args(["--log-format", "json", "--log"])
            .arg(log)
            .stdin(Standard::null())
            .stdout(Standard::null())
            .stderr(Standard::null())
            .kill_on_drop(true);
        command
    }

    async fn run(
        &self,
        verb: &'static str,
        mut command: Command,
        log: &Path,
    ) -> Result<(), RuntimeError> {
        let status = match timeout(self.deadline, command.status()).await {
            Ok(status) => status.map_err(|error| self.error(verb, error.to_string()))?,
            Err(_) => return Err(self.error(verb, format!("no answer within {:?}", self.deadline))),
        };
        if status.success() {
            return Ok(());
        }
        // A missing log says no more than the status.
        let said = fs::read_to_string(log).unwrap_or_default();
        Err(self.error(verb, last_message(&said).unwrap_or_else(|| status.to_string())))
    }

    fn read_pid(&self, verb: &'static str, path: &Path) -> Result<i32, RuntimeError> {
        let text = fs::read_to_string(path).map_err(|error| self.error(verb, error.to_string()))?;
        text.trim().parse().map_err(|_| self.error(verb, format!("`{text}` is no pid")))
    }

    fn error(&self, verb: &'static str, message: String) -> RuntimeError {
        RuntimeError::Oci { program: self.program.clone(), verb, message }
    }
}

/// The message of the last line of a log in JSON; the line itself if it is none.
fn last_message(log: &str) -> Option<String> {
    let line = log.lines().last()?;
    let entry: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let message = entry.as_ref().and_then(|entry| entry.get("msg")?.as_str());
    Some(message.unwrap_or(line).to_owned())
}

/// Takes the terminal that the runtime sends over its console socket.
fn receive_descriptor(stream: &std::os::unix::net::UnixStream) -> io::Result<OwnedFd> {
    let mut data = [0; 256];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut data)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no terminal was sent"))
}

#[cfg(test)]
mod tests {
    use super::last_message;

    #[test]
    fn the_reason_is_found_in_the_log() {
        let log = "{\"msg\":\"one\"}\n{\"level\":\"error\",\"msg\":\"two\"}\n";
        assert_eq!(last_message(log).as_deref(), Some("two"));
        assert_eq!(last_message("plain words").as_deref(), Some("plain words"));
        assert_eq!(last_message(""), None);
    }
}
