//! Certificate and key on disk. There are two files and no way to rename both
//! at once, so a new key lies beside the old one (`KEY.next`) from before it is
//! certified until its certificate is in place: whenever the agent dies, one of
//! both keys is the certificate's.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::CredentialError;
use crate::config::Listen;

/// Everybody may see a certificate; a key is root's.
const CERTIFICATE_MODE: u32 = 0o644;
const KEY_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Where they lie.
#[derive(Clone, Debug)]
pub struct Files {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    /// Those of the configuration.
    pub fn new(listen: &Listen) -> Self {
        Self {
            ca: listen.ca.clone(),
            certificate: listen.certificate.clone(),
            key: listen.key.clone(),
        }
    }

    /// The cluster's authority.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn authority(&self) -> Result<CertificateDer<'static>, CredentialError> {
        certificate_in(&self.ca)
    }

    /// Certificate and key. Finishes a change that the last agent did not live
    /// to finish.
    ///
    /// # Errors
    /// They cannot be read, or are not each other's.
    pub fn load(&self) -> Result<Arc<CertifiedKey>, CredentialError> {
        let certificate = certificate_in(&self.certificate)?;
        match pair(certificate.clone(), key_in(&self.key)?) {
            Ok(pair) => return Ok(Arc::new(pair)),
            Err(rustls::Error::InconsistentKeys(_)) => {}
            Err(other) => return Err(other.into()),
        }
        let apart = || CredentialError::Apart {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        };
        let next = key_in(&self.next_key()).map_err(|_| apart())?;
        let pair = pair(certificate, next).map_err(|_| apart())?;
        self.promote()?;
        Ok(Arc::new(pair))
    }

    /// Makes the next key; answers with the request for its certificate.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn request(&self) -> Result<String, CredentialError> {
        let key = KeyPair::generate()?;
        // Of a request, the authority takes the key alone.
        let request = CertificateParams::new(Vec::new())?.serialize_request(&key)?.pem()?;
        replace(&self.next_key(), &key.serialize_pem(), KEY_MODE)?;
        Ok(request)
    }

    /// Puts a certificate for the next key in place, and that key.
    ///
    /// # Errors
    /// [`CredentialError::NoSuchKey`] when it is for another one.
    pub fn install(&self, certificate_pem: &str) -> Result<Arc<CertifiedKey>, CredentialError> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(CredentialError::NotACertificate)?;
        let key = key_in(&self.next_key()).map_err(|_| CredentialError::NoSuchKey)?;
        let pair = pair(certificate, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CredentialError::NoSuchKey,
            other => other.into(),
        })?;
        replace(&self.certificate, certificate_pem, CERTIFICATE_MODE)?;
        self.promote()?;
        Ok(Arc::new(pair))
    }

    /// Notes whom to believe, in directories that are made if need be.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn trust(&self, ca_pem: &str) -> Result<(), CredentialError> {
        self.make_dirs()?;
        replace(&self.ca, ca_pem, CERTIFICATE_MODE)
    }

    pub(super) fn make_dirs(&self) -> Result<(), CredentialError> {
        for dir in [&self.ca, &self.certificate, &self.key].into_iter().filter_map(|f| f.parent()) {
            let made = fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir);
            made.map_err(failed("make the directory", dir))?;
        }
        Ok(())
    }

    fn promote(&self) -> Result<(), CredentialError> {
        let next = self.next_key();
        fs::rename(&next, &self.key).map_err(failed("put in place", &next))?;
        sync_dir_of(&self.key)
    }

    fn next_key(&self) -> PathBuf {
        let mut name = self.key.clone().into_os_string();
        name.push(".next");
        name.into()
    }
}

fn pair(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(vec![certificate], key, &ring::default_provider())
}

fn certificate_in(path: &Path) -> Result<CertificateDer<'static>, CredentialError> {
    let pem = fs::read(path).map_err(failed("read", path))?;
    CertificateDer::from_pem_slice(&pem).map_err(|source| CredentialError::Pem {
        path: path.into(),
        wanted: "certificate",
        source,
    })
}

fn key_in(path: &Path) -> Result<PrivateKeyDer<'static>, CredentialError> {
    let pem = fs::read(path).map_err(failed("read", path))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|source| CredentialError::Pem {
        path: path.into(),
        wanted: "private key",
        source,
    })
}

/// The whole of it, or what was there.
fn replace(path: &Path, content: &str, mode: u32) -> Result<(), CredentialError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let write = || -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        // One left behind by a crash keeps its own mode otherwise.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(failed("write", path))?;
    sync_dir_of(path)
}

fn sync_dir_of(path: &Path) -> Result<(), CredentialError> {
    let Some(dir) = path.parent() else { return Ok(()) };
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("write down", dir))
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CredentialError {
    let path = path.to_owned();
    move |source| CredentialError::Io { verb, path, source }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateSigningRequestParams, CertifiedIssuer};

    use super::*;

    struct Desk {
        dir: tempfile::TempDir,
        authority: CertifiedIssuer<'static, KeyPair>,
    }

    impl Desk {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mut params = CertificateParams::default();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            Self { dir, authority: CertifiedIssuer::self_signed(params, key).unwrap() }
        }

        fn files(&self) -> Files {
            let file = |name: &str| self.dir.path().join(name);
            Files { ca: file("ca.pem"), certificate: file("host.pem"), key: file("host-key.pem") }
        }

        fn sign(&self, request: &str) -> String {
            let request = CertificateSigningRequestParams::from_pem(request).unwrap();
            let params = CertificateParams::new(vec!["h1.host.rolltop".to_owned()]).unwrap();
            params.signed_by(&request.public_key, &self.authority).unwrap().pem()
        }

        /// With a first certificate in place.
        fn enrolled() -> (Self, Files) {
            let desk = Self::new();
            let files = desk.files();
            let first = desk.sign(&files.request().unwrap());
            files.install(&first).unwrap();
            (desk, files)
        }
    }

    #[test]
    fn a_key_is_roots_and_only_its_certificate_is_taken() {
        let (desk, files) = Desk::enrolled();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&files.certificate), mode(&files.key)), (0o644, 0o600));

        let first = desk.sign(&files.request().unwrap());
        let second = desk.sign(&files.request().unwrap());
        assert!(matches!(files.install(&first), Err(CredentialError::NoSuchKey)), "forgotten");
        assert!(matches!(files.install("x"), Err(CredentialError::NotACertificate(_))));
        let shown = files.install(&second).unwrap();
        assert_eq!(files.load().unwrap().cert, shown.cert);
        assert!(matches!(files.install(&second), Err(CredentialError::NoSuchKey)), "it is used");
    }

    #[test]
    fn whenever_the_agent_dies_the_next_one_has_a_pair() {
        let (desk, files) = Desk::enrolled();
        let before = files.load().unwrap();
        let next = desk.sign(&files.request().unwrap());
        assert_eq!(files.load().unwrap().cert, before.cert, "died before the certificate came");

        fs::write(&files.certificate, &next).unwrap();
        let after = files.load().unwrap();
        assert_ne!(after.cert, before.cert, "died between certificate and key");
        assert!(!files.next_key().exists());
        assert_eq!(files.load().unwrap().cert, after.cert);
    }

    #[test]
    fn files_that_do_not_belong_together_are_told() {
        let (_desk, files) = Desk::enrolled();
        let (other, its_files) = Desk::enrolled();
        let foreign = other.sign(&its_files.request().unwrap());
        fs::write(&files.certificate, foreign).unwrap();
        let error = files.load().unwrap_err();
        assert!(matches!(error, CredentialError::Apart { .. }), "{error}");
        fs::write(&files.key, "no key").unwrap();
        assert!(matches!(files.load().unwrap_err(), CredentialError::Pem { .. }));
    }
}
