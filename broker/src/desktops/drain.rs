//! All desktops of a host at once: told when they end, and ended.

use super::{DesktopError, Desktops};
use crate::{
    names::HostName,
    state::{DesktopRecord, DesktopState, EndsRecord, Happening},
    store::StoreError,
};

impl Desktops {
    /// Notes when the desktops of a host will be ended; `None`: they will not be.
    ///
    /// # Errors
    /// Of the store.
    pub async fn foretell(
        &self,
        host: &HostName,
        ends: Option<&EndsRecord>,
    ) -> Result<(), StoreError> {
        for record in self.living_on(host).await? {
            if record.ends.as_ref() != ends {
                let edit = |record: &mut DesktopRecord| record.ends = ends.cloned();
                passing(self.amend(&record.id, record.epoch, edit).await)?;
            }
        }
        Ok(())
    }

    /// Ends the desktops of a host. Those that are being ended are left alone; a
    /// host that does not answer is asked when it does.
    ///
    /// # Errors
    /// Of the store.
    pub async fn end_all_on(&self, host: &HostName, reason: &str) -> Result<(), StoreError> {
        for record in self.living_on(host).await? {
            if let Some(flight) = self.inner.flights.find(&record.id) {
                flight.stop();
                continue;
            }
            if record.state == DesktopState::Stopping || self.inner.hosts.agent(host).is_err() {
                continue;
            }
            let edit = |record: &mut DesktopRecord| reason.clone_into(&mut record.end_reason);
            let stopping = self.happen(&record.id, record.epoch, Happening::Stop, edit).await;
            if let Some(stopping) = passing(stopping)? {
                tracing::info!(desktop.id = %record.id, host.name = %host, reason, "a desktop is ended");
                self.stop_on_host(stopping);
            }
        }
        Ok(())
    }

    /// Notes that all desktops of a host are gone with it.
    ///
    /// # Errors
    /// Of the store.
    pub async fn write_off(&self, host: &HostName, reason: &str) -> Result<usize, DesktopError> {
        let living = self.living_on(host).await?;
        for record in &living {
            passing(self.end(record, reason).await)?;
        }
        self.write_off_warm(host).await?;
        self.release_all_held(host, |_, _| false).await?;
        Ok(living.len())
    }

    /// Desktops that hold room on a host, all that were claimed before this call.
    ///
    /// # Errors
    /// Of the store.
    pub async fn living_on(&self, host: &HostName) -> Result<Vec<DesktopRecord>, StoreError> {
        let claimed = self.claimed_till_now().await?;
        let mut living = Vec::new();
        for lodger in self.lodgers_on(host, claimed).await? {
            let found = self.find(&lodger.id).await?.map(|stored| stored.record);
            let here =
                |record: &DesktopRecord| record.host == *host && record.state.holds_capacity();
            living.extend(found.filter(here));
        }
        Ok(living)
    }
}

/// Others may have been faster.
pub(super) fn passing(
    done: Result<DesktopRecord, DesktopError>,
) -> Result<Option<DesktopRecord>, StoreError> {
    match done {
        Ok(record) => Ok(Some(record)),
        Err(DesktopError::Store(error)) => Err(error),
        Err(_) => Ok(None),
    }
}
