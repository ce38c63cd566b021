//! Who has signed in: random tokens, kept as digests, until they run out.

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;

use super::{Caller, Credential};
use crate::{
    clock::{Clock, Timestamp},
    names::UserName,
    secret::Secret,
    state::{self, Marker, SessionRecord, Stored, TransactionExt as _, UserRecord, keys},
    store::{MAX_OPERATIONS, Store, StoreError, Transaction},
};

/// One user's sign-ins kept at once; the oldest make room. A bound on what one
/// account can put into the store, far above the screens of one person.
const PER_USER: usize = 128;

/// Sessions forgotten in one transaction; each is two writes.
const AT_ONCE: usize = (MAX_OPERATIONS - 2) / 2;

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

/// A session, as noted under its user.
struct Own {
    digest: String,
    since: Timestamp,
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
        own.sort_by_key(|own| own.since);
        let digest = token.digest();
        let mut transaction = Transaction::new()
            .put_record(&keys::session(&digest), &record)?
            .put_record(&keys::session_of(&user.name, &digest), &Marker { at: now })?;
        // Those who came at once may have left some more; the next takes the rest.
        let too_many = (own.len() + 1).saturating_sub(PER_USER).min(AT_ONCE);
        for oldest in own.drain(..too_many) {
            transaction = forget(transaction, &user.name, &oldest.digest);
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
            credential: Credential::Session(session),
            expires_at,
        }))
    }

    /// Ends one session.
    ///
    /// # Errors
    /// Of the store.
    pub async fn end(&self, session: &str) -> Result<(), StoreError> {
        let key = keys::session(session);
        let Some(stored) = state::read::<SessionRecord>(self.store.as_ref(), &key).await? else {
            return Ok(());
        };
        let transaction = forget(Transaction::new(), &stored.record.user, session);
        self.store.commit(transaction).await.map(drop)
    }

    /// Ends all sessions of a user but one.
    ///
    /// # Errors
    /// Of the store.
    pub async fn end_others(&self, user: &UserName, keep: Option<&str>) -> Result<(), StoreError> {
        let mut others = self.of(user).await?;
        others.retain(|own| Some(own.digest.as_str()) != keep);
        for some in others.chunks(AT_ONCE) {
            let transaction =
                some.iter().fold(Transaction::new(), |t, own| forget(t, user, &own.digest));
            self.store.commit(transaction).await?;
        }
        Ok(())
    }

    /// Forgets sessions that have run out.
    ///
    /// # Errors
    /// Of the store.
    pub async fn prune(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let mut pages = self.store.scan(keys::SESSIONS).await?.pages;
        let mut count = 0;
        while let Some(page) = pages.try_next().await? {
            let mut over = Vec::new();
            for entry in page {
                let record = state::decode::<SessionRecord>(&entry.key, &entry.value)?;
                if now >= record.expires_at
                    && let Some(digest) = entry.key.strip_prefix(keys::SESSIONS)
                {
                    over.push((record.user, digest.to_owned()));
                }
            }
            for some in over.chunks(AT_ONCE) {
                let transaction = some
                    .iter()
                    .fold(Transaction::new(), |t, (user, digest)| forget(t, user, digest));
                self.store.commit(transaction).await?;
            }
            count += over.len();
        }
        Ok(count)
    }

    async fn of(&self, user: &UserName) -> Result<Vec<Own>, StoreError> {
        let prefix = keys::sessions_of(user);
        let all = state::list::<Marker>(self.store.as_ref(), &prefix).await?;
        let own = all.into_iter().filter_map(|Stored { record, key, .. }| {
            Some(Own { digest: key.strip_prefix(&prefix)?.to_owned(), since: record.at })
        });
        Ok(own.collect())
    }
}

/// A session and its entry under its user.
fn forget(transaction: Transaction, user: &UserName, digest: &str) -> Transaction {
    transaction.delete(keys::session(digest)).delete(keys::session_of(user, digest))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::{state::Role, store::EmbeddedStore};

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
                source: crate::state::Source::Local,
                identity: None,
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

        let keys_left = async |prefix: &str| store.range(prefix).await.unwrap().entries.len();
        assert_eq!(keys_left(keys::SESSIONS).await, keys_left(keys::SESSIONS_OF).await);
        // More than one transaction takes.
        let anna = "anna".parse().unwrap();
        let kept = tokens[PER_USER + 1].1.digest();
        sessions.end_others(&anna, Some(&kept)).await.unwrap();
        assert_eq!(keys_left(&keys::sessions_of(&anna)).await, 1);
        assert!(sessions.find(tokens[PER_USER + 1].1.expose()).await.unwrap().is_some());
        sessions.end(&kept).await.unwrap();
        assert_eq!(keys_left(&keys::sessions_of(&anna)).await, 0);
        assert_eq!(keys_left(keys::SESSIONS).await, 1, "ben's");
    }
}
