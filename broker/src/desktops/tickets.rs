//! Tickets: each opens one connection, to one life of one desktop, for a
//! moment.

use std::{sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    clock::{Clock, Timestamp},
    names::{DesktopId, UserName},
    secret::Secret,
    state::{self, DesktopRecord, DesktopState, TicketRecord, TransactionExt as _, keys},
    store::{Commit, Store, StoreError, Transaction},
};

/// One user's tickets at once. A page needs one.
const PER_USER: usize = 32;

/// A ticket was not given, or does not admit.
#[derive(Debug, Error)]
pub enum TicketError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was used, has run out, or never was one. Which, nobody can tell: the
    /// store forgets all three alike.
    #[error("this ticket was used already, has run out, or never was one")]
    Invalid,
    /// The desktop has ended since.
    #[error("the desktop of this ticket has ended")]
    DesktopEnded,
    /// Too many are open.
    #[error("{user} has {PER_USER} unused tickets")]
    TooMany {
        /// Whose.
        user: UserName,
    },
}

/// A fresh ticket.
#[derive(Debug)]
pub struct IssuedTicket {
    /// The text; not kept anywhere.
    pub secret: Secret,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// What a ticket opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The desktop, as it is.
    pub desktop: DesktopRecord,
    /// Whose ticket it was.
    pub user: UserName,
}

/// Gives and takes tickets.
#[derive(Clone)]
pub struct Tickets {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    life: Duration,
}

// === impl Tickets ===

impl Tickets {
    /// Tickets are good for `life`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, life: Duration) -> Self {
        Self { store, clock, life }
    }

    /// A ticket for this life of a desktop.
    ///
    /// # Errors
    /// [`TicketError::TooMany`], or of the store.
    pub async fn issue(
        &self,
        desktop: &DesktopId,
        epoch: u64,
        user: &UserName,
    ) -> Result<IssuedTicket, TicketError> {
        let own = self.store.range(&keys::tickets_of(user)).await?;
        if own.entries.len() >= PER_USER {
            return Err(TicketError::TooMany { user: user.clone() });
        }
        let secret = Secret::random();
        let expires_at = self.clock.now().after(self.life);
        let record =
            TicketRecord { desktop: desktop.clone(), epoch, user: user.clone(), expires_at };
        // The lease clears it away; whether it is good is for the clock to say.
        let lease = self.store.grant(self.life).await?;
        let digest = secret.digest();
        let transaction = Transaction::new()
            .put_leased_record(&keys::ticket(&digest), &record, lease)?
            .put_leased(keys::ticket_of(user, &digest), Vec::new(), lease);
        self.store.commit(transaction).await?;
        Ok(IssuedTicket { secret, expires_at })
    }

    /// Takes a ticket: whatever comes of it, it is used.
    ///
    /// # Errors
    /// [`TicketError::Invalid`] or [`TicketError::DesktopEnded`].
    pub async fn redeem(&self, text: &str) -> Result<Admission, TicketError> {
        let secret = Secret::received(text).ok_or(TicketError::Invalid)?;
        let digest = secret.digest();
        let key = keys::ticket(&digest);
        let stored = state::read::<TicketRecord>(self.store.as_ref(), &key)
            .await?
            .ok_or(TicketError::Invalid)?;
        let taken = Transaction::new()
            .unchanged(&key, stored.revision)
            .delete(&key)
            .delete(keys::ticket_of(&stored.record.user, &digest));
        if let Commit::Conflict { .. } = self.store.commit(taken).await? {
            return Err(TicketError::Invalid);
        }
        let ticket = stored.record;
        if self.clock.now() >= ticket.expires_at {
            return Err(TicketError::Invalid);
        }
        let desktop =
            state::read::<DesktopRecord>(self.store.as_ref(), &keys::desktop(&ticket.desktop))
                .await?;
        desktop
            .map(|stored| stored.record)
            .filter(|desktop| {
                desktop.epoch == ticket.epoch && desktop.state == DesktopState::Running
            })
            .map(|desktop| Admission { desktop, user: ticket.user })
            .ok_or(TicketError::DesktopEnded)
    }
}
