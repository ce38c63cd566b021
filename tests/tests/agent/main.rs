//! The host agent with everything real: mounts, namespaces, control groups,
//! links, an X server. On a mount, network and process namespace of its own;
//! after each case the machine must be as it was before.
//!
//! Needs root, the programs built, and an image store with `demo:stable`
//! (`ROLLTOP_TEST_IMAGES`); without them it says what is missing.

#![forbid(unsafe_code)]

mod broker;
mod check;
mod crashes;
mod endings;
mod enrol;
mod fail_points;
mod failures;
mod homes;
mod hostile;
mod images;
mod lifecycle;
mod metrics;
mod network;
mod orders;
mod rates;
mod reloads;
mod requests;
mod rollout;
mod sessions;
mod stage;
mod stats;
mod storage;
mod stores;
mod systemd;
mod visitors;
mod volumes;
mod warm;
mod watching;

use std::process::ExitCode;

use anyhow::Context as _;
use rolltop_tests::isolation;

use self::stage::{Case, Skipped, Stage};

macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        [$((
            concat!(stringify!($module), "::", stringify!($name)),
            (|stage| Box::pin($module::$name(stage))) as Case,
        )),*]
    };
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the agent's tests could not run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    if let Some(missing) = stage::missing() {
        println!("skipped: the agent's tests need {missing}");
        return Ok(ExitCode::SUCCESS);
    }
    let Some(name) = isolation::inside() else {
        return Err(isolation::go_inside());
    };
    isolation::furnish()?;
    tokio::runtime::Runtime::new().context("no runtime")?.block_on(run_cases(&name))
}

async fn run_cases(name: &str) -> anyhow::Result<ExitCode> {
    let cases = cases![
        lifecycle::comes_up_is_worked_in_and_goes,
        lifecycle::a_logout_ends_it,
        lifecycle::a_stopped_session_is_asked_before_it_is_killed,
        lifecycle::ten_at_once_come_up,
        lifecycle::any_oci_runtime_will_do,
        lifecycle::a_directory_is_a_base_root_too,
        watching::a_watcher_misses_nothing,
        watching::a_stream_goes_on_where_one_broke_off,
        orders::a_frozen_desktop_stands_still,
        orders::only_what_is_up_takes_orders,
        orders::limits_change_while_it_runs,
        rates::they_hold_and_change,
        rates::they_are_of_homes_and_of_warm_desktops_too,
        rates::a_desktops_root_cannot_lift_them,
        warm::it_becomes_what_a_cold_start_makes,
        warm::its_users_home_comes_with_the_user,
        warm::it_is_given_to_one_user,
        warm::it_outlives_a_killed_agent,
        warm::a_user_who_leaves_at_once_takes_it_along,
        lifecycle::a_terminal_is_real,
        network::no_link_gets_an_ipv6_address,
        network::the_host_is_deaf_to_ipv6_of_desktops,
        network::desktops_may_have_no_links,
        network::desktops_are_machines_of_the_lan,
        network::an_uplink_is_taken_and_given_back_whenever_the_agent_dies,
        storage::a_persistent_overlay_keeps_files,
        storage::a_failed_start_does_not_harm_an_overlay,
        storage::an_overlay_has_one_writer,
        storage::what_is_kept_has_a_name_of_its_own,
        storage::storage_that_is_silent_holds_up_only_what_is_kept_there,
        storage::remains_on_silent_storage_go_when_it_answers,
        storage::only_an_explicit_call_deletes,
        storage::a_full_disk_is_said_and_leaves_nothing,
        storage::an_overlay_larger_than_the_disk_is_refused,
        images::an_imported_archive_is_a_desktop,
        images::what_is_in_use_outlives_a_killed_agent,
        volumes::a_disk_grows_and_is_never_shrunk,
        volumes::a_snapshot_of_a_running_desktop_has_what_was_synced,
        volumes::a_clone_lives_beside_its_original,
        volumes::a_disk_goes_out_and_comes_back,
        volumes::a_reader_who_leaves_ends_an_export,
        volumes::a_damaged_disk_is_refused_and_kept,
        volumes::a_snapshot_without_room_leaves_nothing,
        volumes::an_agent_killed_at_work_leaves_nothing_half_made,
        homes::a_home_volume_outlives_overlays,
        homes::a_home_directory_is_bound_and_belongs_to_its_user,
        stores::a_silent_server_holds_up_nobody,
        stores::a_root_without_id_maps_has_those_of_the_host,
        stores::directories_of_the_host_lie_over_roots,
        sessions::a_slow_boot_is_no_logout,
        sessions::what_a_session_leaves_running_keeps_its_desktop,
        sessions::an_init_that_ends_is_told,
        sessions::a_stopped_session_can_be_ended,
        sessions::a_fork_bomb_hurts_only_itself,
        systemd::its_services_run_beside_the_session,
        systemd::what_a_session_leaves_counts_and_services_do_not,
        systemd::an_init_that_does_not_come_up_is_told,
        failures::a_session_that_dies_tells_why,
        failures::an_image_without_its_session_command,
        failures::a_display_that_never_answers,
        failures::a_display_that_is_something_else,
        failures::a_memory_hog_hurts_only_itself,
        endings::a_session_beyond_its_memory_is_told_so,
        endings::a_display_killed_for_memory_is_told_so,
        endings::a_kill_long_ago_is_no_reason,
        endings::a_display_that_crashes_is_no_logout,
        endings::the_demo_tells_of_its_end_itself,
        endings::too_little_memory_to_start_is_told,
        requests::bad_input_is_named,
        requests::repeated_requests_join,
        requests::old_epochs_are_refused,
        requests::garbage_on_the_display_harms_nobody,
        broker::desktops_outlive_a_killed_broker,
        broker::the_command_line_looks_and_copies,
        broker::an_operator_freezes_and_thaws,
        enrol::a_machine_becomes_a_host_with_a_token,
        broker::a_logout_without_a_broker_is_found_out,
        broker::a_broker_killed_in_a_start_leaves_one_desktop,
        rollout::desktops_come_to_what_their_tag_means,
        rollout::a_version_that_does_not_start_costs_one_desktop,
        visitors::what_a_command_leaves_keeps_no_desktop,
        visitors::a_command_of_any_runtime_keeps_no_desktop,
        visitors::a_shell_is_hung_up_when_the_desktop_ends,
        visitors::a_command_may_finish_when_its_user_logs_out,
        metrics::a_desktops_life_can_be_read,
        reloads::what_can_change_changes_and_the_rest_is_named,
        stats::what_a_desktop_uses_is_told,
        stats::hostile_processes_are_listed_as_they_are,
        stats::a_sessions_output_is_kept_and_followed,
        stats::a_session_can_write_while_there_is_no_agent,
        hostile::what_the_kernel_offers_is_refused,
        hostile::links_in_a_root_lead_nowhere,
        hostile::a_display_that_is_a_link_is_not_followed,
        hostile::processes_run_out_inside_only,
        hostile::inotify_runs_out_inside_only,
        hostile::a_disk_runs_full_inside_only,
        hostile::frames_in_anothers_name_are_dropped,
        hostile::ipv6_has_walls_too,
        hostile::only_what_a_pool_allows_may_leave,
        hostile::walls_are_mended_and_taken_away,
        check::rehearses_beside_a_running_agent,
        crashes::desktops_outlive_a_killed_agent,
        crashes::an_upgrade_under_fifty_desktops_ends_no_session,
        crashes::half_made_desktops_are_taken_away,
        crashes::a_second_agent_does_not_disturb_the_first,
        fail_points::it_may_die_after_every_step,
    ];
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (title, case) in cases {
        if !wanted.is_empty() && !wanted.iter().any(|part| title.contains(part.as_str())) {
            continue;
        }
        let outcome = async {
            let stage = Stage::set(name)?;
            match case(&stage).await {
                Ok(()) => stage.clear().await,
                Err(error) => match stage.abandon().await {
                    Ok(()) => Err(error),
                    Err(left) => Err(error.context(format!("and this stays: {left:#}"))),
                },
            }
        }
        .await;
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("test {title} ... ok");
            }
            Err(error) if error.is::<Skipped>() => {
                skipped += 1;
                println!("test {title} ... ignored\nskipped: {title} {error}");
            }
            Err(error) => {
                failed += 1;
                println!("test {title} ... FAILED\n    {error:#}");
            }
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out"
    );
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
