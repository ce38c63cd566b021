//! The figures of a run.

use std::{borrow::Cow, fs, time::Duration};

use serde_json::{Value, json};

use super::aim::{self, Aim, Verdict};
use crate::sample::Sample;

/// Everything a run found out.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order they were begun.
    pub figures: Vec<Figure>,
    /// What the run should reach.
    pub aims: Vec<Aim>,
    /// Desktops that did not come or go.
    pub failures: Vec<String>,
    /// What was on the machine afterwards and not before, or the reverse.
    pub left: Vec<String>,
}

/// What a figure is called.
pub type Name = Cow<'static, str>;

/// One measured thing.
#[derive(Debug)]
pub struct Figure {
    /// What it is of.
    pub name: Name,
    /// What it counts.
    pub unit: Unit,
    /// The values.
    pub sample: Sample,
    /// The figure it is to be seen beside.
    pub reference: Option<Name>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of a second.
    Millis,
    /// 1024 bytes.
    Kib,
    /// Things.
    Count,
    /// Hundredths.
    Percent,
}

impl Unit {
    /// As printed behind a value; nothing for things.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Millis => "ms",
            Self::Kib => "KiB",
            Self::Count => "",
            Self::Percent => "%",
        }
    }
}

impl Report {
    /// Adds values to a figure, which is begun if it is new.
    pub fn add(
        &mut self,
        name: impl Into<Name>,
        unit: Unit,
        values: impl IntoIterator<Item = f64>,
    ) {
        let at = self.position(name.into(), unit);
        let sample = &mut self.figures[at].sample;
        values.into_iter().for_each(|value| sample.push(value));
    }

    /// Adds a time.
    pub fn add_time(&mut self, name: impl Into<Name>, time: Duration) {
        self.add(name, Unit::Millis, [time.as_secs_f64() * 1e3]);
    }

    /// Lets `name` be seen beside `reference`.
    pub fn compare(&mut self, name: &str, reference: impl Into<Name>) {
        let reference = reference.into();
        let found = self.figures.iter_mut().filter(|figure| figure.name == name);
        found.for_each(|figure| figure.reference = Some(reference.clone()));
    }

    /// Adds everything of another.
    pub fn merge(&mut self, other: Self) {
        for figure in other.figures {
            let name = figure.name;
            self.add(name.clone(), figure.unit, figure.sample.values().iter().copied());
            if let Some(reference) = figure.reference {
                self.compare(&name, reference);
            }
        }
        self.failures.extend(other.failures);
    }

    /// The median of a figure.
    pub fn median(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name)?.sample.median()
    }

    /// How a figure stands to its reference, median to median.
    pub fn ratio(&self, figure: &Figure) -> Option<f64> {
        Some(figure.sample.median()? / self.median(figure.reference.as_ref()?)?)
    }

    /// For a program.
    pub fn to_json(&self) -> Value {
        let figures: Vec<Value> =
            self.figures.iter().map(|figure| self.figure_json(figure)).collect();
        let aims: Vec<Value> = aim::verdicts(self).iter().map(Verdict::to_json).collect();
        json!({
            "machine": machine(),
            "figures": figures,
            "aims": aims,
            "failures": self.failures,
            "left": self.left,
        })
    }

    fn figure_json(&self, figure: &Figure) -> Value {
        let range = figure.sample.range();
        json!({
            "name": figure.name,
            "unit": figure.unit.as_str(),
            "values": figure.sample.len(),
            "median": figure.sample.median(),
            "p95": figure.sample.percentile(95),
            "least": range.map(|(least, _)| least),
            "most": range.map(|(_, most)| most),
            "reference": figure.reference,
            "ratio": self.ratio(figure),
        })
    }

    fn position(&mut self, name: Name, unit: Unit) -> usize {
        let known = self.figures.iter().position(|figure| figure.name == name);
        known.unwrap_or_else(|| {
            self.figures.push(Figure { name, unit, sample: Sample::default(), reference: None });
            self.figures.len() - 1
        })
    }
}

/// What the figures depend on.
pub(super) fn machine() -> Value {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({
        "kernel": line("/proc/sys/kernel/osrelease"),
        "processors": processors,
        // Of the whole machine, this run included.
        "load": line("/proc/loadavg"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_add_up_and_stand_beside_their_reference() {
        let mut report = Report::default();
        for (ours, theirs) in [(1.0, 10.0), (2.0, 8.0), (30.0, 9.0)] {
            let mut round = Report::default();
            round.add("ours", Unit::Millis, [ours]);
            round.compare("ours", "theirs");
            round.add("theirs", Unit::Millis, [theirs]);
            report.merge(round);
        }
        assert_eq!(report.figures.len(), 2);
        assert_eq!(report.ratio(&report.figures[0]), Some(2.0 / 9.0));
        assert_eq!(report.ratio(&report.figures[1]), None);
        let json = report.to_json();
        assert_eq!(json["figures"][0]["p95"], 30.0);
        assert_eq!(json["figures"][0]["values"], 3);
    }
}
