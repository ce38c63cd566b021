//! What the project aims at on two processors, warm.

use rolltop_tests::bench::{Aim, Most};

use crate::names::{ANSWERS, DEMOS_DRAWN, DRAWN, FORERUNNER_INIT, INIT, RELEASED, SMALLS_FAILED};

pub(crate) const AIMS: [Aim; 6] = [
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
