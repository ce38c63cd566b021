//! A command in a desktop: its streams, its terminal, its end.

use std::{io, os::fd::OwnedFd, pin::Pin, sync::Arc};

use futures_util::Stream;
use rolltop_proto::v1::{
    ExecExit, ExecRequest, ExecResponse, ExecStart, TerminalSize, exec_request, exec_response,
};
use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::Signal,
    termios::{Winsize, tcsetwinsize},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};
use tracing::Instrument as _;

use super::{
    error::{chain, internal, invalid_field, status},
    service::number,
};
use crate::{
    bundle,
    desktop::Desktop,
    host::Host,
    lifecycle::State,
    process::{Ending, Process},
    runtime::{Container, Io, Role},
    terminal::Terminal,
    view::View,
};

const CHUNK: usize = 16 * 1024;
const QUEUE: usize = 8;
const MAX_ARGUMENTS: usize = 4_096;
/// Of all arguments and variables together; the kernel's own bound is higher.
const MAX_ARGUMENT_BYTES: usize = 128 * 1024;
/// Shells' convention for "ended by signal n": 128 + n.
const SIGNAL_BASE: i32 = 128;

type Answers = Pin<Box<dyn Stream<Item = Result<ExecResponse, Status>> + Send>>;
type Sender = mpsc::Sender<Result<ExecResponse, Status>>;

pub(super) async fn exec(
    host: &Arc<Host>,
    mut incoming: Streaming<ExecRequest>,
) -> Result<Response<Answers>, Status> {
    let start = match incoming.message().await?.and_then(|request| request.message) {
        Some(exec_request::Message::Start(start)) => start,
        _ => return Err(invalid_field("start", "the first message must be `start`")),
    };
    check(&start)?;
    let number = number(start.number)?;
    let desktop = host.registry.get(number)?;
    let (sender, answers) = mpsc::channel(QUEUE);
    let span = desktop.span();
    match start.terminal {
        Some(size) => {
            let (process, terminal) =
                begin(host, &desktop, start, Io::Terminal).instrument(span.clone()).await?;
            let terminal = terminal.ok_or_else(|| internal(&io::Error::other("no terminal")))?;
            resize(&terminal, size);
            let terminal = Terminal::new(terminal).map_err(|error| internal(&error))?;
            let work = with_terminal(process, terminal, desktop.subscribe(), incoming, sender);
            tokio::spawn(work.instrument(span));
        }
        None => {
            let (streams, io) = streams().map_err(|error| internal(&error))?;
            let (process, _) = begin(host, &desktop, start, io).instrument(span.clone()).await?;
            tokio::spawn(with_pipes(process, streams, incoming, sender).instrument(span));
        }
    }
    Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
}

fn check(start: &ExecStart) -> Result<(), Status> {
    if start.command.len() > MAX_ARGUMENTS {
        return Err(invalid_field("start.command", format!("{MAX_ARGUMENTS} arguments at most")));
    }
    let variables = start.environment.iter().flat_map(|(key, value)| [key, value]);
    let bytes: usize = start.command.iter().chain(variables).map(String::len).sum();
    if bytes > MAX_ARGUMENT_BYTES {
        return Err(invalid_field("start.command", format!("{MAX_ARGUMENT_BYTES} bytes at most")));
    }
    if start.command.iter().any(|argument| argument.contains('\0')) {
        return Err(invalid_field("start.command", "an argument has a NUL byte"));
    }
    if start
        .environment
        .iter()
        .any(|(key, value)| key.is_empty() || key.contains(['=', '\0']) || value.contains('\0'))
    {
        return Err(invalid_field(
            "start.environment",
            "a name is empty or has `=`, or there is a NUL byte",
        ));
    }
    Ok(())
}

async fn begin(
    host: &Host,
    desktop: &Desktop,
    start: ExecStart,
    io: Io,
) -> Result<(Process, Option<OwnedFd>), Status> {
    let record = desktop.view().record;
    let up = record.init.zip(record.account.as_ref()).filter(|_| record.state == State::Running);
    let (init, account) = up.ok_or_else(|| {
        let text =
            format!("desktop {} is {}: wait until it is running", record.number, record.state);
        status(Code::FailedPrecondition, "NOT_RUNNING", text)
    })?;
    let init = Process::reopen(init)
        .map_err(|error| status(Code::FailedPrecondition, "NOT_RUNNING", chain(&error)))?;
    let (_, runtime) = host.runtimes.get(Some(&record.runtime)).ok_or_else(|| {
        let text = format!("runtime `{}` is not configured any more", record.runtime);
        status(Code::FailedPrecondition, "RUNTIME_UNKNOWN", text)
    })?;
    let terminal = matches!(io, Io::Terminal);
    let mut spec = bundle::exec(account, start.as_root, start.command, start.environment, terminal)
        .map_err(|error| invalid_field("start", error.to_string()))?;
    host.confinement.confine(&mut spec);
    let (id, bundle) = (record.number.to_string(), host.paths.desktop(record.number).bundle());
    let group = host.cgroup(record.number).map_err(|error| internal(&error))?;
    let container = Container { id: &id, bundle: &bundle, init: &init, group: &group };
    match runtime.exec(&container, spec, io, Role::Visitor).await {
        Ok(executed) => Ok((executed.process, executed.terminal)),
        Err(error) if error.is_missing_program() => {
            Err(status(Code::NotFound, "COMMAND_MISSING", chain(&error)))
        }
        Err(error) if error.is_full() => {
            let text = format!(
                "desktop {} has as many processes as it may: end some, or raise its limit",
                record.number
            );
            Err(status(Code::ResourceExhausted, "TOO_MANY_PROCESSES", text))
        }
        Err(error) => Err(internal(&error)),
    }
}

/// Our ends of a command's standard streams.
struct Streams {
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

fn streams() -> io::Result<(Streams, Io)> {
    let (stdin, to_stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (from_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (from_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let streams = Streams {
        stdin: pipe::Sender::from_owned_fd(to_stdin)?,
        stdout: pipe::Receiver::from_owned_fd(from_stdout)?,
        stderr: pipe::Receiver::from_owned_fd(from_stderr)?,
    };
    Ok((streams, Io::Files { stdin, stdout, stderr }))
}

async fn with_pipes(
    process: Process,
    streams: Streams,
    incoming: Streaming<ExecRequest>,
    sender: Sender,
) {
    let Streams { stdin, mut stdout, mut stderr } = streams;
    let input = feed(incoming, stdin);
    let output = async {
        let out = forward(&mut stdout, &sender, exec_response::Message::Stdout);
        let err = forward(&mut stderr, &sender, exec_response::Message::Stderr);
        tokio::join!(out, err);
    };
    // What the command leaves running in the background may keep its streams
    // open: its own end is what counts, after what it wrote has been read.
    let ended = async {
        let told = process.ended().await;
        tokio::task::yield_now().await;
        told
    };
    finish(&process, &sender, input, output, ended).await;
}

async fn with_terminal(
    process: Process,
    terminal: Terminal,
    mut desktop: watch::Receiver<View>,
    mut incoming: Streaming<ExecRequest>,
    sender: Sender,
) {
    let input = async {
        while let Ok(Some(request)) = incoming.message().await {
            let written = match request.message {
                Some(exec_request::Message::Stdin(bytes)) => terminal.write_all(&bytes).await,
                // End of input on a terminal is its end-of-file character.
                Some(exec_request::Message::StdinClosed(true)) => terminal.write_all(b"\x04").await,
                Some(exec_request::Message::Resize(size)) => {
                    resize(&terminal, size);
                    Ok(())
                }
                _ => Ok(()),
            };
            if written.is_err() {
                break;
            }
        }
    };
    let output = async {
        let mut buffer = vec![0; CHUNK];
        // EIO tells that the last program has closed the terminal.
        while let Ok(length @ 1..) = terminal.read(&mut buffer).await {
            let message = Some(exec_response::Message::Stdout(buffer[..length].to_vec()));
            if sender.send(Ok(ExecResponse { message })).await.is_err() {
                return;
            }
        }
    };
    // Shells do not heed being asked to end as other programs are (SIGTERM): the
    // desktop hangs up.
    let ends = async {
        // An error: the desktop is gone altogether, and so is the command. Not
        // held on to, for as long as it is the desktop cannot go on.
        drop(desktop.wait_for(|view| view.state() != State::Running).await);
        if let Err(error) = process.signal(Signal::HUP) {
            tracing::warn!(%error, "a terminal cannot be hung up");
        }
        process.ended().await
    };
    let ended = async {
        tokio::select! {
            told = process.ended() => told,
            told = ends => told,
        }
    };
    finish(&process, &sender, input, output, ended).await;
}

/// Runs until the command has ended and its output is through, or the caller
/// has gone, which ends the command.
async fn finish(
    process: &Process,
    sender: &Sender,
    input: impl Future<Output = ()>,
    output: impl Future<Output = ()>,
    ended: impl Future<Output = io::Result<()>>,
) {
    tokio::pin!(input, output, ended);
    let (mut feeding, mut reading) = (true, true);
    loop {
        tokio::select! {
            () = &mut input, if feeding => feeding = false,
            () = &mut output, if reading => reading = false,
            _told = &mut ended => break,
            () = sender.closed() => {
                if let Err(error) = process.signal(Signal::HUP) {
                    tracing::warn!(%error, "a command whose caller has gone cannot be ended");
                }
                // Its end is awaited, so that no zombie stays.
                let _either = ended.await;
                process.reap();
                return;
            }
        }
    }
    if reading {
        // Whatever was written before the end is in the pipe already.
        let _through = tokio::time::timeout(DRAIN, &mut output).await;
    }
    // A caller that has gone away needs no answer.
    let _gone = sender.send(exit(process.reap())).await;
}

/// What the caller is told of a command's end.
fn exit(ending: Ending) -> Result<ExecResponse, Status> {
    let exit = match ending {
        Ending::Code(code) => ExecExit { code, signal: 0 },
        Ending::Signal(signal) => ExecExit { code: SIGNAL_BASE + signal, signal },
        // Anything but success: a caller may go on as if the work was done.
        Ending::Unknown => {
            let text = "the command is not watched any more, and how it ended is not known: look at what it was to do";
            return Err(status(Code::Unknown, "END_UNKNOWN", text.to_owned()));
        }
    };
    let message = Some(exec_response::Message::Exit(exit));
    Ok(ExecResponse { message })
}

/// How long output of an ended command is still read, when something it left
/// in the background keeps its streams open.
const DRAIN: std::time::Duration = std::time::Duration::from_millis(200);

async fn feed(mut incoming: Streaming<ExecRequest>, mut stdin: pipe::Sender) {
    while let Ok(Some(request)) = incoming.message().await {
        match request.message {
            Some(exec_request::Message::Stdin(bytes)) if stdin.write_all(&bytes).await.is_ok() => {}
            Some(exec_request::Message::Stdin(_) | exec_request::Message::StdinClosed(true)) => {
                return;
            }
            _ => {}
        }
    }
}

async fn forward(
    from: &mut pipe::Receiver,
    sender: &Sender,
    wrap: impl Fn(Vec<u8>) -> exec_response::Message,
) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let message = Some(wrap(buffer[..length].to_vec()));
        if sender.send(Ok(ExecResponse { message })).await.is_err() {
            return;
        }
    }
}

fn resize(terminal: impl std::os::fd::AsFd, size: TerminalSize) {
    let edge = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    let size =
        Winsize { ws_row: edge(size.rows), ws_col: edge(size.columns), ws_xpixel: 0, ws_ypixel: 0 };
    if let Err(error) = tcsetwinsize(terminal, size) {
        // The command still runs; its lines may break in the wrong place.
        tracing::debug!(%error, "a terminal cannot be resized");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_end_is_no_success() {
        let refused = exit(Ending::Unknown).unwrap_err();
        assert_eq!(refused.code(), Code::Unknown);
        let told = |ending| match exit(ending).unwrap().message {
            Some(exec_response::Message::Exit(exit)) => (exit.code, exit.signal),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(Ending::Code(3)), (3, 0));
        assert_eq!(told(Ending::Signal(9)), (137, 9));
    }
}
