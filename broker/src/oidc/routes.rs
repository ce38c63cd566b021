//! The two addresses a browser comes by: on the way to the provider, and back.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    Extension, Router,
    extract::{Query, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;

use super::{
    ProviderError, SignInError,
    pending::{LIFE, Pending},
    provider::Provider,
};
use crate::{
    audit::{Audit, Entry, Outcome, Who},
    auth::{Accounts, Act, GuessLimiter, Limits, Person, Sessions, SignedIn},
    clock::Clock,
    cookie,
    secret::Secret,
    server::Peer,
    state::UserRecord,
    store::Store,
};

/// What ties a sign-in to its browser. Of this host alone, by its prefix; not `Strict`,
/// because it has to come along when the provider sends the browser back.
const COOKIE: &str = "__Host-rolltop_oidc";
/// A school behind one address may begin so many times as many sign-ins as it may
/// mistype passwords.
const BEGUN_PER_GUESS: u32 = 20;
/// Longest view of the portal that is come back to.
const MAX_VIEW: usize = 256;

/// What those who come by are served with.
pub struct Door {
    provider: Provider,
    pending: Pending,
    accounts: Accounts,
    sessions: Sessions,
    audit: Audit,
    clock: Arc<dyn Clock>,
    begun: Mutex<GuessLimiter>,
}

/// How a sign-in is begun.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    /// The view of the portal to come back to.
    view: String,
    /// Sent here from another name of the portal.
    moved: String,
}

/// What the provider sends a browser back with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Return {
    code: String,
    state: String,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// The addresses.
pub fn routes(door: Arc<Door>) -> Router {
    Router::new()
        .route("/oidc/sign-in", get(sign_in))
        .route("/oidc/callback", get(callback))
        .with_state(door)
}

async fn sign_in(
    State(door): State<Arc<Door>>,
    Query(wish): Query<Wish>,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let from = match address(peer) {
        Ok(from) => from,
        Err(error) => return back(&error),
    };
    match door.begin(from, wish, authority_of(&uri, &headers), &headers).await {
        Ok(response) => response,
        Err(error) => {
            door.note_refusal(&Who::stranger(from), &error);
            back(&error)
        }
    }
}

async fn callback(
    State(door): State<Arc<Door>>,
    Query(returned): Query<Return>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Response {
    let done = match address(peer) {
        Ok(from) => door.finish(from, returned, cookie::find(&headers, COOKIE)).await,
        Err(error) => Err(error),
    };
    match done {
        Ok((opened, view)) => {
            let session = cookie::session(&opened.token, door.clock.now(), opened.expires_at);
            found(&format!("/#{view}"), &[session])
        }
        Err(error) => back(&error),
    }
}

// === impl Door ===

impl Door {
    /// To this provider.
    pub fn new(
        provider: Provider,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        (accounts, sessions, audit): (Accounts, Sessions, Audit),
        limits: Limits,
    ) -> Self {
        let pending = Pending::new(store, Arc::clone(&clock));
        let address_attempts = limits.address_attempts.saturating_mul(BEGUN_PER_GUESS);
        let begun = Mutex::new(GuessLimiter::new(Limits { address_attempts, ..limits }));
        Self { provider, pending, accounts, sessions, audit, clock, begun }
    }

    async fn begin(
        &self,
        from: IpAddr,
        wish: Wish,
        asked: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Response, SignInError> {
        let portals = &self.provider.config().portal;
        let here = portals.iter().find(|portal| {
            let name = portal.strip_prefix("https://").unwrap_or_default();
            asked.is_some_and(|asked| asked.eq_ignore_ascii_case(name))
        });
        let first = portals.first().map_or("", String::as_str);
        let view = view_of(&wish.view);
        // The provider sends browsers back to names it knows, and cookies stay behind.
        // Once is enough: something on the way may give us another name than we have.
        if here.is_none() && wish.moved.is_empty() {
            return Ok(found(&format!("{first}/oidc/sign-in?moved=1&view={view}"), &[]));
        }
        let portal = here.map_or(first, String::as_str);
        let admitted = self.limiter(|begun| begun.admit(Instant::now(), None, from));
        admitted.map_err(|_| SignInError::TooOften)?;
        self.provider.ready().await?;
        // A second window of the same browser is not to spoil what the first has begun.
        let present = cookie::find(headers, COOKIE).and_then(|text| Secret::received(&text));
        let browser = present.unwrap_or_else(Secret::random);
        let redirect = Provider::redirect(portal);
        let begun = self.pending.begin(&browser, &redirect, view).await?;
        let address = self.provider.address(&begun, &redirect).await?;
        let cookie = format!(
            "{COOKIE}={}; Path=/; Max-Age={}; HttpOnly; Secure; SameSite=Lax",
            browser.expose(),
            LIFE.as_secs()
        );
        Ok(found(address.as_str(), &[cookie]))
    }

    async fn finish(
        &self,
        from: IpAddr,
        returned: Return,
        browser: Option<String>,
    ) -> Result<(SignedIn, String), SignInError> {
        let who = Who::stranger(from);
        let browser = browser.and_then(|text| Secret::received(&text));
        let look = self.look(returned, browser.as_ref());
        let looked = self.accounts.look_at(from, look, SignInError::is_guess).await;
        let (person, view) = looked.inspect_err(|error| self.note_refusal(&who, error))?;
        let claimed = person.name.as_ref().map_or("", |name| name.as_str());
        let admitted = self.open(&person).await;
        let (user, opened) =
            admitted.inspect_err(|error| self.note_refusal(&who.clone().named(claimed), error))?;
        self.limiter(|begun| begun.withdrawn(None, from));
        let entry = Entry::new(Act::SignIn, &who.named(user.name.as_str()), Outcome::Ok);
        let subject = &person.identity.subject;
        self.audit.note(entry.detail("with", "provider").detail("subject", subject));
        Ok((opened, view))
    }

    /// Whom the provider vouches for, and the view they wanted.
    async fn look(
        &self,
        returned: Return,
        browser: Option<&Secret>,
    ) -> Result<(Person, String), SignInError> {
        let sign_in = self.pending.take(&returned.state, browser).await?;
        let config = self.provider.config();
        // RFC 9207: a code of one provider is not shown to another.
        if let Some(issuer) = returned.iss.filter(|issuer| *issuer != config.issuer) {
            return Err(SignInError::AnotherIssuer(issuer));
        }
        if let Some(error) = returned.error {
            let more = returned.error_description.map(|more| format!(": {more}"));
            return Err(SignInError::Declined(error + &more.unwrap_or_default()));
        }
        let vouched = self.provider.redeem(returned.code, &sign_in).await?;
        Ok((vouched.person(config), sign_in.view))
    }

    async fn open(&self, person: &Person) -> Result<(UserRecord, SignedIn), SignInError> {
        let user = self.accounts.welcome(person).await?;
        let opened = self.sessions.open(&user).await?;
        Ok((user, opened))
    }

    fn note_refusal(&self, who: &Who, error: &SignInError) {
        let outcome = if error.is_refusal() { Outcome::Refused } else { Outcome::Failed };
        // Told when it was asked, not for everybody who comes meanwhile.
        let told = matches!(error, SignInError::Provider(ProviderError::Resting));
        if outcome == Outcome::Failed && !told {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "a sign-in at the provider failed");
        }
        let entry = Entry::new(Act::SignIn, who, outcome).detail("with", "provider");
        self.audit.note(entry.because(format_args!("{}: {error}", error.code())));
    }

    fn limiter<T>(&self, act: impl FnOnce(&mut GuessLimiter) -> T) -> T {
        act(&mut self.begun.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn address(peer: Option<Extension<Peer>>) -> Result<IpAddr, SignInError> {
    peer.map(|Extension(Peer(address))| address.ip()).ok_or(SignInError::NoAddress)
}

/// By which name we were asked: HTTP/2 has it in the address, HTTP/1 in a header.
fn authority_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let named = uri.authority().map(http::uri::Authority::as_str);
    named.or_else(|| headers.get(header::HOST)?.to_str().ok())
}

/// A view of the portal, which is behind the '#' of its one page: whatever it is, the
/// browser stays here.
fn view_of(wish: &str) -> &str {
    let fits = wish.starts_with('/')
        && wish.len() <= MAX_VIEW
        && wish.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_'));
    if fits { wish } else { "/" }
}

/// Back to the sign-in page, with a word for what went wrong.
fn back(error: &SignInError) -> Response {
    found(&format!("/#/not-signed-in/{}", error.code()), &[])
}

fn found(address: &str, cookies: &[String]) -> Response {
    let cookies: Result<Vec<HeaderValue>, _> = cookies.iter().map(HeaderValue::try_from).collect();
    let (Ok(location), Ok(cookies)) = (HeaderValue::try_from(address), cookies) else {
        tracing::error!("where a browser is sent, or a cookie of its, cannot be in a header");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_one_of_the_portal_or_its_first() {
        for view in ["/", "/desktop/demo", "/program/abc_-/4711/x"] {
            assert_eq!(view_of(view), view);
        }
        let long = format!("/{}", "x".repeat(MAX_VIEW));
        for view in ["", "desktop", "//evil.example:1", "/a b", "/\r\nSet-Cookie:x", "/é", &long] {
            assert_eq!(view_of(view), "/", "{view:?}");
        }
    }
}
