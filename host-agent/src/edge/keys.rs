//! A broker renews this host's certificate.

use std::sync::Arc;

use rolltop_proto::v1::{self, host_keys_server::HostKeys};
use tonic::{Code, Request, Response, Status};
use tracing::info;

use super::error::{chain, internal, status};
use crate::{
    credentials::{CredentialError, Shown},
    work::blocking,
};

/// The service; for brokers alone.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) shown: Arc<Shown>,
}

#[tonic::async_trait]
impl HostKeys for Keys {
    async fn request_certificate(
        &self,
        _request: Request<v1::RequestCertificateRequest>,
    ) -> Result<Response<v1::RequestCertificateResponse>, Status> {
        let shown = Arc::clone(&self.shown);
        let installed_sha256 = shown.sha256();
        let request = blocking(move || shown.request()).await;
        let request_pem = request.map_err(|error| classified(&error))?;
        Ok(Response::new(v1::RequestCertificateResponse { request_pem, installed_sha256 }))
    }

    async fn install_certificate(
        &self,
        request: Request<v1::InstallCertificateRequest>,
    ) -> Result<Response<v1::InstallCertificateResponse>, Status> {
        let shown = Arc::clone(&self.shown);
        let certificate = request.into_inner().certificate_pem;
        let installed = blocking(move || shown.install(&certificate)).await;
        installed.map_err(|error| classified(&error))?;
        info!("this host has a new certificate");
        Ok(Response::new(v1::InstallCertificateResponse {}))
    }
}

fn classified(error: &CredentialError) -> Status {
    match error {
        CredentialError::NoSuchKey => status(Code::FailedPrecondition, "NO_SUCH_KEY", error),
        CredentialError::NotACertificate(_) => {
            status(Code::InvalidArgument, "NOT_A_CERTIFICATE", chain(error))
        }
        CredentialError::Io { .. }
        | CredentialError::Pem { .. }
        | CredentialError::Apart { .. }
        | CredentialError::Request(_)
        | CredentialError::Tls(_)
        | CredentialError::Verifier(_) => internal(error),
    }
}
