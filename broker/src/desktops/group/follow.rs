//! How the books are kept up: read once, then followed.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{sleep, timeout};

use super::{
    books::{self, Books},
    lodgings::Lodger,
};
use crate::{
    desktops::Desktops,
    names::{DesktopId, HostName, UserName},
    state::{self, CounterRecord, WarmRecord, keys},
    store::{Revision, StoreError},
};

/// Before the books are begun anew.
const PAUSE: Duration = Duration::from_millis(200);
/// For desktops that were claimed to be heard of; then all are read.
const HEARING: Duration = Duration::from_secs(1);

/// All that has been claimed up to a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::desktops) struct Claimed {
    /// The last epoch that was given.
    pub(in crate::desktops) epoch: u64,
    /// By which transaction.
    pub(in crate::desktops) revision: Revision,
}

impl Desktops {
    /// Reads what is claimed on hosts anew: for answers that nothing guards.
    ///
    /// # Errors
    /// Of the store.
    pub(in crate::desktops) async fn look_up_room(&self) -> Result<(), StoreError> {
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
        self.books().books.lose_track();
        let begin = self.read_all_books().await?;
        // All in one: only so is it known that nothing is missing before a change.
        let mut changes = self.store().watch("", begin).await?;
        // They are many: what comes meanwhile is heard, and whoever claims goes on.
        let mut desktops = self.store().range(keys::DESKTOPS);
        let mut tracked = false;
        let mut heard = begin;
        loop {
            {
                let mut state = self.books();
                state.books.heard_up_to(heard);
                group.followed.send_replace(heard);
                group.known.send_replace(state.books.known());
            }
            let mut next = tokio::select! {
                range = &mut desktops, if !tracked => {
                    tracked = true;
                    let mut state = self.books();
                    state.books.read(keys::DESKTOPS, &range?)?;
                    state.books.track();
                    continue;
                }
                first = changes.next() => first,
            };
            if next.is_none() {
                return Ok(());
            }
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

    pub(super) async fn open_books(&self) -> Result<(), StoreError> {
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

    pub(super) async fn read_books(&self, prefixes: &[&str]) -> Result<(), StoreError> {
        for prefix in prefixes {
            let range = self.store().range(prefix).await?;
            self.books().books.read(prefix, &range)?;
        }
        Ok(())
    }

    /// All that has been claimed till now.
    ///
    /// # Errors
    /// Of the store.
    pub(in crate::desktops) async fn claimed_till_now(&self) -> Result<Claimed, StoreError> {
        let counter = state::read::<CounterRecord>(self.store(), keys::EPOCH_COUNTER).await?;
        // Without one, nothing has ever been claimed.
        Ok(counter.map_or_else(Claimed::default, |stored| Claimed {
            epoch: stored.record.last,
            revision: stored.revision,
        }))
    }

    /// Desktops that held room on a host a moment ago, all among them that were
    /// claimed up to `claimed`.
    ///
    /// # Errors
    /// Of the store.
    pub(in crate::desktops) async fn lodgers_on(
        &self,
        host: &HostName,
        claimed: Claimed,
    ) -> Result<Vec<Lodger>, StoreError> {
        self.know(claimed).await?;
        Ok(self.books().books.lodgings().on(host))
    }

    /// Desktops that were being started a moment ago, on whichever host.
    ///
    /// # Errors
    /// Of the store.
    pub(in crate::desktops) async fn lodgers_starting(
        &self,
        claimed: Claimed,
    ) -> Result<Vec<Lodger>, StoreError> {
        self.know(claimed).await?;
        Ok(self.books().books.lodgings().starting())
    }

    /// Desktops that were made ahead on a host, as of a moment ago.
    ///
    /// # Errors
    /// Of the store.
    pub(in crate::desktops) async fn warm_on(
        &self,
        host: &HostName,
        claimed: Claimed,
    ) -> Result<Vec<WarmRecord>, StoreError> {
        self.know(claimed).await?;
        Ok(self.books().books.warm_on(host))
    }

    /// All desktops that a user may have.
    ///
    /// # Errors
    /// Of the store.
    pub(in crate::desktops) async fn ids_of(
        &self,
        user: &UserName,
    ) -> Result<Vec<DesktopId>, StoreError> {
        let claimed = self.claimed_till_now().await?;
        self.know(claimed).await?;
        Ok(self.books().books.lodgings().of(user))
    }

    /// Until all is known that was claimed up to a moment.
    async fn know(&self, claimed: Claimed) -> Result<(), StoreError> {
        let group = &self.inner.group;
        let mut known = group.known.subscribe();
        let heard = known.wait_for(|known| *known >= claimed.revision);
        if let Ok(Ok(_)) = timeout(HEARING, heard).await {
            return Ok(());
        }
        let _one = group.reading.lock().await;
        if *group.known.borrow() >= claimed.revision {
            return Ok(());
        }
        let desktops = self.store().range(keys::DESKTOPS).await?;
        let warm = self.store().range(keys::WARM).await?;
        let mut state = self.books();
        state.books.read(keys::DESKTOPS, &desktops)?;
        state.books.read(keys::WARM, &warm)?;
        state.books.know_up_to(desktops.revision);
        group.known.send_replace(state.books.known());
        Ok(())
    }
}
