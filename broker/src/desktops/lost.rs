//! Desktops on hosts that are lost. A volatile one is given up when its user
//! asks for it again: they get another elsewhere, of a higher epoch. The host may
//! run on with the old one, so its number and address stay taken until the host
//! is known not to have it. Nothing is ended because somebody is silent.
//!
//! One that keeps data is given up only if that lies on storage another host
//! reaches, and only when that host finds nobody holding it: a host that is silent
//! to brokers may well work on with its desktops.

use std::time::Duration;

use rolltop_proto::v1;
use tokio::time::timeout;

use super::{DesktopError, Desktops};
use crate::{
    data::Slot,
    hosts::{Health, sightings},
    names::HostName,
    state::{self, DesktopRecord, HeldRecord, TransactionExt as _, keys},
    store::{Commit, StoreError, Transaction},
};

/// Lost races before giving up.
const ATTEMPTS: u32 = 64;
/// For a host to look whether data is free.
const FENCE: Duration = Duration::from_secs(10);

impl Desktops {
    /// How long a host has been lost to all brokers; none: it is not.
    pub(super) async fn lost_for(&self, host: &HostName) -> Result<Option<Duration>, StoreError> {
        let Some((state, since)) = self.inner.hosts.state(host) else { return Ok(None) };
        match (state.health, since) {
            (Health::Lost, Some(since)) => {
                let heard = sightings::others_hear(&self.inner.presence, host).await?;
                Ok((!heard).then(|| since.elapsed()))
            }
            (Health::Unknown | Health::Ready | Health::Suspect | Health::Lost, _) => Ok(None),
        }
    }

    /// What is kept of `record` is on a host that is lost, and nowhere else.
    pub(super) fn data_out_of_reach(record: &DesktopRecord, lost_for: Duration) -> DesktopError {
        DesktopError::DataOnLostHost {
            desktop: record.id.clone(),
            host: record.host.clone(),
            seconds: lost_for.as_secs(),
        }
    }

    /// Looks, at the host that is to have it next, whether anybody holds what a
    /// lost desktop keeps. Whether it is so at the moment it is opened, that host
    /// finds out by itself: see `docs/storage.md`.
    ///
    /// # Errors
    /// [`DesktopError::DataHeld`], or the host cannot say.
    pub(super) async fn look_at_fences(
        &self,
        lost: &DesktopRecord,
        slots: impl Iterator<Item = &Slot>,
        host: &HostName,
    ) -> Result<(), DesktopError> {
        for id in slots.filter_map(Slot::volume_id) {
            let mut storage = self.inner.hosts.storage(host)?;
            let ask = storage.get_fence(v1::GetFenceRequest { id: Some(id) });
            let told = match timeout(FENCE, ask).await {
                Ok(Ok(fence)) => Ok(fence.into_inner()),
                Ok(Err(status)) => Err(status.message().to_owned()),
                Err(_) => Err(format!("it did not say within {} s", FENCE.as_secs())),
            };
            let fence = told.map_err(|message| DesktopError::Agent {
                host: host.to_string(),
                verb: "look whether what the desktop keeps is free",
                message,
            })?;
            if fence.held {
                let holder = Some(fence.holder).filter(|holder| !holder.is_empty());
                return Err(DesktopError::DataHeld {
                    desktop: lost.id.clone(),
                    host: lost.host.clone(),
                    holder: holder.unwrap_or_else(|| lost.host.to_string()),
                });
            }
        }
        Ok(())
    }

    /// The host has not that life of a desktop any more: its number is free.
    pub(super) async fn release_held(
        &self,
        host: &HostName,
        number: u32,
        epoch: u64,
    ) -> Result<(), StoreError> {
        let key = keys::held(host, number);
        for _ in 0..ATTEMPTS {
            let held = state::read::<HeldRecord>(self.store(), &key).await?;
            let Some(held) = held.filter(|held| held.record.epoch == epoch) else {
                return Ok(());
            };
            let free = Transaction::new()
                .unless_changed(&key, Some(&held))
                .delete(&key)
                .delete(keys::number(number));
            if let Commit::Applied(_) = self.commit(free).await? {
                tracing::info!(host.name = %host, number, desktop.id = %held.record.desktop,
                    "a number that a lost host had is free");
                return Ok(());
            }
        }
        Err(StoreError::Contended { what: "a number", attempts: ATTEMPTS })
    }

    /// The same for all of a host that are not `there`.
    pub(super) async fn release_all_held(
        &self,
        host: &HostName,
        there: impl Fn(u32, u64) -> bool + Send + Sync,
    ) -> Result<(), StoreError> {
        let of = keys::held_by(host);
        for held in state::list::<HeldRecord>(self.store(), &of).await? {
            let number = held.key.strip_prefix(&of).and_then(|number| number.parse().ok());
            if let Some(number) = number
                && !there(number, held.record.epoch)
            {
                self.release_held(host, number, held.record.epoch).await?;
            }
        }
        Ok(())
    }
}
