//! How the cluster is reached.

use std::{fmt, time::Duration};

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

/// For TLS and TCP; a member that takes longer is down.
const CONNECT: Duration = Duration::from_secs(2);
/// A silent connection is asked this often, and given this long, whether its
/// member is there: one that is paused or cut off is left after both.
const ALIVE: Duration = Duration::from_secs(2);

/// How the cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    /// Of the members: `http://HOST:PORT` or `https://HOST:PORT`.
    pub endpoints: Vec<String>,
    /// Everything is kept below it, so that clusters can share an etcd.
    pub prefix: String,
    /// For `https`.
    pub tls: Option<EtcdTls>,
    /// If etcd's authentication is on.
    pub user: Option<EtcdUser>,
    /// Of every call.
    pub deadline: Duration,
}

/// Certificates, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdTls {
    /// Of the authority that signed the members' certificates.
    pub ca: String,
    /// Our certificate and its key, if members ask for one.
    pub identity: Option<(String, String)>,
}

/// A user of etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdUser {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
}

// === impl EtcdOptions ===

impl EtcdOptions {
    pub(super) fn connect(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(ALIVE, ALIVE)
            .with_keep_alive_while_idle(true)
            // A member that has lost the others would answer watches with silence.
            .with_require_leader(true);
        if let Some(tls) = &self.tls {
            let mut tls_options =
                TlsOptions::new().ca_certificate(Certificate::from_pem(tls.ca.as_bytes()));
            if let Some((certificate, key)) = &tls.identity {
                tls_options = tls_options.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(tls_options);
        }
        if let Some(user) = &self.user {
            options = options
                .with_user(user.name.as_str(), user.password.as_str())
                .with_auto_token_refresh(true);
        }
        options
    }
}

// === impl EtcdTls ===

impl fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdTls")
            .field("identity", &self.identity.is_some())
            .finish_non_exhaustive()
    }
}

// === impl EtcdUser ===

impl fmt::Debug for EtcdUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdUser").field("name", &self.name).finish_non_exhaustive()
    }
}
