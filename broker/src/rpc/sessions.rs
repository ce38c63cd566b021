//! Sessions, for those whose they are and for operators.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::BoxStream};
use rolltop_proto::v1::{self, send_message_request::To, sessions_server::Sessions};
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{
    Api, RpcError,
    attempt::{Attempt, On},
    convert,
    desktops::own_or,
};
use crate::{
    auth::{Act, Caller},
    desktops::Audience,
    names::{BadField, DesktopId, HostName, PoolName},
    state::NoticeRecord,
};

/// It has to fit into a close frame, with its code.
const MAX_REASON: usize = 100;
const MAX_TEXT: usize = 1_000;
const MAX_GRACE: Duration = Duration::from_secs(600);
const LIFE: Duration = Duration::from_secs(3_600);
const MAX_LIFE: Duration = Duration::from_secs(86_400);

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl Sessions for Api {
    type WatchSessionsStream = BoxStream<'static, Result<v1::Session, Status>>;

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Answer<v1::ListSessionsResponse> {
        let all = request.get_ref().all;
        let caller = self.may_all(&request, Act::ReadDesktops, all).await?;
        let desktops = self.list_desktops_call(&caller, all).await?;
        let running = desktops.into_iter().filter(|desktop| has_session(desktop.state()));
        let sessions = running.map(convert::session).collect();
        Ok(Response::new(v1::ListSessionsResponse { sessions }))
    }

    async fn watch_sessions(
        &self,
        request: Request<v1::WatchSessionsRequest>,
    ) -> Answer<Self::WatchSessionsStream> {
        let all = request.get_ref().all;
        let caller = self.may_all(&request, Act::ReadDesktops, all).await?;
        let desktops = self.watch_desktops_call(caller, all);
        // While it starts there is none yet.
        let sessions = desktops.filter_map(async |desktop| match desktop {
            Ok(desktop) if !has_begun(desktop.state()) => None,
            Ok(desktop) => Some(Ok(convert::session(desktop))),
            Err(status) => Some(Err(status)),
        });
        Ok(Response::new(sessions.boxed()))
    }

    async fn disconnect_session(
        &self,
        request: Request<v1::DisconnectSessionRequest>,
    ) -> Answer<v1::DisconnectSessionResponse> {
        let asked = request.get_ref();
        let on = On::Own("desktop", &asked.desktop);
        let attempt = self.attempt(&request, Act::DisconnectSession, on).await?;
        let done = self.disconnect_call(attempt.caller(), asked).await;
        attempt.answer(done)
    }

    async fn log_out_session(
        &self,
        request: Request<v1::LogOutSessionRequest>,
    ) -> Answer<v1::Session> {
        let asked = request.get_ref();
        let on = On::Own("desktop", &asked.desktop);
        let attempt = self.attempt(&request, Act::LogOutSession, on).await?;
        let grace = match span("grace", asked.grace, MAX_GRACE) {
            Ok(grace) => grace,
            Err(error) => return Err(attempt.refused(error.into())),
        };
        self.end_call(attempt, Act::LogOutSession, &asked.desktop, grace).await
    }

    async fn kill_session(&self, request: Request<v1::KillSessionRequest>) -> Answer<v1::Session> {
        let asked = request.get_ref();
        let on = On::Own("desktop", &asked.desktop);
        let attempt = self.attempt(&request, Act::KillSession, on).await?;
        self.end_call(attempt, Act::KillSession, &asked.desktop, Some(Duration::ZERO)).await
    }

    async fn send_message(
        &self,
        request: Request<v1::SendMessageRequest>,
    ) -> Answer<v1::SendMessageResponse> {
        let attempt = self.attempt(&request, Act::SendMessage, On::Nothing).await?;
        let asked = request.into_inner();
        let attempt = match &asked.to {
            None => attempt,
            Some(To::Desktop(name)) => attempt.on_own("desktop", name),
            Some(To::Pool(name)) => attempt.on("pool", name),
            Some(To::Host(name)) => attempt.on("host", name),
        };
        let done = self.send_message_call(attempt.caller(), asked).await;
        attempt.answer(done)
    }
}

impl Api {
    async fn disconnect_call(
        &self,
        caller: &Caller,
        asked: &v1::DisconnectSessionRequest,
    ) -> Result<v1::DisconnectSessionResponse, RpcError> {
        let id = own_or(Act::DisconnectSession, caller, &asked.desktop)?;
        line("reason", &asked.reason, MAX_REASON)?;
        self.desktops.running(&id).await?;
        let because = match asked.reason.as_str() {
            "" => format!("disconnected by {}", caller.name()),
            reason => reason.to_owned(),
        };
        let viewer = self.viewers.send_away(&id, &because).await?;
        Ok(v1::DisconnectSessionResponse { viewer: viewer.as_ref().map(convert::viewer) })
    }

    async fn end_call(
        &self,
        attempt: Attempt,
        act: Act,
        desktop: &str,
        grace: Option<Duration>,
    ) -> Answer<v1::Session> {
        let done = async {
            let id = own_or(act, attempt.caller(), desktop)?;
            let record = self.desktops.stop_within(&id, grace).await?;
            Ok(convert::session(self.show(&record, None)))
        };
        let done = done.await;
        attempt.answer(done)
    }

    async fn send_message_call(
        &self,
        caller: &Caller,
        asked: v1::SendMessageRequest,
    ) -> Result<v1::SendMessageResponse, RpcError> {
        let audience = match &asked.to {
            None => Audience::All,
            Some(To::Desktop(name)) => Audience::Desktop(DesktopId::parse(name, caller.name())?),
            Some(To::Pool(name)) => Audience::Pool(PoolName::parse("pool", name)?),
            Some(To::Host(name)) => Audience::Host(HostName::parse("host", name)?),
        };
        let text = asked.text.trim();
        if text.is_empty() {
            return Err(BadField::new("text", &asked.text, "what users are to know").into());
        }
        line("text", &text.replace('\n', " "), MAX_TEXT)?;
        let life = span("life", asked.life, MAX_LIFE)?.unwrap_or(LIFE);
        let at = self.clock.now();
        let notice = NoticeRecord {
            id: Uuid::new_v4().simple().to_string(),
            text: text.to_owned(),
            by: caller.name().clone(),
            at,
            expires_at: at.after(life),
        };
        let told = self.desktops.notify(&audience, &notice).await?;
        let watched = self.desktops.watched_among(&told).await?;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(v1::SendMessageResponse { desktops: count(told.len()), watched: count(watched) })
    }
}

/// It has begun, and has not ended.
fn has_session(state: v1::DesktopState) -> bool {
    use v1::DesktopState as State;
    matches!(state, State::Running | State::Frozen | State::Stopping)
}

fn has_begun(state: v1::DesktopState) -> bool {
    use v1::DesktopState as State;
    has_session(state) || matches!(state, State::Gone | State::Failed)
}

/// A text that nobody can hide anything in.
fn line(field: &'static str, text: &str, most: usize) -> Result<(), BadField> {
    if text.len() > most {
        return Err(BadField::new(field, text, format!("{most} bytes at most")));
    }
    if text.chars().any(char::is_control) {
        return Err(BadField::new(field, text, "a text without control characters"));
    }
    Ok(())
}

fn span(
    field: &'static str,
    span: Option<prost_types::Duration>,
    most: Duration,
) -> Result<Option<Duration>, BadField> {
    let Some(span) = span else { return Ok(None) };
    match Duration::try_from(span) {
        Ok(span) if span <= most => Ok(Some(span)),
        _ => {
            let wanted = format!("0 to {} s", most.as_secs());
            Err(BadField::new(field, &format!("{} s", span.seconds), wanted))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short_and_plain() {
        assert!(line("reason", "The room is being locked.", MAX_REASON).is_ok());
        for text in ["\u{1b}[2J", "a\0b", "two\nlines"] {
            assert!(line("reason", text, MAX_REASON).is_err(), "{text:?}");
        }
        assert!(line("reason", &"x".repeat(MAX_REASON + 1), MAX_REASON).is_err());
    }

    #[test]
    fn spans_have_a_bound() {
        let of = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        assert_eq!(span("grace", None, MAX_GRACE), Ok(None));
        assert_eq!(span("grace", of(600), MAX_GRACE), Ok(Some(MAX_GRACE)));
        assert!(span("grace", of(601), MAX_GRACE).is_err());
        assert!(span("grace", of(-1), MAX_GRACE).is_err());
    }
}
