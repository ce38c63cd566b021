//! How fast a desktop's link and disks are.
//!
//! Bounds hold however busy the machine is: more than a rate allows in the time
//! that has passed cannot have passed, and less is no fault of the rate.

use std::{
    net::UdpSocket,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{
    AssignHostDesktopRequest, DesktopStatsRequest, HomeSpec, HomeVolumeSpec, Limits,
    SetHostDesktopLimitsRequest, StartHostDesktopRequest, home_spec,
};
use rolltop_tests::{
    client::{self, Api, Stats},
    machine::{control_groups, disk_rates},
};

use crate::{
    crashes::murder,
    stage::{Stage, demo, eventually, exec, get, shell},
};

/// Bytes a second over the link: a flood would take a minute and a half.
const LINK: i64 = 64 << 10;
/// Bytes a second of the disk.
const DISK: i64 = 4 << 20;
const LIMITS: Limits = Limits {
    memory_mib: 0,
    cpu_millis: 0,
    pids: 0,
    network_down_bits: LINK * 8,
    network_up_bits: LINK * 8,
    disk_read_bytes: DISK,
    disk_write_bytes: DISK,
    disk_ops: 0,
};
/// Datagrams of a flood, and bytes of each.
const FLOOD: usize = 4_000;
const DATAGRAM: usize = 1_400;
/// What may pass at once: see `network/rate.rs`, and the bytes of headers.
const SLACK: i64 = 256 << 10;

/// Sends the flood to the host, and waits for nobody.
const FLOODING: &str = r#"perl -e '
    use Socket;
    socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die;
    my $to = sockaddr_in(9, inet_aton("10.77.255.254"));
    for (1 .. 4000) { send($socket, "x" x 1400, MSG_DONTWAIT, $to) }'"#;

pub(crate) async fn they_hold_and_change(stage: &Stage) -> anyhow::Result<()> {
    let runtimes = stage.settings()?.runtimes;
    for runtime in ["builtin"].into_iter().chain(runtimes.keys().map(String::as_str)) {
        let request =
            StartHostDesktopRequest { runtime: runtime.into(), limits: Some(LIMITS), ..demo(1) };
        hold_and_change(stage, request).await.with_context(|| format!("with {runtime}"))?;
    }
    Ok(())
}

async fn hold_and_change(stage: &Stage, request: StartHostDesktopRequest) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut stats) = (agent.api().await?, agent.stats().await?);
    client::start(&mut api, request).await?;
    let ip = get(&mut api, 1).await?.ip;

    let up = flood_up(&mut api, &mut stats).await?;
    ensure!(up.is_held(), "{up:?}");
    let down = flood_down(&ip, &mut stats).await?;
    ensure!(down.is_held(), "{down:?}");
    ensure!(get_stats(&mut stats).await?.limits == Some(LIMITS), "told otherwise");
    // Two seconds' worth, past the cache and so charged at once.
    let took =
        disk(&mut api, "dd if=/dev/zero of=$HOME/file bs=64k count=128 oflag=direct").await?;
    ensure!(took >= Duration::from_millis(1_500), "written in {took:?}");
    let took = disk(&mut api, "dd if=$HOME/file of=/dev/null bs=64k iflag=direct").await?;
    ensure!(took >= Duration::from_millis(1_500), "read in {took:?}");
    ensure!(rates_of(&stage.settings()?.name)?.contains(&DISK.to_string()));

    // The next agent finds them, and can change them.
    murder(agent).await?;
    let agent = stage.agent().await?;
    let (mut api, mut stats) = (agent.api().await?, agent.stats().await?);
    let up = flood_up(&mut api, &mut stats).await?;
    ensure!(up.is_held(), "after the agent's death: {up:?}");
    set(&mut api, Limits { network_up_bits: 0, ..LIMITS }).await?;
    let up = flood_up(&mut api, &mut stats).await?;
    ensure!(up.is_free(), "not lifted: {up:?}");
    let down = flood_down(&ip, &mut stats).await?;
    ensure!(down.is_held(), "lifted as well: {down:?}");
    set(&mut api, Limits::default()).await?;
    ensure!(rates_of(&stage.settings()?.name)?.is_empty(), "not lifted");
    ensure!(disk_rates()?.is_empty(), "not lifted");
    set(&mut api, LIMITS).await?;
    let up = flood_up(&mut api, &mut stats).await?;
    ensure!(up.is_held(), "set while it runs: {up:?}");

    client::stop(&mut api, 1, 1).await?;
    ensure!(disk_rates()?.is_empty(), "left behind");
    agent.purge().await
}

/// A home that comes with the user of a warm desktop is one more disk.
pub(crate) async fn they_are_of_homes_and_of_warm_desktops_too(
    stage: &Stage,
) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let limits = Some(Limits { disk_write_bytes: DISK, ..Limits::default() });
    let warm = client::warm(StartHostDesktopRequest { limits, ..demo(1) });
    client::start(&mut api, warm).await?;
    let volume = HomeVolumeSpec { name: "user1".into(), size_mib: 64 };
    let home = Some(HomeSpec { kind: Some(home_spec::Kind::Volume(volume)) });
    client::assign(&mut api, AssignHostDesktopRequest { home, ..client::assignment(1, 2) }).await?;
    let took =
        disk(&mut api, "dd if=/dev/zero of=$HOME/file bs=64k count=128 oflag=direct").await?;
    ensure!(took >= Duration::from_millis(1_500), "written in {took:?}");
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        the_kernel_has_them(stage, &mut api).await?;
    }
    client::stop(&mut api, 1, 2).await?;
    ensure!(disk_rates()?.is_empty(), "left behind");
    agent.purge().await
}

/// Where there is version 2 alone: the rate stands at both disks, a write that
/// would be over at once elsewhere crawls, and goes on when the rate is lifted.
async fn the_kernel_has_them(stage: &Stage, api: &mut Api) -> anyhow::Result<()> {
    const CRAWL: i64 = 64 << 10;
    const FILE: i64 = 8 << 20;
    let limited = async |api: &mut Api, disk_write_bytes| {
        let limits = Some(Limits { disk_write_bytes, ..Limits::default() });
        let request = SetHostDesktopLimitsRequest { number: 1, epoch: 2, limits };
        api.set_desktop_limits(request).await.map(|_| ())
    };
    limited(api, CRAWL).await?;
    let group = format!("/sys/fs/cgroup/{}/1", stage.settings()?.name);
    let rates = std::fs::read_to_string(format!("{group}/io.max")).context("no io.max")?;
    let wanted = format!(" rbps=max wbps={CRAWL} riops=max wiops=max");
    let stands = |line: &str| line.starts_with("7:") && line.ends_with(&wanted);
    ensure!(rates.lines().count() == 2 && rates.lines().all(stands), "io.max is {rates}");

    let written = || -> anyhow::Result<i64> {
        let stat = std::fs::read_to_string(format!("{group}/io.stat"))?;
        let of_disks = stat.lines().filter(|line| line.starts_with("7:"));
        let words = of_disks.flat_map(str::split_whitespace);
        let bytes = words.filter_map(|word| word.strip_prefix("wbytes="));
        Ok(bytes.map(str::parse::<i64>).sum::<Result<_, _>>()?)
    };
    let (before, begun) = (written()?, Instant::now());
    let write = format!(
        "dd if=/dev/zero of=$HOME/crawling bs=64k count={} oflag=direct >/dev/null 2>&1 &",
        FILE / CRAWL
    );
    shell(api, 1, &write).await?;
    eventually("something is written", async || Ok(written()? >= before + CRAWL)).await?;
    let passed = written()? - before;
    let seconds = i64::try_from(begun.elapsed().as_secs())? + 1;
    ensure!(passed <= (seconds + 1) * CRAWL, "{passed} bytes within {seconds} s");
    ensure!(passed < FILE / 2, "all was written before it could be looked at");
    limited(api, 0).await?;
    let rates = std::fs::read_to_string(format!("{group}/io.max"))?;
    ensure!(!rates.contains("wbps=65536"), "not lifted: {rates}");
    eventually("it is all written", async || Ok(written()? >= before + FILE)).await
}

/// Asks for the end of eth0's queueing discipline; tells the kernel's answer.
const LIFTING: &str = r#"perl -e '
    socket(my $socket, 16, 3, 0) or die "socket: $!";
    send($socket, pack("LSSLL CCS l LLL", 36, 37, 5, 1, 0, 0, 0, 0, 2, 0, 0xffffffff, 0), 0);
    recv($socket, my $answer, 4096, 0);
    my $error = -unpack("x16 l", $answer);
    print "answer $error\n"'"#;
/// Opens a socket that could pass the discipline by.
const AROUND: &str = r#"perl -e 'socket(my $socket, 17, 3, 0) or die "refused: $!\n"'"#;

pub(crate) async fn a_desktops_root_cannot_lift_them(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut stats) = (agent.api().await?, agent.stats().await?);
    let request = StartHostDesktopRequest { limits: Some(LIMITS), ..demo(1) };
    client::start(&mut api, request).await?;
    let (said, _) = exec(&mut api, 1, true, LIFTING).await?;
    ensure!(said.contains("answer 1\n"), "not EPERM: {said}");
    let (said, code) = exec(&mut api, 1, true, AROUND).await?;
    ensure!(code != 0 && said.contains("refused"), "{said}");
    let (said, code) = exec(&mut api, 1, true, "ls /sys/fs/cgroup/*/* 2>&1").await?;
    ensure!(code != 0, "control groups can be reached: {said}");
    let up = flood_up(&mut api, &mut stats).await?;
    ensure!(up.is_held(), "{up:?}");

    // It is the wall that holds: the same works for the host's root.
    let init = get(&mut api, 1).await?.init_pid.to_string();
    let output = Command::new("nsenter")
        .args(["--net", "--target", &init, "--", "sh", "-c", LIFTING])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(said.contains("answer 0\n"), "{said}");
    let up = flood_up(&mut api, &mut stats).await?;
    ensure!(up.is_free(), "{up:?}");
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}

/// What of a flood has passed, and in what time.
#[derive(Debug)]
struct Passed {
    bytes: i64,
    took: Duration,
}

impl Passed {
    /// Something, and not more than the rate allows.
    fn is_held(&self) -> bool {
        let allowed = (LINK as f64 * self.took.as_secs_f64()) as i64 + SLACK;
        (1..=allowed).contains(&self.bytes)
    }

    /// Most of it.
    fn is_free(&self) -> bool {
        self.bytes > (FLOOD * DATAGRAM) as i64 * 3 / 4
    }
}

async fn flood_up(api: &mut Api, stats: &mut Stats) -> anyhow::Result<Passed> {
    let sent = async |stats: &mut Stats| {
        get_stats(stats).await?.network_sent_bytes.context("nothing is counted")
    };
    let (before, begun) = (sent(stats).await?, Instant::now());
    shell(api, 1, FLOODING).await?;
    Ok(Passed { bytes: sent(stats).await? - before, took: begun.elapsed() })
}

async fn flood_down(ip: &str, stats: &mut Stats) -> anyhow::Result<Passed> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((ip, 9))?;
    socket.set_nonblocking(true)?;
    let received = async |stats: &mut Stats| {
        get_stats(stats).await?.network_received_bytes.context("nothing is counted")
    };
    let (before, begun) = (received(stats).await?, Instant::now());
    for _ in 0..FLOOD {
        // Refused where the buffer is full, or by the desktop: nobody listens.
        drop(socket.send(&[0; DATAGRAM]));
    }
    Ok(Passed { bytes: received(stats).await? - before, took: begun.elapsed() })
}

async fn get_stats(stats: &mut Stats) -> anyhow::Result<rolltop_proto::v1::DesktopStats> {
    let request = DesktopStatsRequest { number: 1, ..Default::default() };
    Ok(stats.get_desktop_stats(request).await?.into_inner())
}

async fn set(api: &mut Api, limits: Limits) -> anyhow::Result<()> {
    let limits = Some(limits);
    api.set_desktop_limits(SetHostDesktopLimitsRequest { number: 1, epoch: 1, limits }).await?;
    Ok(())
}

/// How long a command takes that works on the disk.
async fn disk(api: &mut Api, command: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    shell(api, 1, command).await?;
    Ok(begun.elapsed())
}

/// The disk rates that control groups named after this test have.
fn rates_of(name: &str) -> anyhow::Result<String> {
    let mut all = String::new();
    for group in control_groups(name)? {
        for file in ["io.max", "blkio.throttle.write_bps_device", "blkio.throttle.read_bps_device"]
        {
            let text = std::fs::read_to_string(format!("{group}/{file}"));
            all.push_str(text.as_deref().unwrap_or_default());
        }
    }
    Ok(all)
}
