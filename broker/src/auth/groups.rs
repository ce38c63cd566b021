//! Groups of users. Pools are open to users and to groups; a directory's groups
//! are mapped onto these.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use thiserror::Error;

use crate::{
    clock::Clock,
    names::{BadField, GroupName, PoolName, UserName},
    state::{
        self, GroupRecord, MemberRecord, PoolRecord, Source, Stored, TransactionExt as _,
        UserRecord, keys,
    },
    store::{Commit, MAX_OPERATIONS, Store, StoreError, Transaction},
};

/// Lost races before giving up.
const ATTEMPTS: u32 = 32;
/// Groups one user may be in.
const PER_USER: usize = 64;
/// Longest description, bytes.
const MAX_DESCRIPTION: usize = 1024;

/// Something about a group cannot be done.
#[derive(Debug, Error)]
pub enum GroupError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A field is not acceptable.
    #[error(transparent)]
    Field(#[from] BadField),
    /// The name is taken.
    #[error("there is a group {0} already")]
    Exists(GroupName),
    /// There is no such group.
    #[error("there is no group {0}; make it: rolltop group create {0}")]
    Unknown(GroupName),
    /// There is no such user.
    #[error("there is no user {0}")]
    UnknownUser(UserName),
    /// A pool is open to it.
    #[error(
        "pool {pool} names group {group}; take it out there first, or the pool would be open to others"
    )]
    InUse {
        /// The group.
        group: GroupName,
        /// The pool.
        pool: PoolName,
    },
    /// Nobody is in so many.
    #[error("user {0} is in {PER_USER} groups already")]
    TooMany(UserName),
}

/// All groups. Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserName,
    /// How they came to be in it.
    pub record: MemberRecord,
}

// === impl Groups ===

impl Groups {
    /// Over the groups in the store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Makes a group without members.
    ///
    /// # Errors
    /// [`GroupError::Exists`].
    pub async fn create(
        &self,
        name: GroupName,
        description: String,
    ) -> Result<GroupRecord, GroupError> {
        if description.len() > MAX_DESCRIPTION || description.chars().any(char::is_control) {
            let wanted = format!("{MAX_DESCRIPTION} bytes at most, without control characters");
            return Err(BadField::new("description", &description, wanted).into());
        }
        let key = keys::group(&name);
        let record = GroupRecord { name, description, created_at: self.clock.now(), members: 0 };
        let make = Transaction::new().absent(&key).put_record(&key, &record)?;
        match self.store.commit(make).await? {
            Commit::Applied(_) => Ok(record),
            Commit::Conflict { .. } => Err(GroupError::Exists(record.name)),
        }
    }

    /// Deletes a group, whoever is in it.
    ///
    /// # Errors
    /// [`GroupError::InUse`] while a pool names it.
    pub async fn delete(&self, name: &GroupName) -> Result<(), GroupError> {
        for _ in 0..ATTEMPTS {
            // Whoever joins, and a pool that is opened to it, writes this record.
            let group = self.find(name).await?;
            let pools = state::list::<PoolRecord>(self.store.as_ref(), keys::POOLS).await?;
            if let Some(pool) = pools.iter().find(|pool| pool.record.groups.contains(name)) {
                let pool = pool.record.name.clone();
                return Err(GroupError::InUse { group: name.clone(), pool });
            }
            let members = self.members(name).await?;
            for some in members.chunks(MAX_OPERATIONS / 2) {
                let leave = some.iter().fold(Transaction::new(), |t, member| {
                    t.delete(keys::member(name, &member.user))
                        .delete(keys::member_of(&member.user, name))
                });
                self.store.commit(leave).await?;
            }
            let delete =
                Transaction::new().unchanged(&group.key, group.revision).delete(&group.key);
            if let Commit::Applied(_) = self.store.commit(delete).await? {
                return Ok(());
            }
        }
        Err(StoreError::Contended { what: "a group", attempts: ATTEMPTS }.into())
    }

    /// Every group, by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list(&self) -> Result<Vec<GroupRecord>, GroupError> {
        let stored = state::list::<GroupRecord>(self.store.as_ref(), keys::GROUPS).await?;
        Ok(stored.into_iter().map(|stored| stored.record).collect())
    }

    /// Who is in a group, by name.
    ///
    /// # Errors
    /// [`GroupError::Unknown`].
    pub async fn members(&self, name: &GroupName) -> Result<Vec<Member>, GroupError> {
        self.find(name).await?;
        let prefix = keys::members(name);
        let stored = state::list::<MemberRecord>(self.store.as_ref(), &prefix).await?;
        let named = stored.into_iter().filter_map(|Stored { key, record, .. }| {
            let user = key.strip_prefix(&prefix)?.parse().ok()?;
            Some(Member { user, record })
        });
        Ok(named.collect())
    }

    /// The groups a user is in.
    ///
    /// # Errors
    /// Of the store.
    pub async fn of(&self, user: &UserRecord) -> Result<BTreeSet<GroupName>, StoreError> {
        let memberships = self.memberships(user).await?;
        Ok(memberships.into_keys().collect())
    }

    /// The groups everybody is in.
    ///
    /// # Errors
    /// Of the store.
    pub async fn of_all(&self) -> Result<BTreeMap<UserName, BTreeSet<GroupName>>, StoreError> {
        let stored = state::list::<MemberRecord>(self.store.as_ref(), keys::MEMBERS).await?;
        let mut all: BTreeMap<UserName, BTreeSet<GroupName>> = BTreeMap::new();
        for key in stored.into_iter().map(|stored| stored.key) {
            let pair = key.strip_prefix(keys::MEMBERS).and_then(|pair| pair.split_once('/'));
            if let Some((group, user)) = pair
                && let (Ok(group), Ok(user)) = (group.parse(), user.parse())
            {
                all.entry(user).or_default().insert(group);
            }
        }
        Ok(all)
    }

    /// Puts a user into a group; again is success.
    ///
    /// # Errors
    /// [`GroupError::Unknown`], [`GroupError::UnknownUser`],
    /// [`GroupError::TooMany`].
    pub async fn add(
        &self,
        group: &GroupName,
        user: &UserName,
        source: Source,
    ) -> Result<(), GroupError> {
        for _ in 0..ATTEMPTS {
            let found = self.find(group).await?;
            let key = keys::user(user);
            let account = state::read::<UserRecord>(self.store.as_ref(), &key).await?;
            let account = account.ok_or_else(|| GroupError::UnknownUser(user.clone()))?;
            let memberships = self.memberships(&account.record).await?;
            if memberships.contains_key(group) {
                return Ok(());
            }
            if memberships.len() >= PER_USER {
                return Err(GroupError::TooMany(user.clone()));
            }
            let (there, here) = (keys::member(group, user), keys::member_of(user, group));
            // One of an earlier account of this name does not count, and is replaced.
            let stale = state::read::<MemberRecord>(self.store.as_ref(), &there).await?;
            let more = u64::from(stale.is_none());
            let record = MemberRecord { uid: account.record.uid, since: self.clock.now(), source };
            let changed =
                GroupRecord { members: found.record.members + more, ..found.record.clone() };
            let join = Transaction::new()
                .unchanged(&found.key, found.revision)
                .unchanged(&account.key, account.revision)
                .put_record(&found.key, &changed)?
                .put_record(&there, &record)?
                .put_record(&here, &record)?;
            if let Commit::Applied(_) = self.store.commit(join).await? {
                return Ok(());
            }
        }
        Err(StoreError::Contended { what: "a group", attempts: ATTEMPTS }.into())
    }

    /// Takes a user out of a group; again is success.
    ///
    /// # Errors
    /// [`GroupError::Unknown`].
    pub async fn remove(&self, group: &GroupName, user: &UserName) -> Result<(), GroupError> {
        for _ in 0..ATTEMPTS {
            let found = self.find(group).await?;
            let there = keys::member(group, user);
            let Some(member) = state::read::<MemberRecord>(self.store.as_ref(), &there).await?
            else {
                return Ok(());
            };
            let members = found.record.members.saturating_sub(1);
            let changed = GroupRecord { members, ..found.record.clone() };
            let leave = Transaction::new()
                .unchanged(&found.key, found.revision)
                .unchanged(&there, member.revision)
                .put_record(&found.key, &changed)?
                .delete(&there)
                .delete(keys::member_of(user, group));
            if let Commit::Applied(_) = self.store.commit(leave).await? {
                return Ok(());
            }
        }
        Err(StoreError::Contended { what: "a group", attempts: ATTEMPTS }.into())
    }

    /// Makes a user's memberships that came from `source` these. Groups that do
    /// not exist are left out.
    ///
    /// # Errors
    /// Of the store, and [`GroupError::TooMany`].
    pub async fn assign(
        &self,
        user: &UserRecord,
        groups: &BTreeSet<GroupName>,
        source: Source,
    ) -> Result<(), GroupError> {
        let present = self.memberships(user).await?;
        let surplus = present
            .iter()
            .filter(|(group, record)| record.source == source && !groups.contains(*group));
        for (group, _) in surplus {
            self.remove(group, &user.name).await?;
        }
        for group in groups.iter().filter(|group| !present.contains_key(*group)) {
            match self.add(group, &user.name, source).await {
                Ok(()) | Err(GroupError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes a user that is no more out of all groups.
    ///
    /// # Errors
    /// Of the store.
    pub async fn forget(&self, user: &UserName) -> Result<(), GroupError> {
        let prefix = keys::members_of(user);
        for Stored { key, .. } in state::list::<MemberRecord>(self.store.as_ref(), &prefix).await? {
            if let Some(group) = key.strip_prefix(&prefix).and_then(|name| name.parse().ok()) {
                match self.remove(&group, user).await {
                    Ok(()) | Err(GroupError::Unknown(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Demands of a transaction that these groups are there, and that nobody
    /// deletes them meanwhile.
    ///
    /// # Errors
    /// [`GroupError::Unknown`].
    pub async fn holding(
        &self,
        mut transaction: Transaction,
        groups: &[GroupName],
    ) -> Result<Transaction, GroupError> {
        for group in groups {
            let found = self.find(group).await?;
            transaction = transaction
                .unchanged(&found.key, found.revision)
                .put_record(&found.key, &found.record)?;
        }
        Ok(transaction)
    }

    /// An account made anew under an old name is somebody else, who is in none.
    async fn memberships(
        &self,
        user: &UserRecord,
    ) -> Result<BTreeMap<GroupName, MemberRecord>, StoreError> {
        let prefix = keys::members_of(&user.name);
        let stored = state::list::<MemberRecord>(self.store.as_ref(), &prefix).await?;
        let valid = stored.into_iter().filter(|stored| stored.record.uid == user.uid);
        let named = valid.filter_map(|Stored { key, record, .. }| {
            Some((key.strip_prefix(&prefix)?.parse().ok()?, record))
        });
        Ok(named.collect())
    }

    async fn find(&self, name: &GroupName) -> Result<Stored<GroupRecord>, GroupError> {
        let found = state::read(self.store.as_ref(), &keys::group(name)).await?;
        found.ok_or_else(|| GroupError::Unknown(name.clone()))
    }
}
