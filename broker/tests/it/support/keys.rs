//! A scripted host's certificate: made anew when a broker asks for it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rcgen::{CertificateParams, KeyPair};
use rolltop_broker::pki::sha256;
use rolltop_proto::v1::{self, host_keys_server::HostKeys};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tonic::{Request, Response, Status, async_trait};

/// Files `host.pem` and `host-key.pem` in a directory, and a key to come.
#[derive(Clone)]
pub(crate) struct Keys {
    dir: PathBuf,
    next: Arc<Mutex<Option<KeyPair>>>,
}

/// A key, and the request for its certificate.
pub(crate) fn new_key() -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    // What a request asks for does not count: this asks for a lot.
    let params = CertificateParams::new(vec!["broker.rolltop".to_owned()]).unwrap();
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    (key, request)
}

impl Keys {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, next: Arc::default() }
    }

    pub(crate) fn installed_sha256(&self) -> String {
        let pem = super::read(&self.dir, "host.pem");
        sha256(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
    }

    pub(crate) fn put(&self, certificate_pem: &str, key: &KeyPair) {
        std::fs::write(self.dir.join("host.pem"), certificate_pem).unwrap();
        std::fs::write(self.dir.join("host-key.pem"), key.serialize_pem()).unwrap();
    }
}

#[async_trait]
impl HostKeys for Keys {
    async fn request_certificate(
        &self,
        _: Request<v1::RequestCertificateRequest>,
    ) -> Result<Response<v1::RequestCertificateResponse>, Status> {
        let (key, request_pem) = new_key();
        *self.next.lock().unwrap() = Some(key);
        let installed_sha256 = self.installed_sha256();
        Ok(Response::new(v1::RequestCertificateResponse { request_pem, installed_sha256 }))
    }

    async fn install_certificate(
        &self,
        request: Request<v1::InstallCertificateRequest>,
    ) -> Result<Response<v1::InstallCertificateResponse>, Status> {
        let key = self.next.lock().unwrap().take();
        let key = key.ok_or_else(|| Status::failed_precondition("no key waits for one"))?;
        self.put(&request.get_ref().certificate_pem, &key);
        Ok(Response::new(v1::InstallCertificateResponse {}))
    }
}
