//! Commands in desktops: checked here, then passed on to the host, message by
//! message. Each has a connection of its own, so that output nobody reads
//! holds up nothing else.

use futures_util::{Stream, StreamExt as _};
use rolltop_proto::v1::{self, ExecRequest, ExecStart, exec_request::Message};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Api, RpcError, desktops::own_or_operator};
use crate::{auth::Caller, names::BadField};

/// Messages on their way to the host.
const AHEAD: usize = 8;
/// Bytes of command and environment: what a kernel takes, roughly.
const MAX_COMMAND_BYTES: usize = 128 << 10;

impl Api {
    pub(super) async fn exec_call(
        &self,
        caller: &Caller,
        mut requests: Streaming<ExecRequest>,
    ) -> Result<impl Stream<Item = Result<v1::ExecResponse, Status>> + Send + use<>, RpcError> {
        let first = requests.message().await.map_err(RpcError::Relayed)?;
        let Some(Message::Start(start)) = first.and_then(|first| first.message) else {
            return Err(
                BadField::new("start", "nothing", "the first message, saying what to run").into()
            );
        };
        let id = own_or_operator(caller, &start.desktop)?;
        if start.as_root && !caller.is_operator() {
            return Err(RpcError::OperatorsOnly);
        }
        check(&start)?;
        let record = self.desktops.running(&id).await?;
        tracing::info!(target: "audit", act = "exec", by = %caller.name(), desktop.id = %id, as_root = start.as_root,
            command = ?start.command.first(), outcome = "begun");
        let mut agent = self.hosts.dial(&record.host).await?;

        let (upward, passed_on) = mpsc::channel(AHEAD);
        let start = ExecStart { number: record.number, desktop: String::new(), ..start };
        // Cannot fail: the channel is empty and its other end is here.
        upward.try_send(ExecRequest { message: Some(Message::Start(start)) }).unwrap_or_default();
        self.tasks.spawn(pass_on(requests, upward));
        let answers = agent
            .exec(ReceiverStream::new(passed_on))
            .await
            .map_err(RpcError::Relayed)?
            .into_inner();
        let ending = self.shutdown.clone().cancelled_owned();
        Ok(answers.take_until(ending))
    }
}

/// Ends when either side does: the agent's end closes the channel.
async fn pass_on(mut requests: Streaming<ExecRequest>, upward: mpsc::Sender<ExecRequest>) {
    loop {
        let message = tokio::select! {
            message = requests.message() => message,
            () = upward.closed() => return,
        };
        match message {
            // Another start is the agent's to refuse.
            Ok(Some(message)) => {
                if upward.send(message).await.is_err() {
                    return;
                }
            }
            // The caller ended, or is gone: the agent sees its input end.
            Ok(None) | Err(_) => return,
        }
    }
}

fn check(start: &ExecStart) -> Result<(), BadField> {
    let words =
        start.command.iter().chain(start.environment.keys()).chain(start.environment.values());
    let mut bytes = 0_usize;
    for word in words {
        if word.contains('\0') {
            return Err(BadField::new("start.command", word, "words without NUL"));
        }
        bytes = bytes.saturating_add(word.len());
    }
    if let Some(name) = start.environment.keys().find(|name| name.is_empty() || name.contains('='))
    {
        return Err(BadField::new("start.environment", name, "names without '='"));
    }
    if bytes > MAX_COMMAND_BYTES {
        let wanted = format!("{MAX_COMMAND_BYTES} bytes at most, environment included");
        return Err(BadField::new("start.command", &format!("{bytes} bytes"), wanted));
    }
    Ok(())
}
