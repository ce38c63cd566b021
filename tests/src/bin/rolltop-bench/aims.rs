//! What the project aims at on two processors, warm. A missed aim is told, not
//! an error: machines differ.

use serde_json::{Value, json};

use crate::{
    names::{ANSWERS, DEMOS_DRAWN, DRAWN, FORERUNNER_INIT, INIT, RELEASED, SMALLS_FAILED},
    report::Report,
};

/// A figure's median and the most it should be.
#[derive(Debug)]
struct Aim {
    text: &'static str,
    figure: &'static str,
    most: Most,
}

#[derive(Clone, Copy, Debug)]
enum Most {
    Value(f64),
    /// This part of another figure's median.
    PartOf(&'static str, f64),
}

const AIMS: [Aim; 6] = [
    Aim {
        text: "init running in a quarter of the forerunner's time",
        figure: INIT,
        most: Most::PartOf(FORERUNNER_INIT, 0.25),
    },
    Aim { text: "display answers within 150 ms", figure: ANSWERS, most: Most::Value(150.0) },
    Aim { text: "drawn within 500 ms", figure: DRAWN, most: Most::Value(500.0) },
    Aim {
        text: "10 at once all drawn within 3 s",
        figure: DEMOS_DRAWN,
        most: Most::Value(3_000.0),
    },
    Aim { text: "50 at once without a failure", figure: SMALLS_FAILED, most: Most::Value(0.0) },
    Aim { text: "released within 100 ms", figure: RELEASED, most: Most::Value(100.0) },
];

/// How an aim was met.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) text: &'static str,
    pub(crate) value: f64,
    pub(crate) most: f64,
}

impl Verdict {
    pub(crate) fn is_met(&self) -> bool {
        self.value <= self.most
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "aim": self.text,
            "met": self.is_met(),
            "value": self.value,
            "most": self.most,
        })
    }
}

/// One for each aim whose figures were measured.
pub(crate) fn verdicts(report: &Report) -> Vec<Verdict> {
    let verdict = |aim: &Aim| {
        let most = match aim.most {
            Most::Value(most) => most,
            Most::PartOf(figure, part) => report.median(figure)? * part,
        };
        Some(Verdict { text: aim.text, value: report.median(aim.figure)?, most })
    };
    AIMS.iter().filter_map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;

    #[test]
    fn a_part_of_a_reference_and_a_value() {
        let mut report = Report::default();
        report.add(INIT, Unit::Millis, [30.0]);
        report.add(FORERUNNER_INIT, Unit::Millis, [100.0]);
        report.add(RELEASED, Unit::Millis, [100.0]);
        let verdicts = verdicts(&report);
        let told: Vec<_> = verdicts.iter().map(|v| (v.most, v.is_met())).collect();
        assert_eq!(told, [(25.0, false), (100.0, true)]);
    }
}
