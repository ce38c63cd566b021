//! Accounts, and what belongs to one; groups.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::{
    clock::Timestamp,
    names::{GroupName, UserName},
};

/// What a user may do. The greater may more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Their own desktops.
    User,
    /// And look at everything.
    Auditor,
    /// And change everything but who may what.
    Operator,
    /// Everything.
    Admin,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// Login name.
    pub name: UserName,
    /// For people; may be empty.
    pub full_name: String,
    /// What the user may do.
    pub role: Role,
    /// The user's id inside every desktop; never given twice.
    pub uid: u32,
    /// Argon2id, as a PHC string.
    pub password_hash: String,
    /// When the account was made.
    pub created_at: Timestamp,
    /// Who vouches for them.
    #[serde(default)]
    pub source: Source,
    /// Who they are at the provider, for accounts of [`Source::Oidc`].
    #[serde(default)]
    pub identity: Option<Identity>,
}

/// Somebody at a provider: the name they go by there may change, this does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// Who they are there, for ever.
    pub subject: String,
}

/// Whose account somebody at a provider has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRecord {
    /// The account.
    pub user: UserName,
    /// Its uid; as in [`SessionRecord`].
    pub uid: u32,
}

/// Somebody was sent to the provider and has not come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInRecord {
    /// What the ID token has to repeat.
    pub nonce: String,
    /// What the code is redeemed with (PKCE).
    pub verifier: String,
    /// The digest of what that browser alone has.
    pub browser: String,
    /// Where the provider sends it back to.
    pub redirect: String,
    /// The view of the portal they wanted.
    pub view: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Somebody in a browser lets a program sign in as them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramRecord {
    /// Who.
    pub user: UserName,
    /// Their uid; as in [`SessionRecord`].
    pub uid: u32,
    /// The SHA-256 of what that program alone has, in base64url.
    pub challenge: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Someone signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Who.
    pub user: UserName,
    /// The uid the user had: an account made anew under the same name is
    /// another person.
    pub uid: u32,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when at most.
    pub expires_at: Timestamp,
}

/// A group of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The group.
    pub name: GroupName,
    /// For people; may be empty.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many are in it.
    pub members: u64,
}

/// Somebody is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The uid the user had; as in [`SessionRecord`].
    pub uid: u32,
    /// Since when.
    pub since: Timestamp,
    /// Who says so.
    pub source: Source,
}

/// Who vouches for an account, or for what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Operators of this cluster.
    #[default]
    Local,
    /// A directory, over LDAP.
    Ldap,
    /// An OpenID Connect provider.
    Oidc,
}

impl Record for UserRecord {}
impl Record for IdentityRecord {}
impl Record for SignInRecord {}
impl Record for ProgramRecord {}
impl Record for SessionRecord {}
impl Record for GroupRecord {}
impl Record for MemberRecord {}

// === impl Role ===

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::User, Self::Auditor, Self::Operator, Self::Admin];
        let found = all.into_iter().find(|role| role.to_string() == text);
        found.ok_or_else(|| "not \"user\", \"auditor\", \"operator\" or \"admin\"".to_owned())
    }
}

// === impl Source ===

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Ldap => "ldap",
            Self::Oidc => "oidc",
        })
    }
}
