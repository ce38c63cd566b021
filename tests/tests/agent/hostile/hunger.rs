//! A desktop that takes all it can get; its neighbour and the host stay well.

use anyhow::ensure;
use nix::libc;
use rolltop_proto::v1::{Limits, StartHostDesktopRequest};
use rolltop_tests::client;

use crate::stage::{Stage, demo, exec, shell};

/// Perl: takes what `take` gives until it fails, tells how much that was, and
/// keeps it. All it needs for telling it has before.
fn hog(take: &str) -> String {
    let program = format!(
        "pipe(my $r, my $w); if (fork) {{ sysread($r, my $told, 16); print $told; exit }} \
         syscall({}); open(STDIN, \"<\", \"/dev/null\"); open(STDOUT, \">\", \"/dev/null\"); \
         open(STDERR, \">\", \"/dev/null\"); my $n = 0; \
         while ($n < 100000) {{ last unless {take}; $n++ }} syswrite($w, $n); sleep 1000",
        libc::SYS_setsid
    );
    format!("exec perl -e '{program}'")
}

async fn take_all(stage: &Stage, take: &str, least: u32) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let limits = Some(Limits { memory_mib: 512, pids: 200, ..Limits::default() });
    client::start(&mut api, StartHostDesktopRequest { limits, ..demo(1) }).await?;
    client::start(&mut api, demo(2)).await?;
    let (taken, code) = exec(&mut api, 1, true, &hog(take)).await?;
    ensure!(code == 0, "the hog failed: {taken}");
    let taken: u32 = taken.trim().parse()?;
    ensure!(taken >= least, "only {taken} could be taken: no attempt");
    // A neighbour that is there, one that comes, and the host.
    let inotify = format!("perl -e 'exit(syscall({}, 0) < 0)'", libc::SYS_inotify_init1);
    shell(&mut api, 2, &format!("{inotify} && ls / | wc -l && echo x > /tmp/x && rm /tmp/x"))
        .await?;
    client::start(&mut api, demo(3)).await?;
    shell(&mut api, 3, "ls / | wc -l").await?;
    drop(rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC)?);
    for number in [1, 2, 3] {
        client::stop(&mut api, number, 1).await?;
    }
    agent.purge().await
}

pub(crate) async fn processes_run_out_inside_only(stage: &Stage) -> anyhow::Result<()> {
    take_all(stage, "defined($p = fork) and ($p or (sleep 1000, 0))", 50).await
}

pub(crate) async fn inotify_runs_out_inside_only(stage: &Stage) -> anyhow::Result<()> {
    let take = format!("syscall({}, 0) >= 0", libc::SYS_inotify_init1);
    take_all(stage, &take, 32).await
}

pub(crate) async fn a_disk_runs_full_inside_only(stage: &Stage) -> anyhow::Result<()> {
    // A MiB at a time, on the desktop's own 256.
    let take = "(open($f, \">>\", \"/var/fill\") and syswrite($f, \"x\" x 1048576) and close $f)";
    take_all(stage, take, 50).await
}
