//! A host's certificate: made anew when a broker asks for it.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rcgen::{CertificateParams, KeyPair};
use rolltop_proto::v1::{self, host_keys_server::HostKeys};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use tonic::{
    Request, Response, Status, async_trait,
    transport::{Certificate, Identity, ServerTlsConfig},
};

use crate::lock;

/// `ca.pem`, `host.pem` and `host-key.pem` in a directory, and a key to come.
#[derive(Clone, Debug)]
pub struct Keys {
    dir: PathBuf,
    next: Arc<Mutex<Option<KeyPair>>>,
}

/// A key, and the request for its certificate. What a request asks for does not
/// count: this asks for a lot.
///
/// # Errors
/// There is no randomness.
pub fn new_key() -> Result<(KeyPair, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["broker.rolltop".to_owned()])?;
    let request = params.serialize_request(&key)?.pem()?;
    Ok((key, request))
}

// === impl Keys ===

impl Keys {
    /// As an enrolment left them in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, next: Arc::default() }
    }

    /// One of the files.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.dir.join(name))
    }

    /// The digest of the certificate that is shown, in hexadecimal.
    ///
    /// # Errors
    /// There is none.
    pub fn installed_sha256(&self) -> io::Result<String> {
        let pem = self.read("host.pem")?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other)?;
        Ok(Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Replaces certificate and key.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn put(&self, certificate_pem: &str, key: &KeyPair) -> io::Result<()> {
        fs::write(self.dir.join("host.pem"), certificate_pem)?;
        fs::write(self.dir.join("host-key.pem"), key.serialize_pem())
    }

    /// TLS with them, for callers of the same authority.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn tls(&self) -> io::Result<ServerTlsConfig> {
        let identity = Identity::from_pem(self.read("host.pem")?, self.read("host-key.pem")?);
        let ca = Certificate::from_pem(self.read("ca.pem")?);
        Ok(ServerTlsConfig::new().identity(identity).client_ca_root(ca))
    }
}

fn internal(error: impl std::error::Error) -> Status {
    Status::internal(error.to_string())
}

#[async_trait]
impl HostKeys for Keys {
    async fn request_certificate(
        &self,
        _: Request<v1::RequestCertificateRequest>,
    ) -> Result<Response<v1::RequestCertificateResponse>, Status> {
        let (key, request_pem) = new_key().map_err(internal)?;
        *lock(&self.next) = Some(key);
        let installed_sha256 = self.installed_sha256().map_err(internal)?;
        Ok(Response::new(v1::RequestCertificateResponse { request_pem, installed_sha256 }))
    }

    async fn install_certificate(
        &self,
        request: Request<v1::InstallCertificateRequest>,
    ) -> Result<Response<v1::InstallCertificateResponse>, Status> {
        let key = lock(&self.next).take();
        let key = key.ok_or_else(|| Status::failed_precondition("no key waits for one"))?;
        self.put(&request.get_ref().certificate_pem, &key).map_err(internal)?;
        Ok(Response::new(v1::InstallCertificateResponse {}))
    }
}
