//! Hosts that are to have no desktops, their labels, and what is seen of hosts
//! while it happens.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{Stream, stream};
use rolltop_proto::v1;
use tokio::time::sleep;
use tonic::Status;

use super::{Api, RpcError, convert};
use crate::{
    auth::Caller,
    hosts::{Happening, duty_after},
    names::{BadField, HostName},
    state::{self, CapacityRecord, DrainRecord, Duty, HostRecord, is_label_word, keys},
    store::StoreError,
};

/// Longest time to a drain's deadline.
const MONTH: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// Labels of one host.
const MOST_LABELS: usize = 64;
/// How often a watcher hears of hosts, at most. Their facts change with each
/// heartbeat anyway.
const PACE: Duration = Duration::from_millis(500);

impl Api {
    pub(super) async fn drain_host_call(
        &self,
        caller: &Caller,
        request: v1::DrainHostRequest,
    ) -> Result<v1::Host, RpcError> {
        let name = HostName::parse("name", &request.name)?;
        let now = self.clock.now();
        let deadline = match request.deadline {
            None => None,
            Some(given) => {
                let bad = || BadField::new("deadline", &format!("{given:?}"), "0 s to 31 days");
                let wait = Duration::try_from(given).map_err(|_| bad())?;
                Some(now.after(Some(wait).filter(|wait| *wait <= MONTH).ok_or_else(bad)?))
            }
        };
        let edit = |host: &mut HostRecord| {
            let since = host.drain.as_ref().map_or(now, |drain| drain.since);
            let done = duty_after(host.duty(), Happening::Drain) == Duty::Drained;
            host.drain = Some(DrainRecord { by: caller.name().clone(), since, deadline, done });
        };
        let host = self.change_host(&name, |transaction| transaction, edit).await?;
        self.host_now(&host).await
    }

    pub(super) async fn undrain_host_call(&self, name: &str) -> Result<v1::Host, RpcError> {
        let name = HostName::parse("name", name)?;
        let edit = |host: &mut HostRecord| host.drain = None;
        let host = self.change_host(&name, |transaction| transaction, edit).await?;
        self.desktops.foretell(&name, None).await?;
        self.host_now(&host).await
    }

    pub(super) async fn set_host_labels_call(
        &self,
        request: v1::SetHostLabelsRequest,
    ) -> Result<v1::Host, RpcError> {
        let name = HostName::parse("name", &request.name)?;
        for word in request.set.iter().flat_map(|(key, value)| [key, value]) {
            if !is_label_word(word) {
                let wanted = "letters, digits, '.', '_' and '-'; 63 bytes at most";
                return Err(BadField::new("set", word, wanted).into());
            }
        }
        if request.set.len() > MOST_LABELS {
            return Err(BadField::new("set", &request.set.len().to_string(), "64 at most").into());
        }
        let edit = |host: &mut HostRecord| {
            host.labels.retain(|key, _| !request.remove.contains(key));
            host.labels.extend(request.set.clone());
        };
        let host = self.change_host(&name, |transaction| transaction, edit).await?;
        if host.labels.len() > MOST_LABELS {
            tracing::warn!(host.name = %name, count = host.labels.len(), "a host has many labels");
        }
        self.host_now(&host).await
    }

    /// A host as the API shows it.
    pub(super) async fn host_now(&self, host: &HostRecord) -> Result<v1::Host, RpcError> {
        let key = keys::capacity(&host.name);
        let claimed = state::read::<CapacityRecord>(self.store.as_ref(), &key).await?;
        let claimed = claimed.map_or_else(CapacityRecord::default, |stored| stored.record);
        Ok(convert::host(host, self.hosts.seen().remove(&host.name), claimed))
    }

    /// All hosts, or the one named.
    pub(super) async fn hosts_now(
        &self,
        only: Option<&HostName>,
    ) -> Result<Vec<v1::Host>, StoreError> {
        let store = self.store.as_ref();
        let hosts = state::list::<HostRecord>(store, keys::HOSTS).await?;
        let claimed = state::list::<CapacityRecord>(store, keys::CAPACITIES).await?;
        let claimed: BTreeMap<String, CapacityRecord> =
            claimed.into_iter().map(|stored| (stored.key, stored.record)).collect();
        let mut seen = self.hosts.seen();
        let wanted = hosts.into_iter().map(|stored| stored.record);
        let wanted = wanted.filter(|host| only.is_none_or(|only| *only == host.name));
        Ok(wanted
            .map(|host| {
                let claimed = claimed.get(&keys::capacity(&host.name)).copied();
                convert::host(&host, seen.remove(&host.name), claimed.unwrap_or_default())
            })
            .collect())
    }

    /// Looks twice a second for as long as somebody watches, and tells what is
    /// another than before: facts change with heartbeats, desktops with claims.
    pub(super) async fn watch_hosts_call(
        &self,
        name: &str,
    ) -> Result<impl Stream<Item = Result<v1::Host, Status>> + Send + use<>, RpcError> {
        let only = match name {
            "" => None,
            name => Some(HostName::parse("name", name)?),
        };
        let first = self.hosts_now(only.as_ref()).await?;
        if let Some(name) = only.as_ref().filter(|_| first.is_empty()) {
            return Err(RpcError::UnknownHost(name.clone()));
        }
        let told: BTreeMap<String, v1::Host> = BTreeMap::new();
        let state = (self.clone(), only, told, first.into_iter());
        Ok(stream::try_unfold(state, |(api, only, mut told, mut next)| async move {
            loop {
                for host in next.by_ref() {
                    if told.get(&host.name) != Some(&host) {
                        told.insert(host.name.clone(), host.clone());
                        return Ok(Some((host, (api, only, told, next))));
                    }
                }
                if api.shutdown.run_until_cancelled(sleep(PACE)).await.is_none() {
                    return Err(RpcError::Ending.into());
                }
                next = api.hosts_now(only.as_ref()).await.map_err(RpcError::from)?.into_iter();
            }
        }))
    }
}
