//! Who calls, and whether they may.

use super::{Act, Scope};
use crate::{
    clock::Timestamp,
    names::UserName,
    state::{UserRecord, keys},
};

/// What somebody showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A session: the digest of its token.
    Session(String),
    /// A token for programs.
    Token {
        /// Its key in the store.
        key: String,
        /// Its id.
        id: String,
        /// What it may be used for.
        scopes: Vec<Scope>,
    },
}

/// Someone who has shown who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub user: UserRecord,
    /// What they showed.
    pub credential: Credential,
    /// When that ends.
    pub expires_at: Timestamp,
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// It takes another role, or is somebody else's.
    Role,
    /// It takes a token with this scope.
    Scope(Scope),
    /// It takes a session.
    Session,
}

// === impl Caller ===

impl Caller {
    /// Whether the caller may do this, with what is their own or not.
    ///
    /// # Errors
    /// What they lack.
    pub fn check(&self, act: Act, own: bool) -> Result<(), Lack> {
        if !act.right().admits(self.user.role, own) {
            return Err(Lack::Role);
        }
        match &self.credential {
            Credential::Session(_) => Ok(()),
            Credential::Token { scopes, .. } => match act.scope(own) {
                None => Err(Lack::Session),
                Some(scope) if scopes.contains(&scope) => Ok(()),
                Some(scope) => Err(Lack::Scope(scope)),
            },
        }
    }

    /// The key in the store without which the caller is nobody.
    pub fn key(&self) -> String {
        match &self.credential {
            Credential::Session(digest) => keys::session(digest),
            Credential::Token { key, .. } => key.clone(),
        }
    }

    /// The digest of the session, if it is one.
    pub fn session(&self) -> Option<&str> {
        match &self.credential {
            Credential::Session(digest) => Some(digest),
            Credential::Token { .. } => None,
        }
    }

    /// What the caller showed, for the audit log.
    pub fn via(&self) -> String {
        match &self.credential {
            Credential::Session(_) => "session".to_owned(),
            Credential::Token { id, .. } => format!("token:{id}"),
        }
    }

    /// The caller's name.
    pub fn name(&self) -> &UserName {
        &self.user.name
    }
}
