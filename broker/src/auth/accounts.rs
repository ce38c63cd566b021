//! Accounts: made, checked, changed, deleted.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use thiserror::Error;

use super::{
    Directory, DirectoryError, Groups, GuessLimiter, Limits, Password, PasswordError, Passwords,
    Refusal, SecondError, SecondFactors, Shown,
};
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

/// Something about an account cannot be done.
#[derive(Debug, Error)]
pub enum AccountError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A password could not be worked on.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A field is not acceptable.
    #[error(transparent)]
    Field(#[from] BadField),
    /// The name or the password is wrong; which, is not told.
    #[error("the name or the password is wrong")]
    WrongCredentials,
    /// The present password, asked for again, is wrong.
    #[error("the present password is wrong")]
    WrongCurrentPassword,
    /// The password is right; a code is wanted too.
    #[error("a code of the second factor is wanted")]
    CodeWanted,
    /// The password is right, the code is not.
    #[error("the code is wrong, or was used already; wait for the next one")]
    WrongCode,
    /// The second factor cannot be looked at.
    #[error(transparent)]
    Second(SecondError),
    /// The directory cannot be asked.
    #[error("the directory cannot be asked at this moment; accounts of this cluster can sign in")]
    Directory(#[source] DirectoryError),
    /// A directory or a provider says what the password is.
    #[error("the password of {0} is not this cluster's; change it where it is kept")]
    Foreign(UserName),
    /// The name is that of an account somebody else vouches for.
    #[error("the name {name} is taken by an account {}; an operator has to give one of the two another name", owner_of(.by))]
    NameTaken {
        /// The name.
        name: UserName,
        /// Who vouches for that account.
        by: Source,
    },
    /// Too many wrong passwords.
    #[error("too many wrong passwords; try again in {} seconds", .0.wait.as_secs() + 1)]
    Refused(Refusal),
    /// The name is taken.
    #[error("there is a user {0} already")]
    Exists(UserName),
    /// There is no such user.
    #[error("there is no user {0}")]
    Unknown(UserName),
    /// Nobody would be left to give roles.
    #[error(
        "{0} is the last admin; make somebody else admin first: rolltop user set-role NAME admin"
    )]
    LastAdmin(UserName),
    /// Every uid has been given.
    #[error("all user ids from {FIRST_UID} to {LAST_UID} have been given")]
    NoUid,
    /// The user has a desktop.
    #[error("user {user} has a desktop of pool {pool} that is {state}")]
    HasDesktop {
        /// Who.
        user: UserName,
        /// Of which pool.
        pool: String,
        /// In which state.
        state: DesktopState,
    },
}

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

    /// Checks a name, a password, and, if the user has one, a code of their second
    /// factor. Says how the code was good.
    ///
    /// # Errors
    /// As [`Self::check`]; [`AccountError::CodeWanted`] if there is none, and
    /// [`AccountError::WrongCode`], which counts like a wrong password.
    pub async fn check_both(
        &self,
        name: &str,
        password: String,
        code: &str,
        from: IpAddr,
    ) -> Result<(UserRecord, Option<Shown>), AccountError> {
        let user = self.verify(name, password, from).await?;
        let shown = match self.seconds.is_required(&user).await {
            Ok(false) => Ok(None),
            // Whether the password is right is known now, but neither forgiven
            // nor held against anybody.
            Ok(true) if code.is_empty() => Err(AccountError::CodeWanted),
            Ok(true) => match self.seconds.take(&user, code).await {
                Ok(shown) => Ok(Some(shown)),
                Err(SecondError::WrongCode) => return Err(AccountError::WrongCode),
                Err(error) => Err(AccountError::Second(error)),
            },
            Err(error) => Err(error.into()),
        };
        match shown {
            Ok(shown) => {
                self.limiter(|limiter| limiter.succeeded(&user.name, from));
                Ok((user, shown))
            }
            Err(error) => {
                self.limiter(|limiter| limiter.withdrawn(Some(&user.name), from));
                Err(error)
            }
        }
    }

    /// Lets whoever guessed at an account try again: here and now. Other brokers
    /// remember on their own.
    pub fn unlock(&self, name: &UserName) -> bool {
        self.limiter(|limiter| limiter.forgive(name))
    }

    /// Checks a name and password.
    ///
    /// # Errors
    /// [`AccountError::WrongCredentials`], the same for unknown users and after
    /// the same time; [`AccountError::Refused`] when guessed too often.
    pub async fn check(
        &self,
        name: &str,
        password: String,
        from: IpAddr,
    ) -> Result<UserRecord, AccountError> {
        let user = self.verify(name, password, from).await?;
        self.limiter(|limiter| limiter.succeeded(&user.name, from));
        Ok(user)
    }

    /// The attempt is counted as wrong until the limiter is told.
    async fn verify(
        &self,
        name: &str,
        password: String,
        from: IpAddr,
    ) -> Result<UserRecord, AccountError> {
        let parsed = UserName::parse("name", name).ok();
        self.admit(parsed.as_ref(), from)?;
        let user = match &parsed {
            Some(name) => self.find(name).await?.map(|stored| stored.record),
            None => None,
        };
        let source = user.as_ref().map(|user| user.source);
        if let (Some(directory), Some(name)) = (&self.directory, &parsed)
            && matches!(source, None | Some(Source::Ldap))
        {
            let known = match directory.check(name, &password).await {
                Ok(known) => known.ok_or(AccountError::WrongCredentials)?,
                Err(error) => {
                    self.limiter(|limiter| limiter.withdrawn(Some(name), from));
                    return Err(AccountError::Directory(error));
                }
            };
            return self.admitted(name, known).await;
        }
        let local = user.as_ref().filter(|user| user.source == Source::Local);
        let hash = local.map(|user| user.password_hash.as_str());
        let fits = match self.passwords.verify(Password::presented(password), hash).await {
            Ok(fits) => fits,
            Err(error) => {
                self.limiter(|limiter| limiter.withdrawn(parsed.as_ref(), from));
                return Err(error.into());
            }
        };
        match user {
            Some(user) if fits => Ok(user),
            Some(_) | None => Err(AccountError::WrongCredentials),
        }
    }

    /// Checks the present password of somebody who has signed in.
    ///
    /// # Errors
    /// [`AccountError::WrongCurrentPassword`]; counts as a guess.
    /// [`AccountError::Foreign`] if a provider has it.
    pub async fn check_own(
        &self,
        name: &UserName,
        password: String,
        from: IpAddr,
    ) -> Result<(), AccountError> {
        let user = self.find(name).await?;
        if user.is_some_and(|user| user.record.source == Source::Oidc) {
            return Err(AccountError::Foreign(name.clone()));
        }
        let checked = self.check(name.as_str(), password, from).await;
        checked.map(drop).map_err(|error| match error {
            AccountError::WrongCredentials => AccountError::WrongCurrentPassword,
            other => other,
        })
    }

    /// Has a code looked at, which counts as a guess.
    ///
    /// # Errors
    /// [`AccountError::Refused`], and what the look says.
    pub async fn guess<T>(
        &self,
        name: &UserName,
        from: IpAddr,
        look: impl Future<Output = Result<T, SecondError>>,
    ) -> Result<T, AccountError> {
        self.admit(Some(name), from)?;
        let seen = look.await;
        match &seen {
            Ok(_) => self.limiter(|limiter| limiter.succeeded(name, from)),
            Err(SecondError::WrongCode) => {}
            Err(_) => self.limiter(|limiter| limiter.withdrawn(Some(name), from)),
        }
        seen.map_err(AccountError::Second)
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

    /// Has something looked at that a stranger shows, which counts like a wrong password
    /// from there if `is_guess` says so of its failure.
    ///
    /// # Errors
    /// [`AccountError::Refused`], and what the look says.
    pub async fn look_at<T, E: From<AccountError>>(
        &self,
        from: IpAddr,
        look: impl Future<Output = Result<T, E>>,
        is_guess: impl FnOnce(&E) -> bool,
    ) -> Result<T, E> {
        self.admit(None, from)?;
        let seen = look.await;
        if !seen.as_ref().is_err_and(is_guess) {
            self.limiter(|limiter| limiter.withdrawn(None, from));
        }
        seen
    }

    fn admit(&self, name: Option<&UserName>, from: IpAddr) -> Result<(), AccountError> {
        self.limiter(|limiter| limiter.admit(Instant::now(), name, from))
            .map_err(AccountError::Refused)
    }

    fn limiter<T>(&self, act: impl FnOnce(&mut GuessLimiter) -> T) -> T {
        act(&mut self.guesses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn owner_of(source: &Source) -> &'static str {
    match source {
        Source::Local => "of this cluster",
        Source::Ldap => "of the directory",
        Source::Oidc => "of somebody else at the provider",
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
