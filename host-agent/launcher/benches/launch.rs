//! Time from a bundle to its init running, and to nothing left of it:
//! this launcher beside `runc`, with the same hardening.
//!
//! `cargo bench -p rolltop-launcher --bench launch -- [--rounds N] [--json FILE]`

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has nothing better to do")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::{Command, Stdio as CommandStdio};
use std::time::{Duration, Instant};

use rolltop_launcher::Signal;
use rolltop_launcher::profile::{NestedNamespaces, default_capabilities, default_seccomp};
use serde_json::{Value, json};
use support::bundle::{BUSYBOX, Bundle};
use support::runtime::{LIMIT, end_cgroup, launcher};

/// The phases of one launch by the built-in launcher.
struct Lap {
    create: Duration,
    start: Duration,
    end: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    if !rustix::process::geteuid().is_root() || !std::path::Path::new(BUSYBOX).exists() {
        println!("skipped: needs root and busybox-static");
        return;
    }
    let rounds = value("--rounds").and_then(|text| text.parse().ok()).unwrap_or(50);
    let bundle = desktop_like();
    bundle.write();
    // The first ones pay for what is made once.
    for _ in 0..3 {
        builtin(&bundle);
    }
    let laps: Vec<Lap> = (0..rounds).map(|_| builtin(&bundle)).collect();
    let phase = |of: fn(&Lap) -> Duration| laps.iter().map(of).collect::<Vec<_>>();
    let mut rows = vec![
        ("builtin: create", phase(|lap| lap.create)),
        ("builtin: start", phase(|lap| lap.start)),
        ("builtin: init running", phase(|lap| lap.create + lap.start)),
        ("builtin: kill, reap, remove", phase(|lap| lap.end)),
    ];
    if Command::new("runc").arg("--version").output().is_ok() {
        let laps: Vec<_> = (0..rounds.min(20)).map(|_| runc(&bundle)).collect();
        rows.push(("runc: init running", laps.iter().map(|lap| lap.0).collect()));
        rows.push(("runc: delete --force", laps.iter().map(|lap| lap.1).collect()));
    } else {
        println!("runc: not installed");
    }
    let mut results = Vec::new();
    println!("{:<30} {:>9} {:>9} {:>9}", "ms", "median", "p90", "min");
    for (name, mut times) in rows {
        times.sort_unstable();
        let at = |percent: usize| millis(times[(times.len() - 1) * percent / 100]);
        let (median, p90, min) = (at(50), at(90), at(0));
        println!("{name:<30} {median:>9.2} {p90:>9.2} {min:>9.2}");
        results.push(json!({ "name": name, "median_ms": median, "p90_ms": p90, "min_ms": min, "rounds": times.len() }));
    }
    if let Some(path) = value("--json") {
        std::fs::write(path, Value::from(results).to_string()).unwrap();
    }
}

/// All the walls a desktop has.
fn desktop_like() -> Bundle {
    let mut bundle = Bundle::new("exec sleep 1000");
    for (destination, size) in [("/tmp", "64m"), ("/run", "16m")] {
        bundle.add_mount(json!({
            "destination": destination, "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "mode=1777", format!("size={size}")],
        }));
    }
    bundle
        .set(
            "/linux/seccomp",
            serde_json::to_value(default_seccomp(NestedNamespaces::Denied)).unwrap(),
        )
        .set(
            "/linux/resources",
            json!({
                "memory": { "limit": 512 << 20 }, "pids": { "limit": 256 },
                "cpu": { "quota": 200_000, "period": 100_000 },
                "devices": [{ "allow": false, "access": "rwm" }],
            }),
        )
        .set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096 }]))
        .set("/process/capabilities", serde_json::to_value(default_capabilities()).unwrap())
        .set("/process/oomScoreAdj", json!(100));
    bundle
}

fn builtin(bundle: &Bundle) -> Lap {
    let begin = Instant::now();
    let created = launcher().create(bundle.path(), begin + LIMIT).unwrap();
    let cgroup = created.cgroup().cloned();
    let made = Instant::now();
    let started = created.start().unwrap();
    let running = Instant::now();
    started.signal(Signal::KILL).unwrap();
    started.wait().unwrap();
    end_cgroup(cgroup);
    Lap { create: made - begin, start: running - made, end: running.elapsed() }
}

fn runc(bundle: &Bundle) -> (Duration, Duration) {
    let run = |arguments: &[&str]| {
        let status = Command::new("runc")
            .args(arguments)
            .stdin(CommandStdio::null())
            .stdout(CommandStdio::null())
            .stderr(CommandStdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{arguments:?}");
    };
    let path = bundle.path().to_str().unwrap();
    let begin = Instant::now();
    run(&["run", "--detach", "--bundle", path, &bundle.id]);
    let running = Instant::now();
    run(&["delete", "--force", &bundle.id]);
    (running - begin, running.elapsed())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
