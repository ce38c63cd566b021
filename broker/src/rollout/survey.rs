//! What is there of a pool, as far as a roll-out goes.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Rollouts,
    plan::{self, Fact, Life, Standing},
};
use crate::{
    hosts::Age,
    names::{HostName, ImageRef, PoolName},
    state::{self, DesktopRecord, DesktopState, PoolRecord, RolloutRecord, Stored, keys},
    store::StoreError,
    versions::age_of,
};

/// A roll-out, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What is noted of it.
    pub record: RolloutRecord,
    /// Of those that ran when it began, how many are behind.
    pub behind: u32,
    /// Of these, where somebody is connected.
    pub connected: u32,
    /// Of these, on hosts that do not answer.
    pub unreachable: u32,
    /// Of these, without a host that has the version.
    pub unplaceable: u32,
    /// What it waits for, or why it was halted; may be empty.
    pub because: String,
}

/// The desktops of a pool.
pub(super) struct Survey {
    pub(super) pool: Stored<PoolRecord>,
    /// In the order of the facts.
    pub(super) desktops: Vec<Stored<DesktopRecord>>,
    pub(super) facts: Vec<Fact>,
    /// The version the pool's image is on each host that takes desktops.
    pub(super) startable: BTreeMap<HostName, String>,
}

// === impl Survey ===

impl Survey {
    /// Whether it takes no new desktops.
    pub(super) fn closed(&self) -> bool {
        !self.pool.record.closed.is_empty()
    }

    /// The version that most hosts take for `image`.
    pub(super) fn version(&self, image: &ImageRef) -> Option<ImageRef> {
        match image.version() {
            Some(_) => Some(image.clone()),
            None => named(image.image(), most_common(self.startable.values())?),
        }
    }

    /// Those that are behind and began no later than `horizon`.
    pub(super) fn behind(&self, horizon: u64) -> impl Iterator<Item = &DesktopRecord> {
        let both = self.facts.iter().zip(&self.desktops);
        both.filter(move |(fact, _)| {
            fact.epoch <= horizon && fact.life == Life::Running(Age::Behind)
        })
        .map(|(_, stored)| &stored.record)
    }

    /// What most of those run.
    pub(super) fn before(&self, horizon: u64) -> Option<ImageRef> {
        let ran = self.behind(horizon).filter_map(|record| {
            let placed = record.placed.as_ref()?;
            named(record.image.image(), &placed.version)
        });
        let ran: Vec<ImageRef> = ran.collect();
        most_common(ran.iter()).cloned()
    }
}

impl Rollouts {
    /// `next`: what desktops are held against in place of what the pool names.
    pub(super) async fn survey(
        &self,
        pool: &PoolName,
        next: Option<&ImageRef>,
    ) -> Result<Option<Survey>, StoreError> {
        let (store, hosts) = (self.store(), &self.inner.parts.hosts);
        let Some(pool) = state::read::<PoolRecord>(store, &keys::pool(pool)).await? else {
            return Ok(None);
        };
        let name = &pool.record.name;
        let viewers = store.range(&keys::viewers_of(name)).await?.entries;
        let viewers: BTreeSet<String> = viewers.into_iter().map(|entry| entry.key).collect();
        let desktops = state::list::<DesktopRecord>(store, &keys::desktops_of(name)).await?;
        let next = next.unwrap_or(&pool.record.image);
        let (heard, startable) = (hosts.heard(), hosts.startable(next));
        let facts = desktops.iter().map(|stored| {
            let record = &stored.record;
            let elsewhere = !record.keeps_data() || hosts.shares_storage(&record.host);
            Fact {
                id: record.id.clone(),
                epoch: record.epoch,
                life: match record.state {
                    DesktopState::Starting => Life::Starting,
                    DesktopState::Running => Life::Running(age_of(hosts, record, next)),
                    DesktopState::Failed if record.placed.is_none() => Life::Failed,
                    DesktopState::Failed | DesktopState::Stopping | DesktopState::Gone => {
                        Life::Over
                    }
                },
                connected: viewers.contains(&keys::viewer(&record.id)),
                alone_since: record.seat.left_at.unwrap_or(record.claimed_at),
                kept: !record.overlay.is_empty(),
                heard: heard.contains(&record.host),
                placeable: startable.contains_key(&record.host)
                    || (elsewhere && !startable.is_empty()),
                told: record.renewal.as_ref().map(|ends| ends.at),
            }
        });
        let facts = facts.collect();
        Ok(Some(Survey { pool, desktops, facts, startable }))
    }

    /// A roll-out with how it stands now. Of one that is over, nothing is behind.
    ///
    /// # Errors
    /// Of the store.
    pub async fn show(&self, record: RolloutRecord) -> Result<Shown, StoreError> {
        let survey = match record.state.is_over() {
            true => None,
            false => self.survey(&record.pool, None).await?,
        };
        let facts = survey.as_ref().map_or(&[][..], |survey| &survey.facts);
        let standing = plan::standing(&record, facts, self.inner.parts.clock.now());
        let closed = survey.as_ref().is_some_and(Survey::closed);
        let because = plan::because(&record, standing, closed);
        let Standing { behind, connected, unreachable, unplaceable, .. } = standing;
        Ok(Shown { record, behind, connected, unreachable, unplaceable, because })
    }

    /// The last one of every pool that had any, or of this one.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list(&self, only: Option<&PoolName>) -> Result<Vec<Shown>, StoreError> {
        let records = match only {
            Some(pool) => self.find(pool).await?.into_iter().collect(),
            None => state::list::<RolloutRecord>(self.store(), keys::ROLLOUTS).await?,
        };
        let mut shown = Vec::with_capacity(records.len());
        for stored in records {
            shown.push(self.show(stored.record).await?);
        }
        Ok(shown)
    }

    pub(super) async fn find(
        &self,
        pool: &PoolName,
    ) -> Result<Option<Stored<RolloutRecord>>, StoreError> {
        state::read(self.store(), &keys::rollout(pool)).await
    }
}

fn named(image: &str, version: &str) -> Option<ImageRef> {
    // Both come from hosts, which have it by that name.
    ImageRef::of_version("version", image, version).ok()
}

/// Of several that are as common, the greatest.
fn most_common<T: Ord>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(one, _)| one)
}

#[cfg(test)]
mod tests {
    use super::most_common;

    #[test]
    fn what_most_have_is_found() {
        assert_eq!(most_common(["1", "2", "2", "3"].iter()), Some(&"2"));
        assert_eq!(most_common(["1", "2"].iter()), Some(&"2"));
        assert_eq!(most_common(Vec::<u8>::new().iter()), None);
    }
}
