//! The privileged tests of the crates, on a host as the project wants it: pure
//! version 2 control groups, every capability, systemd.

use std::time::Duration;

use anyhow::Context as _;

use super::Case;
use crate::{
    arguments::TestProgram,
    counts::Counts,
    stage::{SHORT, Stage},
};

/// For all tests of one program.
const LIMIT: Duration = Duration::from_secs(900);

/// A case for each program of tests.
pub(super) fn all(programs: &[TestProgram]) -> Vec<Case> {
    let case = |program: &TestProgram| {
        let name = program.name.clone();
        Case { name: format!("privileged::{name}"), run: Box::new(move |stage| run(stage, &name)) }
    };
    programs.iter().map(case).collect()
}

fn run(stage: &mut Stage<'_>, name: &str) -> anyhow::Result<Counts> {
    let mut guest = stage.rig().start(stage.spec("host"))?;
    // Programs find what was built with them by the path it was built at.
    let built = stage.programs().display();
    let link = format!("mkdir -p '{built}' && mount --bind /payload/bin '{built}'");
    guest.sh(&link, SHORT)?;
    let command = format!(
        "cd /root && export ROLLTOP_TEST_IMAGES=/payload/images ROLLTOP_TEST_PROGRAMS=/payload/bin \
         ROLLTOP_TEST_SLOWNESS=10 RUST_BACKTRACE=1 TMPDIR=/var/tmp && /payload/tests/{name} --test-threads=2"
    );
    let (status, said) = stage.tell(&mut guest, &command, LIMIT)?;
    let counts = Counts::told_by(&said).with_context(|| {
        format!("{name} ended with {status} before it could tell how its tests went")
    })?;
    // A program that fails without a test that does has failed all the same, and
    // so has one without tests.
    let failed = counts.failed == 0 && (status != 0 || counts.passed + counts.skipped == 0);
    Ok(if failed { Counts { failed: 1, ..counts } } else { counts })
}
