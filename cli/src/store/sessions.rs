//! `sessions.toml`: one token per server. Readable by its owner only.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{StoreError, file};
use crate::{env::Environment, server::ServerUrl};

/// The file as it stands.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sessions {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sessions: BTreeMap<ServerUrl, Session>,
}

/// A session at one server.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    pub(crate) user: String,
    pub(crate) token: String,
    /// RFC 3339, as the broker said; the broker alone decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
}

impl fmt::Debug for Session {
    /// Without the token, which must not get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Sessions {
    pub(crate) fn load(env: &Environment) -> Result<Self, StoreError> {
        file::read(&path(env)?, file::Secrecy::Secret)
    }

    pub(crate) fn save(&self, env: &Environment) -> Result<(), StoreError> {
        file::write(&path(env)?, self, file::Secrecy::Secret)
    }
}

fn path(env: &Environment) -> Result<PathBuf, StoreError> {
    Ok(env.state_dir()?.join("sessions.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_printed_by_accident() {
        let session =
            Session { user: "ada".into(), token: "secret-token".into(), expires_at: None };
        assert!(!format!("{session:?}").contains("secret"));
    }
}
