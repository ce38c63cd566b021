//! Commands in desktops: checked here, then passed on to the host, message by
//! message. Each has a connection of its own, so that output nobody reads
//! holds up nothing else.

use futures_util::{Stream, StreamExt as _};
use rolltop_proto::v1::{
    self, ExecRequest, ExecStart, exec_request::Message, exec_response::Message as Answer,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Api, RpcError, attempt::Attempt, desktops::own_or};
use crate::{
    auth::Act,
    names::{BadField, HostName},
};

/// Messages on their way to the host.
const AHEAD: usize = 8;
/// Bytes of command and environment: what a kernel takes, roughly.
const MAX_COMMAND_BYTES: usize = 128 << 10;

impl Api {
    pub(super) async fn exec_call(
        &self,
        attempt: Attempt,
        mut requests: Streaming<ExecRequest>,
    ) -> Result<impl Stream<Item = Result<v1::ExecResponse, Status>> + Send + use<>, Status> {
        let first = match requests.message().await {
            Ok(first) => first.and_then(|first| first.message),
            Err(status) => return Err(attempt.refused(RpcError::Relayed(status))),
        };
        let Some(Message::Start(start)) = first else {
            let wanted = "the first message, saying what to run";
            return Err(attempt.refused(BadField::new("start", "nothing", wanted).into()));
        };
        let attempt = attempt
            .on_own("desktop", &start.desktop)
            .detail("as_root", start.as_root)
            .detail("command", start.command.first().map_or("a shell", String::as_str));
        let (number, host) = match self.exec_where(&attempt, &start).await {
            Ok(place) => place,
            Err(error) => return Err(attempt.refused(error)),
        };
        attempt.begun();
        let start = ExecStart { number, desktop: String::new(), ..start };
        let answers = match self.exec_at(&host, start, requests).await {
            Ok(answers) => answers,
            Err(error) => return Err(attempt.refused(error)),
        };
        let ending = self.shutdown.clone().cancelled_owned();
        let mut attempt = Some(attempt);
        Ok(answers.take_until(ending).map(move |answer| {
            let exit = match &answer {
                Ok(v1::ExecResponse { message: Some(Answer::Exit(exit)) }) => Some(*exit),
                Ok(_) => None,
                Err(_) => Some(v1::ExecExit::default()),
            };
            // Without either, the caller left: the attempt notes it by itself.
            let ended = exit.and_then(|exit| Some((exit, attempt.take()?)));
            match (answer, ended) {
                (Ok(answer), Some((exit, attempt))) => {
                    attempt.detail("exit", exit.code).detail("signal", exit.signal).succeeded();
                    Ok(answer)
                }
                (Err(status), Some((_, attempt))) => {
                    Err(attempt.refused(RpcError::Relayed(status)))
                }
                (answer, None) => answer,
            }
        }))
    }

    /// Number and host of the desktop, if the caller may.
    async fn exec_where(
        &self,
        attempt: &Attempt,
        start: &ExecStart,
    ) -> Result<(u32, HostName), RpcError> {
        let act = if start.as_root { Act::ExecAsRoot } else { Act::Exec };
        let id = own_or(act, attempt.caller(), &start.desktop)?;
        check(start)?;
        let record = self.desktops.running(&id).await?;
        Ok((record.number, record.host))
    }

    async fn exec_at(
        &self,
        host: &HostName,
        start: ExecStart,
        requests: Streaming<ExecRequest>,
    ) -> Result<Streaming<v1::ExecResponse>, RpcError> {
        let mut agent = self.hosts.dial(host).await?;
        let (upward, passed_on) = mpsc::channel(AHEAD);
        // Cannot fail: the channel is empty and its other end is here.
        upward.try_send(ExecRequest { message: Some(Message::Start(start)) }).unwrap_or_default();
        self.tasks.spawn(pass_on(requests, upward));
        let answers = agent.exec(ReceiverStream::new(passed_on)).await;
        Ok(answers.map_err(RpcError::Relayed)?.into_inner())
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
