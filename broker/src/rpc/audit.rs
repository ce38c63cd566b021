//! What was noted, for those who may read it.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream::BoxStream};
use rolltop_proto::v1::{self, audit_server::Audit};
use tonic::{Request, Response, Status, async_trait};

use super::{
    Api, RpcError,
    attempt::{Attempt, On},
};
use crate::{
    audit::{self, Entry, Filter, Found, Order, Outcome, Position},
    auth::{Act, Right},
    names::BadField,
};

/// Entries of a page, if it is not said how many.
const USUAL_PAGE: u32 = 100;
/// Most entries of a page.
const MOST_PAGE: u32 = 1000;
/// Longest text of a filter, bytes; none in an entry is longer.
const MAX_TEXT: usize = 256;

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl Audit for Api {
    type WatchAuditStream = BoxStream<'static, Result<v1::AuditEntry, Status>>;

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Answer<v1::ListAuditResponse> {
        let attempt = self.attempt(&request, Act::ReadAudit, On::Nothing).await?;
        let asked = request.get_ref();
        let attempt = told(attempt, asked.filter.as_ref());
        match self.list_audit_call(asked).await {
            Ok(answer) => {
                // A reader of ten pages has read once.
                if asked.page_token.is_empty() {
                    attempt.succeeded();
                } else {
                    attempt.unnoted();
                }
                Ok(Response::new(answer))
            }
            Err(error) => Err(attempt.refused(error)),
        }
    }

    async fn watch_audit(
        &self,
        request: Request<v1::WatchAuditRequest>,
    ) -> Answer<Self::WatchAuditStream> {
        let attempt = self.attempt(&request, Act::ReadAudit, On::Nothing).await?;
        let asked = request.get_ref().filter.as_ref();
        let attempt = told(attempt, asked).detail("watch", true);
        let caller = attempt.caller().clone();
        let watch = async {
            let filter = filter(asked)?;
            if filter.to.is_some() {
                let wanted = "nothing: a watch goes on until it is ended";
                return Err(RpcError::from(BadField::new("filter.to", "a time", wanted)));
            }
            Ok(audit::watch(Arc::clone(&self.store), filter, self.clock.now()).await?)
        };
        let found = attempt.done(watch.await)?;
        let entries = found.map(|found| Ok(show(found.map_err(RpcError::from)?)));
        Ok(Response::new(self.while_signed_in(caller, entries)))
    }

    async fn list_acts(
        &self,
        request: Request<v1::ListActsRequest>,
    ) -> Answer<v1::ListActsResponse> {
        self.caller(&request).await?;
        let acts = Act::ALL.iter().map(|act| v1::ActInfo {
            name: act.name().to_owned(),
            about: act.about().to_owned(),
            own: !matches!(act.right(), Right::Only(_)),
            roles: act.right().roles().iter().map(ToString::to_string).collect(),
        });
        Ok(Response::new(v1::ListActsResponse { acts: acts.collect() }))
    }
}

impl Api {
    async fn list_audit_call(
        &self,
        request: &v1::ListAuditRequest,
    ) -> Result<v1::ListAuditResponse, RpcError> {
        let filter = filter(request.filter.as_ref())?;
        let order = if request.oldest_first { Order::OldestFirst } else { Order::NewestFirst };
        let size = match request.page_size {
            0 => USUAL_PAGE,
            size @ 1..=MOST_PAGE => size,
            size => {
                let wanted = format!("{MOST_PAGE} at most");
                return Err(BadField::new("page_size", &size.to_string(), wanted).into());
            }
        };
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse::<Position>().map_err(|()| {
                let wanted = "the next_page_token of the page before";
                BadField::new("page_token", token, wanted)
            })?),
        };
        let page = audit::page(self.store.as_ref(), &filter, order, after, size as usize).await?;
        Ok(v1::ListAuditResponse {
            entries: page.found.into_iter().map(show).collect(),
            next_page_token: page.next.map(|next| next.to_string()).unwrap_or_default(),
        })
    }
}

/// What was asked for, for the entry about it.
fn told(attempt: Attempt, filter: Option<&v1::AuditFilter>) -> Attempt {
    let Some(filter) = filter else { return attempt };
    let texts = [("user", &filter.user), ("act", &filter.act), ("object", &filter.object)];
    let given = texts.into_iter().filter(|(_, text)| !text.is_empty());
    given.fold(attempt, |attempt, (key, text)| attempt.detail(key, text))
}

fn filter(asked: Option<&v1::AuditFilter>) -> Result<Filter, BadField> {
    let Some(asked) = asked else { return Ok(Filter::default()) };
    let text = |field, text: &str| {
        let fits = text.len() <= MAX_TEXT;
        let wanted = format!("{MAX_TEXT} bytes at most");
        if fits { Ok(text.to_owned()) } else { Err(BadField::new(field, text, wanted)) }
    };
    if !asked.act.is_empty() && Act::of(&asked.act).is_none() {
        let names: Vec<_> = Act::ALL.iter().map(|act| act.name()).collect();
        let wanted = format!("one of {}", names.join(", "));
        return Err(BadField::new("filter.act", &asked.act, wanted));
    }
    let outcome = match v1::AuditOutcome::try_from(asked.outcome) {
        Ok(v1::AuditOutcome::Unspecified) => None,
        Ok(v1::AuditOutcome::Ok) => Some(Outcome::Ok),
        Ok(v1::AuditOutcome::Begun) => Some(Outcome::Begun),
        Ok(v1::AuditOutcome::Refused) => Some(Outcome::Refused),
        Ok(v1::AuditOutcome::Failed) => Some(Outcome::Failed),
        Ok(v1::AuditOutcome::Unknown) => Some(Outcome::Unknown),
        Err(_) => {
            let wanted = "an outcome, or none";
            return Err(BadField::new("filter.outcome", &asked.outcome.to_string(), wanted));
        }
    };
    Ok(Filter {
        user: text("filter.user", &asked.user)?,
        act: asked.act.clone(),
        object: text("filter.object", &asked.object)?,
        outcome,
        from: asked.from.map(Into::into),
        to: asked.to.map(Into::into),
    })
}

fn show(found: Found) -> v1::AuditEntry {
    let Found { position, entry } = found;
    let Entry { at, act, user, via, from, object, outcome, reason, details } = entry;
    let outcome = match outcome {
        Outcome::Ok => v1::AuditOutcome::Ok,
        Outcome::Begun => v1::AuditOutcome::Begun,
        Outcome::Refused => v1::AuditOutcome::Refused,
        Outcome::Failed => v1::AuditOutcome::Failed,
        Outcome::Unknown => v1::AuditOutcome::Unknown,
    };
    v1::AuditEntry {
        id: position.to_string(),
        at: Some(at.into()),
        act,
        user,
        via,
        from,
        object,
        outcome: outcome.into(),
        reason,
        details: details.into_iter().collect(),
    }
}
