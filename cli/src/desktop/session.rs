//! One command in a desktop, over one `Exec` stream: what `exec` and `shell`
//! have in common.

use rolltop_proto::v1::{
    ExecExit, ExecRequest, ExecResponse, ExecStart, exec_request, exec_response,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::{
    connect::Broker,
    failure::{Exit, Failure},
};

/// Messages on the way to the broker. A full queue stops the reading of
/// standard input.
const QUEUE: usize = 16;
const CHUNK_BYTES: usize = 32 * 1024;

/// A running command.
pub(super) struct Session {
    requests: mpsc::Sender<ExecRequest>,
    responses: Streaming<ExecResponse>,
    stdout: tokio::io::Stdout,
    stderr: tokio::io::Stderr,
}

impl Session {
    /// Starts a command.
    pub(super) async fn start(broker: &mut Broker, start: ExecStart) -> Result<Self, Failure> {
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let first = request(exec_request::Message::Start(start));
        // The queue is new and has room.
        requests.try_send(first).map_err(|_| lost())?;
        let responses = broker.exec(ReceiverStream::new(outgoing)).await.map_err(not_run)?;
        Ok(Self {
            requests,
            responses: responses.into_inner(),
            stdout: tokio::io::stdout(),
            stderr: tokio::io::stderr(),
        })
    }

    /// Where further messages for the command go.
    pub(super) fn sender(&self) -> mpsc::Sender<ExecRequest> {
        self.requests.clone()
    }

    /// What comes next of it; the last is its exit.
    pub(super) async fn next(&mut self) -> Result<exec_response::Message, Failure> {
        while let Some(response) = self.responses.message().await.map_err(not_run)? {
            // None: something that a newer broker tells.
            if let Some(message) = response.message {
                return Ok(message);
            }
        }
        Err(lost())
    }

    /// Passes on what the command writes. Returns how it ended.
    pub(super) async fn run(&mut self) -> Result<Exit, Failure> {
        loop {
            match self.next().await? {
                exec_response::Message::Stdout(bytes) => write(&mut self.stdout, &bytes).await?,
                exec_response::Message::Stderr(bytes) => write(&mut self.stderr, &bytes).await?,
                exec_response::Message::Exit(exit) => return Ok(exit_code(&exit)),
            }
        }
    }
}

/// Sends standard input from now on, and its end.
pub(super) fn pump_stdin(to: mpsc::Sender<ExecRequest>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            // Input that cannot be read any more has ended, as for any filter.
            let message = match stdin.read(&mut buffer).await {
                Ok(0) | Err(_) => exec_request::Message::StdinClosed(true),
                Ok(length) => exec_request::Message::Stdin(buffer[..length].to_vec()),
            };
            let last = matches!(message, exec_request::Message::StdinClosed(_));
            // Nobody receives: the command has ended.
            if to.send(request(message)).await.is_err() || last {
                return;
            }
        }
    })
}

pub(super) fn request(message: exec_request::Message) -> ExecRequest {
    ExecRequest { message: Some(message) }
}

/// As a shell has it: the code, or 128 and the signal.
fn exit_code(exit: &ExecExit) -> Exit {
    match exit.signal {
        // The kernel keeps eight bits of an exit code.
        0 => Exit(exit.code.to_le_bytes()[0]),
        signal => Exit::from_signal(signal),
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Failure> {
    let written = async {
        to.write_all(bytes).await?;
        to.flush().await
    };
    written.await.map_err(|error| Failure::output(&error))
}

fn not_run(status: tonic::Status) -> Failure {
    Failure::from(status).exit(Exit::NOT_RUN)
}

fn lost() -> Failure {
    let message = "the broker did not say how the command ended";
    Failure::new(Code::Internal, "COMMAND_LOST", message).exit(Exit::NOT_RUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_signals() {
        let ended = |code, signal| exit_code(&ExecExit { code, signal });
        assert_eq!(ended(0, 0), Exit(0));
        assert_eq!(ended(7, 0), Exit(7));
        assert_eq!(ended(256 + 3, 0), Exit(3));
        assert_eq!(ended(-1, 0), Exit(255));
        assert_eq!(ended(0, 15), Exit(143));
    }
}
