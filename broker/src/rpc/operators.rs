//! Hosts and images, for operators.

use rolltop_proto::v1;

use super::{Api, RpcError};
use crate::{
    names::{Endpoint, HostName},
    state::{self, CapacityRecord, CredentialRecord, HostRecord, TransactionExt as _, keys},
    store::{Commit, StoreError, Transaction},
};

impl Api {
    pub(super) async fn list_hosts_call(&self) -> Result<v1::ListHostsResponse, RpcError> {
        Ok(v1::ListHostsResponse { hosts: self.hosts_now(None).await? })
    }

    pub(super) async fn put_host_call(
        &self,
        request: v1::PutHostRequest,
    ) -> Result<v1::Host, RpcError> {
        let name = HostName::parse("name", &request.name)?;
        let endpoint = Endpoint::parse("endpoint", &request.endpoint)?;
        let record = self.put_endpoint(name, endpoint).await?;
        self.host_now(&record).await
    }

    /// Of a host that is not known, no certificate counts: it has to be enrolled.
    async fn put_endpoint(
        &self,
        name: HostName,
        endpoint: Endpoint,
    ) -> Result<HostRecord, RpcError> {
        let new = HostRecord::new(name.clone(), endpoint.clone(), CredentialRecord::revoked());
        let key = keys::host(&name);
        let make = Transaction::new().absent(&key).put_record(&key, &new)?;
        match self.store.commit(make).await? {
            Commit::Applied(_) => Ok(new),
            Commit::Conflict { .. } => {
                let edit = |host: &mut HostRecord| host.endpoint.clone_from(&endpoint);
                self.change_host(&name, |transaction| transaction, edit).await
            }
        }
    }

    pub(super) async fn delete_host_call(
        &self,
        request: v1::DeleteHostRequest,
    ) -> Result<v1::DeleteHostResponse, RpcError> {
        let name = HostName::parse("name", &request.name)?;
        let (key, capacity_key) = (keys::host(&name), keys::capacity(&name));
        let store = self.store.as_ref();
        let unknown = || RpcError::UnknownHost(name.clone());
        let host = state::read::<HostRecord>(store, &key).await?.ok_or_else(unknown)?;
        if request.force {
            self.forget_what_is_on(&name).await?;
        }
        // Whoever claims there changes this record, and one of us loses.
        let capacity = state::read::<CapacityRecord>(store, &capacity_key).await?;
        let desktops = self.desktops.living_on(&name).await?.len();
        let overlays = self.data.all().await?.iter().filter(|kept| kept.host == name).count();
        if desktops + overlays > 0 {
            return Err(RpcError::HostInUse { host: name, desktops, overlays });
        }
        let transaction = Transaction::new()
            .unless_changed(&key, Some(&host))
            .unless_changed(&capacity_key, capacity.as_ref())
            .delete(&key)
            .delete(keys::enrol(&name))
            .delete(&capacity_key);
        match store.commit(transaction).await? {
            Commit::Applied(_) => {}
            Commit::Conflict { .. } => {
                return Err(StoreError::Contended { what: "a host", attempts: 1 }.into());
            }
        }
        Ok(v1::DeleteHostResponse {})
    }

    /// For a host that will not come back.
    async fn forget_what_is_on(&self, name: &HostName) -> Result<(), RpcError> {
        if self.hosts.agent(name).is_ok() {
            let key = keys::capacity(name);
            let claimed = state::read::<CapacityRecord>(self.store.as_ref(), &key).await?;
            let desktops = claimed.map_or(0, |stored| stored.record.desktops);
            if desktops > 0 {
                return Err(RpcError::HostAnswers { host: name.clone(), desktops });
            }
        }
        let desktops = self.desktops.write_off(name, "HOST_REMOVED").await?;
        let kept = self.data.forget_all_on(name).await?;
        tracing::warn!(host.name = %name, desktops, kept, "what was on a host is given up");
        Ok(())
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
