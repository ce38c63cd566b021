//! Entries as they are written, by any broker of the cluster.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};

use super::{
    Filter, Found, Order, Position, page,
    query::found_in,
    segment::{BatchRecord, SegmentName},
};
use crate::{
    clock::Timestamp,
    state::{self, keys},
    store::{Revision, Store, StoreError, Watch},
};

/// Entries read at once.
const PAGE: usize = 500;
/// After changes were missed, it is read again from so much earlier on: brokers
/// differ in their clocks, and entries wait before they are written.
const OVERLAP: Duration = Duration::from_secs(10 * 60);
/// Segments whose last told entry is remembered: many times those that are
/// written in [`OVERLAP`].
const REMEMBERED: usize = 2048;

struct Follow {
    store: Arc<dyn Store>,
    filter: Filter,
    /// Entries before this are not read, only told when they are written.
    floor: Timestamp,
    stage: Stage,
    told: Told,
    ready: VecDeque<Found>,
}

enum Stage {
    /// What there is, before the changes from `then` on.
    Reading { after: Option<Position>, then: Revision },
    /// What comes.
    Live(Watch),
}

/// The last entry told of each segment. A segment is written in its order, so
/// this tells what is new, however the entry was come by.
#[derive(Default)]
struct Told(BTreeMap<SegmentName, (u32, u32)>);

/// First the entries from `filter.from` on, if that is given, else none; then
/// each that is written. Each once. Ends after an error.
///
/// # Errors
/// Of the store. A watcher that is too slow for it catches up by itself.
pub async fn watch(
    store: Arc<dyn Store>,
    filter: Filter,
    now: Timestamp,
) -> Result<impl Stream<Item = Result<Found, StoreError>> + Send + use<>, StoreError> {
    let then = store.range(keys::AUDIT_INDEX).await?.revision;
    let stage = match filter.from {
        Some(_) => Stage::Reading { after: None, then },
        None => Stage::Live(store.watch(keys::AUDIT, then).await?),
    };
    let floor = filter.from.unwrap_or(now);
    let begin =
        Follow { store, filter, floor, stage, told: Told::default(), ready: VecDeque::new() };
    Ok(stream::try_unfold(begin, |mut follow| async move {
        Ok(follow.next().await?.map(|found| (found, follow)))
    }))
}

// === impl Follow ===

impl Follow {
    async fn next(&mut self) -> Result<Option<Found>, StoreError> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Ok(Some(found));
            }
            match &mut self.stage {
                Stage::Reading { after, then } => {
                    let (after, then) = (after.take(), *then);
                    self.read(after, then).await?;
                }
                Stage::Live(changes) => match changes.next().await {
                    None => return Ok(None),
                    Some(Err(StoreError::Compacted(_))) => {
                        let then = self.store.range(keys::AUDIT_INDEX).await?.revision;
                        self.stage = Stage::Reading { after: None, then };
                    }
                    Some(Err(error)) => return Err(error),
                    Some(Ok(change)) => {
                        // Deleted: nobody has to know.
                        let Some(value) = change.value else { continue };
                        let batch: BatchRecord = state::decode(&change.key, &value)?;
                        self.take(found_in(&change.key, batch.entries));
                    }
                },
            }
        }
    }

    async fn read(&mut self, after: Option<Position>, then: Revision) -> Result<(), StoreError> {
        let filter = Filter { from: Some(self.floor), ..self.filter.clone() };
        let page = page(self.store.as_ref(), &filter, Order::OldestFirst, after, PAGE).await?;
        self.take(page.found.into_iter());
        self.stage = match page.next {
            Some(next) => Stage::Reading { after: Some(next), then },
            None => Stage::Live(self.store.watch(keys::AUDIT, then).await?),
        };
        Ok(())
    }

    fn take(&mut self, found: impl Iterator<Item = Found>) {
        for found in found {
            if self.told.is_new(&found.position) && self.filter.fits(&found.entry) {
                let at = found.position.at();
                let earlier = Timestamp(at.0.saturating_sub(OVERLAP.as_millis() as u64));
                self.floor = self.floor.max(earlier);
                self.ready.push_back(found);
            }
        }
    }
}

// === impl Told ===

impl Told {
    fn is_new(&mut self, position: &Position) -> bool {
        let (segment, place) = position.in_segment();
        let new = self.0.get(segment).is_none_or(|told| place > *told);
        if new {
            self.0.insert(segment.clone(), place);
            if self.0.len() > REMEMBERED {
                self.0.pop_first();
            }
        }
        new
    }
}
