//! A host gets its next certificate over the line this broker has to it. The
//! new one counts from before it is handed out, the old one until the host is
//! known to have the new one: whatever breaks in between, the host is let in.

use std::{sync::Arc, time::Duration};

use rolltop_proto::v1::{
    InstallCertificateRequest, RequestCertificateRequest, host_keys_client::HostKeysClient,
};
use thiserror::Error;
use tokio::time::timeout;
use tonic::{Status, transport::Channel};

use super::describe;
use crate::{
    clock::Clock,
    names::HostName,
    pki::{Authority, PkiError},
    state::{self, CredentialRecord, HostRecord, Stored, TransactionExt as _, keys},
    store::{Commit, Store, StoreError, Transaction},
};

const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Makes hosts' next certificates. Cheap to clone.
#[derive(Clone)]
pub struct Renewer {
    /// Where certificates that count are noted.
    pub store: Arc<dyn Store>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Who signs.
    pub authority: Authority,
    /// How long they are good.
    pub certificate_days: u32,
}

/// A certificate was not renewed. The present one counts still.
#[derive(Debug, Error)]
pub(super) enum RenewError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("{call} failed: {message}")]
    Call { call: &'static str, message: String },
    #[error("no answer to {call} within {} s", ANSWER_DEADLINE.as_secs())]
    Silent { call: &'static str },
}

// === impl Renewer ===

impl Renewer {
    /// Whether it is time.
    pub(super) fn is_due(&self, credential: &CredentialRecord) -> bool {
        credential.is_due(self.clock.now())
    }

    /// Renews it, unless another broker is faster.
    pub(super) async fn renew(&self, host: &HostName, channel: Channel) -> Result<(), RenewError> {
        let key = keys::host(host);
        let store = self.store.as_ref();
        let Some(stored) = state::read::<HostRecord>(store, &key).await? else { return Ok(()) };
        if !self.is_due(&stored.record.credential) {
            return Ok(());
        }
        let mut agent = HostKeysClient::new(channel);
        let request = agent.request_certificate(RequestCertificateRequest {});
        let asked = answer("RequestCertificate", request).await?;

        // An earlier renewal whose last step was not noted.
        let next = stored.record.credential.next.clone();
        if let Some(next) = next.filter(|next| next.sha256 == asked.installed_sha256) {
            self.note(&stored, CredentialRecord::only(next)).await?;
            return Ok(());
        }
        let now = self.clock.now();
        let signed =
            self.authority.sign_host(host, &asked.request_pem, now, self.certificate_days)?;
        let both = CredentialRecord {
            next: Some(signed.issued.clone()),
            ..stored.record.credential.clone()
        };
        let Some(noted) = self.note(&stored, both).await? else { return Ok(()) };
        let install = InstallCertificateRequest { certificate_pem: signed.certificate_pem };
        answer("InstallCertificate", agent.install_certificate(install)).await?;
        self.note(&noted, CredentialRecord::only(signed.issued)).await?;
        tracing::info!(host.name = %host, "a host has a new certificate");
        Ok(())
    }

    /// `None`: the record was changed meanwhile.
    async fn note(
        &self,
        seen: &Stored<HostRecord>,
        credential: CredentialRecord,
    ) -> Result<Option<Stored<HostRecord>>, StoreError> {
        let record = HostRecord { credential, ..seen.record.clone() };
        let put = Transaction::new()
            .unchanged(&seen.key, seen.revision)
            .put_record(&seen.key, &record)?;
        match self.store.commit(put).await? {
            Commit::Applied(revision) => {
                Ok(Some(Stored { record, key: seen.key.clone(), revision }))
            }
            Commit::Conflict { .. } => Ok(None),
        }
    }
}

async fn answer<T>(
    call: &'static str,
    answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, RenewError> {
    let answer = timeout(ANSWER_DEADLINE, answer).await.map_err(|_| RenewError::Silent { call })?;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| RenewError::Call { call, message: describe(&status) })
}
