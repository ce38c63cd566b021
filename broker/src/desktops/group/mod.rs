//! Changes that share records, in one transaction for all that wait. Each claim
//! takes the next epoch, and each claim and end changes what is claimed on a host
//! and how many desktops a pool has: apart, they would lose races to each other
//! again and again.
//!
//! * `books`: the shared records as this broker knows them;
//! * `fleet`: the hosts, as placement sees them;
//! * `draft`: what a group makes of both;
//! * `assembly`: how many fit into one transaction;
//! * `lodgings`: which desktops lie on which host;
//! * `lead`: who commits it, and what it then means for each;
//! * `follow`: how the books are kept up.
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
mod follow;
mod lead;
mod lodgings;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{oneshot, watch};

use self::{assembly::Assembly, books::Books, fleet::Fleet};
use super::{DesktopError, Desktops, setback::Setbacks};
use crate::{
    hosts::Hosts,
    queue::Queue,
    store::{Revision, StoreError, Transaction},
};

pub(super) use draft::Draft;
pub(super) use follow::Claimed;
pub(super) use lodgings::Lodger;

/// What a member's plan came to: its own transaction, and what to answer once it is
/// applied. `None`: others were faster, look again.
pub(super) type Planned<R> = Result<Option<(Transaction, R)>, DesktopError>;

/// Where changes wait for each other.
#[derive(Default)]
pub(super) struct Group {
    queue: Arc<Queue<Waiting>>,
    state: Mutex<State>,
    followed: watch::Sender<Revision>,
    /// See [`Books::known`].
    known: watch::Sender<Revision>,
    /// One reads all desktops for whoever does not want to wait.
    reading: tokio::sync::Mutex<()>,
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

    fn books(&self) -> MutexGuard<'_, State> {
        self.inner.group.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
