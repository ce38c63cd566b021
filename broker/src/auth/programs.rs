//! Programs that somebody in a browser lets sign in as them: a code, good once and for
//! a moment, and only for whoever has what its challenge is the digest of. Whoever else
//! sees the code, in an address or over a shoulder, can do nothing with it.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    clock::Clock,
    names::{BadField, UserName},
    secret::Secret,
    state::{self, ProgramRecord, TransactionExt as _, UserRecord, keys},
    store::{Commit, Store, StoreError, Transaction},
};

use super::AccountError;

/// Somebody may have to carry the code to another window by hand.
const LIFE: Duration = Duration::from_secs(120);
/// One user's codes at once.
const PER_USER: usize = 16;

/// A program may not sign in.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many wrong codes.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A field is not acceptable.
    #[error(transparent)]
    Field(#[from] BadField),
    /// It was used, has run out, is another program's, or never was one.
    #[error("this code was used already, has run out, or is another program's")]
    WrongCode,
    /// Too many are open.
    #[error("{0} has {PER_USER} unused codes; wait two minutes")]
    TooMany(UserName),
}

/// Lets programs in. Cheap to clone.
#[derive(Clone)]
pub struct Programs {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

// === impl Programs ===

impl Programs {
    /// Over the codes in the store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// A code for the program that has shown this challenge.
    ///
    /// # Errors
    /// [`ProgramError::TooMany`], [`ProgramError::Field`].
    pub async fn allow(&self, user: &UserRecord, challenge: &str) -> Result<Secret, ProgramError> {
        let is_digest = URL_SAFE_NO_PAD.decode(challenge).is_ok_and(|bytes| bytes.len() == 32);
        if !is_digest {
            let wanted = "the SHA-256 of a secret in base64url, 43 characters";
            return Err(BadField::new("challenge", challenge, wanted).into());
        }
        let own = self.store.range(&keys::programs_of(&user.name)).await?;
        if own.entries.len() >= PER_USER {
            return Err(ProgramError::TooMany(user.name.clone()));
        }
        let code = Secret::random();
        let digest = code.digest();
        let record = ProgramRecord {
            user: user.name.clone(),
            uid: user.uid,
            challenge: challenge.to_owned(),
            expires_at: self.clock.now().after(LIFE),
        };
        let lease = self.store.grant(LIFE).await?;
        let put = Transaction::new()
            .put_leased_record(&keys::program(&digest), &record, lease)?
            .put_leased(keys::program_of(&user.name, &digest), Vec::new(), lease);
        self.store.commit(put).await?;
        Ok(code)
    }

    /// Takes a code: whatever comes of it, it is used.
    ///
    /// # Errors
    /// [`ProgramError::WrongCode`].
    pub async fn redeem(&self, code: &str, verifier: &str) -> Result<UserRecord, ProgramError> {
        let code = Secret::received(code).ok_or(ProgramError::WrongCode)?;
        let digest = code.digest();
        let key = keys::program(&digest);
        let stored = state::read::<ProgramRecord>(self.store.as_ref(), &key).await?;
        let stored = stored.ok_or(ProgramError::WrongCode)?;
        let ProgramRecord { user, uid, challenge, expires_at } = stored.record;
        let take = Transaction::new()
            .unchanged(&key, stored.revision)
            .delete(&key)
            .delete(keys::program_of(&user, &digest));
        if let Commit::Conflict { .. } = self.store.commit(take).await? {
            return Err(ProgramError::WrongCode);
        }
        let shown = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        if shown != challenge || self.clock.now() >= expires_at {
            return Err(ProgramError::WrongCode);
        }
        let user = state::read::<UserRecord>(self.store.as_ref(), &keys::user(&user)).await?;
        let user = user.map(|stored| stored.record).filter(|user| user.uid == uid);
        user.ok_or(ProgramError::WrongCode)
    }
}
