//! What a run should reach. A missed aim is told, not an error: machines
//! differ.

use serde_json::{Value, json};

use super::Report;

/// A figure's median and the most it should be.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// What is aimed at.
    pub text: &'static str,
    /// Name of the figure.
    pub figure: &'static str,
    /// The most it should be.
    pub most: Most,
}

/// A bound.
#[derive(Clone, Copy, Debug)]
pub enum Most {
    /// In the figure's own unit.
    Value(f64),
    /// This part of another figure's median.
    PartOf(&'static str, f64),
}

/// How an aim was met.
#[derive(Debug)]
pub struct Verdict {
    /// What was aimed at.
    pub text: &'static str,
    /// The figure's median.
    pub value: f64,
    /// What it should have been at most.
    pub most: f64,
}

impl Verdict {
    /// Whether it was met.
    pub fn is_met(&self) -> bool {
        self.value <= self.most
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "aim": self.text,
            "met": self.is_met(),
            "value": self.value,
            "most": self.most,
        })
    }
}

/// One for each aim whose figures were measured.
pub(super) fn verdicts(report: &Report) -> Vec<Verdict> {
    let verdict = |aim: &Aim| {
        let most = match aim.most {
            Most::Value(most) => most,
            Most::PartOf(figure, part) => report.median(figure)? * part,
        };
        Some(Verdict { text: aim.text, value: report.median(aim.figure)?, most })
    };
    report.aims.iter().filter_map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Unit;

    #[test]
    fn a_part_of_a_reference_and_a_value() {
        let aim = |figure, most| Aim { text: "", figure, most };
        let aims = [
            aim("init", Most::PartOf("theirs", 0.25)),
            aim("released", Most::Value(100.0)),
            aim("not measured", Most::Value(1.0)),
        ];
        let mut report = Report { aims: aims.into(), ..Report::default() };
        report.add("init", Unit::Millis, [30.0]);
        report.add("theirs", Unit::Millis, [100.0]);
        report.add("released", Unit::Millis, [100.0]);
        let told: Vec<_> = verdicts(&report).iter().map(|v| (v.most, v.is_met())).collect();
        assert_eq!(told, [(25.0, false), (100.0, true)]);
    }
}
