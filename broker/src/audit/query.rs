//! Questions: a page of entries that fit, in the order of time, from either
//! end. Only segments that can hold some are read, one after the other; those
//! of several brokers that overlap are merged.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::{
    Entry, Outcome,
    segment::{self, SegmentName, Summary},
};
use crate::{
    clock::Timestamp,
    store::{Store, StoreError},
};

/// Entries looked at for one page. A page may be shorter than it could be, or
/// empty, and still not be the last.
const MOST_LOOKED_AT: usize = 50_000;

/// Which entries are wanted. Empty or none: all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Who acted.
    pub user: String,
    /// What they did.
    pub act: String,
    /// To what: "KIND:NAME", or "KIND:" for all of that kind.
    pub object: String,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
}

/// From which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The last one first.
    #[default]
    NewestFirst,
    /// The first one first.
    OldestFirst,
}

/// Where an entry is among all; ordered by time. Also its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    at: Timestamp,
    segment: SegmentName,
    batch: u32,
    place: u32,
}

/// An entry, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub position: Position,
    /// The entry.
    pub entry: Entry,
}

/// Some of the entries that fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// In the order asked for.
    pub found: Vec<Found>,
    /// Where to go on; none: these were the last.
    pub next: Option<Position>,
}

/// One page, after `after`.
///
/// # Errors
/// Of the store.
pub async fn page(
    store: &dyn Store,
    filter: &Filter,
    order: Order,
    after: Option<Position>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut merge = Merge::new(segment::all(store).await?, filter, order, after);
    let (mut found, mut looked_at) = (Vec::new(), 0);
    let mut last = None;
    loop {
        while let Some(segment) = merge.wanted() {
            merge.add(entries_of(store, &segment.name).await?);
        }
        let Some(next) = merge.take() else { return Ok(Page { found, next: None }) };
        // There is another, so this page is not the last one.
        if found.len() >= limit || looked_at >= MOST_LOOKED_AT {
            return Ok(Page { found, next: last });
        }
        looked_at += 1;
        last = Some(next.position.clone());
        if filter.fits(&next.entry) {
            found.push(next);
        }
    }
}

async fn entries_of(store: &dyn Store, segment: &SegmentName) -> Result<Vec<Found>, StoreError> {
    let batches = segment::batches(store, segment).await?;
    Ok(batches.into_iter().flat_map(|batch| found_in(&batch.key, batch.record.entries)).collect())
}

/// The entries of a batch; none if the key is none of a batch.
pub(super) fn found_in(key: &str, entries: Vec<Entry>) -> impl Iterator<Item = Found> + use<> {
    let place = segment::batch_of(key);
    entries.into_iter().zip(0_u32..).filter_map(move |(entry, number)| {
        let (segment, batch) = place.clone()?;
        let position = Position { at: entry.at, segment, batch, place: number };
        Some(Found { position, entry })
    })
}

/// Segments that are still to be read, and entries of those that were.
struct Merge {
    order: Order,
    after: Option<Position>,
    from: Timestamp,
    to: Timestamp,
    /// The next one last.
    pending: Vec<Summary>,
    ready: BTreeMap<Position, Entry>,
}

// === impl Merge ===

impl Merge {
    fn new(
        mut pending: Vec<Summary>,
        filter: &Filter,
        order: Order,
        after: Option<Position>,
    ) -> Self {
        let from = filter.from.unwrap_or_default();
        let to = filter.to.unwrap_or(Timestamp(u64::MAX));
        pending.retain(|segment| {
            let reached = after.as_ref().is_none_or(|after| match order {
                Order::NewestFirst => segment.first <= after.at,
                Order::OldestFirst => segment.last >= after.at,
            });
            reached && segment.last >= from && segment.first < to
        });
        match order {
            Order::NewestFirst => pending.sort_by_key(|segment| segment.last),
            Order::OldestFirst => pending.sort_by_key(|segment| std::cmp::Reverse(segment.first)),
        }
        Self { order, after, from, to, pending, ready: BTreeMap::new() }
    }

    /// A segment that has to be read before another entry can be taken.
    fn wanted(&mut self) -> Option<Summary> {
        let next = self.pending.last()?;
        let may_come_first = match self.order {
            Order::NewestFirst => {
                self.ready.last_key_value().is_none_or(|(top, _)| next.last >= top.at)
            }
            Order::OldestFirst => {
                self.ready.first_key_value().is_none_or(|(top, _)| next.first <= top.at)
            }
        };
        if may_come_first { self.pending.pop() } else { None }
    }

    fn add(&mut self, entries: Vec<Found>) {
        let (from, to, order) = (self.from, self.to, self.order);
        let after = self.after.as_ref();
        let wanted = entries.into_iter().filter(|Found { position, .. }| {
            let beyond = after.is_none_or(|after| match order {
                Order::NewestFirst => position < after,
                Order::OldestFirst => position > after,
            });
            beyond && position.at >= from && position.at < to
        });
        self.ready.extend(wanted.map(|found| (found.position, found.entry)));
    }

    fn take(&mut self) -> Option<Found> {
        let (position, entry) = match self.order {
            Order::NewestFirst => self.ready.pop_last()?,
            Order::OldestFirst => self.ready.pop_first()?,
        };
        Some(Found { position, entry })
    }
}

// === impl Filter ===

impl Filter {
    /// Whether an entry is wanted.
    pub fn fits(&self, entry: &Entry) -> bool {
        let is = |wanted: &str, has: &str| wanted.is_empty() || wanted == has;
        let object = is(&self.object, &entry.object)
            || (self.object.ends_with(':') && entry.object.starts_with(&self.object));
        is(&self.user, &entry.user)
            && is(&self.act, &entry.act)
            && object
            && self.outcome.is_none_or(|outcome| outcome == entry.outcome)
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at < to)
    }
}

// === impl Position ===

impl Position {
    pub(super) fn at(&self) -> Timestamp {
        self.at
    }

    /// Its segment, and its place there.
    pub(super) fn in_segment(&self) -> (&SegmentName, (u32, u32)) {
        (&self.segment, (self.batch, self.place))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.at.0, self.segment.as_str(), self.batch, self.place)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(4, '.');
        let mut next = || parts.next().ok_or(());
        let (at, segment, batch, place) = (next()?, next()?, next()?, next()?);
        Ok(Self {
            at: Timestamp(at.parse().map_err(drop)?),
            segment: SegmentName::parse(segment).ok_or(())?,
            batch: batch.parse().map_err(drop)?,
            place: place.parse().map_err(drop)?,
        })
    }
}
