//! The power goes while a desktop's programs write, or while its overlay is
//! tended: everything they had synced must be there afterwards, in it and in its
//! copies, and it must open.

use std::{
    io::{self, Write},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rolltop_tests::vm::{DataDisk, Guest};

use crate::stage::{SHORT, Stage};

/// Until so many steps are synced the guest may write; it never gets there.
const LIMIT: Duration = Duration::from_secs(300);
const PROGRAM: &str = "/payload/bin/rolltop-durability --disk /data/power";

/// What is going on when the power goes.
#[derive(Clone, Copy)]
struct Work {
    task: &'static str,
    /// The longest time from the last step that counts to the cut, ms: as long
    /// as what comes after a step.
    spread_ms: u64,
}

const WRITING: Work = Work { task: "write", spread_ms: 67 };
const TENDING: Work = Work { task: "tend", spread_ms: 2003 };

pub(crate) fn what_was_synced_outlives_a_hundred_cuts(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    cuts(stage, 100, WRITING)
}

/// While it is grown, copied, rolled back, exported and imported.
pub(crate) fn tended_overlays_outlive_six_cuts(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    cuts(stage, 6, TENDING)
}

pub(crate) fn tended_overlays_outlive_a_hundred_cuts(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    cuts(stage, 100, TENDING)
}

fn cuts(stage: &mut Stage<'_>, count: u64, work: Work) -> anyhow::Result<()> {
    let disk = stage.disk("desktops")?;
    let mut synced = 0;
    for cut in 0..count {
        let mut guest = begin(stage, &disk)?;
        verify(stage, &mut guest, synced).with_context(|| format!("after cut {cut}"))?;
        // How many steps, and how far into the next one: spread, not random, so
        // that a failure comes again.
        let (steps, into_ms) = (1 + cut * 7 % 23, cut * 631 % work.spread_ms);
        let mut watch = Watch { left: steps, last: synced, line: Vec::new() };
        let command = format!("{PROGRAM} {} {}", work.task, synced + 1);
        let written = guest.run_to(&command, LIMIT, &mut watch);
        ensure!(watch.left == 0, "it ended before the cut: {written:?}");
        sleep(Duration::from_millis(into_ms));
        guest.cut_power()?;
        synced = watch.last;
    }
    let mut guest = begin(stage, &disk)?;
    verify(stage, &mut guest, synced)?;
    guest.sh("sync", SHORT)?;
    guest.cut_power()?;
    disk.check()
}

fn begin(stage: &Stage<'_>, disk: &DataDisk) -> anyhow::Result<Guest> {
    let mut guest = stage.rig().start(stage.spec("power").data(disk))?;
    guest.sh("mkdir -p /data/power", SHORT)?;
    Ok(guest)
}

fn verify(stage: &mut Stage<'_>, guest: &mut Guest, synced: u64) -> anyhow::Result<()> {
    let outcome = stage.must(guest, &format!("{PROGRAM} verify {synced}"), LIMIT);
    stage.with_last_words(&mut [guest], outcome).map(drop)
}

/// Counts the steps that are said to be synced, and ends the command after the
/// last that is wanted.
struct Watch {
    left: u64,
    last: u64,
    line: Vec<u8>,
}

impl Write for Watch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).into_owned();
            self.line.clear();
            if let Some(step) = line.strip_prefix("synced ").and_then(|step| step.parse().ok()) {
                self.last = step;
                self.left = self.left.saturating_sub(1);
                if self.left == 0 {
                    return Err(io::Error::other("enough"));
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
