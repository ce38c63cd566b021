//! One entry, and how it is made.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{auth::Act, clock::Timestamp};

/// Longest text in an entry, bytes. What is longer comes from outside and is
/// cut.
const MAX_TEXT: usize = 256;
/// Most details of an entry.
const MAX_DETAILS: usize = 12;

/// What came of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was begun; another entry will tell of its end.
    Begun,
    /// Whoever wanted it may not, or could not show who they are.
    Refused,
    /// It was allowed, and was not done, or not to its end.
    Failed,
    /// The caller left before the answer: it may have been done.
    Unknown,
}

/// Who acts. Empty where it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Who {
    /// The account.
    pub user: String,
    /// What they showed: "session", "token:ID"; "offline" for commands on the
    /// broker's machine, "broker" for the broker itself.
    pub via: String,
    /// The address of the client.
    pub from: Option<IpAddr>,
}

/// An act, with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When the outcome was known; set when it is noted.
    pub at: Timestamp,
    /// What: the name of an [`Act`].
    pub act: String,
    /// Who; see [`Who`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// As in [`Who`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub via: String,
    /// As in [`Who`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Done to what: "KIND:NAME"; empty: to nothing in particular.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Why not, as a stable code and a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What else is worth knowing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

// === impl Who ===

impl Who {
    /// Somebody who has not shown who they are.
    pub fn stranger(from: IpAddr) -> Self {
        Self { from: Some(from.to_canonical()), ..Self::default() }
    }

    /// A command on the broker's machine.
    pub fn offline() -> Self {
        Self { via: "offline".to_owned(), ..Self::default() }
    }

    /// The broker, of its own accord.
    pub fn broker() -> Self {
        Self { via: "broker".to_owned(), ..Self::default() }
    }

    /// With a name that was given, right or wrong.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.user = bounded(name);
        self
    }
}

// === impl Entry ===

impl Entry {
    /// Without object, reason and details.
    pub fn new(act: Act, who: &Who, outcome: Outcome) -> Self {
        Self {
            at: Timestamp::default(),
            act: act.name().to_owned(),
            user: who.user.clone(),
            via: who.via.clone(),
            from: who.from.map(|from| from.to_canonical().to_string()).unwrap_or_default(),
            object: String::new(),
            outcome,
            reason: String::new(),
            details: BTreeMap::new(),
        }
    }

    /// Done to this.
    #[must_use]
    pub fn on(mut self, kind: &str, name: impl fmt::Display) -> Self {
        self.object = bounded(&format!("{kind}:{name}"));
        self
    }

    /// Because of this.
    #[must_use]
    pub fn because(mut self, reason: impl fmt::Display) -> Self {
        self.reason = bounded(&reason.to_string());
        self
    }

    /// Something else worth knowing. Beyond a dozen they are left out.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl fmt::Display) -> Self {
        if self.details.len() < MAX_DETAILS {
            self.details.insert(key.to_owned(), bounded(&value.to_string()));
        }
        self
    }

    /// Bytes it takes in the store, roughly.
    pub(super) fn weight(&self) -> usize {
        let details: usize = self.details.iter().map(|(key, value)| key.len() + value.len()).sum();
        let texts = [&self.act, &self.user, &self.via, &self.from, &self.object, &self.reason];
        160 + details + texts.iter().map(|text| text.len()).sum::<usize>()
    }

    pub(super) fn log(&self) {
        let Self { act, user, via, from, object, outcome, reason, details, .. } = self;
        tracing::info!(target: "audit", act, user, via, from, object, %outcome, reason, ?details);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Begun => "begun",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        })
    }
}

/// Cut between characters, and without any that move a terminal's cursor.
fn bounded(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(MAX_TEXT));
    for letter in text.chars() {
        let letter = if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
        if kept.len() + letter.len_utf8() > MAX_TEXT {
            break;
        }
        kept.push(letter);
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_noted_fits_and_is_harmless(texts in prop::collection::vec(".{0,400}", 20)) {
            let who = Who::stranger("::ffff:10.0.0.1".parse().unwrap()).named(&texts[0]);
            let entry = Entry::new(Act::SignIn, &who, Outcome::Refused).on("user", &texts[1]).because(&texts[2]);
            let entry = texts.iter().enumerate().fold(entry, |entry, (n, text)| entry.detail(&n.to_string(), text));
            prop_assert_eq!(&entry.from, "10.0.0.1");
            prop_assert!(entry.details.len() <= MAX_DETAILS);
            let all = entry.details.values().chain([&entry.user, &entry.object, &entry.reason]);
            for text in all {
                prop_assert!(text.len() <= MAX_TEXT && !text.chars().any(char::is_control));
            }
            let json = serde_json::to_vec(&entry).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Entry>(&json).unwrap(), entry);
        }
    }
}
