//! Accounts: made, changed, deleted; `check` says who somebody is.

mod check;
mod error;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

pub use error::AccountError;

use super::{Directory, Groups, GuessLimiter, Limits, Password, Passwords, SecondFactors};
use crate::{
    clock::Clock,
    names::{BadField, UserName},
    state::{
        self, CounterRecord, DesktopRecord, DesktopState, Identity, Role, Source, Stored,
        TransactionExt as _, UserRecord, keys,
    },
    store::{Commit, Store, StoreError, Transaction},
};

/// The first uid given. Images keep those below for themselves.
const FIRST_UID: u64 = 2000;
/// The last one an agent takes.
const LAST_UID: u64 = 59_999;
/// Lost races before giving up.
const ATTEMPTS: u32 = 32;
/// Longest full name, bytes.
const MAX_FULL_NAME: usize = 128;

/// What an account is made from.
#[derive(Debug)]
pub struct NewAccount {
    /// Login name.
    pub name: UserName,
    /// For people; may be empty.
    pub full_name: String,
    /// What the user may do.
    pub role: Role,
    /// The first password.
    pub password: Password,
}

/// What the record of an account is made from.
pub(super) struct Making {
    pub(super) name: UserName,
    pub(super) full_name: String,
    pub(super) role: Role,
    pub(super) password_hash: String,
    pub(super) source: Source,
    pub(super) identity: Option<Identity>,
}

/// All accounts.
#[derive(Clone)]
pub struct Accounts {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    passwords: Passwords,
    pub(super) groups: Groups,
    directory: Option<Directory>,
    seconds: SecondFactors,
    guesses: Arc<Mutex<GuessLimiter>>,
}

// === impl Accounts ===

impl Accounts {
    /// Over the accounts in the store.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        passwords: Passwords,
        limits: Limits,
    ) -> Self {
        let seconds = SecondFactors::new(Arc::clone(&store), Arc::clone(&clock));
        let guesses = Arc::new(Mutex::new(GuessLimiter::new(limits)));
        let groups = Groups::new(Arc::clone(&store), Arc::clone(&clock));
        Self { store, clock, passwords, groups, directory: None, seconds, guesses }
    }

    /// Asks this directory about whoever has no account with a password here.
    #[must_use]
    pub fn with_directory(mut self, directory: Option<Directory>) -> Self {
        self.directory = directory;
        self
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`AccountError::Exists`], or a field that is not acceptable.
    pub async fn create(&self, new: NewAccount) -> Result<UserRecord, AccountError> {
        let NewAccount { name, full_name, role, password } = new;
        check_full_name(&full_name)?;
        if self.find(&name).await?.is_some() {
            return Err(AccountError::Exists(name));
        }
        let password_hash = self.passwords.hash(password).await?;
        let source = Source::Local;
        self.make(Making { name, full_name, role, password_hash, source, identity: None }).await
    }

    pub(super) async fn make(&self, making: Making) -> Result<UserRecord, AccountError> {
        let Making { name, full_name, role, password_hash, source, identity } = making;
        let key = keys::user(&name);
        for _ in 0..ATTEMPTS {
            let counter =
                state::read::<CounterRecord>(self.store.as_ref(), keys::UID_COUNTER).await?;
            let last = counter.as_ref().map_or(FIRST_UID - 1, |stored| stored.record.last);
            let uid = Some(last + 1).filter(|uid| *uid <= LAST_UID).ok_or(AccountError::NoUid)?;
            let user = UserRecord {
                name: name.clone(),
                full_name: full_name.clone(),
                role,
                uid: u32::try_from(uid).map_err(|_| AccountError::NoUid)?,
                password_hash: password_hash.clone(),
                created_at: self.clock.now(),
                source,
                identity: identity.clone(),
            };
            let mut transaction = Transaction::new()
                .absent(&key)
                .unless_changed(keys::UID_COUNTER, counter.as_ref())
                .put_record(&key, &user)?
                .put_record(keys::UID_COUNTER, &CounterRecord { last: uid })?;
            if let Some(identity) = &identity {
                transaction = self.bound(transaction, identity, &user).await?;
            }
            match self.store.commit(transaction).await? {
                Commit::Applied(_) => return Ok(user),
                Commit::Conflict { key: lost } if lost != keys::UID_COUNTER => {
                    return Err(AccountError::Exists(name));
                }
                Commit::Conflict { .. } => {}
            }
        }
        Err(StoreError::Contended { what: "a user id", attempts: ATTEMPTS }.into())
    }

    /// Sets a password. `current`: the present one, when the user does it.
    ///
    /// # Errors
    /// [`AccountError::WrongCurrentPassword`]; counts as a guess.
    pub async fn set_password(
        &self,
        name: &UserName,
        current: Option<(String, IpAddr)>,
        new: Password,
    ) -> Result<(), AccountError> {
        if let Some((current, from)) = current {
            self.check_own(name, current, from).await?;
        }
        let password_hash = self.passwords.hash(new).await?;
        for _ in 0..ATTEMPTS {
            let stored =
                self.find(name).await?.ok_or_else(|| AccountError::Unknown(name.clone()))?;
            if stored.record.source != Source::Local {
                return Err(AccountError::Foreign(name.clone()));
            }
            let changed = UserRecord { password_hash: password_hash.clone(), ..stored.record };
            let transaction = Transaction::new()
                .unchanged(&stored.key, stored.revision)
                .put_record(&stored.key, &changed)?;
            if let Commit::Applied(_) = self.store.commit(transaction).await? {
                return Ok(());
            }
        }
        Err(StoreError::Contended { what: "a password", attempts: ATTEMPTS }.into())
    }

    /// Deletes an account. Kept data stays: it is under the user's uid, which
    /// is never given again.
    ///
    /// # Errors
    /// [`AccountError::HasDesktop`] while one of the user's desktops lives,
    /// [`AccountError::LastAdmin`].
    pub async fn delete(&self, name: &UserName) -> Result<(), AccountError> {
        let stored = self.find(name).await?.ok_or_else(|| AccountError::Unknown(name.clone()))?;
        let desktops = state::list::<DesktopRecord>(self.store.as_ref(), keys::DESKTOPS).await?;
        let mut transaction =
            Transaction::new().unchanged(&stored.key, stored.revision).delete(&stored.key);
        for desktop in desktops.into_iter().filter(|desktop| desktop.record.id.user == *name) {
            let DesktopRecord { id, state, number, .. } = desktop.record;
            if state.holds_capacity() {
                return Err(AccountError::HasDesktop {
                    user: name.clone(),
                    pool: id.pool.to_string(),
                    state,
                });
            }
            transaction =
                transaction.unchanged(&desktop.key, desktop.revision).delete(&desktop.key);
            if state == DesktopState::Failed {
                transaction = transaction.delete(keys::number(number));
            }
        }
        if let Some(identity) = &stored.record.identity {
            transaction = transaction.delete(keys::identity(identity));
        }
        let transaction = self.leaving_an_admin(transaction, &stored.record).await?;
        match self.store.commit(transaction).await? {
            Commit::Applied(_) => Ok(()),
            Commit::Conflict { .. } => {
                Err(StoreError::Contended { what: "a user", attempts: 1 }.into())
            }
        }
    }

    /// Every account, by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list(&self) -> Result<Vec<UserRecord>, AccountError> {
        let stored = state::list::<UserRecord>(self.store.as_ref(), keys::USERS).await?;
        Ok(stored.into_iter().map(|stored| stored.record).collect())
    }

    /// One account.
    ///
    /// # Errors
    /// Of the store.
    pub async fn find(&self, name: &UserName) -> Result<Option<Stored<UserRecord>>, AccountError> {
        Ok(state::read::<UserRecord>(self.store.as_ref(), &keys::user(name)).await?)
    }
}

/// It becomes part of the account file of a desktop, whose fields end at ':'.
pub(super) fn check_full_name(text: &str) -> Result<(), BadField> {
    let fits = text.len() <= MAX_FULL_NAME
        && !text.contains([':', ','])
        && !text.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    let wanted = format!("{MAX_FULL_NAME} bytes at most, without ':', ',' and control characters");
    Err(BadField::new("full_name", text, wanted))
}
