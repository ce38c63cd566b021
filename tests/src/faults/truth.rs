//! What really happened, as the hosts have it: against it everything is held.

use std::{collections::BTreeMap, time::Duration};

use rolltop_proto::v1::{DesktopState, HostDesktop};
use rolltop_sim::{Deed, What};
use tokio::time::Instant;

/// A life of a desktop on a host, from its begin to its end.
#[derive(Clone, Debug)]
pub struct Lived {
    /// The host.
    pub host: String,
    /// Its number.
    pub number: u32,
    /// Which life.
    pub epoch: u64,
    /// "pool/user".
    pub label: String,
    /// The start's.
    pub request_id: String,
    /// When it was begun.
    pub begun: Instant,
    /// When it ran.
    pub up: Option<Instant>,
    /// When and why it ended.
    pub ended: Option<(Instant, String)>,
    /// How much later than it happened all that may have been noted.
    pub late: Duration,
}

/// Of all hosts.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Every life, in the order they began.
    pub lives: Vec<Lived>,
    /// What there is now, by host.
    pub now: BTreeMap<String, Vec<HostDesktop>>,
}

// === impl Truth ===

impl Truth {
    /// What a host did, noted so much too late at most, and what it has.
    pub fn add(&mut self, host: &str, deeds: &[Deed], now: Vec<HostDesktop>, late: Duration) {
        let mut open: BTreeMap<u32, Lived> = BTreeMap::new();
        for deed in deeds {
            match &deed.what {
                What::Begun => {
                    let lived = Lived {
                        host: host.to_owned(),
                        number: deed.number,
                        epoch: deed.epoch,
                        label: deed.label.clone(),
                        request_id: deed.request_id.clone(),
                        begun: deed.at,
                        up: None,
                        ended: None,
                        late,
                    };
                    // A warm one that was given goes on under another epoch.
                    if let Some(mut warm) = open.insert(deed.number, lived) {
                        warm.ended = Some((deed.at, "given".to_owned()));
                        self.lives.push(warm);
                    }
                }
                What::Up => {
                    if let Some(lived) = open.get_mut(&deed.number) {
                        lived.up = Some(deed.at);
                    }
                }
                What::Ended(why) => {
                    if let Some(mut lived) = open.remove(&deed.number) {
                        lived.ended = Some((deed.at, why.clone()));
                        self.lives.push(lived);
                    }
                }
            }
        }
        self.lives.extend(open.into_values());
        self.lives.sort_by_key(|lived| lived.begun);
        self.now.insert(host.to_owned(), now);
    }

    /// All lives of this epoch.
    pub fn of_epoch(&self, epoch: u64) -> impl Iterator<Item = &Lived> {
        self.lives.iter().filter(move |lived| lived.epoch == epoch)
    }

    /// Whether this life of a desktop runs there now.
    pub fn runs(&self, host: &str, number: u32, epoch: u64) -> bool {
        let running = |there: &&HostDesktop| there.state() == DesktopState::Running;
        self.find(host, number, epoch).filter(running).is_some()
    }

    /// Whether this life of a desktop is there now, in whatever state.
    pub fn has(&self, host: &str, number: u32, epoch: u64) -> bool {
        self.find(host, number, epoch).is_some()
    }

    fn find(&self, host: &str, number: u32, epoch: u64) -> Option<&HostDesktop> {
        let mut there = self.now.get(host).into_iter().flatten();
        there.find(|there| there.number == number && there.epoch == epoch)
    }
}

// === impl Lived ===

impl Lived {
    /// Whether both were surely there at some moment.
    pub fn overlaps(&self, other: &Self) -> bool {
        let ends_before =
            |a: &Self, b: &Self| a.ended.as_ref().is_some_and(|(at, _)| *at <= b.begun + a.late);
        !ends_before(self, other) && !ends_before(other, self)
    }

    /// In words, in seconds before and after a moment.
    pub fn told(&self, moment: Instant) -> String {
        let seconds = |at: Instant| match at.checked_duration_since(moment) {
            Some(after) => format!("{:+.3} s", after.as_secs_f32()),
            None => format!("-{:.3} s", moment.duration_since(at).as_secs_f32()),
        };
        let up = self.up.map_or_else(|| "never up".to_owned(), |at| format!("up {}", seconds(at)));
        let ended = self.ended.as_ref().map_or_else(
            || "there still".to_owned(),
            |(at, why)| format!("ended {} ({why})", seconds(*at)),
        );
        let Self { label, host, number, begun, .. } = self;
        format!("{label} on {host} as number {number}, begun {}, {up}, {ended}", seconds(*begun))
    }

    /// Whether nobody wanted its end: the power went, or its agent died while it
    /// was made.
    pub fn was_struck(&self) -> bool {
        self.ended.as_ref().is_some_and(|(_, why)| why == "without a word")
    }
}
