//! What was measured, as a table and as JSON.

use std::{fmt, time::Duration};

use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// "embedded" or "etcd".
    pub store: String,
    /// What of.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
}

/// All figures, in the order they were found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// One a line.
    pub rows: Vec<Row>,
}

// === impl Figures ===

impl Figures {
    /// Adds one, and prints it: what follows it may take long, or fail.
    pub fn add(&mut self, store: &str, name: impl Into<String>, value: f64, unit: &'static str) {
        let row = Row { store: store.to_owned(), name: name.into(), value, unit };
        println!("{row}");
        self.rows.push(row);
    }

    /// Adds how long most, nearly all, and all but one in a thousand took.
    pub fn add_times(&mut self, store: &str, name: &str, mut times: Vec<Duration>) {
        times.sort_unstable();
        for (part, per_mille) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
            if let Some(time) = percentile(&times, per_mille) {
                self.add(store, format!("{name}, {part}"), time.as_secs_f64() * 1e3, "ms");
            }
        }
    }
}

/// Of sorted times: the least that `per_mille` of a thousand do not exceed.
fn percentile(sorted: &[Duration], per_mille: usize) -> Option<Duration> {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied()
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, name, value, unit } = self;
        write!(f, "{store:<9} {name:<54} {value:>12.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let times: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        let ms = |per_mille| percentile(&times, per_mille).map(|time| time.as_millis());
        assert_eq!([ms(500), ms(990), ms(999)], [Some(500), Some(990), Some(999)]);
        assert_eq!(percentile(&times[..1], 999), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 500), None);
    }
}
