//! Browsers that were sent to the provider and have not come back. Kept in the store,
//! under a lease: any broker can finish what another has begun, and what nobody
//! finishes is forgotten.

use std::{sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    clock::Clock,
    secret::Secret,
    state::{self, SignInRecord, TransactionExt as _, keys},
    store::{Commit, Store, StoreError, Transaction},
};

/// Long enough to look for a telephone with a code on it.
pub(super) const LIFE: Duration = Duration::from_secs(600);
/// They lie in 256 drawers, by the first byte of their digest, and this many fit in
/// one: 16,384, counted without looking at all of them.
const PER_DRAWER: usize = 64;
/// Drawers looked into for one with room.
const DRAWS: usize = 4;

/// A sign-in is not under way.
#[derive(Debug, Error)]
pub enum PendingError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// All drawers are full.
    #[error("too many people are signing in at the provider at this moment; try again soon")]
    TooMany,
    /// It was finished, has run out, never was one, or is another browser's.
    #[error("this sign-in was finished already, took too long, or was begun in another browser")]
    Unknown,
}

/// What a browser is sent off with.
pub(super) struct Begun {
    /// Travels to the provider and back.
    pub(super) state: Secret,
    /// The provider puts it into the ID token.
    pub(super) nonce: Secret,
    /// Stays here.
    pub(super) verifier: Secret,
}

/// Sign-ins under way. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pending {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

// === impl Pending ===

impl Pending {
    /// Over those in the store.
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Notes a browser that is sent off.
    pub(super) async fn begin(
        &self,
        browser: &Secret,
        redirect: &str,
        view: &str,
    ) -> Result<Begun, PendingError> {
        for _ in 0..DRAWS {
            let state = Secret::random();
            let digest = state.digest();
            let beside = self.store.range(&keys::sign_ins_beside(&digest)).await?;
            if beside.entries.len() >= PER_DRAWER {
                continue;
            }
            let (nonce, verifier) = (Secret::random(), Secret::random());
            let record = SignInRecord {
                nonce: nonce.expose().to_owned(),
                verifier: verifier.expose().to_owned(),
                browser: browser.digest(),
                redirect: redirect.to_owned(),
                view: view.to_owned(),
                expires_at: self.clock.now().after(LIFE),
            };
            let lease = self.store.grant(LIFE).await?;
            let key = keys::sign_in(&digest);
            let put = Transaction::new().put_leased_record(&key, &record, lease)?;
            self.store.commit(put).await?;
            return Ok(Begun { state, nonce, verifier });
        }
        Err(PendingError::TooMany)
    }

    /// Takes one: whatever comes of it, it is used.
    pub(super) async fn take(
        &self,
        state: &str,
        browser: Option<&Secret>,
    ) -> Result<SignInRecord, PendingError> {
        let state = Secret::received(state).ok_or(PendingError::Unknown)?;
        let key = keys::sign_in(&state.digest());
        let stored = state::read::<SignInRecord>(self.store.as_ref(), &key).await?;
        let stored = stored.ok_or(PendingError::Unknown)?;
        let take = Transaction::new().unchanged(&key, stored.revision).delete(&key);
        if let Commit::Conflict { .. } = self.store.commit(take).await? {
            return Err(PendingError::Unknown);
        }
        let record = stored.record;
        let its_own = browser.is_some_and(|browser| browser.digest() == record.browser);
        let in_time = self.clock.now() < record.expires_at;
        if its_own && in_time { Ok(record) } else { Err(PendingError::Unknown) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::SystemClock, store::EmbeddedStore};

    #[tokio::test]
    async fn it_is_good_once_and_in_its_own_browser() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(EmbeddedStore::open(&dir.path().join("store")).await.unwrap());
        let pending = Pending::new(Arc::clone(&store), Arc::new(SystemClock));
        let (mine, other) = (Secret::random(), Secret::random());
        let begin =
            async || pending.begin(&mine, "https://desks/oidc/callback", "/").await.unwrap();

        let begun = begin().await;
        let record = pending.take(begun.state.expose(), Some(&mine)).await.unwrap();
        assert_eq!(record.nonce, begun.nonce.expose());
        assert!(pending.take(begun.state.expose(), Some(&mine)).await.is_err(), "once");
        for browser in [Some(&other), None] {
            let state = begin().await.state;
            assert!(pending.take(state.expose(), browser).await.is_err());
            assert!(pending.take(state.expose(), Some(&mine)).await.is_err(), "used all the same");
        }
        for state in ["", "x", "../user/anna", Secret::random().expose()] {
            assert!(pending.take(state, Some(&mine)).await.is_err(), "{state:?}");
        }
    }

    #[tokio::test]
    async fn their_number_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(EmbeddedStore::open(&dir.path().join("store")).await.unwrap());
        for first in 0..=u8::MAX {
            let full = (0..PER_DRAWER).fold(Transaction::new(), |t, n| {
                t.put(keys::sign_in(&format!("{first:02x}{n}")), b"x".to_vec())
            });
            store.commit(full).await.unwrap();
        }
        let pending = Pending::new(store, Arc::new(SystemClock));
        let refused = pending.begin(&Secret::random(), "https://desks/", "/").await.err().unwrap();
        assert!(matches!(refused, PendingError::TooMany), "{refused}");
    }
}
