//! `desktop shell` at a terminal.

mod support;

use rustix::process::Signal;
use support::{Dialogue, Rig};

/// A shell whose prompt has come.
fn shell(rig: &Rig) -> Dialogue {
    let mut terminal = rig.at_terminal(&["desktop", "shell", "demo"]);
    terminal.expect("80x24 on xterm-256color, root: false");
    terminal
}

#[test]
fn keys_go_through_as_typed_and_the_code_comes_back() {
    let rig = Rig::signed_in();
    let mut terminal = shell(&rig);
    // Only in raw mode do these get through: Ctrl-C, Ctrl-Z, Enter as CR.
    terminal.type_in("x");
    terminal.expect("got [120]");
    assert!(terminal.is_raw());
    for (key, code) in [("\x03", 3), ("\x1a", 26), ("\r", 13), ("\x1b", 27)] {
        terminal.type_in(key);
        terminal.expect(&format!("got [{code}]"));
    }
    terminal.type_in("q");
    assert_eq!(terminal.end().code(), Some(7));
}

#[test]
fn ctrl_d_ends_it() {
    let rig = Rig::signed_in();
    let mut terminal = shell(&rig);
    terminal.type_in("x");
    terminal.expect("got [120]");
    terminal.type_in("\x04");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn a_new_window_size_reaches_the_desktop() {
    let rig = Rig::signed_in();
    let mut terminal = shell(&rig);
    terminal.resize(132, 50);
    terminal.expect("now 132x50");
    terminal.resize(40, 10);
    terminal.expect("now 40x10");
    terminal.type_in("q");
    assert_eq!(terminal.end().code(), Some(7));
}

#[test]
fn a_signal_from_outside_puts_the_terminal_back() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131)] {
        let rig = Rig::signed_in();
        let mut terminal = shell(&rig);
        terminal.type_in("x");
        terminal.expect("got [120]");
        terminal.signal(signal);
        assert_eq!(terminal.end().code(), Some(code));
    }
}

#[test]
fn a_broker_that_goes_away_puts_the_terminal_back() {
    let rig = Rig::signed_in();
    let mut terminal = shell(&rig);
    terminal.type_in("x");
    terminal.expect("got [120]");
    drop(rig);
    assert_eq!(terminal.end().code(), Some(125));
}

#[test]
fn a_shell_as_root_says_so() {
    let rig = Rig::signed_in();
    let mut terminal = rig.at_terminal(&["desktop", "shell", "demo", "--as-root"]);
    terminal.expect("root: true");
    terminal.type_in("q");
    assert_eq!(terminal.end().code(), Some(7));
}
