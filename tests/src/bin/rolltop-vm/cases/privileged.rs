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

/// The agent's tests, all of which take five minutes here; and those of them
/// that differ on such a host.
const AGENT: &str = "tests-agent";
const AGENT_HERE: [&str; 10] = [
    "lifecycle::comes_up_is_worked_in_and_goes",
    "lifecycle::a_logout_ends_it",
    "lifecycle::any_oci_runtime_will_do",
    "orders::a_frozen_desktop_stands_still",
    "orders::limits_change_while_it_runs",
    "rates::they_are_of_homes_and_of_warm_desktops_too",
    "storage::a_persistent_overlay_keeps_files",
    "systemd::its_services_run_beside_the_session",
    "failures::a_memory_hog_hurts_only_itself",
    "crashes::desktops_outlive_a_killed_agent",
];

/// A case for each program of tests.
pub(super) fn all(programs: &[TestProgram]) -> Vec<Case> {
    let mut cases = Vec::new();
    for program in programs {
        if program.name == AGENT {
            cases.push(case(program, "", false, &AGENT_HERE));
            cases.push(case(program, "-whole", true, &[]));
        } else {
            cases.push(case(program, "", false, &[]));
        }
    }
    cases
}

fn case(program: &TestProgram, suffix: &str, slow: bool, only: &'static [&str]) -> Case {
    let name = program.name.clone();
    Case {
        name: format!("privileged::{name}{suffix}"),
        slow,
        run: Box::new(move |stage| run(stage, &name, only)),
    }
}

fn run(stage: &mut Stage<'_>, name: &str, only: &[&str]) -> anyhow::Result<Counts> {
    // Some ask for more room than the guest's own disk has.
    let disk = stage.disk("host")?;
    let mut guest = stage.rig().start(stage.spec("host").data(&disk))?;
    // Programs find what was built with them by the path it was built at.
    let built = stage.programs().display();
    let link = format!("mkdir -p '{built}' && mount --bind /payload/bin '{built}'");
    guest.sh(&link, SHORT)?;
    let command = format!(
        "cd /root && export ROLLTOP_TEST_IMAGES=/payload/images ROLLTOP_TEST_PROGRAMS=/payload/bin \
         ROLLTOP_TEST_SLOWNESS=10 RUST_BACKTRACE=1 TMPDIR=/data && /payload/tests/{name} --test-threads=2 {}",
        only.join(" ")
    );
    let (status, said) = stage.tell(&mut guest, &command, LIMIT)?;
    if status != 0 {
        stage.add_last_words(&mut guest);
    }
    let counts = Counts::told_by(&said).with_context(|| {
        format!("{name} ended with {status} before it could tell how its tests went")
    })?;
    // A program that fails without a test that does has failed all the same, and
    // so has one without tests.
    let failed = counts.failed == 0 && (status != 0 || counts.passed + counts.skipped == 0);
    Ok(if failed { Counts { failed: 1, ..counts } } else { counts })
}
