//! Reads one TOML table and the environment over it, collecting every fault
//! instead of stopping at the first.

use std::{collections::BTreeMap, fmt};

use toml::{Table, Value};

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Dotted key, such as `network.bridge`.
    pub key: String,
    /// What stands there.
    pub value: String,
    /// Why it cannot be, and what would be right.
    pub reason: String,
}

/// Collects values and faults.
pub(super) struct Reader<'a> {
    values: BTreeMap<String, Vec<String>>,
    environment: &'a dyn Fn(&str) -> Option<String>,
    env_prefix: &'static str,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        text: &str,
        env_prefix: &'static str,
        environment: &'a dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Fault> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| Fault {
            key: "(file)".into(),
            value: String::new(),
            reason: format!("is not TOML: {}", error.to_string().trim_end()),
        })?;
        let mut reader =
            Self { values: BTreeMap::new(), environment, env_prefix, faults: Vec::new() };
        reader.flatten("", table);
        Ok(reader)
    }

    fn flatten(&mut self, above: &str, table: Table) {
        for (key, value) in table {
            let key = if above.is_empty() { key } else { format!("{above}.{key}") };
            match value {
                Value::Table(below) => self.flatten(&key, below),
                Value::Array(items) => {
                    let list = items.into_iter().map(plain).collect();
                    self.values.insert(key, list);
                }
                single => {
                    self.values.insert(key, vec![plain(single)]);
                }
            }
        }
    }

    /// The environment's word, or else the file's, for `key`.
    fn take(&mut self, key: &str) -> Option<Vec<String>> {
        let from_file = self.values.remove(key);
        match (self.environment)(&self.variable(key)) {
            Some(text) => Some(text.split(',').map(|part| part.trim().to_owned()).collect()),
            None => from_file,
        }
    }

    /// The value of `key`, or `default`; a fault and `default` when `parse`
    /// refuses it.
    pub(super) fn value<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// Like [`Reader::value`], without a default.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let given = self.take(key)?;
        let [text] = given.as_slice() else {
            self.fault(key, given.join(", "), "is a list; one value is wanted");
            return None;
        };
        parse(text).map_err(|reason| self.fault(key, text, reason)).ok()
    }

    /// Every item of the list `key`, or `default`.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        default: Vec<T>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(items) = self.take(key) else { return default };
        let mut parsed = Vec::with_capacity(items.len());
        for text in items.iter().filter(|text| !text.is_empty()) {
            match parse(text) {
                Ok(item) => parsed.push(item),
                Err(reason) => self.fault(key, text, reason),
            }
        }
        parsed
    }

    /// Whether anything is given for `key`, which must not have been read yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key) || (self.environment)(&self.variable(key)).is_some()
    }

    /// Whether a value of `key` was refused already.
    pub(super) fn has_fault(&self, key: &str) -> bool {
        self.faults.iter().any(|fault| fault.key == key)
    }

    fn variable(&self, key: &str) -> String {
        format!("{}{}", self.env_prefix, key.replace('.', "_").to_ascii_uppercase())
    }

    /// Keys right below `section`, in order.
    pub(super) fn keys_below(&self, section: &str) -> Vec<String> {
        let prefix = format!("{section}.");
        self.values.keys().filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    pub(super) fn fault(&mut self, key: &str, value: impl Into<String>, reason: impl Into<String>) {
        self.faults.push(Fault { key: key.into(), value: value.into(), reason: reason.into() });
    }

    /// All faults, keys that nobody asked for among them.
    pub(super) fn finish(mut self) -> Result<(), Vec<Fault>> {
        for (key, value) in std::mem::take(&mut self.values) {
            self.fault(&key, value.join(", "), "is no key this version knows; take it out");
        }
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults) }
    }
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{} {}", self.key, self.reason)
        } else {
            write!(f, "{} = `{}` {}", self.key, self.value, self.reason)
        }
    }
}
