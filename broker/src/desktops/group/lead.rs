//! Who finds nobody at it commits for all that wait, until nobody does.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{sleep, timeout};

use super::{Outcome, Round, Waiting, books::Books};
use crate::{
    desktops::{DesktopError, Desktops},
    placement::Reason,
    queue::Turn,
    state::keys,
    store::{Commit, StoreError, Transaction, Write},
};

/// Races lost to other brokers before giving up.
const ATTEMPTS: u32 = 256;
/// Most that wait to be planned; more wait to wait.
const AT_ONCE: usize = 256;
/// For what another broker has written to be heard.
const HEARING: Duration = Duration::from_millis(100);
/// Longest pause after lost races in a row, milliseconds.
const LONGEST_PAUSE_MS: u64 = 32;

impl Desktops {
    /// Until nobody waits.
    pub(super) async fn lead(self, turn: Turn<Waiting>) {
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
                // One after the other, they would wait for it one deadline each.
                Err(error) => {
                    let all = waiting.drain(..).chain(turn.next(usize::MAX));
                    all.for_each(|one| one.fail(error.clone()));
                }
            }
        }
    }

    /// One transaction for some of those that wait; false: it lost a race to another
    /// broker. Those to be planned again are in front of the others.
    ///
    /// # Errors
    /// The store is out of reach: for those that wait still, too.
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
                if Books::is_shared(&key) || !of_some {
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
                out_of_reach(error).map_or(Ok(true), Err)
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
                DesktopError::LimitsTooLarge { .. } => prefixes.push(keys::CAPACITIES),
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

/// What this means for those whose transactions were never sent.
fn out_of_reach(error: StoreError) -> Option<StoreError> {
    match error {
        StoreError::Unavailable { .. } => Some(error),
        StoreError::Indeterminate { seconds } => {
            let problem = "one before it got no answer".to_owned();
            Some(StoreError::Unavailable { verb: "commit", seconds, problem })
        }
        _ => None,
    }
}

/// Brokers that race each other over and over fall out of step.
async fn pause_after(lost: u32) {
    if lost > 1 {
        let most = 1_u64.checked_shl(lost).map_or(LONGEST_PAUSE_MS, |ms| ms.min(LONGEST_PAUSE_MS));
        sleep(Duration::from_millis(most).mul_f64(rand::random())).await;
    }
}
