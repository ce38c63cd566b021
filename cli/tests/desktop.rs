//! Desktops: lists, starting with progress, commands, errors.

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::Rig;

#[test]
fn a_list_is_one_json_document() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "list", "--output", "json"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let desktop = &done.json()["desktops"][0];
    assert_eq!(desktop["id"], "demo/ada");
    assert_eq!(desktop["state"], "running");
    assert_eq!(desktop["viewer"], json!(null));
}

#[test]
fn a_list_without_a_terminal_has_no_colours() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "list"]);
    assert!(done.stdout.contains("demo/ada  running  host-1"), "{}", done.stdout);
    assert!(!done.stdout.contains('\x1b'));
}

#[test]
fn colours_at_a_terminal_unless_forbidden() {
    let rig = Rig::signed_in();
    let mut terminal = rig.at_terminal(&["desktop", "list"]);
    terminal.expect("\x1b[32mrunning\x1b[0m");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn a_start_tells_each_phase_with_its_own_time() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "start", "demo"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(done.stderr, "placement     1.0 ms\nnetwork       4.0 ms\ndisk         12.0 ms\n");
    assert!(done.stdout.starts_with("desktop demo/ada is running on host-1 at 10.77.0.4"));
    assert!(done.stdout.ends_with(&format!("open it: {}/#/desktop/demo\n", rig.server())));
}

#[test]
fn a_restart_starts_whether_or_not_there_was_one() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "restart", "demo"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(done.stdout.starts_with("desktop demo/ada is running on host-1"), "{}", done.stdout);
    // None ran, and what is started tells its own story.
    let done = rig.run(&["desktop", "restart", "broken"]);
    assert_eq!(done.code(), 1);
    assert!(done.stderr.contains("the session ended at once"), "{}", done.stderr);
}

#[test]
fn a_start_at_a_terminal_draws_and_clears_a_bar() {
    let rig = Rig::signed_in();
    let mut terminal = rig.at_terminal(&["desktop", "start", "demo"]);
    terminal.expect("placement     1.0 ms");
    terminal.expect("disk         12.0 ms");
    terminal.expect("desktop demo/ada is running");
    assert_eq!(terminal.end().code(), Some(0));
    assert!(terminal.shown.contains("[=="), "{:?}", terminal.shown);
}

#[test]
fn a_start_in_json_is_a_line_per_event() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "start", "demo", "-o", "json"]);
    let lines: Vec<Value> =
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines[1],
        json!({"event": "progress", "phase": "placement", "done": true, "elapsed_ms": 1.0})
    );
    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["desktop"]["state"]), (&json!("desktop"), &json!("running")));
    assert_eq!(done.stderr, "");
}

#[test]
fn a_desktop_that_fails_tells_why_with_the_sessions_last_words() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "start", "broken"]);
    assert_eq!(done.code(), 1);
    assert!(done.stderr.contains("the session ended at once"), "{}", done.stderr);
    assert!(done.stderr.contains("startwm: \u{fffd}[31mno such file"), "{}", done.stderr);
    assert!(!done.stderr.contains('\x1b'));

    let done = rig.run(&["desktop", "start", "broken", "-o", "json"]);
    assert_eq!(done.code(), 1);
    assert_eq!(done.error()["reason"], "SESSION_ENDED_EARLY");
}

#[test]
fn no_room_says_why_for_each_host() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "start", "full"]);
    assert_eq!(done.code(), 5);
    assert_eq!(
        done.stderr,
        "error: no host has room\n  \
         host-1: memory: 100 MiB free, 512 MiB needed\n  \
         host-2: does not answer\n"
    );
}

#[test]
fn a_stream_that_breaks_off_is_an_error() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "start", "cut", "-o", "json"]);
    assert_eq!(done.code(), 1);
    let last = done.stderr.lines().last().unwrap();
    assert!(last.contains("without naming a desktop"), "{last}");
}

#[test]
fn ctrl_c_ends_the_waiting_and_says_that_the_desktop_goes_on() {
    let rig = Rig::signed_in();
    let mut command = rig.command(&["desktop", "start", "never"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    stderr.read_line(&mut text).unwrap();
    assert!(text.starts_with("placement"), "{text}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(text.contains("the desktop goes on starting"), "{text}");
    assert!(text.contains("rolltop desktop stop never"), "{text}");
}

#[test]
fn waiting_has_an_end() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "start", "never", "--timeout", "1"]);
    assert_eq!(done.code(), 9);
    assert!(done.stderr.contains("within 1 s; the desktop goes on starting"), "{}", done.stderr);
}

#[test]
fn what_is_not_there_is_not_found() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "show", "nosuch", "-o", "json"]);
    assert_eq!((done.code(), &done.error()["reason"]), (4, &json!("UNKNOWN_DESKTOP")));
}

#[test]
fn the_portal_address_of_ones_own_desktop() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "open", "demo"]);
    assert_eq!(done.stdout, format!("{}/#/desktop/demo\n", rig.server()));
    assert_eq!(rig.run(&["desktop", "open", "demo/bob"]).code(), 6);
}

#[test]
fn a_command_passes_its_streams_and_its_code() {
    let rig = Rig::signed_in();
    let output = rig.command(&["desktop", "exec", "demo", "--", "both"]).output().unwrap();
    assert_eq!(output.stdout, b"out\xff\n");
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(output.status.code(), Some(0));
    for (words, code) in
        [(["exit", "7"], 7), (["exit", "255"], 255), (["die", "9"], 137), (["die", "15"], 143)]
    {
        let done = rig.run(&["desktop", "exec", "demo", "--", words[0], words[1]]);
        assert_eq!(done.code(), code, "{words:?}");
    }
}

#[test]
fn a_megabyte_of_input_comes_back_whole() {
    let rig = Rig::signed_in();
    let input: Vec<u8> = (0..1_000_003_u32).map(|n| b'a' + (n % 23) as u8).collect();
    let done = rig.run_with_input(&["desktop", "exec", "demo", "--", "cat"], &input);
    assert_eq!(done.code(), 0);
    assert!(done.stdout.as_bytes() == input, "{} bytes came back", done.stdout.len());
}

#[test]
fn input_can_be_kept_back() {
    let rig = Rig::signed_in();
    let done = rig.run_with_input(&["desktop", "exec", "demo", "-n", "--", "cat"], b"not for it");
    assert_eq!((done.code(), done.stdout.as_str()), (0, ""));
}

#[test]
fn what_could_not_be_run_has_a_code_of_its_own() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "exec", "nosuch", "-o", "json", "--", "exit", "0"]);
    assert_eq!((done.code(), &done.error()["code"]), (125, &json!("NOT_FOUND")));
    let done = rig.run(&["desktop", "exec", "demo", "-o", "json", "--", "vanish"]);
    assert_eq!((done.code(), &done.error()["reason"]), (125, &json!("COMMAND_LOST")));
    let done = rig.run(&["desktop", "shell", "demo"]);
    assert_eq!(done.code(), 125);
    assert!(done.stderr.contains("a shell needs a terminal"), "{}", done.stderr);
}
