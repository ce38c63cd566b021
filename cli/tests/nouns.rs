//! Pools, hosts, images, accounts: each command makes its call.

mod support;

use serde_json::json;
use support::{PASSWORD, Rig};

#[test]
fn pools_are_listed_shown_and_changed_in_part() {
    let rig = Rig::signed_in();
    let pools = rig.run(&["pool", "list", "-o", "json"]).json();
    assert_eq!(pools["pools"].as_array().unwrap().len(), 1);
    let all = rig.run(&["pool", "list", "--all", "-o", "json"]).json();
    assert_eq!(all["pools"][1]["name"], "lab");
    // Not open to ada as a user, but as an operator.
    assert_eq!(rig.run(&["pool", "show", "lab", "-o", "json"]).json()["name"], "lab");
    let none = rig.run(&["pool", "show", "nosuch", "-o", "json"]);
    assert_eq!((none.code(), &none.error()["reason"]), (4, &json!("POOL_NOT_FOUND")));

    let rates = ["--network-up", "10Mbit", "--disk-read", "none"];
    let set = ["pool", "set", "lab", "--memory", "1GiB", "--persistent", "-o", "json"];
    let pool = rig.run(&[&set[..], &rates].concat()).json();
    let limits = &pool["limits"];
    assert_eq!((&limits["memory_mib"], &limits["pids"]), (&json!(1024), &json!(null)));
    assert_eq!(limits["network_up_bits"], json!(10_000_000));
    assert_eq!(limits["disk_read_bytes"], json!(null));
    assert_eq!((&pool["persistent"], &pool["image"]), (&json!(true), &json!("demo:stable")));
}

#[test]
fn a_pool_says_on_which_hosts_it_may_lie() {
    let rig = Rig::signed_in();
    let wanted = ["--strategy", "pack", "--require", "gpu, rack=3", "--avoid", "old", "-o", "json"];
    let hosts = rig.run(&[&["pool", "set", "lab"], &wanted[..]].concat()).json()["hosts"].clone();
    assert_eq!((&hosts["strategy"], &hosts["avoid"]), (&json!("pack"), &json!(["old"])));
    assert_eq!((&hosts["require"], &hosts["forbid"]), (&json!(["gpu", "rack=3"]), &json!([])));
    let told = rig.run(&["pool", "set", "lab", "--prefer", "ssd"]).stdout;
    assert!(told.contains("prefer ssd"), "{told}");
    assert!(rig.run(&["pool", "set", "lab", "--prefer", ""]).stdout.contains("any"));
}

#[test]
fn a_desktop_is_frozen_and_a_refusal_is_told() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "freeze", "demo"]);
    assert_eq!(done.stdout, "desktop demo/ada is frozen; `rolltop desktop thaw` lets it go on\n");
    let json = rig.run(&["desktop", "freeze", "demo", "-o", "json"]).json();
    assert_eq!(json["desktop"]["state"], "frozen");
    let done = rig.run(&["desktop", "thaw", "demo"]);
    assert!(done.stderr.contains("only operators may"), "{}", done.stderr);
}

#[test]
fn limits_of_a_desktop_are_changed_one_by_one() {
    let rig = Rig::signed_in();
    let args = ["desktop", "limits", "demo", "--memory", "4GiB", "--processes", "none"];
    let done = rig.run(&args);
    assert_eq!(done.stdout, "desktop demo/ada may use 4 GiB memory, 1 CPUs\n");
    let json = rig.run(&[&args[..], &["-o", "json"]].concat()).json();
    assert_eq!(json["desktop"]["limits"]["memory_mib"], 4096);
    let rates = ["desktop", "limits", "demo", "--disk-write", "1MiB/s", "--network-up", "1Mbit"];
    let limits = &rig.run(&[&rates[..], &["-o", "json"]].concat()).json()["desktop"]["limits"];
    assert_eq!(limits["disk_write_bytes"], 1 << 20);
    assert_eq!(
        (&limits["network_up_bits"], &limits["disk_ops"]),
        (&json!(1_000_000), &json!(null))
    );
    assert_eq!(rig.run(&["desktop", "limits", "demo"]).code(), 2);
}

#[test]
fn a_roll_out_is_begun_and_watched_until_it_halts() {
    let rig = Rig::signed_in();
    let done = rig.run(&["pool", "rollout", "start", "demo", "--deadline", "2h", "--batch", "5%"]);
    let expected =
        "roll-out of demo@2 in pool demo is running: of 10 desktops, 1 being restarted, 9 to go\n";
    assert_eq!((done.stdout.as_str(), done.code()), (expected, 0), "{}", done.stderr);
    let list = rig.run(&["pool", "rollout", "status"]).stdout;
    assert!(list.contains("demo  running  demo@2"), "{list}");
    let none = rig.run(&["pool", "rollout", "status", "lab", "-o", "json"]);
    assert_eq!((none.code(), &none.error()["reason"]), (4, &json!("UNKNOWN_ROLLOUT")));
    let done = rig.run(&["pool", "rollout", "status", "demo", "--watch", "-o", "json"]);
    assert_eq!(done.stdout.lines().count(), 2, "{}", done.stdout);
    assert_eq!(done.error()["reason"], "ROLLOUT_HALTED");
    let back = rig.run(&["pool", "rollout", "back", "demo", "--to", "1"]).stdout;
    assert!(back.starts_with("roll-back of demo@1 in pool demo is running"), "{back}");
    assert_eq!(rig.run(&["pool", "rollout", "start", "demo", "--batch", "0"]).code(), 2);
}

#[test]
fn a_desktop_is_stopped() {
    let rig = Rig::signed_in();
    let done = rig.run(&["desktop", "stop", "demo"]);
    assert_eq!(done.stdout, "desktop demo/ada is stopped\n");
}

#[test]
fn hosts_are_for_operators() {
    let rig = Rig::signed_in();
    let done = rig.run(&["host", "list", "-o", "json"]);
    assert_eq!((done.code(), &done.error()["code"]), (6, &json!("PERMISSION_DENIED")));
    let done = rig.run(&["host", "add", "host-2", "https://10.0.0.2:7443"]);
    assert_eq!(done.stdout, "host host-2 added; it is unknown\n");
}

#[test]
fn images_of_the_cluster() {
    let rig = Rig::signed_in();
    for reference in ["demo:stable", "demo@v1"] {
        let done = rig.run(&["image", "show", reference, "-o", "json"]);
        assert_eq!(done.json()["images"][0]["host"], "host-1", "{reference}");
    }
    let done = rig.run(&["image", "show", "demo:next", "-o", "json"]);
    assert_eq!((done.code(), &done.error()["reason"]), (4, &json!("IMAGE_NOT_FOUND")));
}

#[test]
fn a_password_is_changed_from_a_pipe_and_at_a_terminal() {
    let rig = Rig::signed_in();
    let lines = format!("{PASSWORD}\nanother horse\n");
    let done = rig.run_with_input(&["passwd", "--password-stdin"], lines.as_bytes());
    assert_eq!((done.code(), done.stdout.as_str()), (0, "password changed\n"));

    let mut terminal = rig.at_terminal(&["passwd"]);
    terminal.expect("present password: ");
    terminal.type_in(&format!("{PASSWORD}\n"));
    terminal.expect("New password: ");
    terminal.type_in("another horse\n");
    terminal.expect("Again: ");
    terminal.type_in("another house\n");
    terminal.expect("the two passwords differ");
    assert_eq!(terminal.end().code(), Some(2));
    assert!(!terminal.shown.contains("horse"), "{}", terminal.shown);
}
