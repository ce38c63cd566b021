//! A few schedules of faults on three brokers, an etcd of three members and
//! hosts, simulated and real. `rolltop-faults` runs as many as one likes.

#![forbid(unsafe_code)]

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

use rolltop_tests::faults::namespaces;

/// Where `tests/programs` left the broker: where told, or beside this.
fn programs() -> PathBuf {
    let beside = || {
        let faults = Path::new(env!("CARGO_BIN_EXE_rolltop-faults"));
        faults.parent().map(Path::to_path_buf).unwrap_or_default()
    };
    std::env::var_os("ROLLTOP_TEST_PROGRAMS").map_or_else(beside, PathBuf::from)
}

/// What is missing here; none: nothing.
fn missing(needed: &[&str]) -> Option<String> {
    let programs = programs();
    let lacks = |name: &&&str| !programs.join(name).exists();
    let lacking = || needed.iter().find(lacks);
    namespaces::missing().or_else(|| {
        lacking().map(|name| format!("no {name} in {}: tests/programs", programs.display()))
    })
}

/// Plays the schedule of a seed; everything must hold.
fn play(seed: &str, more: &[&str]) -> io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_rolltop-faults"))
        .args(["--seed", seed, "--schedules", "1", "--programs"])
        .arg(programs())
        .args(more)
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{error}");
    Ok(())
}

#[test]
fn a_few_schedules_of_faults_break_nothing() -> io::Result<()> {
    if let Some(missing) = missing(&["rolltop-broker"]) {
        println!("skipped: {missing}");
        return Ok(());
    }
    // Of every kind of fault, and with desktops that are made ahead.
    for seed in ["8", "13", "17"] {
        play(seed, &[])?;
    }
    Ok(())
}

#[test]
fn faults_on_real_hosts_break_nothing() -> io::Result<()> {
    let no_images = || {
        let none = std::env::var_os("ROLLTOP_TEST_IMAGES").is_none();
        none.then(|| "no ROLLTOP_TEST_IMAGES, an image store with demo:stable".to_owned())
    };
    let needed = ["rolltop-broker", "rolltop-agent", "rolltop-launcher"];
    if let Some(missing) = missing(&needed).or_else(no_images) {
        println!("skipped: {missing}");
        return Ok(());
    }
    // An agent is upgraded, clocks of agents and brokers are wrong, brokers are killed
    // and stopped. After a power failure the kernel may watch a kept overlay for 42 s.
    play("3", &["--hosts", "real"])
}
