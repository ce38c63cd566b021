//! The program as a whole: usage, formats, exit codes, errors.

mod support;

use std::process::Stdio;

use serde_json::json;
use support::Rig;

#[test]
fn version_and_help() {
    let rig = Rig::new();
    let version = rig.run(&["version", "-o", "json"]).json();
    assert_eq!(version, json!({"version": env!("CARGO_PKG_VERSION")}));
    let help = rig.run(&["--help"]);
    assert_eq!(help.code(), 0);
    assert!(help.stdout.contains("EXIT CODES:"), "{}", help.stdout);
}

#[test]
fn completion_scripts() {
    let rig = Rig::new();
    for shell in ["bash", "zsh", "fish"] {
        let done = rig.run(&["completion", shell]);
        assert_eq!(done.code(), 0);
        assert!(done.stdout.contains("rollback"), "{shell}");
    }
}

#[test]
fn a_wrong_command_line_in_both_formats() {
    let rig = Rig::new();
    let done = rig.run(&["desktop", "nosuch"]);
    assert_eq!(done.code(), 2);
    assert!(done.stderr.contains("Usage:"), "{}", done.stderr);
    let done = rig.run(&["desktop", "nosuch", "--output", "json"]);
    assert_eq!(done.code(), 2);
    assert_eq!(done.error()["reason"], "USAGE");
    assert_eq!(done.error()["code"], "INVALID_ARGUMENT");
}

#[test]
fn a_refused_field_is_named_with_its_value() {
    let rig = Rig::signed_in();
    let args = ["user", "add", "a/b", "--generate-password"];
    let done = rig.run(&args);
    assert_eq!(done.code(), 2);
    assert_eq!(done.stderr, "error: the user is not valid\n  name: \"a/b\" has a '/'\n");
    let done = rig.run(&[&args[..], &["-o", "json"]].concat());
    assert_eq!(
        done.error(),
        json!({
            "code": "INVALID_ARGUMENT",
            "reason": "BAD_NAME",
            "message": "the user is not valid",
            "field_violations": [{"field": "name", "description": "\"a/b\" has a '/'"}],
            "details": [],
            "hint": null,
        })
    );
}

#[test]
fn a_made_password_is_printed_once() {
    let rig = Rig::signed_in();
    let done = rig.run(&["user", "add", "bob", "--generate-password", "-o", "json"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(done.json()["user"]["role"], "user");
    assert_eq!(done.json()["password"].as_str().unwrap().len(), 20);

    let piped = rig.run_with_input(
        &["user", "add", "bob", "--operator", "--password-stdin", "-o", "json"],
        b"a password of bob\n",
    );
    assert_eq!(piped.json()["password"], json!(null));
    assert_eq!(piped.json()["user"]["role"], "operator");
}

#[test]
fn a_session_that_is_over_says_how_to_go_on() {
    let rig = Rig::signed_in();
    let output = rig.command(&["whoami"]).env("ROLLTOP_TOKEN", "stale").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: your session is over\nwhat to do: run `rolltop login`\n"
    );
}

#[test]
fn a_broker_that_is_not_there() {
    let rig = Rig::new();
    // Bound and closed again: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = format!("https://{free}");
    let done = rig.run(&["login", "--server", &server, "--user", "ada", "-o", "json"]);
    assert_eq!((done.code(), &done.error()["reason"]), (7, &json!("CANNOT_CONNECT")));
}

#[test]
fn a_server_without_tls() {
    let rig = Rig::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("https://{}", listener.local_addr().unwrap());
    let answer = std::thread::spawn(move || {
        use std::io::Write as _;
        listener.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let done = rig.run(&["login", "--server", &server, "--user", "ada", "-o", "json"]);
    answer.join().unwrap();
    assert_eq!((done.code(), &done.error()["reason"]), (7, &json!("TLS_FAILED")));
}

#[test]
fn a_reader_that_went_away_is_no_crash() {
    let rig = Rig::signed_in();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        rig.command(&["desktop", "list"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_broken_config_names_the_file_and_the_key() {
    let rig = Rig::signed_in();
    std::fs::write(rig.config(), "sever = \"https://a\"\n").unwrap();
    let done = rig.run(&["whoami"]);
    assert_eq!(done.code(), 1);
    assert!(done.stderr.contains("config.toml"), "{}", done.stderr);
    assert!(done.stderr.contains("sever"), "{}", done.stderr);
}

#[test]
fn a_local_store_needs_no_broker() {
    let rig = Rig::new();
    let store = rig.path("images");
    let store = store.to_str().unwrap();
    let done = rig.run(&["image", "list", "--store", store, "-o", "json"]);
    assert_eq!((done.code(), &done.error()["reason"]), (1, &json!("IMAGE_STORE_FAILED")));
    std::fs::create_dir(store).unwrap();
    let done = rig.run(&["image", "list", "--store", store, "-o", "json"]);
    assert_eq!(done.json(), json!({"images": []}));
    let done = rig.run(&["image", "show", "demo:stable", "--store", store, "-o", "json"]);
    assert_eq!((done.code(), &done.error()["reason"]), (4, &json!("IMAGE_NOT_FOUND")));
}

#[test]
fn a_recipe_with_faults_names_every_key() {
    let rig = Rig::new();
    let recipe = rig.path("recipe");
    std::fs::create_dir(&recipe).unwrap();
    std::fs::write(recipe.join("recipe.toml"), "nonsense = 1\n").unwrap();
    let store = rig.path("images");
    let done = rig.run(&[
        "image",
        "build",
        recipe.to_str().unwrap(),
        "--store",
        store.to_str().unwrap(),
        "-o",
        "json",
    ]);
    assert_eq!((done.code(), &done.error()["reason"]), (2, &json!("RECIPE_INVALID")));
    let violations = done.error()["field_violations"].clone();
    let fields: Vec<_> = violations.as_array().unwrap().iter().map(|v| &v["field"]).collect();
    assert!(fields.contains(&&json!("nonsense")), "{fields:?}");
    assert!(fields.contains(&&json!("name")), "{fields:?}");
}
