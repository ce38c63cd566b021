//! What the project aims at on two processors, warm.

use rolltop_tests::bench::{Aim, Most};

use crate::names::{
    ANSWERS, CROWDED_PSS, DEMOS_DRAWN, DRAWN, IDLE_CPU, INIT, RELEASED, SMALL_INIT, SMALLS_FAILED,
};

pub(crate) const AIMS: [Aim; 14] = [
    Aim {
        text: "init running in a quarter of the forerunner's time",
        figure: INIT,
        most: Most::PartOf("forerunner: init running", 0.25),
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
    Aim {
        text: "init running in twice the time of the bare system calls",
        figure: SMALL_INIT,
        most: Most::PartOf("bare system calls: init running", 2.0),
    },
    faster_than("runc run: init running"),
    faster_than("podman run: init running"),
    faster_than("systemd-nspawn: init running"),
    faster_than("forerunner: lxc-start, lxc-wait"),
    Aim {
        text: "with 1,000 alive at most twice the time of an empty host",
        figure: "1000 alive: small: init running",
        most: Most::PartOf(SMALL_INIT, 2.0),
    },
    Aim {
        text: "agent of idle desktops below 0.5 % of a core",
        figure: IDLE_CPU,
        most: Most::Value(0.5),
    },
    Aim {
        text: "agent of all desktops below 64 MiB",
        figure: CROWDED_PSS,
        most: Most::Value(65_536.0),
    },
];

/// Although it does less.
const fn faster_than(peer: &'static str) -> Aim {
    Aim {
        text: "init running sooner than that of a peer",
        figure: INIT,
        most: Most::PartOf(peer, 1.0),
    }
}
