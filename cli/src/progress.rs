//! A desktop's way up, drawn: a bar on a terminal, plain lines elsewhere.

use std::{collections::BTreeMap, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rolltop_proto::v1::Progress;

use crate::{
    output::{duration_ms, notice},
    view::phase_word,
};

/// All that a person sees; `PHASE_UNSPECIFIED` is none.
const PHASES: u64 = 6;

/// When each phase began, by the clock of the machine that does it.
#[derive(Debug, Default)]
pub(crate) struct PhaseTimes {
    began_ms: BTreeMap<i32, f64>,
}

/// What became of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Began {
        phase: &'static str,
    },
    /// `took_ms` is the phase's own time: phases run side by side.
    Ended {
        phase: &'static str,
        took_ms: f64,
    },
}

impl PhaseTimes {
    /// Takes in one message.
    pub(crate) fn note(&mut self, progress: &Progress) -> Step {
        let phase = phase_word(progress.phase);
        let elapsed = progress.elapsed.unwrap_or_default();
        let at_ms = elapsed.seconds as f64 * 1000.0 + f64::from(elapsed.nanos) / 1_000_000.0;
        if progress.done {
            let began_ms = self.began_ms.remove(&progress.phase).unwrap_or(0.0);
            Step::Ended { phase, took_ms: (at_ms - began_ms).max(0.0) }
        } else {
            self.began_ms.insert(progress.phase, at_ms);
            Step::Began { phase }
        }
    }
}

/// The drawing on standard error, gone when dropped.
pub(crate) struct Bar {
    bar: ProgressBar,
    under_way: Vec<&'static str>,
}

impl Bar {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(PHASES), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("[{bar:24}] {elapsed} {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, under_way: Vec::new() }
    }

    /// Draws one step.
    pub(crate) fn show(&mut self, step: Step) {
        match step {
            Step::Began { phase } => self.under_way.push(phase),
            Step::Ended { phase, took_ms } => {
                self.under_way.retain(|under_way| *under_way != phase);
                self.line(&format!("{phase:<10} {:>9}", duration_ms(took_ms)));
                self.bar.inc(1);
            }
        }
        self.bar.set_message(self.under_way.join(", "));
    }

    /// Above the bar if there is one.
    fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            notice(text);
        } else {
            self.bar.println(text);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::Phase;

    use super::*;

    fn progress(phase: Phase, done: bool, ms: i32) -> Progress {
        let elapsed = prost_types::Duration { seconds: 0, nanos: ms * 1_000_000 };
        Progress { phase: phase.into(), done, elapsed: Some(elapsed) }
    }

    #[test]
    fn a_phase_takes_its_own_time_only() {
        let mut times = PhaseTimes::default();
        assert_eq!(times.note(&progress(Phase::Disk, false, 2)), Step::Began { phase: "disk" });
        times.note(&progress(Phase::Network, false, 3));
        assert_eq!(
            times.note(&progress(Phase::Network, true, 5)),
            Step::Ended { phase: "network", took_ms: 2.0 }
        );
        assert_eq!(
            times.note(&progress(Phase::Disk, true, 12)),
            Step::Ended { phase: "disk", took_ms: 10.0 }
        );
    }

    #[test]
    fn odd_orders_do_no_harm() {
        let mut times = PhaseTimes::default();
        assert_eq!(
            times.note(&progress(Phase::Display, true, 7)),
            Step::Ended { phase: "display", took_ms: 7.0 }
        );
        times.note(&progress(Phase::Session, false, 9));
        assert_eq!(
            times.note(&progress(Phase::Session, true, 8)),
            Step::Ended { phase: "session", took_ms: 0.0 }
        );
    }

    #[test]
    fn the_bar_counts_every_phase() {
        let named = (1..).take_while(|number| Phase::try_from(*number).is_ok()).count();
        assert_eq!(u64::try_from(named), Ok(PHASES));
    }
}
