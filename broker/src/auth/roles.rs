//! Giving roles, so that an admin is always left; and what a directory says of
//! somebody.

use super::{AccountError, Accounts, GroupError, Known, accounts::check_full_name};
use crate::{
    names::UserName,
    state::{self, Marker, Role, Source, TransactionExt as _, UserRecord, keys},
    store::{Commit, StoreError, Transaction},
};

/// Lost races before giving up.
const ATTEMPTS: u32 = 16;

// === impl Accounts ===

impl Accounts {
    /// Gives a user a role.
    ///
    /// # Errors
    /// [`AccountError::LastAdmin`], [`AccountError::Unknown`].
    pub async fn set_role(&self, name: &UserName, role: Role) -> Result<UserRecord, AccountError> {
        for _ in 0..ATTEMPTS {
            let stored =
                self.find(name).await?.ok_or_else(|| AccountError::Unknown(name.clone()))?;
            let changed = UserRecord { role, ..stored.record.clone() };
            let mut transaction = Transaction::new()
                .unchanged(&stored.key, stored.revision)
                .put_record(&stored.key, &changed)?;
            if role != Role::Admin {
                transaction = self.leaving_an_admin(transaction, &stored.record).await?;
            }
            if let Commit::Applied(_) = self.store.commit(transaction).await? {
                return Ok(changed);
            }
        }
        Err(StoreError::Contended { what: "a role", attempts: ATTEMPTS }.into())
    }

    /// Adds to a transaction after which `user` is no admin that another one is
    /// left. A cluster that never had one needs none.
    pub(super) async fn leaving_an_admin(
        &self,
        transaction: Transaction,
        user: &UserRecord,
    ) -> Result<Transaction, AccountError> {
        if user.role != Role::Admin {
            return Ok(transaction);
        }
        // Two admins who leave at once both write this key, and one of them loses.
        let key = keys::ADMINS_CHANGED;
        let last = state::read::<Marker>(self.store.as_ref(), key).await?;
        let admins = self.list().await?.into_iter().filter(|user| user.role == Role::Admin);
        if admins.filter(|admin| admin.name != user.name).count() == 0 {
            return Err(AccountError::LastAdmin(user.name.clone()));
        }
        let marker = Marker { at: self.clock.now() };
        Ok(transaction.unless_changed(key, last.as_ref()).put_record(key, &marker)?)
    }

    /// The account of somebody a directory vouches for: made at the first sign-in,
    /// with the directory's groups and role at each.
    pub(super) async fn admitted(
        &self,
        name: &UserName,
        known: Known,
    ) -> Result<UserRecord, AccountError> {
        let given = known.role.unwrap_or(Role::User);
        let mut user = match self.find(name).await? {
            Some(stored) => stored.record,
            None => {
                let full_name = check_full_name(&known.full_name)
                    .map_or_else(|_| String::new(), |()| known.full_name.clone());
                self.make(name.clone(), full_name, given, String::new(), Source::Ldap).await?
            }
        };
        if known.gives_roles && user.role != given {
            match self.set_role(name, given).await {
                Ok(changed) => user = changed,
                // A slip in the directory is not to leave the cluster without one.
                Err(AccountError::LastAdmin(_)) => {
                    tracing::warn!(user = %name, "the directory would demote the last admin");
                }
                Err(error) => return Err(error),
            }
        }
        match self.groups.assign(&user, &known.groups, Source::Ldap).await {
            Ok(()) => Ok(user),
            Err(GroupError::Store(error)) => Err(error.into()),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(user = %name, error, "a group of the directory was left out");
                Ok(user)
            }
        }
    }
}
