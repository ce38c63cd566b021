//! Passwords: argon2id on threads of their own, few at a time, for each takes
//! 19 MiB and some tens of milliseconds.

use std::{fmt, sync::Arc, time::Duration};

use argon2::{
    Argon2, PasswordHasher as _, PasswordVerifier as _, password_hash::phc::PasswordHash,
};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::names::BadField;

/// Shortest that is accepted for a new one.
const MIN_BYTES: usize = 8;
/// Longest that is hashed; a person never gets there.
const MAX_BYTES: usize = 1024;
/// How long a sign-in may wait for its turn.
const TURN_DEADLINE: Duration = Duration::from_secs(10);

/// A password in the clear. Never logged.
#[derive(Clone)]
pub struct Password(String);

/// A password could not be hashed or checked.
#[derive(Debug, Error)]
pub enum PasswordError {
    /// Too many others sign in at this moment.
    #[error("too many people are signing in at this moment")]
    Busy,
    /// The hash function failed, or a stored hash is damaged.
    #[error("cannot {verb} a password: {reason}")]
    Hash {
        /// What was being done.
        verb: &'static str,
        /// Why not.
        reason: String,
    },
}

/// Hashes and checks.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// The hash of a password nobody knows: unknown users cost the same time.
    decoy: Arc<str>,
}

// === impl Password ===

impl Password {
    /// One that is to be checked: any text.
    pub fn presented(text: String) -> Self {
        Self(text)
    }

    /// One that is to be set.
    ///
    /// # Errors
    /// If it is too short or too long.
    pub fn chosen(field: &'static str, text: String) -> Result<Self, BadField> {
        if (MIN_BYTES..=MAX_BYTES).contains(&text.len()) && !text.contains('\0') {
            return Ok(Self(text));
        }
        let wanted = format!("{MIN_BYTES} to {MAX_BYTES} bytes, none of them NUL");
        // The text itself stays out of messages and logs.
        Err(BadField { field, value: format!("the password ({} bytes)", text.len()), wanted })
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

// === impl Passwords ===

impl Passwords {
    /// At most `at_once` are worked on at the same time.
    ///
    /// # Errors
    /// If hashing does not work here.
    pub async fn new(at_once: usize) -> Result<Self, PasswordError> {
        let nobody = Password(crate::secret::Secret::random().expose().to_owned());
        let decoy = run(move || hash(&nobody)).await?;
        Ok(Self { turns: Arc::new(Semaphore::new(at_once.max(1))), decoy: decoy.into() })
    }

    /// The hash to store.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] when no turn came in time.
    pub async fn hash(&self, password: Password) -> Result<String, PasswordError> {
        let _turn = self.turn().await?;
        run(move || hash(&password)).await
    }

    /// Whether the password is the one that was hashed. `None`: there is no
    /// such user, which takes the same time to find out.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] when no turn came in time.
    pub async fn verify(
        &self,
        password: Password,
        stored: Option<&str>,
    ) -> Result<bool, PasswordError> {
        let known = stored.is_some();
        let stored = stored.unwrap_or(&self.decoy).to_owned();
        let _turn = self.turn().await?;
        let fits = run(move || verify(&password, &stored)).await?;
        Ok(fits && known)
    }

    async fn turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, PasswordError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout(TURN_DEADLINE, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(PasswordError::Busy),
        }
    }
}

async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
) -> Result<T, PasswordError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(PasswordError::Hash { verb: "work on", reason: error.to_string() })
    })
}

fn hash(password: &Password) -> Result<String, PasswordError> {
    // The crate's defaults are OWASP's: argon2id, 19 MiB, 2 passes, 1 lane.
    Argon2::default()
        .hash_password(password.0.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| PasswordError::Hash { verb: "hash", reason: error.to_string() })
}

fn verify(password: &Password, stored: &str) -> Result<bool, PasswordError> {
    let broken = |reason: String| PasswordError::Hash { verb: "check", reason };
    // Longer ones cannot have been set; do not hash a megabyte.
    if password.0.len() > MAX_BYTES {
        return verify(&Password(String::new()), stored).map(|_| false);
    }
    let parsed = PasswordHash::new(stored).map_err(|error| broken(error.to_string()))?;
    match Argon2::default().verify_password(password.0.as_bytes(), &parsed) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(broken(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_fits() {
        let passwords = Passwords::new(2).await.unwrap();
        let right = Password::chosen("password", "correct horse".into()).unwrap();
        let stored = passwords.hash(right.clone()).await.unwrap();
        assert!(stored.starts_with("$argon2id$"), "{stored}");
        assert!(passwords.verify(right.clone(), Some(&stored)).await.unwrap());
        assert!(!passwords.verify(right, None).await.unwrap());
        for wrong in ["", "correct hors", "x".repeat(2000).as_str()] {
            assert!(
                !passwords.verify(Password::presented(wrong.into()), Some(&stored)).await.unwrap()
            );
        }
    }

    #[tokio::test]
    async fn a_damaged_hash_is_an_error_not_a_refusal() {
        let passwords = Passwords::new(1).await.unwrap();
        let error =
            passwords.verify(Password::presented("x".into()), Some("$argon2id$nonsense")).await;
        assert!(matches!(error, Err(PasswordError::Hash { .. })), "{error:?}");
    }

    #[test]
    fn a_refused_password_is_not_repeated() {
        let refused = Password::chosen("password", "short77".into()).unwrap_err();
        assert!(!refused.to_string().contains("short77"), "{refused}");
    }
}
