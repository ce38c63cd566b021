//! Changes that share records, in one transaction for all that wait. Each claim
//! takes the next epoch, and each claim and end changes what is claimed on a host
//! and how many desktops a pool has: apart, they would lose races to each other
//! again and again.
//!
//! * `books`: the shared records as this broker knows them;
//! * `fleet`: the hosts, as placement sees them;
//! * `draft`: what a group makes of both;
//! * `assembly`: how many fit into one transaction.
//!
//! A member **plans**: it adds to the draft what it changes of the shared records,
//! and brings a transaction of its own for what is its alone. If that does not hold
//! any more, the member is told to look again, and the others go on without it. If
//! a shared record was changed by another broker, all plan again. What is known of
//! the shared records may be old; the transaction demands that it is not.

mod assembly;
mod books;
mod draft;
mod fleet;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

use self::{assembly::Assembly, books::Books, fleet::Fleet};
use super::{DesktopError, Desktops, setback::Setbacks};
use crate::{
    hosts::Hosts,
    placement::Reason,
    queue::{Queue, Turn},
    state::keys,
    store::{Commit, Revision, StoreError, Transaction, Write},
};

pub(super) use draft::Draft;

/// Races lost to other brokers before giving up.
const ATTEMPTS: u32 = 256;
/// Most that wait to be planned; more wait to wait.
const AT_ONCE: usize = 256;
/// For what another broker has written to be heard.
const HEARING: Duration = Duration::from_millis(100);
/// Longest pause after lost races in a row, milliseconds.
const LONGEST_PAUSE_MS: u64 = 32;
/// Before the books are begun anew.
const PAUSE: Duration = Duration::from_millis(200);

/// What a member's plan came to: its own transaction, and what to answer once it is
/// applied. `None`: others were faster, look again.
pub(super) type Planned<R> = Result<Option<(Transaction, R)>, DesktopError>;

/// Where changes wait for each other.
#[derive(Default)]
pub(super) struct Group {
    queue: Arc<Queue<Waiting>>,
    state: Mutex<State>,
    followed: watch::Sender<Revision>,
}

#[derive(Default)]
struct State {
    books: Books,
    fleet: Fleet,
    /// The books have been read.
    open: bool,
}

/// One that waits.
struct Waiting {
    member: Box<dyn Member>,
    /// Races it has lost.
    lost: u32,
    /// What was refused because of what was known is looked up before it is told.
    looked_up: bool,
    /// Something is wrong with its transaction, or with another's it was with.
    alone: bool,
}

/// What a group is made of.
trait Member: Send {
    /// Its own transaction; `None`: it is to look again.
    fn plan(&mut self, draft: &mut Draft<'_>) -> Result<Option<Transaction>, DesktopError>;
    /// Nobody wants to know any more.
    fn is_gone(&self) -> bool;
    fn answer(self: Box<Self>, outcome: Outcome);
}

enum Outcome {
    Applied,
    LookAgain,
    Failed(DesktopError),
}

struct Asked<R, P> {
    plan: P,
    result: Option<R>,
    answer: oneshot::Sender<Result<Option<R>, DesktopError>>,
}

/// One transaction of several.
struct Round {
    joined: Vec<(Waiting, Transaction)>,
    refused: Vec<(Waiting, DesktopError)>,
    transaction: Transaction,
}

// === impl Asked ===

impl<R, P> Member for Asked<R, P>
where
    R: Send,
    P: FnMut(&mut Draft<'_>) -> Planned<R> + Send,
{
    fn plan(&mut self, draft: &mut Draft<'_>) -> Result<Option<Transaction>, DesktopError> {
        let planned = (self.plan)(draft)?;
        Ok(planned.map(|(transaction, result)| {
            self.result = Some(result);
            transaction
        }))
    }

    fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    fn answer(self: Box<Self>, outcome: Outcome) {
        let told = match outcome {
            Outcome::Applied => Ok(self.result),
            Outcome::LookAgain => Ok(None),
            Outcome::Failed(error) => Err(error),
        };
        // Who has gone meanwhile does not want to know.
        drop(self.answer.send(told));
    }
}

// === impl Waiting ===

impl Waiting {
    fn answer(self, outcome: Outcome) {
        self.member.answer(outcome);
    }

    fn fail(self, error: impl Into<DesktopError>) {
        self.answer(Outcome::Failed(error.into()));
    }
}

// === impl State ===

impl State {
    fn refresh(&mut self, hosts: &Hosts, setbacks: &Setbacks) {
        let books = &mut self.books;
        let touched = books.take_touched();
        let claimed = |host: &_| books.capacity(host).map(|stored| stored.record);
        self.fleet.refresh(hosts, setbacks, |host| claimed(host).unwrap_or_default());
        for host in touched {
            self.fleet.claim(&host, claimed(&host).unwrap_or_default());
        }
    }

    /// As many of those that wait as fit. Who needs no answer any more is let go:
    /// nothing of it was begun.
    fn plan(&mut self, waiting: &mut VecDeque<Waiting>) -> Result<Round, StoreError> {
        let mut draft = Draft::new(&mut self.books, &mut self.fleet);
        let mut assembly = Assembly::default();
        let (mut joined, mut refused) = (Vec::new(), Vec::new());
        let mut later = VecDeque::new();
        while let Some(mut next) = waiting.pop_front() {
            if next.member.is_gone() {
                continue;
            }
            if next.alone && !joined.is_empty() {
                later.push_back(next);
                continue;
            }
            let before = draft.changes();
            match next.member.plan(&mut draft) {
                // It has nothing to change.
                Ok(Some(own)) if own == Transaction::new() => {
                    draft.restore(before);
                    next.answer(Outcome::Applied);
                }
                Ok(Some(own)) => {
                    let fits = assembly.takes(&own, draft.operations());
                    if !fits && !joined.is_empty() {
                        draft.restore(before);
                        let full = assembly.is_full(&own, draft.operations());
                        later.push_back(next);
                        if full {
                            break;
                        }
                        continue;
                    }
                    assembly.add(&own);
                    let alone = next.alone;
                    joined.push((next, own));
                    if alone {
                        break;
                    }
                }
                Ok(None) => {
                    draft.restore(before);
                    next.answer(Outcome::LookAgain);
                }
                Err(error) => {
                    draft.restore(before);
                    refused.push((next, error));
                }
            }
        }
        later.append(waiting);
        *waiting = later;
        let shared = draft.finish()?;
        let own = joined.iter().map(|(_, own)| own);
        let transaction = assembly::join(shared, own);
        Ok(Round { joined, refused, transaction })
    }
}

// === impl Desktops ===

impl Desktops {
    /// Has a change that shares records committed with those of others. `plan` may
    /// be called several times, and only once for what is committed. `None`: its own
    /// part did not hold any more, nothing was changed, look again.
    ///
    /// # Errors
    /// Those of the plan, as of a moment after this was called; those of the store,
    /// which mean the same as for a transaction of its own.
    pub(super) async fn together<R: Send + 'static>(
        &self,
        plan: impl FnMut(&mut Draft<'_>) -> Planned<R> + Send + 'static,
    ) -> Result<Option<R>, DesktopError> {
        let (answer, told) = oneshot::channel();
        let member = Box::new(Asked { plan, result: None, answer });
        let waiting = Waiting { member, lost: 0, looked_up: false, alone: false };
        let group = &self.inner.group;
        if group.queue.push(waiting) {
            // In a task of its own: who waits may go away.
            self.inner.tasks.spawn(self.clone().lead(group.queue.serve()));
        }
        told.await.unwrap_or(Err(StoreError::Worker { verb: "commit" }.into()))
    }

    /// What a plan would come to now; nothing is changed.
    ///
    /// # Errors
    /// Those of the plan and of the store.
    pub(super) async fn try_plan<R>(
        &self,
        plan: impl FnOnce(&mut Draft<'_>) -> Result<R, DesktopError>,
    ) -> Result<R, DesktopError> {
        self.open_books().await?;
        let mut state = self.books();
        state.refresh(&self.inner.hosts, &self.inner.setbacks);
        let State { books, fleet, .. } = &mut *state;
        let mut draft = Draft::new(books, fleet);
        let before = draft.changes();
        let planned = plan(&mut draft);
        draft.restore(before);
        planned
    }

    /// Reads what is claimed on hosts anew: for answers that nothing guards.
    ///
    /// # Errors
    /// Of the store.
    pub(super) async fn look_up_room(&self) -> Result<(), StoreError> {
        self.read_books(&[keys::CAPACITIES]).await
    }

    /// Keeps the books, for ever.
    pub async fn keep_books(self) {
        loop {
            match self.follow().await {
                // Too many changes at once: begin anew with what there is.
                Ok(()) | Err(StoreError::Compacted(_)) => {}
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what other brokers claim is learnt late for a moment"
                ),
            }
            sleep(PAUSE).await;
        }
    }

    async fn follow(&self) -> Result<(), StoreError> {
        let group = &self.inner.group;
        let begin = self.read_all_books().await?;
        // All in one: only so is it known that nothing is missing before a change.
        let mut changes = self.store().watch("", begin).await?;
        let mut heard = begin;
        loop {
            {
                let mut state = self.books();
                state.books.heard_up_to(heard);
                group.followed.send_replace(heard);
            }
            let Some(first) = changes.next().await else { return Ok(()) };
            let mut next = Some(first);
            // What is ready now ends with a whole transaction.
            while let Some(change) = next {
                let change = change?;
                heard = change.revision;
                if Books::has(&change.key) {
                    self.books().books.hear(&change)?;
                }
                next = changes.next().now_or_never().flatten();
            }
        }
    }

    async fn open_books(&self) -> Result<(), StoreError> {
        let open = self.books().open;
        if open { Ok(()) } else { self.read_all_books().await.map(drop) }
    }

    /// Tells the revision to follow from.
    async fn read_all_books(&self) -> Result<Revision, StoreError> {
        let first = self.store().range(keys::EPOCH_COUNTER).await?;
        self.books().books.read(keys::EPOCH_COUNTER, &first)?;
        self.read_books(&books::PREFIXES).await?;
        self.books().open = true;
        Ok(first.revision)
    }

    async fn read_books(&self, prefixes: &[&str]) -> Result<(), StoreError> {
        for prefix in prefixes {
            let range = self.store().range(prefix).await?;
            self.books().books.read(prefix, &range)?;
        }
        Ok(())
    }

    fn books(&self) -> MutexGuard<'_, State> {
        self.inner.group.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until nobody waits.
    async fn lead(self, turn: Turn<Waiting>) {
        let mut waiting = VecDeque::new();
        let mut lost = 0;
        loop {
            waiting.extend(turn.next(AT_ONCE.saturating_sub(waiting.len())));
            if waiting.is_empty() {
                if turn.is_over() {
                    return;
                }
                continue;
            }
            match self.round(&mut waiting).await {
                Ok(true) => lost = 0,
                Ok(false) => {
                    lost += 1;
                    pause_after(lost).await;
                }
                // Nothing can be planned: nobody waits for that.
                Err(error) => waiting.drain(..).for_each(|one| one.fail(error.clone())),
            }
        }
    }

    /// One transaction for some of those that wait; false: it lost a race to another
    /// broker. Those to be planned again are in front of the others.
    async fn round(&self, waiting: &mut VecDeque<Waiting>) -> Result<bool, StoreError> {
        self.open_books().await?;
        let Round { joined, refused, transaction } = {
            let mut state = self.books();
            state.refresh(&self.inner.hosts, &self.inner.setbacks);
            state.plan(waiting)?
        };
        if joined.is_empty() {
            self.tell_refused(refused, waiting).await;
            return Ok(true);
        }
        let writes: Vec<Write> =
            transaction.writes.iter().filter(|write| Books::has(write.key())).cloned().collect();
        match self.commit(transaction).await {
            Ok(Commit::Applied(revision)) => {
                self.books().books.wrote(&writes, revision)?;
                for (one, _) in joined {
                    one.answer(Outcome::Applied);
                }
                self.tell_refused(refused, waiting).await;
                Ok(true)
            }
            Ok(Commit::Conflict { key }) => {
                put_back(refused.into_iter().map(|(one, _)| one), waiting);
                let of_some = joined.iter().any(|(_, own)| demands(own, &key));
                let shared = Books::has(&key) && !key.starts_with(keys::WARM);
                if shared || !of_some {
                    let again = joined.into_iter().map(|(one, _)| lose(one));
                    put_back(again.flatten(), waiting);
                    self.learn(&key).await?;
                    return Ok(false);
                }
                // The others go on without those whose own part does not hold.
                let (stale, sound): (Vec<_>, Vec<_>) =
                    joined.into_iter().partition(|(_, own)| demands(own, &key));
                put_back(sound.into_iter().map(|(one, _)| one), waiting);
                for (one, _) in stale {
                    one.answer(Outcome::LookAgain);
                }
                Ok(true)
            }
            Err(error) => {
                put_back(refused.into_iter().map(|(one, _)| one), waiting);
                if joined.len() > 1 && is_of_one(&error) {
                    let alone = joined.into_iter().map(|(one, _)| Waiting { alone: true, ..one });
                    put_back(alone, waiting);
                } else {
                    joined.into_iter().for_each(|(one, _)| one.fail(error.clone()));
                }
                Ok(true)
            }
        }
    }

    /// Those that are refused by what was known are told so once it was looked up.
    async fn tell_refused(
        &self,
        refused: Vec<(Waiting, DesktopError)>,
        waiting: &mut VecDeque<Waiting>,
    ) {
        let mut prefixes = Vec::new();
        let mut again = Vec::new();
        for (one, error) in refused {
            match &error {
                _ if one.looked_up => {
                    one.fail(error);
                    continue;
                }
                DesktopError::PoolFull { .. } => prefixes.push(keys::POOL_USES),
                DesktopError::NoRoom(no_room) => {
                    prefixes.push(keys::CAPACITIES);
                    let mut reasons = no_room.0.iter().flat_map(|(_, reasons)| reasons);
                    if reasons.any(|reason| matches!(reason, Reason::NumberOutOfRange { .. })) {
                        prefixes.push(keys::NUMBERS);
                    }
                }
                _ => {
                    one.fail(error);
                    continue;
                }
            }
            again.push(Waiting { looked_up: true, ..one });
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        match self.read_books(&prefixes).await {
            Ok(()) => put_back(again.into_iter(), waiting),
            Err(error) => again.into_iter().for_each(|one| one.fail(error.clone())),
        }
    }

    /// Another broker has changed this: most likely more than this.
    async fn learn(&self, key: &str) -> Result<(), StoreError> {
        let found = self.store().get(key).await?;
        let written = found.as_ref().map(|entry| entry.revision);
        let content = found.as_ref().map(|entry| (entry.value.as_slice(), entry.revision));
        self.books().books.look_up(key, content)?;
        if let Some(written) = written {
            let mut followed = self.inner.group.followed.subscribe();
            let heard = followed.wait_for(|followed| *followed >= written);
            // If it takes long, the next race tells.
            drop(timeout(HEARING, heard).await);
        }
        Ok(())
    }
}

fn put_back(some: impl DoubleEndedIterator<Item = Waiting>, waiting: &mut VecDeque<Waiting>) {
    some.rev().for_each(|one| waiting.push_front(one));
}

/// One race more; none: it has lost too many, and was told.
fn lose(mut one: Waiting) -> Option<Waiting> {
    one.lost += 1;
    if one.lost < ATTEMPTS {
        return Some(one);
    }
    one.fail(StoreError::Contended { what: "a claim", attempts: ATTEMPTS });
    None
}

fn demands(own: &Transaction, key: &str) -> bool {
    own.guards.iter().any(|guard| guard.key == key)
}

/// Whether it may be one member's fault, and not the store's.
fn is_of_one(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::TooLarge { .. }
            | StoreError::WrittenTwice(_)
            | StoreError::LeaseGone(_)
            | StoreError::Refused { .. }
            | StoreError::Damaged { .. }
    )
}

/// Brokers that race each other over and over fall out of step.
async fn pause_after(lost: u32) {
    if lost > 1 {
        let most = 1_u64.checked_shl(lost).map_or(LONGEST_PAUSE_MS, |ms| ms.min(LONGEST_PAUSE_MS));
        sleep(Duration::from_millis(most).mul_f64(rand::random())).await;
    }
}

#[cfg(test)]
mod tests;
