//! Enrolment: a token that an operator has made lets one machine become a host,
//! once. The token is kept as a digest, and pins the authority for the machine
//! that has nothing else to trust yet.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{
    auth::{GuessLimiter, Limits, Refusal},
    clock::{Clock, Timestamp},
    names::{BadField, Endpoint, HostName, UserName},
    pki::{Authority, PkiError, SignedHost},
    secret::Secret,
    state::{self, CredentialRecord, EnrolRecord, HostRecord, TransactionExt as _, keys},
    store::{Commit, Store, StoreError, Transaction},
};

/// First word of a token: what it is, and how to read it.
const KIND: &str = "rte1";
/// When nothing else is asked for: time enough to walk to the machine.
pub const USUAL_LIFE: Duration = Duration::from_secs(60 * 60);
/// A token that lies about for longer than this is one too many.
pub const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A host cannot be enrolled, or no token be made.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A field is not acceptable.
    #[error(transparent)]
    Field(#[from] BadField),
    /// Which of these, nobody is told who may be guessing.
    #[error(
        "this token was used already, has run out, was replaced, or is for another host; an operator can \
         make a new one: rolltop host enrol-token {0}"
    )]
    Invalid(HostName),
    /// Too many wrong ones came from there.
    #[error("too many wrong tokens from this address; try again in {} s", .0.wait.as_secs() + 1)]
    Refused(Refusal),
}

/// A fresh token.
#[derive(Debug)]
pub struct IssuedToken {
    /// The text; not kept anywhere.
    pub text: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// What a machine asks with.
#[derive(Debug, Clone)]
pub struct EnrolRequest {
    /// As typed.
    pub token: String,
    /// The name it is to have.
    pub name: HostName,
    /// For the certificate.
    pub request_pem: String,
    /// Where its agent listens; none: at this port of the address it calls from.
    pub endpoint: Result<Endpoint, u16>,
}

/// A machine that has become a host.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// As noted.
    pub host: HostRecord,
    /// For the host.
    pub signed: SignedHost,
    /// Who made the token.
    pub by: UserName,
}

/// Makes and takes tokens. Cheap to clone.
#[derive(Clone)]
pub struct Enrolments {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    authority: Authority,
    certificate_days: u32,
    guesses: Mutex<GuessLimiter>,
}

// === impl Enrolments ===

impl Enrolments {
    /// Certificates are good for `certificate_days`.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        authority: Authority,
        certificate_days: u32,
        limits: Limits,
    ) -> Self {
        let guesses = Mutex::new(GuessLimiter::new(limits));
        Self { inner: Arc::new(Inner { store, clock, authority, certificate_days, guesses }) }
    }

    /// A token for a host of this name, which may be there already: it then
    /// gets another certificate, and loses its present one. An earlier token
    /// for it is void.
    ///
    /// # Errors
    /// A life that is too long, or of the store.
    pub async fn issue(
        &self,
        host: &HostName,
        life: Option<Duration>,
        by: &UserName,
    ) -> Result<IssuedToken, EnrolError> {
        let life = life.unwrap_or(USUAL_LIFE);
        if life.is_zero() || life > LONGEST_LIFE {
            let shown = format!("{} s", life.as_secs());
            return Err(BadField::new("life", &shown, "more than 0 s, a week at most").into());
        }
        let inner = &*self.inner;
        let secret = Secret::random();
        let expires_at = inner.clock.now().after(life);
        let record =
            EnrolRecord { host: host.clone(), digest: secret.digest(), by: by.clone(), expires_at };
        // The lease clears it away; whether it is good is for the clock to say.
        let lease = inner.store.grant(life).await?;
        let put = Transaction::new().put_leased_record(&keys::enrol(host), &record, lease)?;
        inner.store.commit(put).await?;
        let text = format!("{KIND}.{}.{}", secret.expose(), inner.authority.fingerprint()?);
        Ok(IssuedToken { text, expires_at })
    }

    /// Spends the token: signs the host's certificate and notes the host.
    ///
    /// # Errors
    /// [`EnrolError::Invalid`], [`EnrolError::Refused`], or what it is asked
    /// with is wrong, which spends no token.
    pub async fn enrol(
        &self,
        request: &EnrolRequest,
        from: IpAddr,
    ) -> Result<Enrolled, EnrolError> {
        // Counted as wrong until it is found right, as with passwords.
        self.guesses().admit(Instant::now(), None, from).map_err(EnrolError::Refused)?;
        let done = self.try_enrol(request, from).await;
        if !matches!(done, Err(EnrolError::Invalid(_))) {
            self.guesses().withdrawn(None, from);
        }
        done
    }

    async fn try_enrol(
        &self,
        request: &EnrolRequest,
        from: IpAddr,
    ) -> Result<Enrolled, EnrolError> {
        let inner = &*self.inner;
        let (store, name) = (inner.store.as_ref(), &request.name);
        let invalid = || EnrolError::Invalid(name.clone());
        let token_key = keys::enrol(name);
        let secret = secret_of(&request.token).ok_or_else(invalid)?;
        let token = state::read::<EnrolRecord>(store, &token_key).await?.ok_or_else(invalid)?;
        let now = inner.clock.now();
        // Digests: how far they agree tells nothing about the secret.
        if token.record.digest != secret.digest() || now >= token.record.expires_at {
            return Err(invalid());
        }
        let endpoint = match &request.endpoint {
            Ok(endpoint) => endpoint.clone(),
            Err(port) => {
                Endpoint::parse("port", &format!("https://{}", SocketAddr::new(from, *port)))?
            }
        };
        let signed =
            inner.authority.sign_host(name, &request.request_pem, now, inner.certificate_days)?;
        let key = keys::host(name);
        let credential = CredentialRecord::only(signed.issued.clone());
        let there = state::read::<HostRecord>(store, &key).await?;
        let host = match &there {
            Some(there) => HostRecord { endpoint, credential, ..there.record.clone() },
            None => HostRecord::new(name.clone(), endpoint, credential),
        };
        let transaction = Transaction::new()
            .unchanged(&token_key, token.revision)
            .unless_changed(&key, there.as_ref())
            .delete(&token_key)
            .put_record(&key, &host)?;
        match store.commit(transaction).await? {
            Commit::Applied(_) => Ok(Enrolled { host, signed, by: token.record.by }),
            // Two at once: the token is good once.
            Commit::Conflict { .. } => Err(invalid()),
        }
    }

    /// The authority's certificate, for those who must trust it.
    pub fn authority_pem(&self) -> &str {
        self.inner.authority.certificate_pem()
    }

    fn guesses(&self) -> std::sync::MutexGuard<'_, GuessLimiter> {
        self.inner.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a token that is kept as a digest.
fn secret_of(token: &str) -> Option<Secret> {
    let (kind, rest) = token.trim().split_once('.')?;
    let (secret, _fingerprint) = rest.split_once('.')?;
    if kind == KIND { Secret::received(secret) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_for_its_secret() {
        let secret = Secret::random();
        let token = format!("rte1.{}.{}", secret.expose(), "0".repeat(64));
        assert_eq!(secret_of(&format!(" {token}\n")), Some(secret));
        for rubbish in ["", "rte1", "rte1.", "rte1..", "rte2.abc.def", "rte1.a b.c", "abc.def.ghi"]
        {
            assert_eq!(secret_of(rubbish), None, "{rubbish:?}");
        }
    }
}
