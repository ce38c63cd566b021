//! A machine of one's own for a program: it runs itself again in fresh mount,
//! network and process namespaces. What it mounts, links and starts ends with
//! it, even if it is killed.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitStatus},
};

use anyhow::{Context as _, ensure};
use nix::mount::{MsFlags, mount};

/// Tells the inner run that it is one, and a name no other run on this machine
/// has.
const INSIDE: &str = "ROLLTOP_TESTS_INSIDE";

/// The inner run's PID 1: a shell that waits reaps what others orphan, as the
/// init of a host does.
const REAPER: &str = "\"$@\" & wait $!";

/// Whether this process is the inner run: then a name no other run on this
/// machine has.
pub fn inside() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// Turns this process into a run of the same program, with the same arguments,
/// on a machine of its own. Returns only if that fails.
pub fn go_inside() -> anyhow::Error {
    match inner_run() {
        Ok(mut command) => anyhow::Error::new(command.exec()).context("cannot run unshare"),
        Err(error) => error,
    }
}

/// Like [`go_inside`], but beside this process, which waits.
///
/// # Errors
/// Not root, or `unshare` is missing.
pub fn run_inside() -> anyhow::Result<ExitStatus> {
    inner_run()?.status().context("cannot run unshare")
}

fn inner_run() -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("this program's own path is unknown")?;
    let mut command = command(&program)?;
    command.args(std::env::args_os().skip(1)).env(INSIDE, format!("test-{}", std::process::id()));
    Ok(command)
}

/// How to run a program on a machine of its own, which ends with it, or when
/// whoever started it ends. Its arguments are to be added.
///
/// # Errors
/// Not root.
pub fn command(program: &Path) -> anyhow::Result<Command> {
    ensure!(nix::unistd::geteuid().is_root(), "needs root");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .args(["/bin/sh", "-c", REAPER, "sh"])
        .arg(program);
    Ok(command)
}

/// Makes the inner run's machine ready: its own `/run`, as on a host a tmpfs; a
/// `/sys` that shows its own links; and a network that can speak to itself.
///
/// # Errors
/// The kernel refuses.
pub fn furnish() -> anyhow::Result<()> {
    const GROUPS: &str = "/sys/fs/cgroup";
    const KEPT: &str = "/run/cgroup";
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    put("run", "/run", Some("tmpfs"), plain)?;
    // The new /sys covers the control groups; they are carried over.
    std::fs::create_dir(KEPT).with_context(|| format!("cannot make {KEPT}"))?;
    put(GROUPS, KEPT, None, MsFlags::MS_BIND | MsFlags::MS_REC)?;
    put("sysfs", "/sys", Some("sysfs"), plain | MsFlags::MS_NOEXEC)?;
    put(KEPT, GROUPS, None, MsFlags::MS_MOVE)?;
    std::fs::remove_dir(KEPT).with_context(|| format!("cannot remove {KEPT}"))?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    ensure!(up.context("cannot run ip")?.success(), "cannot set the link lo up");
    Ok(())
}

fn put(source: &str, target: &str, kind: Option<&str>, flags: MsFlags) -> anyhow::Result<()> {
    mount(Some(source), target, kind, flags, None::<&str>)
        .with_context(|| format!("cannot mount {source} at {target}"))
}
