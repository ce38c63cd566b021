//! Values by dotted key, from the file or the environment, and the list of
//! everything wrong with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use thiserror::Error;
use toml::{Table, Value};

/// Environment variables of this daemon: the prefix, then the key in capitals
/// with '_' for '.'.
const PREFIX: &str = "ROLLTOP_BROKER_";

/// `--config` may come from the environment too.
const NOT_KEYS: [&str; 1] = ["ROLLTOP_BROKER_CONFIG"];

/// What lists are joined with; it cannot be part of an item.
const LIST_SEPARATOR: char = ',';

/// A key that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadKey {
    /// The key, or the variable that overrides it.
    pub key: String,
    /// What it holds; `None`: not about the value.
    pub value: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Faults(pub Vec<BadKey>);

pub(super) struct Source {
    values: BTreeMap<String, Given>,
    variables: BTreeMap<String, String>,
    faults: Vec<BadKey>,
    known: BTreeSet<&'static str>,
}

enum Given {
    Text(String),
    Unusable(String),
}

// === impl Source ===

impl Source {
    pub(super) fn new(
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Faults> {
        let table = text.parse::<Table>().map_err(|error| {
            Faults(vec![BadKey {
                key: "(file)".into(),
                value: None,
                reason: error.to_string().trim_end().to_owned(),
            }])
        })?;
        let mut values = BTreeMap::new();
        flatten("", table, &mut values);
        let variables = environment
            .filter(|(name, _)| name.starts_with(PREFIX) && !NOT_KEYS.contains(&name.as_str()))
            .collect();
        Ok(Self { values, variables, faults: Vec::new(), known: BTreeSet::new() })
    }

    /// The value of `key`, or the default; a fault is kept and the default
    /// taken, so that reading goes on.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.known.insert(key);
        let variable = variable_of(key);
        let (key, text) = match (self.variables.get(&variable), self.values.get(key)) {
            (Some(text), _) => (variable, text),
            (None, Some(Given::Text(text))) => (key.to_owned(), text),
            (None, Some(Given::Unusable(value))) => {
                let reason = "a table or value of this kind cannot stand here".to_owned();
                self.faults.push(BadKey {
                    key: key.to_owned(),
                    value: Some(value.clone()),
                    reason,
                });
                return default;
            }
            (None, None) => return default,
        };
        parse(text).unwrap_or_else(|reason| {
            self.faults.push(BadKey { key, value: Some(text.clone()), reason });
            default
        })
    }

    /// A fault that shows only beside other keys.
    pub(super) fn fault(&mut self, key: &'static str, reason: &str) {
        self.faults.push(BadKey { key: key.to_owned(), value: None, reason: reason.to_owned() });
    }

    /// Whether the value of `key` was refused already.
    pub(super) fn is_faulty(&self, key: &'static str) -> bool {
        let variable = variable_of(key);
        self.faults.iter().any(|fault| fault.key == key || fault.key == variable)
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> impl Iterator<Item = &'static str> {
        self.known.iter().copied()
    }

    /// To be called when every key was read: what is left is unknown.
    pub(super) fn finish(mut self) -> Result<(), Faults> {
        let variables: BTreeSet<String> = self.known.iter().map(|key| variable_of(key)).collect();
        let unknown_keys = self.values.keys().filter(|key| !self.known.contains(key.as_str()));
        let unknown_variables = self.variables.keys().filter(|name| !variables.contains(*name));
        let unknown = unknown_keys.chain(unknown_variables).map(|key| BadKey {
            key: key.clone(),
            value: None,
            reason: "there is no such key".to_owned(),
        });
        self.faults.extend(unknown);
        self.faults.sort();
        if self.faults.is_empty() { Ok(()) } else { Err(Faults(self.faults)) }
    }
}

fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn flatten(prefix: &str, table: Table, into: &mut BTreeMap<String, Given>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        let given = match value {
            Value::Table(table) => {
                flatten(&key, table, into);
                continue;
            }
            Value::String(text) => Given::Text(text),
            Value::Integer(number) => Given::Text(number.to_string()),
            Value::Array(items) => list_text(&items),
            other @ (Value::Float(_) | Value::Boolean(_) | Value::Datetime(_)) => {
                Given::Unusable(other.to_string())
            }
        };
        into.insert(key, given);
    }
}

fn list_text(items: &[Value]) -> Given {
    let texts: Option<Vec<&str>> = items
        .iter()
        .map(|item| item.as_str().filter(|text| !text.contains(LIST_SEPARATOR)))
        .collect();
    match texts {
        Some(texts) => Given::Text(texts.join(&LIST_SEPARATOR.to_string())),
        None => Given::Unusable(Value::Array(items.to_vec()).to_string()),
    }
}

/// Items between commas.
pub(super) fn parse_list<T>(
    text: &str,
    item: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    text.split(LIST_SEPARATOR).map(str::trim).filter(|part| !part.is_empty()).map(item).collect()
}

/// A whole number within bounds, both included.
pub(super) fn parse_number<T: FromStr + PartialOrd + Copy + fmt::Display>(
    least: T,
    most: T,
) -> impl Fn(&str) -> Result<T, String> {
    move |text| match text.parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        Ok(_) | Err(_) => Err(format!("not a whole number from {least} to {most}")),
    }
}

// === impl Faults ===

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} fault{} in the configuration", if count == 1 { "" } else { "s" })?;
        for BadKey { key, value, reason } in &self.0 {
            match value {
                Some(value) => write!(f, "\n  {key} = {value:?}: {reason}")?,
                None => write!(f, "\n  {key}: {reason}")?,
            }
        }
        Ok(())
    }
}
