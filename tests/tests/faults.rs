//! A few schedules of faults on three brokers, an etcd of three members and
//! hosts. `rolltop-faults` runs as many as one likes.

#![forbid(unsafe_code)]

use std::{
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

#[test]
fn a_few_schedules_of_faults_break_nothing() {
    let programs = programs();
    let missing = namespaces::missing().or_else(|| {
        let there = programs.join("rolltop-broker").exists();
        (!there).then(|| format!("no rolltop-broker in {}: tests/programs", programs.display()))
    });
    if let Some(missing) = missing {
        println!("skipped: {missing}");
        return;
    }
    // Of every kind of fault, and with desktops that are made ahead.
    for seed in ["8", "13", "17"] {
        let output = Command::new(env!("CARGO_BIN_EXE_rolltop-faults"))
            .args(["--seed", seed, "--schedules", "1", "--programs"])
            .arg(&programs)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}\n{error}");
    }
}
