//! One line per enrolled host: follows the hosts in the store.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::task::{AbortHandle, JoinSet};

use super::{Host, Hosts, Observer, Renewer, link, lock};
use crate::{
    config,
    names::HostName,
    state::{self, HostRecord, keys},
    store::{Store, StoreError},
};

/// Between tries when the store fails.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps lines to all hosts in the store until dropped.
pub async fn supervise(
    hosts: Hosts,
    renewer: Renewer,
    config: config::Hosts,
    observer: Arc<dyn Observer>,
) {
    let store = Arc::clone(&renewer.store);
    let keeper = link::Keeper { hosts, observer, renewer, rhythm: link::Rhythm::new(config) };
    let mut lines = Lines { keeper, tasks: JoinSet::new(), running: BTreeMap::new() };
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
            let record: HostRecord = state::decode(&entry.key, &entry.value)?;
            wanted.insert(record.name.clone(), record);
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
    keeper: link::Keeper,
    tasks: JoinSet<()>,
    running: BTreeMap<HostName, Running>,
}

struct Running {
    record: HostRecord,
    host: Arc<Host>,
    /// None: there is nobody to call.
    line: Option<AbortHandle>,
}

// === impl Lines ===

impl Lines {
    fn become_those(&mut self, wanted: BTreeMap<HostName, HostRecord>) {
        let hosts = &self.keeper.hosts;
        self.running.retain(|name, running| {
            let keep = wanted.get(name).is_some_and(|record| running.becomes(record));
            if !keep {
                if let Some(line) = &running.line {
                    line.abort();
                }
                hosts.table().remove(name);
                lock(&hosts.touched).insert(name.clone());
            }
            keep
        });
        // Collect those that have ended, so that the set does not grow.
        while self.tasks.try_join_next().is_some() {}
        for (name, record) in wanted {
            if !self.running.contains_key(&name) {
                self.begin(record);
            }
        }
        self.keeper.hosts.news.notify_waiters();
    }

    fn begin(&mut self, record: HostRecord) {
        let hosts = &self.keeper.hosts;
        let host = match Host::new(&record, &hosts.trust, &hosts.touched) {
            Ok(host) => Arc::new(host),
            Err(error) => {
                tracing::error!(host.name = %record.name, error = &error as &dyn std::error::Error,
                    "there is no way to a host");
                return;
            }
        };
        let name = record.name.clone();
        hosts.table().insert(name.clone(), Arc::clone(&host));
        lock(&hosts.touched).insert(name.clone());
        let line = (!record.credential.revoked)
            .then(|| self.tasks.spawn(self.keeper.clone().keep(Arc::clone(&host))));
        self.running.insert(name, Running { record, host, line });
    }
}

// === impl Running ===

impl Running {
    /// Whether the line there is will do.
    fn becomes(&mut self, record: &HostRecord) -> bool {
        let stays = self.record.endpoint == record.endpoint
            && record.credential.continues(&self.record.credential);
        if stays {
            lock(&self.host.credential).clone_from(&record.credential);
            self.host.note(|seen| {
                seen.duty = record.duty();
                seen.labels.clone_from(&record.labels);
            });
            self.record.clone_from(record);
        }
        stays
    }
}
