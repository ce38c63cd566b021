//! Giving roles, so that an admin is always left; and what a directory or a provider
//! says of somebody.

use std::collections::BTreeSet;

use super::{
    AccountError, Accounts, GroupError,
    accounts::{Making, check_full_name},
};
use crate::{
    names::{GroupName, UserName},
    state::{self, Marker, Role, Source, TransactionExt as _, UserRecord, keys},
    store::{Commit, StoreError, Transaction},
};

/// Lost races before giving up.
const ATTEMPTS: u32 = 16;

/// What a directory or a provider says of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// May be empty.
    pub full_name: String,
    /// Ours, by the mapping.
    pub groups: BTreeSet<GroupName>,
    /// The greatest of those mapped; none: no group says anything.
    pub role: Option<Role>,
    /// Whether roles are mapped at all.
    pub gives_roles: bool,
}

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

    /// The account of somebody a directory vouches for: made at the first sign-in.
    pub(super) async fn admitted(
        &self,
        name: &UserName,
        known: Known,
    ) -> Result<UserRecord, AccountError> {
        let user = match self.find(name).await? {
            Some(stored) => stored.record,
            None => self.make(Making::vouched(name.clone(), &known, Source::Ldap)).await?,
        };
        self.settled(user, &known).await
    }

    /// With the groups and the role that whoever vouches for the account says.
    pub(super) async fn settled(
        &self,
        mut user: UserRecord,
        known: &Known,
    ) -> Result<UserRecord, AccountError> {
        let (name, given) = (user.name.clone(), known.role.unwrap_or(Role::User));
        if known.gives_roles && user.role != given {
            match self.set_role(&name, given).await {
                Ok(changed) => user = changed,
                // A slip over there is not to leave the cluster without one.
                Err(AccountError::LastAdmin(_)) => {
                    tracing::warn!(user = %name, source = %user.source, "the last admin would be demoted");
                }
                Err(error) => return Err(error),
            }
        }
        match self.groups.assign(&user, &known.groups, user.source).await {
            Ok(()) => Ok(user),
            Err(GroupError::Store(error)) => Err(error.into()),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(user = %name, source = %user.source, error, "a group was left out");
                Ok(user)
            }
        }
    }
}

// === impl Known ===

impl Known {
    /// Of somebody who is in these groups of theirs.
    pub fn new(
        full_name: String,
        theirs: &BTreeSet<String>,
        groups: &[(String, GroupName)],
        roles: &[(String, Role)],
    ) -> Self {
        let ours = groups.iter().filter(|(group, _)| theirs.contains(group));
        let given = roles.iter().filter(|(group, _)| theirs.contains(group));
        Self {
            full_name,
            groups: ours.map(|(_, ours)| ours.clone()).collect(),
            role: given.map(|(_, role)| *role).max(),
            gives_roles: !roles.is_empty(),
        }
    }
}

// === impl Making ===

impl Making {
    /// Of somebody others vouch for; a full name that cannot be one is left out.
    pub(super) fn vouched(name: UserName, known: &Known, source: Source) -> Self {
        let full_name = check_full_name(&known.full_name)
            .map_or_else(|_| String::new(), |()| known.full_name.clone());
        let role = known.role.unwrap_or(Role::User);
        Self { name, full_name, role, password_hash: String::new(), source, identity: None }
    }
}
