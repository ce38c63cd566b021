//! The cluster's own authority and what it signs. Purposes are kept apart:
//! a host's certificate serves and cannot call, the broker's calls and cannot
//! serve, so a stolen host key commands no other host.

use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    clock::{Clock, Timestamp},
    names::{BadField, HostName},
    secret::hex,
    state::{self, ClusterCa, IssuedRecord, ServerCertificate, TransactionExt as _, keys},
    store::{Commit, Store, StoreError, Transaction},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The authority outlives every certificate it signs.
const CA_LIFE_DAYS: u32 = 20 * 365;

/// Of a broker towards hosts; each start of a broker makes a new one.
const CLIENT_LIFE_DAYS: u32 = 5 * 365;

/// Browsers refuse server certificates that live longer than 825 days.
const SERVER_LIFE_DAYS: u32 = 800;

/// A start of the broker after this many days makes a new one.
const SERVER_RENEW_DAYS: u32 = 600;

/// Clocks of freshly installed machines differ.
const BACKDATE: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate could not be made.
#[derive(Debug, Error)]
pub enum PkiError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A certificate could not be made or signed.
    #[error("cannot make the certificate for {subject}")]
    Certificate {
        /// Whose.
        subject: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// What a host asks with is no request.
    #[error(transparent)]
    Request(BadField),
    /// The authority's own certificate cannot be read.
    #[error("the authority's certificate in the store cannot be read")]
    Stored(#[source] rustls::pki_types::pem::Error),
}

/// A host's certificate; only the host has the key.
#[derive(Debug, Clone)]
pub struct SignedHost {
    /// The certificate.
    pub certificate_pem: String,
    /// What is noted of it.
    pub issued: IssuedRecord,
}

/// A certificate and its private key, as PEM.
#[derive(Clone)]
pub struct Credentials {
    /// The certificate.
    pub certificate_pem: String,
    /// The key.
    pub key_pem: String,
}

/// The authority.
#[derive(Clone)]
pub struct Authority {
    record: ClusterCa,
}

/// What a host answers to in TLS. A name of its own kind, so that a host can
/// not be mistaken for the portal.
pub fn host_tls_name(host: &HostName) -> String {
    format!("{host}.host.rolltop")
}

// === impl Credentials ===

impl Credentials {
    /// With another certificate after its own.
    #[must_use]
    pub fn followed_by(mut self, certificate_pem: &str) -> Self {
        if !self.certificate_pem.ends_with('\n') {
            self.certificate_pem.push('\n');
        }
        self.certificate_pem.push_str(certificate_pem);
        self
    }
}

// === impl Authority ===

impl Authority {
    /// The one in the store; makes it if there is none.
    ///
    /// # Errors
    /// Of the store, or if keys cannot be made.
    pub async fn load_or_make(store: &dyn Store, clock: &dyn Clock) -> Result<Self, PkiError> {
        loop {
            if let Some(stored) = state::read::<ClusterCa>(store, keys::CLUSTER_CA).await? {
                return Ok(Self { record: stored.record });
            }
            let made = Self::make(clock.now())?;
            let transaction = Transaction::new()
                .absent(keys::CLUSTER_CA)
                .put_record(keys::CLUSTER_CA, &made.record)?;
            if let Commit::Applied(_) = store.commit(transaction).await? {
                return Ok(made);
            }
        }
    }

    /// Its certificate, for those who must trust it.
    pub fn certificate_pem(&self) -> &str {
        &self.record.certificate_pem
    }

    /// SHA-256 of its certificate, by which it can be known beforehand.
    ///
    /// # Errors
    /// If its certificate cannot be read.
    pub fn fingerprint(&self) -> Result<String, PkiError> {
        let der = CertificateDer::from_pem_slice(self.certificate_pem().as_bytes());
        der.map(|der| sha256(&der)).map_err(PkiError::Stored)
    }

    /// For the agent of a host: it may serve, nothing else.
    ///
    /// # Errors
    /// If keys cannot be made.
    pub fn issue_host(
        &self,
        host: &HostName,
        now: Timestamp,
        life_days: u32,
    ) -> Result<(Credentials, IssuedRecord), PkiError> {
        let key = KeyPair::generate().map_err(failed(host.as_str()))?;
        let signed = self.sign_for_host(host, &key, now, life_days)?;
        let (certificate_pem, issued) = (signed.certificate_pem, signed.issued);
        Ok((Credentials { certificate_pem, key_pem: key.serialize_pem() }, issued))
    }

    /// The same for a key that the host has made. Of its request only the key
    /// counts, and that it has it.
    ///
    /// # Errors
    /// [`PkiError::Request`] for a request that is not one.
    pub fn sign_host(
        &self,
        host: &HostName,
        request_pem: &str,
        now: Timestamp,
        life_days: u32,
    ) -> Result<SignedHost, PkiError> {
        let request = CertificateSigningRequestParams::from_pem(request_pem).map_err(|error| {
            PkiError::Request(BadField::new(
                "request_pem",
                request_pem,
                format!("a PKCS#10 request in PEM, signed with its own key ({error})"),
            ))
        })?;
        self.sign_for_host(host, &request.public_key, now, life_days)
    }

    fn sign_for_host(
        &self,
        host: &HostName,
        key: &impl PublicKeyData,
        now: Timestamp,
        life_days: u32,
    ) -> Result<SignedHost, PkiError> {
        let (name, purpose) = (host_tls_name(host), ExtendedKeyUsagePurpose::ServerAuth);
        let names = std::slice::from_ref(&name);
        let certificate = self.sign(&name, names, purpose, now, life_days, key)?;
        let issued = IssuedRecord {
            sha256: sha256(certificate.der()),
            issued_at: now,
            expires_at: now.after(DAY * life_days),
        };
        Ok(SignedHost { certificate_pem: certificate.pem(), issued })
    }

    /// For this broker, to command hosts: it may call, nothing else.
    ///
    /// # Errors
    /// If keys cannot be made.
    pub fn issue_client(&self, now: Timestamp) -> Result<Credentials, PkiError> {
        const NAME: &str = "broker.rolltop";
        self.issue(
            NAME,
            &[NAME.to_owned()],
            ExtendedKeyUsagePurpose::ClientAuth,
            now,
            CLIENT_LIFE_DAYS,
        )
    }

    /// The portal's; the one in the store as long as it is for the same names
    /// and not about to end, so that browsers see the same one again.
    ///
    /// # Errors
    /// Of the store, or if keys cannot be made.
    pub async fn server(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        names: &[String],
    ) -> Result<Credentials, PkiError> {
        let now = clock.now();
        let stored = state::read::<ServerCertificate>(store, keys::SERVER_CERTIFICATE).await?;
        if let Some(stored) = &stored
            && stored.record.names == names
            && now < stored.record.issued_at.after(DAY * SERVER_RENEW_DAYS)
        {
            let ServerCertificate { certificate_pem, key_pem, .. } = stored.record.clone();
            return Ok(Credentials { certificate_pem, key_pem });
        }
        let subject = names.first().map_or("rolltop", String::as_str);
        let made =
            self.issue(subject, names, ExtendedKeyUsagePurpose::ServerAuth, now, SERVER_LIFE_DAYS)?;
        let record = ServerCertificate {
            certificate_pem: made.certificate_pem.clone(),
            key_pem: made.key_pem.clone(),
            names: names.to_vec(),
            issued_at: now,
        };
        // A lost race leaves another broker's certificate in the store; both
        // are signed by the same authority, so either will do.
        store
            .commit(
                Transaction::new()
                    .unless_changed(keys::SERVER_CERTIFICATE, stored.as_ref())
                    .put_record(keys::SERVER_CERTIFICATE, &record)?,
            )
            .await?;
        Ok(made)
    }

    fn make(now: Timestamp) -> Result<Self, PkiError> {
        const SUBJECT: &str = "Rolltop cluster authority";
        let made = || -> Result<ClusterCa, rcgen::Error> {
            let key = KeyPair::generate()?;
            let mut params = params(SUBJECT, now, CA_LIFE_DAYS);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            Ok(ClusterCa {
                certificate_pem: params.self_signed(&key)?.pem(),
                key_pem: key.serialize_pem(),
            })
        };
        Ok(Self { record: made().map_err(failed(SUBJECT))? })
    }

    fn issue(
        &self,
        subject: &str,
        names: &[String],
        purpose: ExtendedKeyUsagePurpose,
        now: Timestamp,
        life_days: u32,
    ) -> Result<Credentials, PkiError> {
        let key = KeyPair::generate().map_err(failed(subject))?;
        let certificate = self.sign(subject, names, purpose, now, life_days, &key)?;
        Ok(Credentials { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    fn sign(
        &self,
        subject: &str,
        names: &[String],
        purpose: ExtendedKeyUsagePurpose,
        now: Timestamp,
        life_days: u32,
        key: &impl PublicKeyData,
    ) -> Result<Certificate, PkiError> {
        let sign = || -> Result<Certificate, rcgen::Error> {
            let issuer = Issuer::from_ca_cert_pem(
                &self.record.certificate_pem,
                KeyPair::from_pem(&self.record.key_pem)?,
            )?;
            let mut params = params(subject, now, life_days);
            params.is_ca = IsCa::ExplicitNoCa;
            params.use_authority_key_identifier_extension = true;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![purpose];
            params.subject_alt_names =
                names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
            params.signed_by(key, &issuer)
        };
        sign().map_err(failed(subject))
    }
}

fn alternative_name(name: &str) -> Result<SanType, rcgen::Error> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.try_into()?)),
    }
}

fn params(subject: &str, now: Timestamp, life_days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    let at = std::time::UNIX_EPOCH + Duration::from_millis(now.0);
    params.not_before = (at - BACKDATE).into();
    params.not_after = (at + DAY * life_days).into();
    params.serial_number =
        Some(SerialNumber::from(rand::random::<[u8; 16]>().map(|b| b & 0x7f).to_vec()));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Rolltop");
    params.distinguished_name.push(DnType::CommonName, subject);
    params
}

/// By which a certificate is known, as hexadecimal digits.
pub fn sha256(der: &[u8]) -> String {
    hex(&Sha256::digest(der))
}

fn failed(subject: &str) -> impl FnOnce(rcgen::Error) -> PkiError {
    move |source| PkiError::Certificate { subject: subject.to_owned(), source }
}
