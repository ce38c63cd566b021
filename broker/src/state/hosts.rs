//! What is kept of hosts.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::Record;
use crate::{
    clock::Timestamp,
    names::{Endpoint, HostName, UserName},
};

/// A host that was enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// The host.
    pub name: HostName,
    /// Where its agent listens.
    pub endpoint: Endpoint,
    /// Which certificates of it count.
    #[serde(default)]
    pub credential: CredentialRecord,
    /// Set while it is to have no desktops.
    #[serde(default)]
    pub drain: Option<DrainRecord>,
    /// For pools to choose by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What a host is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Duty {
    /// Desktops.
    #[default]
    Serving,
    /// To get rid of those it has.
    Draining,
    /// Nothing.
    Drained,
}

/// A host that is to have no desktops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRecord {
    /// Who wants it.
    pub by: UserName,
    /// Since when.
    pub since: Timestamp,
    /// When desktops that are still there are ended; none: never.
    pub deadline: Option<Timestamp>,
    /// It had none left.
    pub done: bool,
}

/// A number that a lost host may still use for a desktop its user has elsewhere
/// by now. Nobody else gets it before that host is known not to have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRecord {
    /// The desktop, as in [`NumberRecord`](super::NumberRecord).
    pub desktop: String,
    /// Which life of it is there.
    pub epoch: u64,
}

/// A certificate that was issued to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedRecord {
    /// SHA-256 of its DER form, as 64 hexadecimal digits.
    pub sha256: String,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Which certificates of a host count. Only these do: one that was issued to
/// it earlier is refused although it is signed and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CredentialRecord {
    /// The one in use. None: not known, any of the authority's for the host's
    /// name counts, and it is to be replaced at once.
    pub current: Option<IssuedRecord>,
    /// One that is being handed out in its place; until the host is known to
    /// have it, both count.
    pub next: Option<IssuedRecord>,
    /// None counts.
    #[serde(default)]
    pub revoked: bool,
}

/// The right to enrol one host, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRecord {
    /// Under this name.
    pub host: HostName,
    /// Digest of the token.
    pub digest: String,
    /// Who made it.
    pub by: UserName,
    /// Until then.
    pub expires_at: Timestamp,
}

impl Record for HostRecord {}
impl Record for EnrolRecord {}
impl Record for HeldRecord {}

// === impl HostRecord ===

impl HostRecord {
    /// What it is there for now.
    pub fn duty(&self) -> Duty {
        match &self.drain {
            None => Duty::Serving,
            Some(drain) if drain.done => Duty::Drained,
            Some(_) => Duty::Draining,
        }
    }

    /// A host whose agent listens there.
    pub fn new(name: HostName, endpoint: Endpoint, credential: CredentialRecord) -> Self {
        Self { name, endpoint, credential, drain: None, labels: BTreeMap::new() }
    }
}

// === impl IssuedRecord ===

impl IssuedRecord {
    /// When two thirds of its life are over.
    fn renew_at(&self) -> Timestamp {
        let life = self.issued_at.until(self.expires_at);
        self.issued_at.after(life.checked_mul(2).map_or(Duration::ZERO, |twice| twice / 3))
    }
}

// === impl CredentialRecord ===

impl CredentialRecord {
    /// This one alone counts.
    pub fn only(issued: IssuedRecord) -> Self {
        Self { current: Some(issued), next: None, revoked: false }
    }

    /// None counts.
    pub fn revoked() -> Self {
        Self { revoked: true, ..Self::default() }
    }

    /// Whether a certificate that the authority signed counts.
    pub fn accepts(&self, sha256: &str) -> bool {
        !self.revoked
            && (self.current.is_none()
                || [&self.current, &self.next]
                    .into_iter()
                    .flatten()
                    .any(|issued| issued.sha256 == sha256))
    }

    /// Whether a line that was made under `earlier` may stay: one certificate
    /// at least counts then and now.
    pub fn continues(&self, earlier: &Self) -> bool {
        let issued = |of: &Self| [of.current.clone(), of.next.clone()].into_iter().flatten();
        self == earlier
            || (!earlier.revoked && issued(earlier).any(|issued| self.accepts(&issued.sha256)))
            || (earlier.current.is_none() && !earlier.revoked && !self.revoked)
    }

    /// Whether the host should get another one by now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let due = |issued: &IssuedRecord| now >= issued.renew_at();
        !self.revoked && (self.next.is_some() || self.current.as_ref().is_none_or(due))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    fn issued(sha256: &str) -> IssuedRecord {
        IssuedRecord {
            sha256: sha256.to_owned(),
            issued_at: Timestamp(0),
            expires_at: Timestamp(90 * DAY_MS),
        }
    }

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
        let credential = CredentialRecord::only(issued("a"));
        assert!(!credential.is_due(Timestamp(60 * DAY_MS - 1)));
        assert!(credential.is_due(Timestamp(60 * DAY_MS)));
        assert!(CredentialRecord::default().is_due(Timestamp(0)), "one that is not known");
        let half = CredentialRecord { next: Some(issued("b")), ..credential };
        assert!(half.is_due(Timestamp(0)), "a renewal that broke off");
        assert!(!CredentialRecord::revoked().is_due(Timestamp(u64::MAX)));
    }

    #[test]
    fn a_host_enrolled_before_certificates_were_noted_is_accepted_until_one_is() {
        let unknown: CredentialRecord = serde_json::from_str("{}").unwrap_or_default();
        assert!(unknown.accepts("anything"));
        assert!(CredentialRecord::only(issued("a")).continues(&unknown));
        assert!(!CredentialRecord::only(issued("a")).accepts("anything"));
    }

    fn any_credential() -> impl Strategy<Value = CredentialRecord> {
        let one = || prop::option::of("[abc]".prop_map(|name| issued(&name)));
        (one(), one(), any::<bool>()).prop_map(|(current, next, revoked)| CredentialRecord {
            current,
            next,
            revoked,
        })
    }

    proptest! {
        #[test]
        fn no_line_outlives_its_certificate(before in any_credential(), after in any_credential(), shown in "[abcd]") {
            if before.revoked || after.revoked {
                prop_assert!(before == after || !after.continues(&before));
            }
            prop_assert!(!CredentialRecord::revoked().accepts(&shown));
            if after.accepts(&shown) && before.accepts(&shown) && before.current.is_some() {
                let there = [&before.current, &before.next].into_iter().flatten();
                prop_assert!(there.into_iter().any(|issued| issued.sha256 == shown) && after.continues(&before));
            }
        }
    }
}
