//! Who somebody is: names, passwords and codes, and how often they may be guessed at.

use std::{net::IpAddr, sync::PoisonError, time::Instant};

use super::{AccountError, Accounts};
use crate::{
    auth::{GuessLimiter, Password, SecondError, Shown},
    names::UserName,
    state::{Source, UserRecord},
};

impl Accounts {
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
