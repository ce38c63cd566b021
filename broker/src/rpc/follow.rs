//! WatchDesktops: what there is, then every change, until the caller signs
//! out or the session runs out.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use rolltop_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Api, RpcError};
use crate::{
    auth::Caller,
    names::DesktopId,
    state::{self, DesktopRecord, DesktopState, Stored, ViewerRecord, keys},
    store::{Event, Revision, StoreError},
};

/// Changes on their way to one caller; further ones wait in the store.
const AHEAD: usize = 16;

type Out = mpsc::Sender<Result<v1::Desktop, Status>>;

/// Why a watch ends.
enum Over {
    /// The caller is gone; nobody to tell.
    Left,
    /// To be told.
    Error(RpcError),
}

impl Api {
    pub(super) fn watch_desktops_call(
        &self,
        caller: Caller,
        all: bool,
    ) -> impl Stream<Item = Result<v1::Desktop, Status>> + Send + use<> {
        let (out, answers) = mpsc::channel(AHEAD);
        let api = self.clone();
        self.tasks.spawn(async move {
            let over = tokio::select! {
                () = api.shutdown.cancelled() => Over::Error(RpcError::Ending),
                () = api.signed_out(&caller) => Over::Error(RpcError::NotSignedIn),
                () = out.closed() => Over::Left,
                over = api.tell_changes(&caller, all, &out) => over,
            };
            if let Over::Error(error) = over {
                // Full or closed: the caller does not listen.
                out.try_send(Err(error.into())).unwrap_or_default();
            }
        });
        ReceiverStream::new(answers)
    }

    async fn tell_changes(&self, caller: &Caller, all: bool, out: &Out) -> Over {
        loop {
            match self.tell_until_compacted(caller, all, out).await {
                // Fell behind: begin again with what there is.
                Ok(()) | Err(Over::Error(RpcError::Store(StoreError::Compacted(_)))) => {}
                Err(over) => return over,
            }
        }
    }

    async fn tell_until_compacted(
        &self,
        caller: &Caller,
        all: bool,
        out: &Out,
    ) -> Result<(), Over> {
        let concerns = |id: &DesktopId| all || id.user == *caller.name();
        let mut versions = self.versions.changed();
        // Those it was told of as being behind.
        let mut behind = BTreeSet::new();
        let (since, begin) = self.begin(caller, all).await?;
        let mut changes = stream::select(
            self.store.watch(keys::DESKTOPS, since).await?,
            self.store.watch(keys::VIEWERS, since).await?,
        );
        // Own ones are read one by one, later than the changes begin.
        let mut told = BTreeMap::new();
        for Stored { record, key, revision } in begin {
            if record.state != DesktopState::Gone {
                let viewer = self.viewers.of(&record.id).await?;
                self.tell(out, &record, viewer.as_ref(), &mut behind).await?;
            }
            if !all {
                told.insert(key, revision);
            }
        }
        let is_told = |change: &Event| {
            told.get(&change.key).is_some_and(|revision| change.revision <= *revision)
        };
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(change)) if is_told(&change) => {}
                    Some(change) => self.tell_change(change?, &concerns, out, &mut behind).await?,
                    None => return Err(Over::Error(RpcError::Ending)),
                },
                Ok(()) = versions.changed() => {
                    let (_, now) = self.begin(caller, all).await?;
                    self.tell_versions(now, out, &mut behind).await?;
                }
            }
        }
    }

    /// What a caller is told of first, and since when changes are news.
    async fn begin(
        &self,
        caller: &Caller,
        all: bool,
    ) -> Result<(Revision, Vec<Stored<DesktopRecord>>), StoreError> {
        if all {
            return state::list_at(self.store.as_ref(), keys::DESKTOPS).await;
        }
        let since = self.store.range(keys::EPOCH_COUNTER).await?.revision;
        Ok((since, self.desktops.of(caller.name()).await?))
    }

    /// Tags have moved, or pools name another image.
    async fn tell_versions(
        &self,
        now: Vec<Stored<DesktopRecord>>,
        out: &Out,
        behind: &mut BTreeSet<DesktopId>,
    ) -> Result<(), Over> {
        for Stored { record, .. } in now {
            let is_news = self.versions.next_of(&record).behind != behind.contains(&record.id);
            if is_news {
                let viewer = self.viewers.of(&record.id).await?;
                self.tell(out, &record, viewer.as_ref(), behind).await?;
            }
        }
        Ok(())
    }

    async fn tell_change(
        &self,
        change: Event,
        concerns: &(dyn Fn(&DesktopId) -> bool + Sync),
        out: &Out,
        behind: &mut BTreeSet<DesktopId>,
    ) -> Result<(), Over> {
        if let Some(id) = change.key.strip_prefix(keys::VIEWERS).and_then(DesktopId::from_key) {
            let found = if concerns(&id) { self.desktops.find(&id).await? } else { None };
            let Some(stored) = found else { return Ok(()) };
            let viewer = change
                .value
                .map(|value| state::decode::<ViewerRecord>(&change.key, &value))
                .transpose()?;
            return self.tell(out, &stored.record, viewer.as_ref(), behind).await;
        }
        let Some(id) = change.key.strip_prefix(keys::DESKTOPS).and_then(DesktopId::from_key) else {
            return Ok(());
        };
        // Deleted: its last state, gone, was told before.
        let Some(value) = change.value.filter(|_| concerns(&id)) else { return Ok(()) };
        let record = state::decode(&change.key, &value)?;
        let viewer = self.viewers.of(&id).await?;
        self.tell(out, &record, viewer.as_ref(), behind).await
    }

    async fn tell(
        &self,
        out: &Out,
        record: &DesktopRecord,
        viewer: Option<&ViewerRecord>,
        behind: &mut BTreeSet<DesktopId>,
    ) -> Result<(), Over> {
        let desktop = self.show(record, viewer);
        if desktop.behind {
            behind.insert(record.id.clone());
        } else {
            behind.remove(&record.id);
        }
        out.send(Ok(desktop)).await.map_err(|_| Over::Left)
    }

    /// Answers until the caller signs out or the broker ends.
    pub(super) fn while_signed_in<T: Send + 'static>(
        &self,
        caller: Caller,
        answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> BoxStream<'static, Result<T, Status>> {
        let api = self.clone();
        let over = async move {
            tokio::select! {
                () = api.shutdown.cancelled() => RpcError::Ending,
                () = api.signed_out(&caller) => RpcError::NotSignedIn,
            }
        };
        stream::unfold(Some((answers.boxed(), Box::pin(over))), |state| async move {
            let (mut answers, mut over) = state?;
            tokio::select! {
                biased;
                error = over.as_mut() => Some((Err(error.into()), None)),
                answer = answers.next() => answer.map(|answer| (answer, Some((answers, over)))),
            }
        })
        .boxed()
    }

    /// Resolves when the caller's session or token is over.
    async fn signed_out(&self, caller: &Caller) {
        let left = self.clock.now().until(caller.expires_at);
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            () = self.credential_deleted(caller.key()) => {}
        }
    }

    async fn credential_deleted(&self, key: String) {
        loop {
            let Ok(range) = self.store.range(&key).await else { return };
            if range.entries.is_empty() {
                return;
            }
            let changes = match self.store.watch(&key, range.revision).await {
                Ok(changes) => changes,
                Err(_) => stream::empty().boxed(),
            };
            // A deletion, or a watch that has to begin anew.
            changes
                .take_while(|change| {
                    std::future::ready(matches!(change, Ok(Event { value: Some(_), .. })))
                })
                .count()
                .await;
        }
    }
}

impl From<StoreError> for Over {
    fn from(error: StoreError) -> Self {
        Self::Error(error.into())
    }
}
