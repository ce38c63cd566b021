//! Who has signed in: random tokens, kept as digests, until they run out.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{Clock, Timestamp},
    names::UserName,
    secret::Secret,
    state::{self, Role, SessionRecord, Stored, TransactionExt as _, UserRecord, keys},
    store::{Store, StoreError, Transaction},
};

/// One user's sign-ins kept at once; the oldest make room. A bound on what one
/// account can put into the store, far above the screens of one person.
const PER_USER: usize = 128;

/// Someone who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub user: UserRecord,
    /// Which sign-in: the digest of its token.
    pub session: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A fresh sign-in.
#[derive(Debug)]
pub struct SignedIn {
    /// The token; not kept anywhere.
    pub token: Secret,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Opens, finds and ends sign-ins.
#[derive(Clone)]
pub struct Sessions {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    life: Duration,
}

// === impl Caller ===

impl Caller {
    /// Whether the caller may do everything.
    pub fn is_operator(&self) -> bool {
        self.user.role == Role::Operator
    }

    /// The caller's name.
    pub fn name(&self) -> &UserName {
        &self.user.name
    }
}

// === impl Sessions ===

impl Sessions {
    /// Sign-ins last for `life`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, life: Duration) -> Self {
        Self { store, clock, life }
    }

    /// Opens a session for someone whose password was right.
    ///
    /// # Errors
    /// Of the store.
    pub async fn open(&self, user: &UserRecord) -> Result<SignedIn, StoreError> {
        let now = self.clock.now();
        let token = Secret::random();
        let record = SessionRecord {
            user: user.name.clone(),
            uid: user.uid,
            created_at: now,
            expires_at: now.after(self.life),
        };
        let mut own = self.of(&user.name).await?;
        own.sort_by_key(|stored| stored.record.created_at);
        let key = keys::session(&token.digest());
        let mut transaction = Transaction::new().put_record(&key, &record)?;
        let too_many = (own.len() + 1).saturating_sub(PER_USER);
        for oldest in own.drain(..too_many) {
            transaction = transaction.delete(oldest.key);
        }
        self.store.commit(transaction).await?;
        Ok(SignedIn { token, expires_at: record.expires_at })
    }

    /// Who presents this token; `None`: nobody, any more.
    ///
    /// # Errors
    /// Of the store.
    pub async fn find(&self, token: &str) -> Result<Option<Caller>, StoreError> {
        let Some(token) = Secret::received(token) else { return Ok(None) };
        let session = token.digest();
        let store = self.store.as_ref();
        let Some(stored) = state::read::<SessionRecord>(store, &keys::session(&session)).await?
        else {
            return Ok(None);
        };
        let SessionRecord { user, uid, expires_at, .. } = stored.record;
        if self.clock.now() >= expires_at {
            return Ok(None);
        }
        let user = state::read::<UserRecord>(store, &keys::user(&user)).await?;
        Ok(user.map(|stored| stored.record).filter(|user| user.uid == uid).map(|user| Caller {
            user,
            session,
            expires_at,
        }))
    }

    /// Ends one session.
    ///
    /// # Errors
    /// Of the store.
    pub async fn end(&self, session: &str) -> Result<(), StoreError> {
        self.store.commit(Transaction::new().delete(keys::session(session))).await.map(drop)
    }

    /// Ends all sessions of a user but one.
    ///
    /// # Errors
    /// Of the store.
    pub async fn end_others(&self, user: &UserName, keep: Option<&str>) -> Result<(), StoreError> {
        let keep = keep.map(keys::session);
        let others =
            self.of(user).await?.into_iter().filter(|stored| Some(&stored.key) != keep.as_ref());
        let transaction = others.fold(Transaction::new(), |t, stored| t.delete(stored.key));
        if transaction.writes.is_empty() {
            return Ok(());
        }
        self.store.commit(transaction).await.map(drop)
    }

    /// Forgets sessions that have run out.
    ///
    /// # Errors
    /// Of the store.
    pub async fn prune(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let all = state::list::<SessionRecord>(self.store.as_ref(), keys::SESSIONS).await?;
        let over: Vec<_> =
            all.into_iter().filter(|stored| now >= stored.record.expires_at).collect();
        let count = over.len();
        if count > 0 {
            let transaction =
                over.into_iter().fold(Transaction::new(), |t, stored| t.delete(stored.key));
            self.store.commit(transaction).await?;
        }
        Ok(count)
    }

    async fn of(&self, user: &UserName) -> Result<Vec<Stored<SessionRecord>>, StoreError> {
        let mut all = state::list::<SessionRecord>(self.store.as_ref(), keys::SESSIONS).await?;
        all.retain(|stored| stored.record.user == *user);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::store::EmbeddedStore;

    /// Moves on by a second whenever it is read.
    struct Ticking(AtomicU64);

    impl Clock for Ticking {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.fetch_add(1000, Ordering::Relaxed))
        }
    }

    #[tokio::test]
    async fn only_the_oldest_sign_ins_of_the_same_user_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(EmbeddedStore::open(&dir.path().join("store")).await.unwrap());
        let clock = Arc::new(Ticking(AtomicU64::new(1)));
        let sessions = Sessions::new(Arc::clone(&store), clock, Duration::from_secs(3600 * 24));
        let mut tokens = Vec::new();
        for (uid, name) in [(2000, "anna"), (2001, "ben")] {
            let user = UserRecord {
                name: name.parse().unwrap(),
                full_name: String::new(),
                role: Role::User,
                uid,
                password_hash: String::new(),
                created_at: Timestamp(0),
            };
            let record = Transaction::new().put_record(&keys::user(&user.name), &user).unwrap();
            store.commit(record).await.unwrap();
            let count = if name == "anna" { PER_USER + 2 } else { 1 };
            for _ in 0..count {
                tokens.push((name, sessions.open(&user).await.unwrap().token));
            }
        }
        let mut refused = Vec::new();
        for (place, (name, token)) in tokens.iter().enumerate() {
            match sessions.find(token.expose()).await.unwrap() {
                Some(caller) => assert_eq!(caller.name().as_str(), *name),
                None => refused.push(place),
            }
        }
        assert_eq!(refused, [0, 1]);
    }
}
