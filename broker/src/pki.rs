//! The cluster's own authority and what it signs. Purposes are kept apart:
//! a host's certificate serves and cannot call, the broker's calls and cannot
//! serve, so a stolen host key commands no other host.

use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use thiserror::Error;

use crate::{
    clock::{Clock, Timestamp},
    names::HostName,
    state::{self, ClusterCa, ServerCertificate, TransactionExt as _, keys},
    store::{Commit, Store, StoreError, Transaction},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The authority outlives every certificate it signs.
const CA_LIFE_DAYS: u32 = 20 * 365;

/// Between broker and hosts; a host is enrolled anew before that.
const PEER_LIFE_DAYS: u32 = 5 * 365;

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

    /// For the agent of a host: it may serve, nothing else.
    ///
    /// # Errors
    /// If keys cannot be made.
    pub fn issue_host(&self, host: &HostName, now: Timestamp) -> Result<Credentials, PkiError> {
        let name = host_tls_name(host);
        self.issue(
            &name,
            std::slice::from_ref(&name),
            ExtendedKeyUsagePurpose::ServerAuth,
            now,
            PEER_LIFE_DAYS,
        )
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
            PEER_LIFE_DAYS,
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
        let issue = || -> Result<Credentials, rcgen::Error> {
            let issuer = Issuer::from_ca_cert_pem(
                &self.record.certificate_pem,
                KeyPair::from_pem(&self.record.key_pem)?,
            )?;
            let key = KeyPair::generate()?;
            let mut params = params(subject, now, life_days);
            params.is_ca = IsCa::ExplicitNoCa;
            params.use_authority_key_identifier_extension = true;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![purpose];
            params.subject_alt_names =
                names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
            Ok(Credentials {
                certificate_pem: params.signed_by(&key, &issuer)?.pem(),
                key_pem: key.serialize_pem(),
            })
        };
        issue().map_err(failed(subject))
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

fn failed(subject: &str) -> impl FnOnce(rcgen::Error) -> PkiError {
    move |source| PkiError::Certificate { subject: subject.to_owned(), source }
}
