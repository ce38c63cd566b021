//! Accounts of people a provider vouches for. They belong to whom they were made for,
//! whatever name that person goes by there: names can change, and be given anew.

use super::{AccountError, Accounts, Known, accounts::Making};
use crate::{
    names::{BadField, UserName},
    state::{
        self, Identity, IdentityRecord, Source, Stored, TransactionExt as _, UserRecord, keys,
    },
    store::{StoreError, Transaction},
};

/// Lost races before giving up.
const ATTEMPTS: u32 = 8;

/// Somebody a provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who they are there.
    pub identity: Identity,
    /// What their account is to be called, when it is made.
    pub name: Result<UserName, BadField>,
    /// What else the provider says.
    pub known: Known,
}

type Seen = (Option<Stored<IdentityRecord>>, Option<UserRecord>);

// === impl Accounts ===

impl Accounts {
    /// The account of somebody a provider vouches for: made at the first sign-in, with
    /// the groups and the role the provider says at each.
    ///
    /// # Errors
    /// [`AccountError::NameTaken`], [`AccountError::Field`] for a name that cannot be an
    /// account's: neither matters to who has one.
    pub async fn welcome(&self, person: &Person) -> Result<UserRecord, AccountError> {
        for _ in 0..ATTEMPTS {
            // Before who it is: an account that this person is just getting is then
            // seen as theirs, not as somebody else's by their name.
            let taken = match &person.name {
                Ok(name) => self.find(name).await?,
                Err(_) => None,
            };
            if let (_, Some(user)) = self.seen(&person.identity).await? {
                return self.settled(user, &person.known).await;
            }
            let name = person.name.clone()?;
            if let Some(Stored { record, .. }) = taken {
                return Err(AccountError::NameTaken { name, by: record.source });
            }
            let identity = Some(person.identity.clone());
            let making = Making::vouched(name, &person.known, Source::Oidc);
            match self.make(Making { identity, ..making }).await {
                Ok(user) => return self.settled(user, &person.known).await,
                // Somebody was faster: the same person, or not.
                Err(AccountError::Exists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended { what: "an account", attempts: ATTEMPTS }.into())
    }

    /// What is noted of somebody, and the account they have.
    async fn seen(&self, identity: &Identity) -> Result<Seen, AccountError> {
        let key = keys::identity(identity);
        let noted = state::read::<IdentityRecord>(self.store.as_ref(), &key).await?;
        let user = match &noted {
            Some(noted) => self.find(&noted.record.user).await?.map(|stored| stored.record),
            None => None,
        };
        // One made anew under an old name is another's.
        let uid = noted.as_ref().map(|noted| noted.record.uid);
        let user = user.filter(|user| Some(user.uid) == uid && user.source == Source::Oidc);
        Ok((noted, user))
    }

    /// Adds to a transaction that makes an account whose it is.
    ///
    /// # Errors
    /// [`AccountError::Exists`] if they have one.
    pub(super) async fn bound(
        &self,
        transaction: Transaction,
        identity: &Identity,
        user: &UserRecord,
    ) -> Result<Transaction, AccountError> {
        let (before, None) = self.seen(identity).await? else {
            return Err(AccountError::Exists(user.name.clone()));
        };
        let key = keys::identity(identity);
        let record = IdentityRecord { user: user.name.clone(), uid: user.uid };
        Ok(transaction.unless_changed(&key, before.as_ref()).put_record(&key, &record)?)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc, time::Duration};

    use super::*;
    use crate::{
        auth::{Limits, NewAccount, Password, Passwords},
        clock::SystemClock,
        state::Role,
        store::{EmbeddedStore, Store},
    };

    async fn accounts(dir: &std::path::Path) -> Accounts {
        let store: Arc<dyn Store> =
            Arc::new(EmbeddedStore::open(&dir.join("store")).await.unwrap());
        let limits =
            Limits { account_attempts: 10, address_attempts: 50, lockout: Duration::from_secs(60) };
        Accounts::new(store, Arc::new(SystemClock), Passwords::new(1).await.unwrap(), limits)
    }

    fn person(issuer: &str, subject: &str, name: &str) -> Person {
        Person {
            identity: Identity { issuer: issuer.into(), subject: subject.into() },
            name: UserName::parse("name", name),
            known: Known::new("Ada: Countess".into(), &BTreeSet::new(), &[], &[]),
        }
    }

    #[tokio::test]
    async fn an_account_is_whom_it_was_made_for_whatever_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = accounts(dir.path()).await;
        let ada = accounts.welcome(&person("https://id", "1", "ada")).await.unwrap();
        assert_eq!((ada.role, ada.source, ada.full_name.as_str()), (Role::User, Source::Oidc, ""));
        // The same person, by another name, and by one that cannot be one.
        for name in ["ada", "countess", "Not A Name"] {
            assert_eq!(accounts.welcome(&person("https://id", "1", name)).await.unwrap(), ada);
        }
        // Another person, or one at another provider, by the same name.
        for (issuer, subject) in [("https://id", "2"), ("https://other", "1"), ("https://id 1", "")]
        {
            let refused = accounts.welcome(&person(issuer, subject, "ada")).await.unwrap_err();
            assert!(
                matches!(refused, AccountError::NameTaken { by: Source::Oidc, .. }),
                "{issuer} {subject}: {refused}"
            );
        }
        let refused = accounts.welcome(&person("https://id", "3", "Not A Name")).await.unwrap_err();
        assert!(matches!(refused, AccountError::Field(_)), "{refused}");
        // Deleted and made anew, it is a new account, also for the same person.
        accounts.delete(&ada.name).await.unwrap();
        let again = accounts.welcome(&person("https://id", "2", "ada")).await.unwrap();
        assert_eq!(again.uid, ada.uid + 1, "a uid is never given twice");
        assert!(accounts.welcome(&person("https://id", "1", "ada")).await.is_err());
    }

    #[tokio::test]
    async fn accounts_of_the_cluster_are_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = accounts(dir.path()).await;
        let new = NewAccount {
            name: "root-admin".parse().unwrap(),
            full_name: String::new(),
            role: Role::Admin,
            password: Password::chosen("password", "correct horse".into()).unwrap(),
        };
        accounts.create(new).await.unwrap();
        let refused = accounts.welcome(&person("https://id", "1", "root-admin")).await.unwrap_err();
        assert!(matches!(refused, AccountError::NameTaken { by: Source::Local, .. }), "{refused}");
        assert!(refused.to_string().contains("an account of this cluster"), "{refused}");
    }

    #[tokio::test]
    async fn those_who_come_at_once_get_one_account() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = accounts(dir.path()).await;
        let ada = person("https://id", "1", "ada");
        let both = futures_util::future::join_all((0..4).map(|_| accounts.welcome(&ada))).await;
        let uids: BTreeSet<u32> = both.into_iter().map(|user| user.unwrap().uid).collect();
        assert_eq!(uids.len(), 1);
    }
}
