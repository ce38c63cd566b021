//! The store of a single broker: one redb file beside it.
//!
//! Leases live in memory, since this process is the only one that could keep
//! them alive: keys bound to a lease are dropped when the file is opened.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::stream;
use redb::{Database, ReadableDatabase as _};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Commit, Entry, Event, LeaseId, Revision, Scan, Store, StoreError, Transaction, Watch, Write,
    file::{self, COUNTERS, KEYS, REVISION, failed},
    history::History,
    leases::Leases,
    snapshot::{Page, Snapshot},
};
use crate::queue::Queue;

/// The whole store is a few megabytes; redb's own default is a gigabyte.
const CACHE_BYTES: usize = 16 << 20;
/// Most transactions that share one write: a bound on what is lost if it fails.
const TOGETHER: usize = 256;

/// See the module's page.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// Ends the task that watches over leases.
    _expiry: DropGuard,
}

struct Shared {
    database: Database,
    history: Arc<History>,
    /// Held over a whole commit: history and leases follow the file's order.
    leases: Arc<Mutex<Leases>>,
    leases_changed: Arc<Notify>,
    queue: Arc<Queue<Waiting>>,
}

/// One transaction, and who waits for it to be durable.
struct Waiting {
    transaction: Transaction,
    answer: oneshot::Sender<Result<Commit, StoreError>>,
}

// === impl EmbeddedStore ===

impl EmbeddedStore {
    /// Opens or makes the file. Must be called within a tokio runtime, which
    /// then also ends leases.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has the file.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let shared = blocking("open", move || Shared::open(&path)).await?;
        let shared = Arc::new(shared);
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(expire_leases(
            Arc::downgrade(&shared),
            Arc::clone(&shared.leases),
            Arc::clone(&shared.leases_changed),
        )));
        Ok(Self { shared, _expiry: end.drop_guard() })
    }

    async fn run<T: Send + 'static>(
        &self,
        verb: &'static str,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        blocking(verb, move || work(&shared)).await
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_owned();
        self.run("read a key", move |shared| shared.get(key)).await
    }

    async fn scan(&self, prefix: &str) -> Result<Scan, StoreError> {
        let prefix = prefix.to_owned();
        let (revision, first) =
            self.run("read a range", move |shared| shared.snapshot(prefix)).await?;
        let pages = stream::try_unfold(first, |(page, rest)| async move {
            if page.is_empty() {
                return Ok(None);
            }
            let next = match rest {
                Some(rest) => blocking("read a range", move || rest.page()).await?,
                None => (Vec::new(), None),
            };
            Ok(Some((page, next)))
        });
        Ok(Scan { revision, pages: Box::pin(pages) })
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        transaction.check()?;
        let (answer, told) = oneshot::channel();
        if self.shared.queue.push(Waiting { transaction, answer }) {
            let shared = Arc::clone(&self.shared);
            // It answers each of those that wait.
            drop(tokio::task::spawn_blocking(move || serve(shared)));
        }
        told.await.unwrap_or(Err(StoreError::Worker { verb: "commit" }))
    }

    async fn watch(&self, prefix: &str, since: Revision) -> Result<Watch, StoreError> {
        Ok(self.shared.history.watch(prefix, since))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let now = Instant::now();
        let id =
            self.run("grant a lease", move |shared| Ok(shared.leases().grant(ttl, now))).await?;
        self.shared.leases_changed.notify_one();
        Ok(id)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let now = Instant::now();
        let kept = self
            .run("keep a lease", move |shared| Ok(shared.leases().keep_alive(lease, now)))
            .await?;
        if kept { Ok(()) } else { Err(StoreError::LeaseGone(lease)) }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.run("end a lease", move |shared| shared.end_lease(lease, None)).await
    }
}

// === impl Shared ===

impl Shared {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = || path.display().to_string();
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| {
                match error {
                    redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: shown() },
                    other => StoreError::Open { path: shown(), source: Arc::new(other.into()) },
                }
            })?;
        let revision = file::prepare(&database).map_err(failed("prepare the file"))?;
        Ok(Self {
            database,
            history: Arc::new(History::starting_at(revision)),
            leases: Arc::default(),
            leases_changed: Arc::default(),
            queue: Arc::default(),
        })
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        lock(&self.leases)
    }

    fn get(&self, key: String) -> Result<Option<Entry>, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(KEYS)?;
            Ok(table.get(key.as_str())?.map(|found| {
                let (revision, leased, value) = found.value();
                (Revision(revision), leased, value.to_owned())
            }))
        };
        let found = read().map_err(failed("read a key"))?;
        Ok(found.map(|(revision, leased, value)| Entry { key, value, revision, leased }))
    }

    fn snapshot(&self, prefix: String) -> Result<(Revision, Page), StoreError> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            let revision =
                transaction.open_table(COUNTERS)?.get(REVISION)?.map_or(0, |found| found.value());
            Ok((Revision(revision), transaction))
        };
        let (revision, transaction) = read().map_err(failed("read a range"))?;
        let snapshot = Snapshot::of(transaction, prefix);
        Ok((revision, snapshot.page()?))
    }

    /// Commits one after the other, in one durable step.
    fn commit_all(
        &self,
        leases: &mut Leases,
        transactions: &[Transaction],
    ) -> Vec<Result<Commit, StoreError>> {
        let lost = |transaction: &Transaction| {
            transaction.writes.iter().find_map(|write| match write {
                Write::Put { lease: Some(lease), .. } if !leases.lives(*lease) => Some(*lease),
                Write::Put { .. } | Write::Delete { .. } => None,
            })
        };
        let lost: Vec<_> = transactions.iter().map(lost).collect();
        let sound: Vec<_> = transactions
            .iter()
            .zip(&lost)
            .filter(|(_, lost)| lost.is_none())
            .map(|(t, _)| t)
            .collect();
        let (mut written, failure) = match file::write(&self.database, &sound) {
            Ok(written) => (written.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(Arc::new(error))),
        };
        let mut answers = Vec::with_capacity(transactions.len());
        for (transaction, lost) in transactions.iter().zip(lost) {
            answers.push(match (lost, &failure) {
                (Some(lease), _) => Err(StoreError::LeaseGone(lease)),
                (None, Some(source)) => {
                    Err(StoreError::Database { verb: "commit", source: Arc::clone(source) })
                }
                (None, None) => match written.next() {
                    Some((commit, events)) => {
                        self.note(leases, transaction, &commit, events);
                        Ok(commit)
                    }
                    None => Err(StoreError::Worker { verb: "commit" }),
                },
            });
        }
        answers
    }

    /// What leases and watches need to know of a commit.
    fn note(
        &self,
        leases: &mut Leases,
        transaction: &Transaction,
        commit: &Commit,
        events: Vec<Event>,
    ) {
        let Commit::Applied(revision) = commit else { return };
        for write in &transaction.writes {
            match write {
                Write::Put { key, lease, .. } => leases.bind(key, *lease),
                Write::Delete { key } => leases.bind(key, None),
            }
        }
        self.history.record(*revision, events);
    }

    /// `due`: only if that is still when it ends.
    fn end_lease(&self, id: LeaseId, due: Option<Instant>) -> Result<(), StoreError> {
        let mut leases = self.leases();
        let Some(ends) = leases.ends(id) else {
            return Err(StoreError::LeaseGone(id));
        };
        if due.is_some_and(|due| due != ends) {
            return Ok(());
        }
        let keys = leases.keys(id);
        if !keys.is_empty() {
            // Unchecked: a lease may have any number of keys.
            let transaction = keys.into_iter().fold(Transaction::new(), Transaction::delete);
            self.commit_all(&mut leases, &[transaction])
                .into_iter()
                .try_for_each(|done| done.map(drop))?;
        }
        leases.end(id);
        Ok(())
    }
}

/// Writes until nobody waits.
fn serve(shared: Arc<Shared>) {
    let turn = shared.queue.serve();
    let mut held = Some(shared);
    while let Some(shared) = held.take() {
        let (transactions, answers): (Vec<_>, Vec<_>) = turn
            .next(TOGETHER)
            .into_iter()
            .map(|waiting| (waiting.transaction, waiting.answer))
            .unzip();
        let done = shared.commit_all(&mut shared.leases(), &transactions);
        // The file is let go before the last answer, after which someone may
        // close the store and open it again.
        if turn.is_over() {
            drop(shared);
        } else {
            held = Some(shared);
        }
        for (answer, done) in answers.into_iter().zip(done) {
            // Who has gone meanwhile does not want to know.
            drop(answer.send(done));
        }
    }
}

/// Holds the database only while it ends a lease, so that dropping the store
/// closes the file at once.
async fn expire_leases(shared: Weak<Shared>, leases: Arc<Mutex<Leases>>, changed: Arc<Notify>) {
    loop {
        let reading = Arc::clone(&leases);
        let first = blocking("read leases", move || Ok(lock(&reading).first_end()))
            .await
            .unwrap_or_default();
        let Some((id, ends)) = first else {
            changed.notified().await;
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep_until(ends) => {}
            () = changed.notified() => continue,
        }
        let Some(ending) = shared.upgrade() else { return };
        match blocking("end a lease", move || ending.end_lease(id, Some(ends))).await {
            Ok(()) | Err(StoreError::LeaseGone(_)) => {}
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    lease = id.0,
                    "a lease could not be ended"
                );
                // The file is at fault; do not spin on it.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    verb: &'static str,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Worker { verb }))
}

fn lock(leases: &Mutex<Leases>) -> MutexGuard<'_, Leases> {
    leases.lock().unwrap_or_else(PoisonError::into_inner)
}
