//! How a pool chooses its hosts.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::names::BadField;

/// Terms a pool may have of one kind.
const MOST_TERMS: usize = 16;
/// Of a key, and of a value.
const LONGEST_WORD: usize = 63;

/// Whether desktops go side by side or apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Where most room is.
    Spread,
    /// Where least room is that will do.
    Pack,
}

/// A label a host may have: "key=value", or "key" with any value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Term {
    key: String,
    value: Option<String>,
}

/// What a pool wants of its hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostPolicy {
    /// None: the broker's.
    pub strategy: Option<Strategy>,
    /// A host has to have all of these.
    pub require: Vec<Term>,
    /// A host must have none of these.
    pub forbid: Vec<Term>,
    /// Each one a host has speaks for it.
    pub prefer: Vec<Term>,
    /// Each one a host has speaks against it.
    pub avoid: Vec<Term>,
}

// === impl Term ===

impl Term {
    /// Reads one.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, BadField> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        if is_word(key) && value.is_none_or(is_word) {
            Ok(Self { key: key.to_owned(), value: value.map(str::to_owned) })
        } else {
            Err(BadField::new(
                field,
                text,
                "\"key=value\" or \"key\", of letters, digits, '.', '_' and '-', 63 bytes each",
            ))
        }
    }

    /// Reads a list of them.
    ///
    /// # Errors
    /// The first that is wrong, or there are too many.
    pub fn parse_all(field: &'static str, texts: &[String]) -> Result<Vec<Self>, BadField> {
        if texts.len() > MOST_TERMS {
            return Err(BadField::new(field, &texts.len().to_string(), "16 terms at most"));
        }
        texts.iter().map(|text| Self::parse(field, text)).collect()
    }

    /// Whether a host with these labels has it.
    pub fn is_had(&self, labels: &BTreeMap<String, String>) -> bool {
        labels
            .get(&self.key)
            .is_some_and(|has| self.value.as_ref().is_none_or(|wanted| wanted == has))
    }
}

/// Whether a text can be a label's key or value.
pub fn is_word(text: &str) -> bool {
    (1..=LONGEST_WORD).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

impl From<Term> for String {
    fn from(term: Term) -> Self {
        term.to_string()
    }
}

impl TryFrom<String> for Term {
    type Error = BadField;

    fn try_from(text: String) -> Result<Self, BadField> {
        Self::parse("label", &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_a_key_with_one_value_or_any() {
        let labels = BTreeMap::from([("gpu".to_owned(), "a40".to_owned())]);
        let had = |text| Term::parse("require", text).unwrap().is_had(&labels);
        assert!(had("gpu") && had("gpu=a40"));
        assert!(!had("gpu=a100") && !had("room"));
        for bad in ["", "=", "a=", "=b", "a b", "a=b=c", &"x".repeat(64)] {
            assert_eq!(Term::parse("require", bad).unwrap_err().field, "require", "{bad}");
        }
        let many = vec!["a".to_owned(); 17];
        assert!(Term::parse_all("require", &many).is_err());
    }

    #[test]
    fn a_stored_term_reads_back() {
        for text in ["gpu", "gpu=a40"] {
            let term = Term::parse("label", text).unwrap();
            let json = serde_json::to_string(&term).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Term>(&json).unwrap(), term);
        }
    }
}
