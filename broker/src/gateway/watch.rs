//! What ends a connection from outside: the desktop's end, a later viewer,
//! somebody who sends it away.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::timeout;

use super::End;
use crate::{
    state::{self, DesktopRecord, DesktopState, SentAwayRecord, ViewerRecord, keys},
    store::{Store, StoreError},
};

/// From the display's end to the host's word about it.
const GRACE: Duration = Duration::from_secs(3);

/// Resolves when the connection has to end.
pub(super) async fn end_of(store: &dyn Store, desktop: &DesktopRecord, connection: &str) -> End {
    loop {
        match follow(store, desktop, connection).await {
            Ok(end) => return end,
            // Too many changes at once: look anew.
            Err(StoreError::Compacted(_)) => {}
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a desktop cannot be watched"
                );
                return End::BrokerFault;
            }
        }
    }
}

/// The end that is about to be known, if it is within a moment.
pub(super) async fn likely_end(
    store: &dyn Store,
    desktop: &DesktopRecord,
    connection: &str,
) -> Option<End> {
    timeout(GRACE, end_of(store, desktop, connection)).await.ok()
}

async fn follow(
    store: &dyn Store,
    desktop: &DesktopRecord,
    connection: &str,
) -> Result<End, StoreError> {
    let (desktop_key, viewer_key) = (keys::desktop(&desktop.id), keys::viewer(&desktop.id));
    let away_key = keys::sent_away(&desktop.id);
    let begin = store.range(&desktop_key).await?;
    let mut changes = stream::select_all([
        store.watch(&desktop_key, begin.revision).await?,
        store.watch(&viewer_key, begin.revision).await?,
        store.watch(&away_key, begin.revision).await?,
    ]);
    let viewer = state::read::<ViewerRecord>(store, &viewer_key).await?.map(|stored| stored.record);
    let away = state::read::<SentAwayRecord>(store, &away_key).await?.map(|stored| stored.record);
    let present =
        begin.entries.into_iter().find(|entry| entry.key == desktop_key).map(|entry| entry.value);
    if let Some(end) = desktop_end(desktop, &desktop_key, present.as_deref())?
        .or_else(|| taken(viewer, connection))
        .or_else(|| sent_away(away, connection))
    {
        return Ok(end);
    }
    while let Some(change) = changes.next().await {
        let change = change?;
        let end = if change.key == desktop_key {
            desktop_end(desktop, &desktop_key, change.value.as_deref())?
        } else if let (true, Some(value)) = (change.key == viewer_key, &change.value) {
            taken(Some(state::decode(&viewer_key, value)?), connection)
        } else if let (true, Some(value)) = (change.key == away_key, &change.value) {
            sent_away(Some(state::decode(&away_key, value)?), connection)
        } else {
            None
        };
        if let Some(end) = end {
            return Ok(end);
        }
    }
    Ok(End::BrokerEnds)
}

fn taken(viewer: Option<ViewerRecord>, connection: &str) -> Option<End> {
    // No viewer at all: the lease was lost; nobody else has come.
    viewer
        .filter(|viewer| viewer.connection != connection)
        .map(|viewer| End::TakenOver { address: viewer.address })
}

fn sent_away(away: Option<SentAwayRecord>, connection: &str) -> Option<End> {
    away.filter(|away| away.connection == connection).map(|away| End::SentAway(away.because))
}

fn desktop_end(
    opened: &DesktopRecord,
    key: &str,
    value: Option<&[u8]>,
) -> Result<Option<End>, StoreError> {
    let Some(value) = value else {
        return Ok(Some(End::SessionEnded("the session has ended".to_owned())));
    };
    let now: DesktopRecord = state::decode(key, value)?;
    if now.epoch != opened.epoch {
        return Ok(Some(End::SessionEnded("the desktop was started anew".to_owned())));
    }
    Ok(match now.state {
        DesktopState::Running => None,
        DesktopState::Starting | DesktopState::Stopping => None,
        DesktopState::Gone => Some(End::SessionEnded(match now.failure {
            Some(failure) => failure.reason,
            None => sentence(&now.end_reason),
        })),
        DesktopState::Failed => {
            let reason = now.failure.map(|failure| failure.reason);
            Some(End::SessionEnded(reason.unwrap_or_else(|| "the desktop failed".to_owned())))
        }
    })
}

fn sentence(reason: &str) -> String {
    match reason {
        "LOGOUT" => "you have logged out".to_owned(),
        "STOPPED" => "the desktop was stopped".to_owned(),
        "INIT_EXITED" => "the desktop shut itself down".to_owned(),
        "IDLE_LIMIT" => "the desktop was closed, because nobody had used it for long".to_owned(),
        "DISCONNECTED_LIMIT" => {
            "the desktop was closed, because nobody had been connected to it for long".to_owned()
        }
        "TIME_LIMIT" => "the desktop was closed: it has run for as long as it may".to_owned(),
        "IMAGE_UPDATE" => "the desktop was closed for another version of it".to_owned(),
        "LOST" => "the host has lost the desktop".to_owned(),
        other => format!("the session has ended ({other})"),
    }
}
