//! `config.toml`: the servers we know.
//!
//! ```toml
//! server = "https://desk.example.org:8443"   # used when none is named
//!
//! [servers."https://desk.example.org:8443"]
//! user = "ada"                               # offered at the next login
//! fingerprint = "sha256:…"                   # either this certificate only,
//! ca_pem = "-----BEGIN CERTIFICATE-----…"    # or whatever this CA has signed
//! ```

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{StoreError, file};
use crate::{
    env::Environment,
    server::ServerUrl,
    trust::{Fingerprint, Trust},
};

/// The file as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerUrl>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) servers: BTreeMap<ServerUrl, KnownServer>,
}

/// What is known of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "ServerTable", into = "ServerTable")]
pub(crate) struct KnownServer {
    pub(crate) user: Option<String>,
    pub(crate) trust: Option<Trust>,
}

/// [`KnownServer`] as TOML spells it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_pem: Option<String>,
}

impl Config {
    pub(crate) fn load(env: &Environment) -> Result<Self, StoreError> {
        file::read(&path(env)?, file::Secrecy::Open)
    }

    pub(crate) fn save(&self, env: &Environment) -> Result<(), StoreError> {
        file::write(&path(env)?, self, file::Secrecy::Open)
    }
}

fn path(env: &Environment) -> Result<PathBuf, StoreError> {
    Ok(env.config_dir()?.join("config.toml"))
}

impl TryFrom<ServerTable> for KnownServer {
    type Error = &'static str;

    fn try_from(table: ServerTable) -> Result<Self, Self::Error> {
        let trust = match (table.fingerprint, table.ca_pem) {
            (Some(_), Some(_)) => return Err("give fingerprint or ca_pem, not both"),
            (Some(fingerprint), None) => Some(Trust::Exactly(fingerprint)),
            (None, Some(pem)) => Some(Trust::SignedBy { pem }),
            (None, None) => None,
        };
        Ok(Self { user: table.user, trust })
    }
}

impl From<KnownServer> for ServerTable {
    fn from(known: KnownServer) -> Self {
        let (fingerprint, ca_pem) = match known.trust {
            Some(Trust::Exactly(fingerprint)) => (Some(fingerprint), None),
            Some(Trust::SignedBy { pem }) => (None, Some(pem)),
            None => (None, None),
        };
        Self { user: known.user, fingerprint, ca_pem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_keeps_what_it_is_given() {
        let fingerprint: Fingerprint = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let config = Config {
            server: Some("https://a".parse().unwrap()),
            servers: BTreeMap::from([
                (
                    "https://a".parse().unwrap(),
                    KnownServer {
                        user: Some("ada".into()),
                        trust: Some(Trust::Exactly(fingerprint)),
                    },
                ),
                (
                    "https://b:1".parse().unwrap(),
                    KnownServer {
                        user: None,
                        trust: Some(Trust::SignedBy { pem: "-----BEGIN…".into() }),
                    },
                ),
            ]),
        };
        let text = toml::to_string_pretty(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    }

    #[test]
    fn unknown_keys_and_double_trust_are_refused() {
        let both = format!(
            "[servers.\"https://a\"]\nfingerprint = \"sha256:{}\"\nca_pem = \"x\"",
            "00".repeat(32)
        );
        for (text, part) in [
            ("serverr = \"https://a\"", "unknown field `serverr`"),
            ("[servers.\"https://a\"]\npin = \"x\"", "unknown field `pin`"),
            ("[servers.\"http://a\"]", "TLS only"),
            (both.as_str(), "not both"),
        ] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
