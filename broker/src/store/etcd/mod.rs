//! The store of several brokers: an etcd cluster.
//!
//! * `members`: which member is asked, for how long, and who is asked next;
//! * `fault`: what an answer that is none means;
//! * `commit`: transactions, applied once and reported truthfully;
//! * `slots`: the markers `commit` needs for that;
//! * `pump`: one watch over everything, from which all watches here are fed.
//!
//! Under the prefix, `k/` holds the keys of the trait, `m/` the markers.

mod commit;
mod fault;
mod members;
mod options;
mod pump;
mod slots;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use etcd_client::{GetOptions, KeyValue, LeaseGrantOptions};
use futures_util::stream;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{commit::Committer, fault::Fault, members::Members, slots::Slots};
use super::{
    Commit, Entry, LeaseId, Revision, Scan, Store, StoreError, Transaction, Watch, history::History,
};

pub use options::{EtcdOptions, EtcdTls, EtcdUser};

/// Entries read at once by a scan: of the largest values, 64 MiB.
const PAGE: i64 = 256;

/// See the module's page.
pub struct EtcdStore {
    members: Arc<Members>,
    layout: Layout,
    committer: Committer,
    history: Arc<History>,
    /// Ends the tasks that follow changes and keep markers.
    _tasks: DropGuard,
}

/// Where keys are in etcd.
#[derive(Debug, Clone)]
struct Layout {
    keys: String,
    markers: String,
}

// === impl EtcdStore ===

impl EtcdStore {
    /// Connects. Must be called within a tokio runtime, which then also
    /// follows the changes.
    ///
    /// # Errors
    /// [`StoreError::Setup`], or that no member answers.
    pub async fn open(options: &EtcdOptions) -> Result<Self, StoreError> {
        let layout = Layout::under(&options.prefix);
        let members = Arc::new(Members::new(options)?);
        let whole = (layout.keys.clone(), after_all(&layout.keys));
        let found = members
            .call("connect", move |mut client| {
                let (from, to) = whole.clone();
                Box::pin(async move {
                    let count = GetOptions::new().with_range(to).with_count_only();
                    client.get(from, Some(count)).await
                })
            })
            .await?;
        let now = header_revision(found.header())?;
        let history = Arc::new(History::starting_at(now));
        let slots = Arc::new(Slots::new(Arc::clone(&members), layout.markers.clone()));
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(pump::run(
            Arc::clone(&members),
            layout.keys.clone(),
            Arc::clone(&history),
            now,
        )));
        tokio::spawn(end.clone().run_until_cancelled_owned(slots::renew(Arc::clone(&slots))));
        Ok(Self {
            committer: Committer::new(Arc::clone(&members), layout.clone(), slots),
            members,
            layout,
            history,
            _tasks: end.drop_guard(),
        })
    }

    /// One page from `from` up to `to`, as of `at`, or now.
    async fn page(
        &self,
        from: Vec<u8>,
        to: Vec<u8>,
        at: Option<Revision>,
    ) -> Result<(Vec<Entry>, bool, Revision), StoreError> {
        page(&self.members, &self.layout, from, to, at).await
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = self.layout.key(key);
        let mut found = self
            .members
            .call("read a key", move |mut client| {
                let key = key.clone();
                Box::pin(async move { client.get(key, None).await })
            })
            .await?;
        found.take_kvs().into_iter().next().map(|kv| self.layout.entry(kv)).transpose()
    }

    async fn scan(&self, prefix: &str) -> Result<Scan, StoreError> {
        let from = self.layout.key(prefix);
        let to = after_all(&from);
        let (first, more, revision) = self.page(from.into_bytes(), to.clone(), None).await?;
        let members = Arc::clone(&self.members);
        let layout = self.layout.clone();
        let pages = stream::try_unfold((first, more), move |(entries, more)| {
            let members = Arc::clone(&members);
            let layout = layout.clone();
            let to = to.clone();
            async move {
                let Some(last) = entries.last() else { return Ok(None) };
                let next = if more {
                    // No key lies between one and the same with a zero after it.
                    let from = format!("{}\0", layout.key(&last.key)).into_bytes();
                    let (entries, more, _) =
                        page(&members, &layout, from, to, Some(revision)).await?;
                    (entries, more)
                } else {
                    (Vec::new(), false)
                };
                Ok(Some((entries, next)))
            }
        });
        Ok(Scan { revision, pages: Box::pin(pages) })
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        self.committer.commit(transaction).await
    }

    async fn watch(&self, prefix: &str, since: Revision) -> Result<Watch, StoreError> {
        Ok(self.history.watch(prefix, since))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.members.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.members.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let id = lease_number(lease)?;
        let mut asked_before = false;
        self.members
            .until_answered("end a lease", |members, deadline| {
                let again = std::mem::replace(&mut asked_before, true);
                Box::pin(async move {
                    let done = members
                        .once(deadline, move |mut client| {
                            Box::pin(async move { client.lease_revoke(id).await })
                        })
                        .await;
                    match done {
                        // The first try, whose answer was lost, may have ended it.
                        Err(Fault::NoLease) if again => Ok(()),
                        other => other.map(drop),
                    }
                })
            })
            .await
            .map_err(|error| members::name_lease(error, lease))
    }
}

// === impl Layout ===

impl Layout {
    fn under(prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('/');
        Self { keys: format!("{prefix}/k/"), markers: format!("{prefix}/m/") }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.keys)
    }

    /// The key of the trait; none for one that is not ours.
    fn name<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(key).ok()?.strip_prefix(&self.keys)
    }

    fn entry(&self, kv: KeyValue) -> Result<Entry, StoreError> {
        let revision = to_revision(kv.mod_revision());
        let leased = kv.lease() != 0;
        let (key, value) = kv.into_key_value();
        let Some(name) = self.name(&key) else {
            return Err(StoreError::Damaged {
                key: String::from_utf8_lossy(&key).into_owned(),
                reason: format!("the key is not text below {}", self.keys),
            });
        };
        Ok(Entry { key: name.to_owned(), value, revision, leased })
    }
}

async fn page(
    members: &Members,
    layout: &Layout,
    from: Vec<u8>,
    to: Vec<u8>,
    at: Option<Revision>,
) -> Result<(Vec<Entry>, bool, Revision), StoreError> {
    let mut options = GetOptions::new().with_range(to).with_limit(PAGE);
    if let Some(at) = at {
        options = options.with_revision(from_revision(at));
    }
    let mut found = members
        .call("read a range", move |mut client| {
            let (from, options) = (from.clone(), options.clone());
            Box::pin(async move { client.get(from, Some(options)).await })
        })
        .await
        .map_err(|error| match (error, at) {
            (StoreError::Compacted(_), Some(at)) => StoreError::Compacted(at),
            (other, _) => other,
        })?;
    let revision = header_revision(found.header())?;
    let more = found.more();
    let entries =
        found.take_kvs().into_iter().map(|kv| layout.entry(kv)).collect::<Result<_, _>>()?;
    Ok((entries, more, revision))
}

/// The end of the range of all keys that start with `prefix`. Ours end with a
/// character below 255.
fn after_all(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    // What etcd takes for no end.
    vec![0]
}

fn header_revision(header: Option<&etcd_client::ResponseHeader>) -> Result<Revision, StoreError> {
    header.map(|header| to_revision(header.revision())).ok_or_else(|| StoreError::Damaged {
        key: "(header)".to_owned(),
        reason: "a member's answer has no revision".to_owned(),
    })
}

/// etcd counts with a sign, but from 1.
fn to_revision(revision: i64) -> Revision {
    Revision(revision.unsigned_abs())
}

fn from_revision(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn lease_number(lease: LeaseId) -> Result<i64, StoreError> {
    // 0 would be no lease at all, more than this was never granted.
    i64::try_from(lease.0).ok().filter(|id| *id > 0).ok_or(StoreError::LeaseGone(lease))
}

fn lease_options(id: i64) -> LeaseGrantOptions {
    LeaseGrantOptions::new().with_id(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(after_all("/rolltop/k/"), b"/rolltop/k0");
        assert_eq!(after_all("\u{7f}"), [0x80]);
        assert_eq!(after_all(""), [0]);
    }

    #[test]
    fn only_keys_below_the_prefix_are_ours() {
        let layout = Layout::under("/rolltop/");
        assert_eq!(layout.name(layout.key("user/anna").as_bytes()), Some("user/anna"));
        assert_eq!(layout.name(b"/rolltop/m/x"), None);
        assert_eq!(layout.name(b"/rolltop/k/\xff"), None);
    }

    #[test]
    fn no_lease_is_never_taken_for_one() {
        for id in [0, u64::MAX] {
            assert!(matches!(lease_number(LeaseId(id)), Err(StoreError::LeaseGone(_))));
        }
    }
}
