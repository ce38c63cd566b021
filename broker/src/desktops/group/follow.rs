//! How the books are kept up: read once, then followed.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::sleep;

use super::books::{self, Books};
use crate::{
    desktops::Desktops,
    state::keys,
    store::{Revision, StoreError},
};

/// Before the books are begun anew.
const PAUSE: Duration = Duration::from_millis(200);

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
        let begin = self.read_all_books().await?;
        // All in one: only so is it known that nothing is missing before a change.
        let mut changes = self.store().watch("", begin).await?;
        let mut heard = begin;
        loop {
            {
                let mut state = self.books();
                state.books.heard_up_to(heard);
                group.followed.send_replace(heard);
            }
            let Some(first) = changes.next().await else { return Ok(()) };
            let mut next = Some(first);
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
}
