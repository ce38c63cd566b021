//! Reading TOML so that every fault is reported, not just the first.
//!
//! A [`Section`] is asked for the keys it may have. What is missing, malformed
//! or was never asked for becomes a [`Fault`]; reading goes on all the same.

use std::cell::RefCell;
use std::fmt;

use thiserror::Error;
use toml::{Table, Value};

/// Longest piece of a wrong value shown in a message, in characters.
const SHOWN_CHARS: usize = 60;

/// One thing wrong in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key with its sections: `display.socket`.
    pub key: String,
    /// The value as written, shortened; `None` where the key is missing.
    pub found: Option<String>,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "{} = {found}: expected {}", self.key, self.expected),
            None => write!(f, "{} is missing: expected {}", self.key, self.expected),
        }
    }
}

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// Not TOML at all.
    #[error("not valid TOML: {0}")]
    Syntax(String),
    /// TOML, but not what was asked for; every fault there is.
    #[error("{}", list(.0))]
    Faults(Vec<Fault>),
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
}

/// The faults found so far; sections of one document share it.
#[derive(Debug, Default)]
pub(crate) struct Faults(RefCell<Vec<Fault>>);

impl Faults {
    pub(crate) fn push(&self, key: String, found: Option<&Value>, expected: impl Into<String>) {
        self.0.borrow_mut().push(Fault { key, found: found.map(shown), expected: expected.into() });
    }

    /// Everything found, as an error.
    pub(crate) fn into_error(self) -> DocumentError {
        DocumentError::Faults(self.0.into_inner())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string().replace('\n', " ");
    if text.chars().count() <= SHOWN_CHARS {
        return text;
    }
    text.chars().take(SHOWN_CHARS).chain("…".chars()).collect()
}

/// One table of a document, and the keys asked of it.
pub(crate) struct Section<'f> {
    prefix: String,
    table: Table,
    known: Vec<&'static str>,
    /// Of those, what was there, right or wrong.
    written: Vec<&'static str>,
    faults: &'f Faults,
}

impl<'f> Section<'f> {
    /// The top level of a document.
    pub(crate) fn document(text: &str, faults: &'f Faults) -> Result<Self, DocumentError> {
        let table = text
            .parse::<Table>()
            .map_err(|e| DocumentError::Syntax(e.to_string().trim_end().to_owned()))?;
        Ok(Self { prefix: String::new(), table, known: Vec::new(), written: Vec::new(), faults })
    }

    fn key(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}.{key}", self.prefix) }
    }

    /// A key that may be absent. `parse` says what would be right when it refuses.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        self.written.push(key);
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(expected) => {
                self.faults.push(self.key(key), Some(&value), expected);
                None
            }
        }
    }

    /// A key that must be there; `expected` describes it where it is not.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            self.faults.push(self.key(key), None, expected);
            return None;
        }
        self.optional(key, parse)
    }

    /// A table inside this one; a fault where it is missing or no table.
    pub(crate) fn section(&mut self, key: &'static str) -> Option<Section<'f>> {
        let table = self.required(key, "a section", |value| {
            value.as_table().cloned().ok_or_else(|| "a section".to_owned())
        })?;
        Some(Section {
            prefix: self.key(key),
            table,
            known: Vec::new(),
            written: Vec::new(),
            faults: self.faults,
        })
    }

    /// Whether none of the keys asked for so far was written.
    pub(crate) fn asked_in_vain(&self) -> bool {
        self.written.is_empty()
    }

    /// Whether one of these keys was written, right or wrong.
    pub(crate) fn asked_for_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.written.contains(key))
    }

    /// Reports a fault about a key of this section as a whole.
    pub(crate) fn fault(&self, key: &str, expected: &str) {
        self.faults.push(self.key(key), None, expected);
    }

    /// Ends the section: whatever was not asked for is unknown.
    pub(crate) fn finish(self) {
        for (key, value) in &self.table {
            let expected = format!("no such key; known here: {}", self.known.join(", "));
            self.faults.push(self.key(key), Some(value), expected);
        }
    }
}

/// A string that `check` accepts; `expected` describes it.
pub(crate) fn text<'v>(
    value: &'v Value,
    expected: &str,
    check: impl FnOnce(&str) -> bool,
) -> Result<&'v str, String> {
    match value.as_str() {
        Some(text) if check(text) => Ok(text),
        _ => Err(expected.to_owned()),
    }
}

/// A list of strings, each of which `check` accepts.
pub(crate) fn texts(
    value: &Value,
    expected: &str,
    check: impl Fn(&str) -> bool,
) -> Result<Vec<String>, String> {
    let items = value.as_array().ok_or_else(|| expected.to_owned())?;
    items.iter().map(|item| text(item, expected, &check).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_reported_with_key_value_and_rule() {
        let faults = Faults::default();
        let mut top =
            Section::document("a = 1\nstray = true\n[s]\nb = \"x\"\nodd = 2\n", &faults).unwrap();
        assert_eq!(
            top.required("a", "text", |v| text(v, "text", |_| true).map(str::to_owned)),
            None
        );
        assert_eq!(top.required("gone", "text", |_| Ok(())), None);
        let mut inner = top.section("s").unwrap();
        assert_eq!(inner.optional("b", |_| Ok(7)), Some(7));
        inner.finish();
        top.finish();
        let DocumentError::Faults(list) = faults.into_error() else { panic!("not faults") };
        let lines: Vec<String> = list.iter().map(Fault::to_string).collect();
        assert_eq!(
            lines,
            [
                "a = 1: expected text",
                "gone is missing: expected text",
                "s.odd = 2: expected no such key; known here: b",
                "stray = true: expected no such key; known here: a, gone, s",
            ]
        );
    }

    #[test]
    fn long_values_are_shortened() {
        let shown = shown(&Value::String("x".repeat(500)));
        assert_eq!(shown.chars().count(), SHOWN_CHARS + 1);
    }
}
