//! Tokens for programs: made by a person who has signed in, with scopes and an
//! end, shown once and kept as digests.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Caller, Credential};
use crate::{
    clock::{Clock, Timestamp},
    names::{BadField, UserName},
    secret::Secret,
    state::{self, Record, Stored, TransactionExt as _, UserRecord, keys},
    store::{Commit, Store, StoreError, Transaction},
};

/// What every token begins with: so that people and scanners know one.
const KIND: &str = "rtk_";
/// Of one user.
const PER_USER: usize = 64;
/// Longest name, bytes.
const MAX_NAME: usize = 64;
/// If it is not said how long.
pub const USUAL_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A year and a day.
pub const LONGEST_LIFE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What a token may be used for, within what its user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at things.
    Read,
    /// Have desktops, and look after data, of one's own.
    Desktops,
    /// Run the cluster.
    Operate,
    /// Accounts, groups and roles.
    Admin,
}

/// Something about a token cannot be done.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A field is not acceptable.
    #[error(transparent)]
    Field(#[from] BadField),
    /// There is no such token.
    #[error("user {user} has no token {id}")]
    Unknown {
        /// Whose it would be.
        user: UserName,
        /// Which.
        id: String,
    },
    /// Too many.
    #[error("user {0} has {PER_USER} tokens already; revoke some: rolltop token list")]
    TooMany(UserName),
}

/// A token, without what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Names it for people: not secret.
    pub id: String,
    /// What its user calls it.
    pub name: String,
    /// Whose it is.
    pub user: UserName,
    /// The uid the user had.
    pub uid: u32,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Where the token of an id is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TokenOf {
    digest: String,
}

impl Record for TokenRecord {}
impl Record for TokenOf {}

/// What a token is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What its user calls it.
    pub name: String,
    /// At least one.
    pub scopes: Vec<Scope>,
    /// How long it is good.
    pub life: Duration,
}

/// All tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

// === impl Tokens ===

impl Tokens {
    /// Over the tokens in the store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Whether a text is meant to be a token.
    pub fn is_one(text: &str) -> bool {
        text.starts_with(KIND)
    }

    /// Makes a token for a user; its text is kept nowhere.
    ///
    /// # Errors
    /// [`TokenError::TooMany`], or a field that is not acceptable.
    pub async fn create(
        &self,
        user: &UserRecord,
        new: NewToken,
    ) -> Result<(String, TokenRecord), TokenError> {
        let NewToken { name, mut scopes, life } = new;
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let wanted = format!("1 to {MAX_NAME} bytes, without control characters");
            return Err(BadField::new("name", &name, wanted).into());
        }
        if scopes.is_empty() {
            let wanted = "at least one of read, desktops, operate, admin";
            return Err(BadField::new("scopes", "no scope", wanted).into());
        }
        if life.is_zero() || life > LONGEST_LIFE {
            let wanted = format!("1 s to {} days", LONGEST_LIFE.as_secs() / 86_400);
            return Err(BadField::new("life", &format!("{} s", life.as_secs()), wanted).into());
        }
        scopes.sort_unstable();
        scopes.dedup();
        if self.of(&user.name).await?.len() >= PER_USER {
            return Err(TokenError::TooMany(user.name.clone()));
        }
        let (secret, now) = (Secret::random(), self.clock.now());
        let mut id = uuid::Uuid::new_v4().simple().to_string();
        id.truncate(12);
        let record = TokenRecord {
            id,
            name,
            user: user.name.clone(),
            uid: user.uid,
            scopes,
            created_at: now,
            expires_at: now.after(life),
        };
        let digest = secret.digest();
        let (key, own) = (keys::token(&digest), keys::token_of(&user.name, &record.id));
        let make = Transaction::new()
            .absent(&own)
            .put_record(&key, &record)?
            .put_record(&own, &TokenOf { digest })?;
        match self.store.commit(make).await? {
            Commit::Applied(_) => Ok((format!("{KIND}{}", secret.expose()), record)),
            Commit::Conflict { .. } => {
                Err(StoreError::Contended { what: "a token's id", attempts: 1 }.into())
            }
        }
    }

    /// Who presents this token; `None`: nobody, any more.
    ///
    /// # Errors
    /// Of the store.
    pub async fn find(&self, text: &str) -> Result<Option<Caller>, StoreError> {
        let Some(secret) = text.strip_prefix(KIND).and_then(Secret::received) else {
            return Ok(None);
        };
        let (store, key) = (self.store.as_ref(), keys::token(&secret.digest()));
        let Some(stored) = state::read::<TokenRecord>(store, &key).await? else {
            return Ok(None);
        };
        let TokenRecord { id, user, uid, scopes, expires_at, .. } = stored.record;
        if self.clock.now() >= expires_at {
            return Ok(None);
        }
        let user = state::read::<UserRecord>(store, &keys::user(&user)).await?;
        let user = user.map(|stored| stored.record).filter(|user| user.uid == uid);
        Ok(user.map(|user| Caller {
            user,
            credential: Credential::Token { key, id, scopes },
            expires_at,
        }))
    }

    /// A user's tokens, also those that have run out, by id.
    ///
    /// # Errors
    /// Of the store.
    pub async fn of(&self, user: &UserName) -> Result<Vec<TokenRecord>, StoreError> {
        let store = self.store.as_ref();
        let own = state::list::<TokenOf>(store, &keys::tokens_made_by(user)).await?;
        let mut tokens = Vec::with_capacity(own.len());
        for Stored { record, .. } in own {
            let token = state::read::<TokenRecord>(store, &keys::token(&record.digest)).await?;
            tokens.extend(token.map(|stored| stored.record));
        }
        Ok(tokens)
    }

    /// Everybody's tokens.
    ///
    /// # Errors
    /// Of the store.
    pub async fn all(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let stored = state::list::<TokenRecord>(self.store.as_ref(), keys::TOKENS).await?;
        let mut tokens: Vec<_> = stored.into_iter().map(|stored| stored.record).collect();
        tokens.sort_by(|a, b| (&a.user, a.created_at).cmp(&(&b.user, b.created_at)));
        Ok(tokens)
    }

    /// Ends a token; what was begun with it ends too.
    ///
    /// # Errors
    /// [`TokenError::Unknown`].
    pub async fn revoke(&self, user: &UserName, id: &str) -> Result<(), TokenError> {
        let unknown = || TokenError::Unknown { user: user.clone(), id: id.to_owned() };
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) || id.len() > 32 {
            return Err(unknown());
        }
        let key = keys::token_of(user, id);
        let own = state::read::<TokenOf>(self.store.as_ref(), &key).await?.ok_or_else(unknown)?;
        let gone = Transaction::new().delete(keys::token(&own.record.digest)).delete(key);
        self.store.commit(gone).await?;
        Ok(())
    }

    /// Ends all tokens of a user that is no more.
    ///
    /// # Errors
    /// Of the store.
    pub async fn forget(&self, user: &UserName) -> Result<(), TokenError> {
        for token in self.of(user).await? {
            self.revoke(user, &token.id).await?;
        }
        Ok(())
    }

    /// Forgets tokens that have run out.
    ///
    /// # Errors
    /// Of the store.
    pub async fn prune(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let mut pages = self.store.scan(keys::TOKENS).await?.pages;
        let mut count = 0;
        while let Some(page) = pages.try_next().await? {
            for entry in page {
                let token = state::decode::<TokenRecord>(&entry.key, &entry.value)?;
                if now >= token.expires_at {
                    let own = keys::token_of(&token.user, &token.id);
                    self.store.commit(Transaction::new().delete(entry.key).delete(own)).await?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }
}

// === impl Scope ===

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Read, Self::Desktops, Self::Operate, Self::Admin];
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Desktops => "desktops",
            Self::Operate => "operate",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Scope {
    type Err = BadField;

    fn from_str(text: &str) -> Result<Self, BadField> {
        let found = Self::ALL.into_iter().find(|scope| scope.to_string() == text);
        found.ok_or_else(|| BadField::new("scopes", text, "read, desktops, operate or admin"))
    }
}
