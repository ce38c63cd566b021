//! Hosts and images, for operators.

use rolltop_proto::v1;

use super::{Api, RpcError, convert};
use crate::{
    auth::Caller,
    names::{Endpoint, HostName},
    state::{self, CapacityRecord, DesktopRecord, HostRecord, TransactionExt as _, keys},
    store::{Commit, StoreError, Transaction},
};

impl Api {
    pub(super) async fn list_hosts_call(&self) -> Result<v1::ListHostsResponse, RpcError> {
        let mut seen = self.hosts.seen();
        let hosts = state::list::<HostRecord>(self.store.as_ref(), keys::HOSTS).await?;
        let hosts = hosts
            .iter()
            .map(|stored| convert::host(&stored.record, seen.remove(&stored.record.name)));
        Ok(v1::ListHostsResponse { hosts: hosts.collect() })
    }

    pub(super) async fn put_host_call(
        &self,
        caller: &Caller,
        request: v1::PutHostRequest,
    ) -> Result<v1::Host, RpcError> {
        let name = HostName::parse("name", &request.name)?;
        let endpoint = Endpoint::parse("endpoint", &request.endpoint)?;
        let record = HostRecord { name, endpoint };
        let key = keys::host(&record.name);
        self.store.commit(Transaction::new().put_record(&key, &record)?).await?;
        tracing::info!(target: "audit", act = "put-host", by = %caller.name(), host.name = %record.name,
            host.endpoint = %record.endpoint, outcome = "ok");
        Ok(convert::host(&record, None))
    }

    pub(super) async fn delete_host_call(
        &self,
        caller: &Caller,
        request: v1::DeleteHostRequest,
    ) -> Result<v1::DeleteHostResponse, RpcError> {
        let name = HostName::parse("name", &request.name)?;
        let (key, capacity_key) = (keys::host(&name), keys::capacity(&name));
        let store = self.store.as_ref();
        let unknown = || RpcError::UnknownHost(name.clone());
        let host = state::read::<HostRecord>(store, &key).await?.ok_or_else(unknown)?;
        // Whoever claims there changes this record, and one of us loses.
        let capacity = state::read::<CapacityRecord>(store, &capacity_key).await?;
        let desktops = state::list::<DesktopRecord>(store, keys::DESKTOPS).await?;
        let living = desktops.iter().map(|stored| &stored.record);
        let desktops =
            living.filter(|desktop| desktop.host == name && desktop.state.holds_capacity()).count();
        let overlays = self.data.all().await?.iter().filter(|kept| kept.host == name).count();
        if desktops + overlays > 0 {
            return Err(RpcError::HostInUse { host: name, desktops, overlays });
        }
        let transaction = Transaction::new()
            .unless_changed(&key, Some(&host))
            .unless_changed(&capacity_key, capacity.as_ref())
            .delete(&key)
            .delete(&capacity_key);
        match store.commit(transaction).await? {
            Commit::Applied(_) => {}
            Commit::Conflict { .. } => {
                return Err(StoreError::Contended { what: "a host", attempts: 1 }.into());
            }
        }
        tracing::info!(target: "audit", act = "delete-host", by = %caller.name(), host.name = %name, outcome = "ok");
        Ok(v1::DeleteHostResponse {})
    }

    pub(super) fn list_images_call(&self) -> v1::ListClusterImagesResponse {
        let images = self.hosts.seen().into_iter().flat_map(|(host, seen)| {
            seen.images.into_iter().map(move |version| v1::ClusterImage {
                host: host.to_string(),
                version: Some(version),
            })
        });
        v1::ListClusterImagesResponse { images: images.collect() }
    }
}
