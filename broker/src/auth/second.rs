//! The second factor: one-time codes (RFC 6238) from a device, or, when that is
//! lost, recovery codes, each good once.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use totp_rs::{Builder, Secret, Totp, TotpError};

use crate::{
    clock::{Clock, Timestamp},
    names::UserName,
    secret::{generate_password, hex},
    state::{self, Record, Source, Stored, TransactionExt as _, UserRecord, keys},
    store::{Commit, Store, StoreError, Transaction},
};

/// What apps show beside the code.
const ISSUER: &str = "Rolltop";
/// 160 bits, as RFC 4226 recommends.
const SECRET_BYTES: usize = 20;
/// Recovery codes given out at once.
const RECOVERY_CODES: usize = 10;
/// Lost races before giving up.
const ATTEMPTS: u32 = 8;

/// The second factor cannot be changed so.
#[derive(Debug, Error)]
pub enum SecondError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is a provider's affair.
    #[error("the second factor of {0} is asked for by the provider; set it up there")]
    Foreign(UserName),
    /// There is one already.
    #[error("a second factor is set up already; take it away first: rolltop totp disable")]
    Enrolled,
    /// There is none, or it was not begun.
    #[error("no second factor is being set up; begin with: rolltop totp enrol")]
    NotBegun,
    /// There is none.
    #[error("no second factor is set up")]
    None,
    /// The code is wrong, or was used.
    #[error("the code is wrong, or was used already; wait for the next one")]
    WrongCode,
    /// The library refuses what we made.
    #[error("a second factor cannot be made: {0}")]
    Library(String),
}

/// A second factor. The secret is in the clear: codes are made from it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SecondRecord {
    uid: u32,
    /// Base 32.
    secret: String,
    /// Its user has shown that they have it.
    confirmed: bool,
    since: Timestamp,
    /// Of the last code taken: no earlier one counts.
    last_step: u64,
    /// Digests of those left.
    recovery: Vec<String>,
}

impl Record for SecondRecord {}

/// What somebody's app has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// To be typed, base 32.
    pub secret: String,
    /// To be shown as a QR code.
    pub uri: String,
}

/// How a code was good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// By the device.
    Code,
    /// From the list; so many are left.
    Recovery(usize),
}

/// All second factors. Cheap to clone.
#[derive(Clone)]
pub struct SecondFactors {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

// === impl SecondFactors ===

impl SecondFactors {
    /// Over those in the store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Whether a user has to show one.
    ///
    /// # Errors
    /// Of the store.
    pub async fn is_required(&self, user: &UserRecord) -> Result<bool, StoreError> {
        Ok(self.find(user).await?.is_some_and(|stored| stored.record.confirmed))
    }

    /// Who has to show one, of these.
    ///
    /// # Errors
    /// Of the store.
    pub async fn of_all(&self) -> Result<BTreeMap<UserName, u32>, StoreError> {
        let stored = state::list::<SecondRecord>(self.store.as_ref(), keys::SECONDS).await?;
        let confirmed = stored.into_iter().filter(|stored| stored.record.confirmed);
        let named = confirmed.filter_map(|Stored { key, record, .. }| {
            Some((key.strip_prefix(keys::SECONDS)?.parse().ok()?, record.uid))
        });
        Ok(named.collect())
    }

    /// Whether somebody may have one here.
    ///
    /// # Errors
    /// [`SecondError::Foreign`].
    pub fn may_have(user: &UserRecord) -> Result<(), SecondError> {
        match user.source {
            Source::Local | Source::Ldap => Ok(()),
            Source::Oidc => Err(SecondError::Foreign(user.name.clone())),
        }
    }

    /// Makes a secret; it counts when [`Self::confirm`] has seen a code of it.
    /// Again: another one.
    ///
    /// # Errors
    /// [`SecondError::Enrolled`].
    pub async fn begin(&self, user: &UserRecord) -> Result<Enrolment, SecondError> {
        Self::may_have(user)?;
        let key = keys::second(&user.name);
        for _ in 0..ATTEMPTS {
            let stored = state::read::<SecondRecord>(self.store.as_ref(), &key).await?;
            let own = stored.as_ref().filter(|stored| stored.record.uid == user.uid);
            if own.is_some_and(|stored| stored.record.confirmed) {
                return Err(SecondError::Enrolled);
            }
            let mut secret = [0_u8; SECRET_BYTES];
            rand::fill(&mut secret);
            let secret = Secret::from(secret.to_vec());
            let record = SecondRecord {
                uid: user.uid,
                secret: secret.to_base32(),
                confirmed: false,
                since: self.clock.now(),
                last_step: 0,
                recovery: Vec::new(),
            };
            let uri = totp(&record, &user.name)?.to_url().map_err(library)?;
            let begin = Transaction::new()
                .unless_changed(&key, stored.as_ref())
                .put_record(&key, &record)?;
            if let Commit::Applied(_) = self.store.commit(begin).await? {
                return Ok(Enrolment { secret: record.secret, uri });
            }
        }
        Err(contended())
    }

    /// From now on it is required. The recovery codes are shown this once.
    ///
    /// # Errors
    /// [`SecondError::WrongCode`], [`SecondError::NotBegun`].
    pub async fn confirm(&self, user: &UserRecord, code: &str) -> Result<Vec<String>, SecondError> {
        let stored = self.find(user).await?.ok_or(SecondError::NotBegun)?;
        if stored.record.confirmed {
            return Err(SecondError::Enrolled);
        }
        let step = self.step_of(&stored.record, &user.name, code)?.ok_or(SecondError::WrongCode)?;
        let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| generate_password()).collect();
        let record = SecondRecord {
            confirmed: true,
            last_step: step,
            recovery: codes.iter().map(|code| digest(code)).collect(),
            ..stored.record.clone()
        };
        self.replace(&stored, &record).await?.then_some(codes).ok_or_else(contended)
    }

    /// Takes a code, once.
    ///
    /// # Errors
    /// [`SecondError::WrongCode`], [`SecondError::None`].
    pub async fn take(&self, user: &UserRecord, code: &str) -> Result<Shown, SecondError> {
        for _ in 0..ATTEMPTS {
            let stored = self.find(user).await?.filter(|stored| stored.record.confirmed);
            let stored = stored.ok_or(SecondError::None)?;
            let mut record = stored.record.clone();
            let shown = match self.step_of(&record, &user.name, code)? {
                Some(step) if step > record.last_step => {
                    record.last_step = step;
                    Shown::Code
                }
                Some(_) => return Err(SecondError::WrongCode),
                None => {
                    let digest = digest(code);
                    let before = record.recovery.len();
                    record.recovery.retain(|known| *known != digest);
                    if record.recovery.len() == before {
                        return Err(SecondError::WrongCode);
                    }
                    Shown::Recovery(record.recovery.len())
                }
            };
            // Of two who show the same code at once, one sees the other's.
            if self.replace(&stored, &record).await? {
                return Ok(shown);
            }
        }
        Err(contended())
    }

    /// Takes the second factor away; no fault if there is none.
    ///
    /// # Errors
    /// Of the store.
    pub async fn remove(&self, user: &UserName) -> Result<(), SecondError> {
        self.store.commit(Transaction::new().delete(keys::second(user))).await?;
        Ok(())
    }

    async fn find(&self, user: &UserRecord) -> Result<Option<Stored<SecondRecord>>, StoreError> {
        let found = state::read(self.store.as_ref(), &keys::second(&user.name)).await?;
        Ok(found.filter(|stored: &Stored<SecondRecord>| stored.record.uid == user.uid))
    }

    async fn replace(
        &self,
        stored: &Stored<SecondRecord>,
        record: &SecondRecord,
    ) -> Result<bool, StoreError> {
        let change = Transaction::new()
            .unchanged(&stored.key, stored.revision)
            .put_record(&stored.key, record)?;
        Ok(matches!(self.store.commit(change).await?, Commit::Applied(_)))
    }

    fn step_of(
        &self,
        record: &SecondRecord,
        user: &UserName,
        code: &str,
    ) -> Result<Option<u64>, SecondError> {
        let digits: String = code.chars().filter(|letter| *letter != ' ').collect();
        if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(None);
        }
        Ok(totp(record, user)?.check(&digits, self.clock.now().0 / 1000))
    }
}

/// SHA-1, six digits, half a minute, one step either way: what every app does.
fn totp(record: &SecondRecord, user: &UserName) -> Result<Totp, SecondError> {
    let damaged = |error: &dyn std::fmt::Debug| SecondError::Library(format!("{error:?}"));
    let secret = Secret::try_from_base32(&record.secret).map_err(|error| damaged(&error))?;
    Builder::new()
        .with_secret(secret)
        .with_issuer(Some(ISSUER))
        .with_account_name(user.as_str())
        .build()
        .map_err(library)
}

fn library(error: TotpError) -> SecondError {
    SecondError::Library(format!("{error:?}"))
}

fn contended() -> SecondError {
    StoreError::Contended { what: "a second factor", attempts: ATTEMPTS }.into()
}

/// A hundred random bits: nothing to guess.
fn digest(code: &str) -> String {
    let typed = code.chars().filter(|letter| letter.is_ascii_alphanumeric());
    let typed: String = typed.map(|letter| letter.to_ascii_lowercase()).collect();
    hex(&Sha256::digest(typed.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, SHA-1, cut to six digits.
        let record = SecondRecord {
            uid: 1,
            secret: Secret::from(b"12345678901234567890".to_vec()).to_base32(),
            confirmed: true,
            since: Timestamp(0),
            last_step: 0,
            recovery: Vec::new(),
        };
        let totp = totp(&record, &"anna".parse().unwrap()).unwrap();
        for (time, code) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            assert_eq!(totp.check(code, time), Some(time / 30));
            assert_eq!(totp.check(code, time + 30), Some(time / 30), "clocks differ a little");
            assert_eq!(totp.check(code, time + 90), None);
        }
        let uri = totp.to_url().unwrap();
        assert!(uri.starts_with("otpauth://totp/Rolltop:anna?"), "{uri}");
    }

    #[test]
    fn a_recovery_code_may_be_typed_anyhow() {
        assert_eq!(digest("abcde-fghij"), digest(" ABCDE fghij "));
        assert_ne!(digest("abcde-fghij"), digest("abcde-fghik"));
    }
}
