//! Signing in: trust in the server, passwords, tokens.

mod support;

use std::fs;

use support::{PASSWORD, Rig, TOKEN, mode};

#[test]
fn an_unknown_certificate_is_not_trusted_without_a_person() {
    let rig = Rig::new();
    let done = rig.login(&["--output", "json"], PASSWORD);
    assert_eq!(done.code(), 7);
    let error = done.error();
    assert_eq!(error["reason"], "CERTIFICATE_UNKNOWN");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("--ca"), "{hint}");
    assert!(hint.contains(&format!("--fingerprint {}", rig.fingerprint)), "{hint}");
    assert!(!rig.config().exists());
}

#[test]
fn a_named_fingerprint_is_pinned_and_used_from_then_on() {
    let rig = Rig::new();
    let done = rig.login(&["--fingerprint", &rig.fingerprint, "-o", "json"], PASSWORD);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(done.json()["user"]["name"], "ada");
    assert_eq!(done.json()["server"], rig.server());
    assert!(!done.stdout.contains(TOKEN));

    assert!(fs::read_to_string(rig.config()).unwrap().contains(&rig.fingerprint));
    assert_eq!(mode(&rig.sessions()), 0o600);
    let who = rig.run(&["whoami", "-o", "json"]);
    assert_eq!(who.json()["name"], "ada");
    assert_eq!(who.json()["role"], "operator");
}

#[test]
fn another_fingerprint_ends_it_before_the_password_is_sent() {
    let rig = Rig::new();
    let wrong = format!("sha256:{}", "ab".repeat(32));
    let done = rig.login(&["--fingerprint", &wrong], PASSWORD);
    assert_eq!(done.code(), 7);
    assert!(done.stderr.contains(&wrong), "{}", done.stderr);
    assert!(done.stderr.contains(&rig.fingerprint), "{}", done.stderr);
    assert!(!rig.config().exists(), "a pin that failed is not kept");
}

#[test]
fn a_changed_certificate_is_an_alarm() {
    let rig = Rig::signed_in();
    let config = fs::read_to_string(rig.config()).unwrap();
    let other = format!("sha256:{}", "cd".repeat(32));
    fs::write(rig.config(), config.replace(&rig.fingerprint, &other)).unwrap();
    for args in [&["whoami", "-o", "json"][..], &["login", "--user", "ada", "-o", "json"]] {
        let done = rig.run(args);
        assert_eq!(done.code(), 7);
        assert_eq!(done.error()["reason"], "CERTIFICATE_CHANGED");
    }
}

#[test]
fn a_ca_file_is_enough_and_is_kept() {
    let rig = Rig::new();
    let ca = rig.ca_file();
    let done = rig.login(&["--ca", ca.to_str().unwrap()], PASSWORD);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    fs::remove_file(ca).unwrap();
    assert_eq!(rig.run(&["whoami"]).code(), 0);
}

#[test]
fn the_ca_of_another_cluster_is_of_no_use() {
    let (rig, other) = (Rig::new(), Rig::new());
    let ca = other.ca_file();
    let done = rig.login(&["--ca", ca.to_str().unwrap(), "-o", "json"], PASSWORD);
    assert_eq!((done.code(), &done.error()["reason"]), (7, &"CERTIFICATE_NOT_TRUSTED".into()));
    let empty = rig.path("empty.pem");
    fs::write(&empty, "").unwrap();
    let done = rig.login(&["--ca", empty.to_str().unwrap(), "-o", "json"], PASSWORD);
    assert_eq!((done.code(), &done.error()["reason"]), (2, &"CA_INVALID".into()));
}

#[test]
fn environment_variables_take_the_place_of_files() {
    let rig = Rig::new();
    let mut command = rig.command(&["whoami", "-o", "json"]);
    command
        .env("ROLLTOP_SERVER", rig.server())
        .env("ROLLTOP_CA", rig.ca_file())
        .env("ROLLTOP_TOKEN", TOKEN);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_wrong_password_is_told_and_nothing_is_kept() {
    let rig = Rig::new();
    let done = rig.login(&["--fingerprint", &rig.fingerprint], "wrong");
    assert_eq!(done.code(), 3);
    assert_eq!(
        done.stderr,
        "error: wrong name or password\nwhat to do: check the name and the password\n"
    );
    assert!(!rig.sessions().exists());
}

#[test]
fn a_person_compares_the_fingerprint_and_types_unseen() {
    let rig = Rig::new();
    let server = rig.server();
    let mut terminal = rig.at_terminal(&["login", "--server", &server]);
    terminal.expect(&rig.fingerprint);
    terminal.expect("(yes/no) ");
    terminal.type_in("yes\n");
    terminal.expect("User: ");
    terminal.type_in("ada\n");
    terminal.expect("Password of ada");
    terminal.type_in(&format!("{PASSWORD}\n"));
    terminal.expect("signed in to");
    assert_eq!(terminal.end().code(), Some(0));
    assert!(!terminal.shown.contains(PASSWORD), "{}", terminal.shown);
    assert_eq!(rig.run(&["whoami"]).code(), 0);
}

#[test]
fn a_person_may_say_no() {
    let rig = Rig::new();
    let server = rig.server();
    let mut terminal = rig.at_terminal(&["login", "--server", &server]);
    terminal.expect("(yes/no) ");
    terminal.type_in("no\n");
    assert_eq!(terminal.end().code(), Some(7));
    assert!(!rig.config().exists());
}

#[test]
fn ctrl_c_at_the_password_puts_the_echo_back() {
    let rig = Rig::new();
    let server = rig.server();
    let pin = rig.fingerprint.clone();
    let mut terminal =
        rig.at_terminal(&["login", "--server", &server, "--user", "ada", "--fingerprint", &pin]);
    terminal.expect("Password of ada");
    assert!(terminal.is_raw());
    terminal.type_in("\x03");
    assert_eq!(terminal.end().code(), Some(130));
}

#[test]
fn logout_forgets_the_token() {
    let rig = Rig::signed_in();
    assert!(fs::read_to_string(rig.sessions()).unwrap().contains(TOKEN));
    assert_eq!(rig.run(&["logout"]).code(), 0);
    assert!(!fs::read_to_string(rig.sessions()).unwrap().contains(TOKEN));
    let done = rig.run(&["whoami"]);
    assert_eq!(done.code(), 3);
    assert!(done.stderr.contains("run `rolltop login`"), "{}", done.stderr);
}

#[test]
fn a_token_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = Rig::signed_in();
    fs::set_permissions(rig.sessions(), fs::Permissions::from_mode(0o644)).unwrap();
    let done = rig.run(&["whoami", "-o", "json"]);
    assert_eq!((done.code(), &done.error()["reason"]), (1, &"TOKEN_EXPOSED".into()));
}

#[test]
fn a_token_goes_to_its_own_server_only() {
    let (rig, other) = (Rig::signed_in(), Rig::new());
    let ca = other.ca_file();
    let done = rig.run(&[
        "whoami",
        "-o",
        "json",
        "--server",
        &other.server(),
        "--ca",
        ca.to_str().unwrap(),
    ]);
    assert_eq!((done.code(), &done.error()["reason"]), (3, &"NOT_SIGNED_IN".into()));
}
