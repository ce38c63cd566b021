//! One line per enrolled host: follows the hosts in the store.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::task::{AbortHandle, JoinSet};

use super::{Host, Hosts, Observer, link};
use crate::{
    names::{Endpoint, HostName},
    state::{self, HostRecord, keys},
    store::{Store, StoreError},
};

/// Between tries when the store fails.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps lines to all hosts in the store until dropped.
pub async fn supervise(hosts: Hosts, store: Arc<dyn Store>, observer: Arc<dyn Observer>) {
    let mut lines = Lines { hosts, observer, tasks: JoinSet::new(), running: BTreeMap::new() };
    loop {
        match follow(&mut lines, store.as_ref()).await {
            // The store forgot changes: read all again.
            Ok(()) | Err(StoreError::Compacted(_)) => {}
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the list of hosts cannot be read"
                );
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(lines: &mut Lines, store: &dyn Store) -> Result<(), StoreError> {
    loop {
        let range = store.range(keys::HOSTS).await?;
        let mut wanted = BTreeMap::new();
        for entry in &range.entries {
            let HostRecord { name, endpoint } = state::decode(&entry.key, &entry.value)?;
            wanted.insert(name, endpoint);
        }
        lines.become_those(wanted);
        let mut changes = store.watch(keys::HOSTS, range.revision).await?;
        match changes.next().await {
            Some(change) => change?,
            None => return Ok(()),
        };
    }
}

struct Lines {
    hosts: Hosts,
    observer: Arc<dyn Observer>,
    tasks: JoinSet<()>,
    running: BTreeMap<HostName, (Endpoint, AbortHandle)>,
}

// === impl Lines ===

impl Lines {
    fn become_those(&mut self, wanted: BTreeMap<HostName, Endpoint>) {
        let hosts = &self.hosts;
        self.running.retain(|name, (endpoint, line)| {
            let keep = wanted.get(name) == Some(endpoint);
            if !keep {
                line.abort();
                hosts.table().remove(name);
            }
            keep
        });
        // Collect those that have ended, so that the set does not grow.
        while self.tasks.try_join_next().is_some() {}
        for (name, endpoint) in wanted {
            if self.running.contains_key(&name) {
                continue;
            }
            let host = Arc::new(Host::new(name.clone(), endpoint.clone()));
            self.hosts.table().insert(name.clone(), Arc::clone(&host));
            let line = link::keep(self.hosts.clone(), host, Arc::clone(&self.observer));
            self.running.insert(name, (endpoint, self.tasks.spawn(line)));
        }
    }
}
