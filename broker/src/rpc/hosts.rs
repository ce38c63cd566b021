//! Hosts over their life, for operators; and enrolment, for whoever has a token.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::BoxStream};
use rolltop_proto::v1::{self, enrolment_server::Enrolment, hosts_server::Hosts};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, RpcError, attempt::On, caller, convert};
use crate::{
    audit::{Entry, Outcome, Who},
    auth::{Act, Caller},
    enrol::EnrolRequest,
    names::{BadField, Endpoint, HostName},
    state::{self, CredentialRecord, HostRecord, TransactionExt as _, keys},
    store::{Commit, StoreError, Transaction},
};

/// Lost races before giving up.
const ATTEMPTS: u32 = 16;

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl Hosts for Api {
    async fn make_enrol_token(
        &self,
        request: Request<v1::MakeEnrolTokenRequest>,
    ) -> Answer<v1::MakeEnrolTokenResponse> {
        let attempt = self
            .attempt(&request, Act::MakeEnrolToken, On::Named("host", &request.get_ref().name))
            .await?;
        let done = self.make_enrol_token_call(attempt.caller(), request.into_inner()).await;
        attempt.answer(done)
    }

    async fn revoke_host(&self, request: Request<v1::RevokeHostRequest>) -> Answer<v1::Host> {
        let attempt = self
            .attempt(&request, Act::RevokeHost, On::Named("host", &request.get_ref().name))
            .await?;
        let done = self.revoke_host_call(request.into_inner()).await;
        attempt.answer(done)
    }

    async fn drain_host(&self, request: Request<v1::DrainHostRequest>) -> Answer<v1::Host> {
        let asked = request.get_ref();
        let attempt =
            self.attempt(&request, Act::DrainHost, On::Named("host", &asked.name)).await?;
        let attempt = match &asked.deadline {
            Some(deadline) => attempt.detail("deadline_s", deadline.seconds),
            None => attempt,
        };
        let done = self.drain_host_call(attempt.caller(), request.into_inner()).await;
        attempt.answer(done)
    }

    async fn undrain_host(&self, request: Request<v1::UndrainHostRequest>) -> Answer<v1::Host> {
        let name = &request.get_ref().name;
        let attempt = self.attempt(&request, Act::UndrainHost, On::Named("host", name)).await?;
        let done = self.undrain_host_call(name).await;
        attempt.answer(done)
    }

    type WatchHostsStream = BoxStream<'static, Result<v1::Host, Status>>;

    async fn watch_hosts(
        &self,
        request: Request<v1::WatchHostsRequest>,
    ) -> Answer<Self::WatchHostsStream> {
        self.may(&request, Act::ReadHosts).await?;
        Ok(Response::new(self.watch_hosts_call(&request.get_ref().name).await?.boxed()))
    }

    async fn set_host_labels(
        &self,
        request: Request<v1::SetHostLabelsRequest>,
    ) -> Answer<v1::Host> {
        let attempt = self
            .attempt(&request, Act::SetHostLabels, On::Named("host", &request.get_ref().name))
            .await?;
        let done = self.set_host_labels_call(request.into_inner()).await;
        attempt.answer(done)
    }

    async fn explain_placement(
        &self,
        request: Request<v1::ExplainPlacementRequest>,
    ) -> Answer<v1::ExplainPlacementResponse> {
        self.operator(&request).await?;
        Ok(Response::new(self.explain_placement_call(request.get_ref()).await?))
    }
}

#[async_trait]
impl Enrolment for Api {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Answer<v1::EnrolResponse> {
        let from = caller::address_of(&request)?;
        Ok(Response::new(self.enrol_call(from, request.into_inner()).await?))
    }
}

impl Api {
    async fn make_enrol_token_call(
        &self,
        caller: &Caller,
        request: v1::MakeEnrolTokenRequest,
    ) -> Result<v1::MakeEnrolTokenResponse, RpcError> {
        let name = HostName::parse("name", &request.name)?;
        let life = request.life.map(|life| {
            Duration::try_from(life)
                .map_err(|_| BadField::new("life", &format!("{life:?}"), "a positive duration"))
        });
        let token = self.enrolments.issue(&name, life.transpose()?, caller.name()).await?;
        Ok(v1::MakeEnrolTokenResponse {
            token: token.text,
            expires_at: convert::stamp(token.expires_at),
        })
    }

    async fn enrol_call(
        &self,
        from: std::net::IpAddr,
        request: v1::EnrolRequest,
    ) -> Result<v1::EnrolResponse, RpcError> {
        let name = HostName::parse("name", &request.name)?;
        let endpoint = if request.endpoint.is_empty() {
            let wanted = "the port of the agent, 1 to 65535, or an endpoint";
            let port = u16::try_from(request.port).ok().filter(|port| *port != 0);
            Err(port.ok_or_else(|| BadField::new("port", &request.port.to_string(), wanted))?)
        } else {
            Ok(Endpoint::parse("endpoint", &request.endpoint)?)
        };
        let asked = EnrolRequest {
            token: request.token,
            name: name.clone(),
            request_pem: request.request_pem,
            endpoint,
        };
        let enrolled = match self.enrolments.enrol(&asked, from).await {
            Ok(enrolled) => enrolled,
            Err(error) => {
                let who = Who::stranger(from);
                let entry = Entry::new(Act::EnrolHost, &who, Outcome::Refused);
                self.audit.note(entry.on("host", &name).because(&error));
                return Err(error.into());
            }
        };
        let who = Who { via: "enrol-token".to_owned(), ..Who::stranger(from) };
        let who = who.named(enrolled.by.as_str());
        let entry = Entry::new(Act::EnrolHost, &who, Outcome::Ok).on("host", &name);
        self.audit.note(entry.detail("endpoint", &enrolled.host.endpoint));
        Ok(v1::EnrolResponse {
            certificate_pem: enrolled.signed.certificate_pem,
            ca_pem: self.enrolments.authority_pem().to_owned(),
            expires_at: convert::stamp(enrolled.signed.issued.expires_at),
            endpoint: enrolled.host.endpoint.to_string(),
        })
    }

    async fn revoke_host_call(&self, request: v1::RevokeHostRequest) -> Result<v1::Host, RpcError> {
        let name = HostName::parse("name", &request.name)?;
        // With it goes a token that could bring it back.
        let host = self
            .change_host(
                &name,
                |transaction| transaction.delete(keys::enrol(&name)),
                |host| {
                    host.credential = CredentialRecord::revoked();
                },
            )
            .await?;
        self.host_now(&host).await
    }

    /// Changes what is noted of a host, and in the same transaction what `with`
    /// adds.
    pub(super) async fn change_host(
        &self,
        name: &HostName,
        with: impl Fn(Transaction) -> Transaction,
        edit: impl Fn(&mut HostRecord),
    ) -> Result<HostRecord, RpcError> {
        let (store, key) = (self.store.as_ref(), keys::host(name));
        for _ in 0..ATTEMPTS {
            let stored = state::read::<HostRecord>(store, &key).await?;
            let stored = stored.ok_or_else(|| RpcError::UnknownHost(name.clone()))?;
            let mut record = stored.record.clone();
            edit(&mut record);
            let change =
                Transaction::new().unchanged(&key, stored.revision).put_record(&key, &record)?;
            if let Commit::Applied(_) = store.commit(with(change)).await? {
                return Ok(record);
            }
        }
        Err(StoreError::Contended { what: "a host", attempts: ATTEMPTS }.into())
    }
}
