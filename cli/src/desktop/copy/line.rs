//! Programs in a desktop that read or write what is copied.

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write},
    path::Path,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rolltop_proto::v1::{ExecStart, exec_request, exec_response::Message};
use tokio::sync::mpsc;
use tonic::Code;

use super::{
    place::Inner,
    streams::{Chunks, Requests},
};
use crate::{
    app::App,
    connect::Broker,
    copy::{self, LandError, Landed, Naming},
    desktop::session::{self, Session},
    failure::Failure,
    output::clean,
};

/// Chunks between the desktop and the disk.
const QUEUE: usize = 16;
/// Of what the program in the desktop complains about.
const MAX_COMPLAINT_BYTES: usize = 4 * 1024;

/// The way to one desktop.
pub(super) struct Line {
    broker: Broker,
    desktop: String,
    as_root: bool,
}

impl Line {
    pub(super) async fn new(app: &App, desktop: String, as_root: bool) -> Result<Self, Failure> {
        Ok(Self { broker: app.broker().await?, desktop, as_root })
    }

    async fn begin(&self, command: Vec<String>) -> Result<Session, Failure> {
        let program = command.first().cloned().unwrap_or_default();
        let start = ExecStart {
            desktop: self.desktop.clone(),
            command,
            as_root: self.as_root,
            ..ExecStart::default()
        };
        let begun = Session::start(&mut self.broker.clone(), start).await;
        begun.map_err(|failure| match failure.reason.as_str() {
            "COMMAND_MISSING" => failure.hint(format!("copying needs {program} in the image")),
            _ => failure,
        })
    }

    /// A file or directory of the desktop, to `to`.
    pub(super) async fn fetch(&self, from: &Inner, to: &Path) -> Result<Landed, Failure> {
        let is_dir = to.is_dir();
        let (inside, member, dir, naming) = match from.split() {
            Some((inside, name)) if is_dir => {
                let naming = Naming::Renamed { from: name.clone(), to: name.clone() };
                (inside, name, to.to_owned(), naming)
            }
            Some((inside, name)) => {
                let new = to.file_name().ok_or_else(|| no_directory(to))?.to_owned();
                let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
                let dir = parent.unwrap_or(Path::new(".")).to_owned();
                (inside, name.clone(), dir, Naming::Renamed { from: name, to: new })
            }
            None if is_dir => (from.0.clone(), ".".into(), to.to_owned(), Naming::AsIs),
            None => return Err(no_directory(to)),
        };
        let member = member.to_string_lossy().into_owned();
        let command = ["tar", "-c", "-f", "-", "-C", &inside, "--", &member];
        let session = self.begin(command.map(str::to_owned).into()).await?;
        let (chunks, received) = mpsc::channel(QUEUE);
        let bar = bar(None);
        let shown = bar.clone();
        let landing = tokio::task::spawn_blocking(move || {
            let stream = Chunks { received, rest: Vec::new() };
            copy::land(stream, &dir, &naming, |bytes| shown.inc(bytes))
        });
        let passed = pass_on(session, chunks).await;
        let landed = landing.await.map_err(|error| lost(&error))?;
        bar.finish_and_clear();
        // A refusal of ours ends the program there, which then complains too.
        match landed {
            Err(LandError::Stream(_)) | Ok(_) => passed?,
            Err(_) => {}
        }
        landed.map_err(|error| not_landed(&error))
    }

    /// A file or directory of ours, to `to`.
    pub(super) async fn send(&self, from: &Path, to: &Inner) -> Result<(), Failure> {
        let meta = std::fs::symlink_metadata(from).map_err(|error| cannot_read(from, &error))?;
        let own = std::path::absolute(from).map_err(|error| cannot_read(from, &error))?;
        let own = own.file_name().map(OsString::from);
        let (dir, name) = match (self.is_dir(to).await?, to.split()) {
            (true, _) => (to.0.clone(), own.ok_or_else(|| Failure::usage("name what to copy"))?),
            (false, Some((dir, name))) => (dir, name),
            (false, None) => return Err(Failure::usage(format!("there is no directory {}", to.0))),
        };
        let command = ["tar", "-x", "-o", "-p", "-f", "-", "-C", &dir].map(str::to_owned);
        let total = if meta.is_dir() { copy::size_of(from) } else { meta.len() };
        let bar = bar(Some(total));
        let (from, shown) = (from.to_owned(), bar.clone());
        let done = self
            .feed(command.into(), move |to| {
                copy::pack(&from, Path::new(&name), shown.wrap_write(to))
            })
            .await;
        bar.finish_and_clear();
        done
    }

    async fn is_dir(&self, path: &Inner) -> Result<bool, Failure> {
        let script = "[ -d \"$1\" ]".to_owned();
        let command = vec!["/bin/sh".into(), "-c".into(), script, "sh".into(), path.0.clone()];
        let mut session = self.begin(command).await?;
        session
            .sender()
            .send(session::request(exec_request::Message::StdinClosed(true)))
            .await
            .ok();
        loop {
            if let Message::Exit(exit) = session.next().await? {
                return Ok(exit.code == 0 && exit.signal == 0);
            }
        }
    }

    /// Runs a program that reads what `write` writes.
    pub(super) async fn feed(
        &self,
        command: Vec<String>,
        write: impl FnOnce(&mut Requests) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Failure> {
        let session = self.begin(command).await?;
        let to = session.sender();
        let writing = tokio::task::spawn_blocking(move || {
            let mut requests = Requests(to);
            write(&mut requests)?;
            requests.end()
        });
        // Nothing comes out of it; who listens to nothing may go.
        let (chunks, _nobody) = mpsc::channel(1);
        let ended = pass_on(session, chunks).await;
        let written = writing.await.map_err(|error| lost(&error))?;
        // A program that has failed takes no more: its own words say why.
        ended?;
        written.map_err(|error| {
            Failure::new(
                Code::Aborted,
                "COPY_FAILED",
                format!("not everything was copied: {error}"),
            )
        })
    }

    /// Runs a program whose output is what is wanted.
    pub(super) async fn out(
        &self,
        command: Vec<String>,
        mut to: impl Write + Send + 'static,
    ) -> Result<(), Failure> {
        let session = self.begin(command).await?;
        let (chunks, mut received) = mpsc::channel::<Vec<u8>>(QUEUE);
        let writing = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = received.blocking_recv() {
                to.write_all(&chunk)?;
            }
            to.flush()
        });
        let ended = pass_on(session, chunks).await;
        writing.await.map_err(|error| lost(&error))?.map_err(|error| Failure::output(&error))?;
        ended
    }
}

/// Passes on what a program writes, until it has ended; its complaints are the
/// failure, if it failed.
async fn pass_on(mut session: Session, chunks: mpsc::Sender<Vec<u8>>) -> Result<(), Failure> {
    let mut complaint = Vec::new();
    loop {
        match session.next().await? {
            Message::Stdout(chunk) => {
                // Who wants no more says why itself; this ends the program.
                if chunks.send(chunk).await.is_err() {
                    return Ok(());
                }
            }
            Message::Stderr(bytes) => {
                let room = MAX_COMPLAINT_BYTES.saturating_sub(complaint.len());
                complaint.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Message::Exit(exit) if exit.code == 0 && exit.signal == 0 => return Ok(()),
            Message::Exit(exit) => {
                let said = String::from_utf8_lossy(&complaint);
                let said: Vec<String> = said.trim().lines().map(clean).collect();
                let message = match said.is_empty() {
                    true => format!("the program in the desktop ended with {}", exit.code),
                    false => format!("in the desktop: {}", said.join("; ")),
                };
                return Err(Failure::new(Code::Aborted, "COPY_FAILED", message));
            }
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => "[{bar:24}] {bytes} of {total_bytes}  {bytes_per_sec}",
        None => "{spinner} {bytes}  {bytes_per_sec}",
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        // The library's own looks are fine too.
        Err(_) => bar,
    }
}

fn no_directory(path: &Path) -> Failure {
    Failure::usage(format!("{} is no directory", path.display()))
        .hint("name a directory that is there")
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot read {}: {error}", path.display());
    Failure::new(Code::InvalidArgument, "FILE_UNREADABLE", message)
}

fn not_landed(error: &LandError) -> Failure {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    Failure::new(Code::Aborted, "COPY_FAILED", format!("{error}{}", cause.unwrap_or_default()))
}

fn lost(error: &dyn fmt::Display) -> Failure {
    Failure::new(Code::Internal, "INTERNAL", format!("a thread was lost: {error}"))
}
