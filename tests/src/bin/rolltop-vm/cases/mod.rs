//! The cases. Each starts the guests it needs, and no case needs another.

mod machine;
mod nfs_root;
mod nfs_store;
mod power;
mod privileged;
mod shared_overlays;
mod units;

use crate::{arguments::Tests, counts::Counts, stage::Stage};

/// Those that take five minutes and more.
const LONGEST: [&str; 2] =
    ["power::what_was_synced_outlives_a_hundred_cuts", "privileged::overlay-kill"];

type Run = Box<dyn Fn(&mut Stage<'_>) -> anyhow::Result<Counts> + Send>;

/// One case.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Not run unless asked for.
    pub(crate) slow: bool,
    pub(crate) run: Run,
}

macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$(Case {
            name: concat!(stringify!($module), "::", stringify!($name)).into(),
            slow: false,
            run: Box::new(|stage| $module::$name(stage).map(|()| Counts::success())),
        }),*]
    };
}

/// All there are, with these programs.
pub(crate) fn all(tests: &Tests) -> Vec<Case> {
    let mut cases = cases![
        nfs_root::a_desktop_lives_on_an_erofs_file_on_nfs,
        nfs_store::a_server_that_reboots_is_waited_for,
        nfs_store::a_server_that_is_gone_is_left,
        nfs_store::serves_roots_of_every_kind,
        nfs_store::a_server_that_never_answers_holds_up_nobody,
        shared_overlays::of_two_hosts_one_has_an_overlay,
        units::keep_the_daemons_up_and_apart,
        units::leave_what_is_kept_after_a_power_cut,
    ];
    cases.extend(cases![
        power::what_was_synced_outlives_a_hundred_cuts,
        power::tended_overlays_outlive_six_cuts,
    ]);
    let mut slow = cases![power::tended_overlays_outlive_a_hundred_cuts];
    slow.iter_mut().for_each(|case| case.slow = true);
    cases.extend(slow);
    cases.extend(privileged::all(&tests.test_programs));
    cases.extend(cases![
        machine::is_what_the_project_is_made_for,
        machine::restored_guests_differ,
        machine::what_was_flushed_outlives_a_power_cut,
        machine::guests_reach_each_other_until_a_link_is_cut,
        machine::a_panic_is_told_at_once,
    ]);
    // Several run at a time, and none should be left to run alone at the end.
    cases.sort_by_key(|case| !LONGEST.contains(&case.name.as_str()));
    cases
}
