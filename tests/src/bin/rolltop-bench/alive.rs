//! A host that is full: does a start take longer, what does the agent cost when
//! nobody does anything, how much memory does a small desktop take.

use std::{fs, time::Duration};

use anyhow::Context as _;
use rolltop_tests::{
    bench::{Report, Unit},
    client,
    memory::Memory,
};
use tokio::task::JoinSet;

use crate::{
    arguments::Arguments,
    names::{self, CROWDED_PSS, IDLE_CPU},
    peers::Peer,
    rounds,
    stage::Stage,
};

const FIRST_NUMBER: u32 = 200;
/// Of requests at once while the host fills up.
const LANES: u32 = 16;

/// Desktops that are up, by number and epoch.
type Up = Vec<(u32, u64)>;

pub(crate) async fn measure(
    arguments: &Arguments,
    stage: &Stage,
    peers: &[Peer],
    report: &mut Report,
) -> anyhow::Result<()> {
    let free_before = available_kib()?;
    let mut up = Up::new();
    for &count in &arguments.alive {
        fill(stage, count, &mut up).await?;
        let situation = names::alive(count);
        for _ in 0..arguments.runs {
            rounds::small(stage, &situation, report).await?;
            for peer in peers.iter().filter(|peer| peer.is_close()) {
                peer.measure(&situation, report).await?;
                let ours = names::init(&situation, names::SMALL);
                report.compare(&names::init(&situation, peer.name()), ours);
            }
        }
    }
    if up.is_empty() {
        return Ok(());
    }
    let taken = free_before.saturating_sub(available_kib()?);
    let each = taken as f64 / up.len() as f64;
    report.add("all alive: memory of the host per small desktop", Unit::Kib, [each]);
    let pid = stage.agent.pid()?;
    report.add(CROWDED_PSS, Unit::Kib, [Memory::of(pid)?.pss_kib as f64]);
    let before = cpu_time(pid)?;
    let idle = Duration::from_secs(arguments.idle);
    tokio::time::sleep(idle).await;
    let busy = cpu_time(pid)?.saturating_sub(before);
    let percent = busy.as_secs_f64() / idle.as_secs_f64() * 100.0;
    report.add(IDLE_CPU, Unit::Percent, [percent]);
    empty(stage, up).await
}

/// Starts small desktops until there are `count`.
async fn fill(stage: &Stage, count: u32, up: &mut Up) -> anyhow::Result<()> {
    let mut starts = JoinSet::new();
    let mut next = FIRST_NUMBER + u32::try_from(up.len())?;
    let end = FIRST_NUMBER + count;
    while next < end || !starts.is_empty() {
        while next < end && starts.len() < LANES as usize {
            let mut api = stage.api.clone();
            let request = client::volatile(next, stage.epoch(), &stage.small);
            next += 1;
            starts.spawn(async move {
                let (number, epoch) = (request.number, request.epoch);
                client::start(&mut api, request).await.map(|_| (number, epoch))
            });
        }
        if let Some(started) = starts.join_next().await {
            up.push(started??);
        }
    }
    Ok(())
}

async fn empty(stage: &Stage, up: Up) -> anyhow::Result<()> {
    let mut stops = JoinSet::new();
    for (number, epoch) in up {
        if stops.len() >= LANES as usize
            && let Some(stopped) = stops.join_next().await
        {
            stopped??;
        }
        let mut api = stage.api.clone();
        stops.spawn(async move { client::stop(&mut api, number, epoch).await });
    }
    while let Some(stopped) = stops.join_next().await {
        stopped??;
    }
    Ok(())
}

/// Many desktops come and go, one after the other in each of a few lanes.
pub(crate) async fn cycles(
    arguments: &Arguments,
    stage: &Stage,
    report: &mut Report,
) -> anyhow::Result<()> {
    const AT_ONCE: u32 = 8;
    if arguments.cycles == 0 {
        return Ok(());
    }
    let pid = stage.agent.pid()?;
    let each = arguments.cycles.div_ceil(AT_ONCE);
    for (name, share) in [("warm", each / 10), ("done", each - each / 10)] {
        let mut lanes = JoinSet::new();
        for lane in 0..AT_ONCE {
            let mut api = stage.api.clone();
            let epochs: Vec<u64> = (0..share).map(|_| stage.epoch()).collect();
            let image = stage.small.clone();
            lanes.spawn(async move {
                for epoch in epochs {
                    let number = FIRST_NUMBER + lane;
                    client::start(&mut api, client::volatile(number, epoch, &image)).await?;
                    client::stop(&mut api, number, epoch).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = lanes.join_next().await {
            done??;
        }
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        report.add(format!("cycles {name}: agent's descriptors"), Unit::Count, [files as f64]);
        let memory = Memory::of(pid)?.pss_kib as f64;
        report.add(format!("cycles {name}: agent's PSS"), Unit::Kib, [memory]);
    }
    report.add("cycles", Unit::Count, [f64::from(each * AT_ONCE)]);
    Ok(())
}

fn available_kib() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let word = line.and_then(|line| line.split_whitespace().next()).context("no MemAvailable")?;
    Ok(word.parse()?)
}

/// Of all threads of a process, in user and kernel mode (`proc_pid_stat(5)`,
/// fields 14 and 15).
fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(") ").context("no name in stat")?;
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().context("a time that is none"))
        .sum::<anyhow::Result<u64>>()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}
