//! The alerts for Prometheus, read from their file.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// A file of rules. What it may hold beyond this is a fault: it would not be
/// looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "name")]
    _name: String,
    rules: Vec<Alert>,
}

/// One alert.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Its name.
    #[serde(rename = "alert")]
    pub name: String,
    /// When it fires, in PromQL.
    pub expr: String,
    /// For how long that must hold; empty: at once.
    #[serde(rename = "for", default)]
    pub pending: String,
    /// Its labels.
    pub labels: Labels,
    /// What people get to read.
    pub annotations: Annotations,
}

/// Labels of an alert.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// `warning` or `critical`.
    pub severity: String,
}

/// Texts of an alert.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annotations {
    /// One sentence.
    pub summary: String,
    /// Where the rest is told.
    pub runbook: String,
}

/// What PromQL has besides metrics, as far as our rules use it.
const WORDS: [&str; 14] = [
    "and",
    "by",
    "changes",
    "histogram_quantile",
    "increase",
    "max",
    "min_over_time",
    "on",
    "or",
    "predict_linear",
    "rate",
    "sum",
    "unless",
    "ignoring",
];

/// All alerts of a file.
///
/// # Errors
/// It cannot be read, or two have one name.
pub fn read(path: &Path) -> anyhow::Result<Vec<Alert>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file: File = serde_saphyr::from_str(&text)?;
    let alerts: Vec<Alert> = file.groups.into_iter().flat_map(|group| group.rules).collect();
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    ensure!(names.len() == alerts.len(), "two alerts have one name");
    Ok(alerts)
}

impl Alert {
    /// The metrics it looks at.
    pub fn metrics(&self) -> BTreeSet<String> {
        let words = words(&self.expr).into_iter();
        words.filter(|word| !WORDS.contains(&word.as_str())).collect()
    }
}

/// Words outside of strings, matchers, ranges, and lists of labels.
fn words(expr: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    // Whether the next parenthesis has labels in it.
    let mut labels = false;
    let mut letters = expr.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => skip(&mut letters, '"'),
            '{' => skip(&mut letters, '}'),
            '[' => skip(&mut letters, ']'),
            '(' if std::mem::take(&mut labels) => skip(&mut letters, ')'),
            // Its unit is no word: 5m.
            _ if letter.is_ascii_digit() => {
                while letters.next_if(|next| next.is_ascii_alphanumeric() || *next == '.').is_some()
                {
                }
            }
            _ if letter.is_ascii_alphabetic() || letter == '_' => {
                let mut word = letter.to_string();
                while let Some(next) =
                    letters.next_if(|next| next.is_ascii_alphanumeric() || *next == '_')
                {
                    word.push(next);
                }
                labels = matches!(word.as_str(), "by" | "on");
                words.push(word);
            }
            _ => {}
        }
    }
    words
}

fn skip(letters: &mut impl Iterator<Item = char>, end: char) {
    letters.by_ref().find(|letter| *letter == end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_metrics_are_taken_for_metrics() {
        let alert = Alert {
            name: "X".into(),
            expr: "sum by (instance, le) (rate(a_total{code=~\"b|c\"}[5m])) > 0.1 * b_bytes\n\
                   or up{job=\"d\"} == 1 unless on (instance) (e < 24 * 3600)"
                .into(),
            pending: String::new(),
            labels: Labels { severity: "warning".into() },
            annotations: Annotations { summary: String::new(), runbook: String::new() },
        };
        let metrics: Vec<_> = alert.metrics().into_iter().collect();
        assert_eq!(metrics, ["a_total", "b_bytes", "e", "up"]);
    }
}
