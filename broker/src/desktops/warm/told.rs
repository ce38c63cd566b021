//! What hosts say about warm desktops, against the records. They are nobody's
//! yet, so one that the store does not know is ended.

use std::collections::BTreeMap;

use rolltop_proto::v1::{self, HostDesktop};

use super::ledger::Number;
use crate::{
    desktops::{DesktopError, Desktops, group::Claimed, reconcile::is_over},
    hosts::Horizon,
    names::{DesktopId, HostName, PoolName},
    state::{self, NumberRecord, WarmRecord, WarmState, keys},
    store::StoreError,
};

/// What is to be done about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::desktops) enum WarmVerdict {
    /// All is as it is noted.
    Known,
    /// It should have ended.
    EndIt,
}

impl Desktops {
    /// Notes what can be noted.
    pub(in crate::desktops) async fn hear_of_warm(
        &self,
        host: &HostName,
        told: &HostDesktop,
    ) -> Result<WarmVerdict, DesktopError> {
        let record = match told.label.parse::<PoolName>() {
            Ok(pool) => self.warm(&pool, told.number, told.epoch).await?,
            Err(_) => None,
        };
        let record = record.map(|stored| stored.record).filter(|record| record.host == *host);
        match record {
            Some(record) if is_over(told) => {
                self.forget_warm(&record, Number::Free).await?;
                self.nudge();
                Ok(WarmVerdict::Known)
            }
            Some(WarmRecord { state: WarmState::Ending, .. }) => Ok(WarmVerdict::EndIt),
            Some(record) => {
                if told.state() == v1::DesktopState::Warm {
                    self.warm_is_ready(&record, &told.version).await?;
                }
                Ok(WarmVerdict::Known)
            }
            None if is_over(told) => {
                self.release_held(host, told.number, told.epoch).await?;
                Ok(WarmVerdict::Known)
            }
            None if self.is_claimed(host, told).await? => Ok(WarmVerdict::Known),
            None => Ok(WarmVerdict::EndIt),
        }
    }

    /// Asks the host to end one that nobody is to get.
    pub(in crate::desktops) fn stop_warm_on_host(&self, host: &HostName, number: u32, epoch: u64) {
        let (desktops, host) = (self.clone(), host.clone());
        self.inner.tasks.spawn(async move {
            if let Err(error) = desktops.ask_host_to_stop(&host, number, epoch, None).await {
                // It tells of it again when its line is back.
                tracing::warn!(number, host.name = %host, error = &error as &dyn std::error::Error,
                    "a warm desktop could not be stopped");
            }
        });
    }

    /// Whether it is on its way to a user.
    async fn is_claimed(&self, host: &HostName, told: &HostDesktop) -> Result<bool, StoreError> {
        let key = keys::number(told.number);
        let holder = state::read::<NumberRecord>(self.store(), &key).await?;
        let id = holder.and_then(|holder| DesktopId::from_key(&holder.record.desktop));
        let Some(id) = id else { return Ok(false) };
        let desktop = self.find(&id).await?.map(|stored| stored.record);
        Ok(desktop.is_some_and(|desktop| {
            desktop.host == *host
                && desktop.number == told.number
                && desktop.warm_epoch == told.epoch
                && desktop.state.holds_capacity()
        }))
    }

    /// Forgets those that the host should have, and has not.
    pub(in crate::desktops) async fn forget_missing_warm(
        &self,
        host: &HostName,
        horizon: &Horizon,
        there: &BTreeMap<u32, HostDesktop>,
    ) -> Result<(), DesktopError> {
        let mut brokers = self.inner.presence.others().await?;
        brokers.insert(self.inner.presence.name().to_owned());
        let claimed = Claimed { epoch: horizon.epoch, revision: horizon.revision };
        for known in self.warm_on(host, claimed).await? {
            let here = there.get(&known.number).is_some_and(|told| told.epoch == known.epoch);
            if here || known.epoch > horizon.epoch {
                continue;
            }
            let stored = self.warm(&known.pool, known.number, known.epoch).await?;
            let Some(record) = stored.map(|stored| stored.record) else { continue };
            let is_made = record.state == WarmState::Making && brokers.contains(&record.pilot);
            if !is_made {
                self.forget_warm(&record, Number::Free).await?;
            }
        }
        Ok(())
    }
}
