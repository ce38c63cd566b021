//! Draining: whoever has a desktop on such a host is told at once when it will
//! end, and at that time it does. Every broker does all of this; what is done
//! twice changes nothing the second time.

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use tokio::time::sleep;

use crate::{
    clock::Clock,
    desktops::Desktops,
    hosts::{Happening, duty_after},
    names::HostName,
    state::{
        self, CapacityRecord, DrainRecord, Duty, EndsRecord, HostRecord, Stored,
        TransactionExt as _, keys,
    },
    store::{Commit, Store, StoreError, Transaction},
};

/// Between looks at hosts that are being drained.
const PACE: Duration = Duration::from_secs(1);
/// Why a desktop ended whose host was drained.
const DRAINED: &str = "HOST_DRAINED";

/// Drains hosts, for ever.
pub struct Drainer {
    /// Hosts and what is claimed there.
    pub store: Arc<dyn Store>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What is to end.
    pub desktops: Desktops,
}

// === impl Drainer ===

impl Drainer {
    /// Never ends.
    pub async fn run(self) {
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "hosts are not drained for a moment"
                );
            }
            sleep(PACE).await;
        }
    }

    /// Waits until there is a host to drain, and does what is due.
    async fn look(&self) -> Result<(), StoreError> {
        let range = self.store.range(keys::HOSTS).await?;
        let hosts = state::list::<HostRecord>(self.store.as_ref(), keys::HOSTS).await?;
        let mut waiting = false;
        for host in hosts {
            if let Some(drain) = host.record.drain.clone().filter(|drain| !drain.done) {
                waiting = true;
                self.drain(&host, &drain).await?;
            }
        }
        if !waiting {
            // Changes of hosts alone can be news now; whatever ends the wait,
            // a look is cheap.
            let mut changes = self.store.watch(keys::HOSTS, range.revision).await?;
            changes.try_next().await?;
        }
        Ok(())
    }

    async fn drain(
        &self,
        host: &Stored<HostRecord>,
        drain: &DrainRecord,
    ) -> Result<(), StoreError> {
        let name = &host.record.name;
        // They are nobody's: no deadline is theirs.
        self.desktops.end_warm_on(name).await?;
        let key = keys::capacity(name);
        let claimed = state::read::<CapacityRecord>(self.store.as_ref(), &key).await?;
        if claimed.as_ref().is_none_or(|claimed| claimed.record.desktops == 0) {
            let done = duty_after(host.record.duty(), Happening::Emptied) == Duty::Drained;
            let drain = Some(DrainRecord { done, ..drain.clone() });
            let record = HostRecord { drain, ..host.record.clone() };
            // A claim that came between changes the capacity: then not yet.
            let done = Transaction::new()
                .unless_changed(&host.key, Some(host))
                .unless_changed(&key, claimed.as_ref())
                .put_record(&host.key, &record)?;
            if let Commit::Applied(_) = self.store.commit(done).await? {
                tracing::info!(host.name = %name, "a host is drained");
            }
            return Ok(());
        }
        let over = drain.deadline.is_some_and(|deadline| self.clock.now() >= deadline);
        if over {
            self.desktops.end_all_on(name, DRAINED).await
        } else {
            self.tell(name, drain).await
        }
    }

    /// Those on the host learn when they end. Written only where it is news.
    async fn tell(&self, host: &HostName, drain: &DrainRecord) -> Result<(), StoreError> {
        let ends = drain.deadline.map(|at| EndsRecord {
            at,
            because: format!(
                "host {host} is taken out of service; log out and start anew to go on elsewhere"
            ),
        });
        self.desktops.foretell(host, ends.as_ref()).await
    }
}
