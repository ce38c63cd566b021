//! An act, from the question who wants it to its outcome: rights are checked
//! and the act is noted here, for every service alike.

use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use super::{Api, RpcError, caller};
use crate::{
    audit::{Audit, Entry, Outcome, Who},
    auth::{Act, Caller},
};

/// What an act is about.
#[derive(Clone, Copy)]
pub(super) enum On<'a> {
    /// Nothing in particular, or it is not known yet.
    Nothing,
    /// A kind of thing, and its name.
    Named(&'static str, &'a str),
    /// The same; with half of a name, or none, it is the caller's.
    Own(&'static str, &'a str),
}

/// An act that was begun. One that is dropped before its end is known, because
/// the caller left, is noted as such.
pub(super) struct Attempt {
    audit: Audit,
    caller: Caller,
    entry: Option<Entry>,
}

// === impl Api ===

impl Api {
    /// Someone wants to do this. Whether they may with what is another's, is for
    /// the call to find out.
    ///
    /// # Errors
    /// Whoever is not signed in, and whoever may not: this is noted.
    pub(super) async fn attempt<T>(
        &self,
        request: &Request<T>,
        act: Act,
        on: On<'_>,
    ) -> Result<Attempt, Status> {
        let attempt = self.attempt_unchecked(request, act).await?;
        let attempt = match on {
            On::Nothing => attempt,
            On::Named(kind, name) => attempt.on(kind, name),
            On::Own(kind, name) => attempt.on_own(kind, name),
        };
        // A token may lack the scope for what is one's own, and yet do for others'.
        let lack = attempt.caller.check(act, true).or_else(|_| attempt.caller.check(act, false));
        match attempt.caller.check(act, true).err().filter(|_| lack.is_err()) {
            None => Ok(attempt),
            Some(lack) => Err(attempt.refused(RpcError::lacking(act, lack))),
        }
    }

    async fn attempt_unchecked<T>(
        &self,
        request: &Request<T>,
        act: Act,
    ) -> Result<Attempt, Status> {
        let caller = caller::identify(self, request).await?;
        let from = caller::address_of(request)?;
        let who = Who { via: caller.via(), ..Who::stranger(from) };
        let who = who.named(caller.name().as_str());
        let entry = Some(Entry::new(act, &who, Outcome::Unknown));
        Ok(Attempt { audit: self.audit.clone(), caller, entry })
    }

    /// Who calls, for what is noted only when it is refused.
    pub(super) async fn may<T>(&self, request: &Request<T>, act: Act) -> Result<Caller, Status> {
        Ok(self.attempt(request, act, On::Nothing).await?.unnoted())
    }

    /// The same, if it is about everybody's.
    pub(super) async fn may_all<T>(
        &self,
        request: &Request<T>,
        act: Act,
        all: bool,
    ) -> Result<Caller, Status> {
        let attempt = self.attempt_unchecked(request, act).await?;
        match attempt.caller.check(act, !all) {
            Ok(()) => Ok(attempt.unnoted()),
            Err(lack) => Err(attempt.refused(RpcError::lacking(act, lack))),
        }
    }
}

// === impl Attempt ===

impl Attempt {
    /// Who wants it.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Done to this.
    #[must_use]
    pub(super) fn on(self, kind: &str, name: impl std::fmt::Display) -> Self {
        self.with(|entry| entry.on(kind, name))
    }

    /// Done to this, which is named in full ("pool/user"), or by its first half
    /// alone, or not at all, if it is the caller's.
    #[must_use]
    pub(super) fn on_own(self, kind: &str, name: &str) -> Self {
        let caller = self.caller.name().to_string();
        match (kind, name) {
            ("desktop" | "data", name) if !name.contains(['/', ':']) => {
                self.on(kind, format_args!("{name}/{caller}"))
            }
            ("data", name) if name.ends_with(':') => self.on(kind, format_args!("{name}{caller}")),
            (_, "") => self.on(kind, caller),
            (_, name) => self.on(kind, name),
        }
    }

    /// What else is worth knowing.
    #[must_use]
    pub(super) fn detail(self, key: &str, value: impl std::fmt::Display) -> Self {
        self.with(|entry| entry.detail(key, value))
    }

    /// Notes the outcome.
    pub(super) fn done<T>(mut self, result: Result<T, RpcError>) -> Result<T, Status> {
        match result {
            Ok(answer) => {
                self.note(Outcome::Ok, None);
                Ok(answer)
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    /// The same, as an answer.
    pub(super) fn answer<T>(self, result: Result<T, RpcError>) -> Result<Response<T>, Status> {
        self.done(result).map(Response::new)
    }

    /// Notes that it was done.
    pub(super) fn succeeded(mut self) {
        self.note(Outcome::Ok, None);
    }

    /// Notes that it was allowed and did not come about.
    pub(super) fn failed(mut self, code: &str, reason: &str) {
        let entry = self.entry.take();
        self.entry = entry.map(|entry| entry.because(format_args!("{code}: {reason}")));
        self.note(Outcome::Failed, None);
    }

    /// Notes that it was begun; its end is noted apart.
    pub(super) fn begun(&self) {
        if let Some(entry) = self.entry.clone() {
            self.audit.note(Entry { outcome: Outcome::Begun, ..entry });
        }
    }

    /// Notes why not.
    pub(super) fn refused(mut self, error: RpcError) -> Status {
        let status = Status::from(error);
        self.note(outcome_of(&status), Some(&status));
        status
    }

    /// Forgets it: it was a look at what is one's own, or not worth a word.
    pub(super) fn unnoted(mut self) -> Caller {
        self.entry = None;
        self.caller.clone()
    }

    fn with(mut self, change: impl FnOnce(Entry) -> Entry) -> Self {
        self.entry = self.entry.take().map(change);
        self
    }

    fn note(&mut self, outcome: Outcome, status: Option<&Status>) {
        let Some(entry) = self.entry.take() else { return };
        let entry = Entry { outcome, ..entry };
        self.audit.note(match status {
            Some(status) => entry.because(reason_of(status)),
            None => entry,
        });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.note(Outcome::Unknown, None);
    }
}

/// What an error means for the one who wanted something.
pub(super) fn outcome_of(status: &Status) -> Outcome {
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

/// "CODE: sentence".
pub(super) fn reason_of(status: &Status) -> String {
    match status.get_details_error_info() {
        Some(info) => format!("{}: {}", info.reason, status.message()),
        None => status.message().to_owned(),
    }
}
