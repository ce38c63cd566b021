//! `rolltop-bench-scale`: how far brokers carry. See [`rolltop_tests::scale`].

#![forbid(unsafe_code)]

use std::{
    cmp::Reverse, collections::HashSet, path::PathBuf, process::ExitCode, sync::Arc, time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, ValueEnum};
use rolltop_proto::v1::HostState;
use rolltop_tests::{
    faults::{
        answers::{Outcome, Wish},
        clients::Caller,
        namespaces,
    },
    scale::{Figures, House, Kind, Size},
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

const LOOK: Duration = Duration::from_millis(100);

/// Real brokers and simulated hosts: claims a second, a login storm, memory, what
/// heartbeats cost, and how soon a lost host is noticed and made up for.
#[derive(Debug, Parser)]
#[command(name = "rolltop-bench-scale", version)]
struct Arguments {
    /// Where the state is kept.
    #[arg(long, value_enum, default_value = "both")]
    store: StoreChoice,
    /// Hosts.
    #[arg(long, default_value_t = 10)]
    hosts: u16,
    /// Brokers on the etcd.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=3))]
    brokers: u16,
    /// People who sign in.
    #[arg(long, default_value_t = 20)]
    users: usize,
    /// Desktops in all: each person asks for as many, in as many pools, as if that
    /// many people asked.
    #[arg(long, default_value_t = 200)]
    desktops: usize,
    /// Time over which they are asked for, evenly, seconds; 0: all at once.
    #[arg(long, default_value_t = 0)]
    storm_s: u64,
    /// Starts that are under way at once.
    #[arg(long, default_value_t = 200)]
    at_once: usize,
    /// Hosts that vanish; those who had desktops there ask again.
    #[arg(long, default_value_t = 5)]
    vanish: u16,
    /// How long brokers are watched when nothing happens, seconds.
    #[arg(long, default_value_t = 20)]
    idle_s: u64,
    /// hosts.suspect_s of the brokers.
    #[arg(long, default_value_t = 8)]
    suspect_s: u64,
    /// hosts.lost_s of the brokers.
    #[arg(long, default_value_t = 45)]
    lost_s: u64,
    /// Where `rolltop-broker` is. Beside this program, if not told.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Where the stores are, on the disk that is measured.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// The figures as JSON go to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StoreChoice {
    Embedded,
    Etcd,
    Both,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.vanish < arguments.hosts,
        "--vanish {}: some of the {} hosts must stay",
        arguments.vanish,
        arguments.hosts
    );
    ensure!(arguments.users > 0, "--users 0: somebody has to ask");
    if let Some(missing) = namespaces::missing() {
        bail!("{missing}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Each simulated host has some.
    rolltop_sys::descriptors::allow_as_many_as_may_be()?;
    runtime.block_on(async {
        if let Some(status) = namespaces::enter(std::env::args().skip(1)).await? {
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        run(&arguments).await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let me = std::env::current_exe()?;
    let beside = me.parent().context("this program is nowhere")?.to_path_buf();
    let programs = arguments.programs.clone().unwrap_or(beside);
    let size = Size {
        hosts: arguments.hosts,
        brokers: arguments.brokers,
        people: arguments.users,
        pools: arguments.desktops.div_ceil(arguments.users),
        suspect_s: arguments.suspect_s,
        lost_s: arguments.lost_s,
    };
    let mut figures = Figures::default();
    for kind in [Kind::Embedded, Kind::Etcd] {
        let wanted = match arguments.store {
            StoreChoice::Embedded => kind == Kind::Embedded,
            StoreChoice::Etcd => kind == Kind::Etcd,
            StoreChoice::Both => true,
        };
        if !wanted {
            continue;
        }
        let dir = tempfile::Builder::new().prefix("rolltop-scale-").tempdir_in(&arguments.dir)?;
        let mut house = House::open(kind, size, &programs, dir.path()).await?;
        let done = measure(&mut house, arguments, &mut figures).await;
        house.close().await;
        done.with_context(|| format!("on {}", kind.name()))?;
    }
    if let Some(json) = &arguments.json {
        std::fs::write(json, serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}

async fn measure(
    house: &mut House,
    arguments: &Arguments,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let store = house.store();
    figures.add(store, "brokers", house.brokers() as f64, "");
    figures.add(store, "hosts", f64::from(arguments.hosts), "");
    let before = house.memory_kib()?;
    figures.add(store, "brokers' memory, no desktops", before as f64 / 1024.0, "MiB");
    idle(house, arguments, figures, "no desktops").await?;

    let wishes = wishes(house);
    let count = wishes.len();
    let begun = Instant::now();
    let over = Duration::from_secs(arguments.storm_s);
    let times = storm(wishes.clone(), arguments.at_once, over).await?;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    figures.add(store, "desktops", count as f64, "");
    figures.add(store, "asked for within", arguments.storm_s as f64, "s");
    figures.add(store, "starts", rate, "/s");
    figures.add_times(store, "from request to desktop", times);
    let after = house.memory_kib()?;
    figures.add(store, "brokers' memory, with desktops", after as f64 / 1024.0, "MiB");
    idle(house, arguments, figures, "with desktops").await?;
    lose(house, arguments, figures, wishes).await
}

/// What brokers use while nothing happens but heartbeats.
async fn idle(
    house: &House,
    arguments: &Arguments,
    figures: &mut Figures,
    when: &str,
) -> anyhow::Result<()> {
    let before = house.ticks()?;
    sleep(Duration::from_secs(arguments.idle_s)).await;
    // A tick is a hundredth of a second: so this is hundredths of a processor.
    let used = house.ticks()?.saturating_sub(before) as f64 / arguments.idle_s.max(1) as f64;
    let name = format!("brokers' processor use, idle, {when}");
    figures.add(house.store(), name, used, "% of one");
    Ok(())
}

/// Who wants a desktop of which pool, at which broker.
#[derive(Clone)]
struct Wanted {
    person: Caller,
    pool: String,
    broker: usize,
}

impl Wanted {
    fn label(&self) -> String {
        format!("{}/{}", self.pool, self.person.name())
    }
}

/// The same pool of everybody, then the next one.
fn wishes(house: &House) -> Vec<Wanted> {
    let brokers = house.brokers();
    let mut all = Vec::new();
    for pool in house.pools() {
        for person in house.people() {
            let broker = all.len() % brokers;
            all.push(Wanted { person: person.clone(), pool: pool.clone(), broker });
        }
    }
    all
}

/// Everybody asks, one after the other `over` some time; how long each waited from
/// when it was their turn, those included who had to wait to ask.
async fn storm(
    wishes: Vec<Wanted>,
    at_once: usize,
    over: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let gate = Arc::new(Semaphore::new(at_once));
    let mut asking = JoinSet::new();
    let begun = Instant::now();
    let count = u32::try_from(wishes.len())?.max(1);
    for (wanted, place) in wishes.into_iter().zip(0_u32..) {
        let Wanted { person, pool, broker } = wanted;
        let gate = Arc::clone(&gate);
        let due = begun + over.mul_f64(f64::from(place) / f64::from(count));
        asking.spawn(async move {
            sleep_until(due).await;
            let _turn = gate.acquire().await?;
            let answer = person.wish(Wish::Start, &pool, broker).await;
            match answer.outcome {
                Outcome::Running(_) => Ok(due.elapsed()),
                other => bail!("{}: {other:?}", answer.desktop),
            }
        });
    }
    let mut times = Vec::new();
    while let Some(done) = asking.join_next().await {
        times.push(done??);
    }
    Ok(times)
}

/// Hosts vanish; when that is noticed; and how long until all that was there is
/// elsewhere.
async fn lose(
    house: &mut House,
    arguments: &Arguments,
    figures: &mut Figures,
    wishes: Vec<Wanted>,
) -> anyhow::Result<()> {
    let store = house.store();
    let mut gone = HashSet::new();
    let begun = Instant::now();
    // Those with the most.
    let hosts = house.hosts();
    hosts.sort_by_cached_key(|agent| Reverse(agent.host().desktops().len()));
    for agent in hosts.iter_mut().take(usize::from(arguments.vanish)) {
        gone.extend(agent.host().desktops().into_iter().map(|desktop| desktop.label));
        agent.vanish();
    }
    let states: [(_, &[HostState]); 2] =
        [("suspected", &[HostState::Suspect, HostState::Lost]), ("lost", &[HostState::Lost])];
    for (what, states) in states {
        while house.hosts_that_are(states).await? < usize::from(arguments.vanish) {
            sleep(LOOK).await;
        }
        let name = format!("{} hosts that vanished are {what} after", arguments.vanish);
        figures.add(store, name, begun.elapsed().as_secs_f64(), "s");
    }
    let begun = Instant::now();
    let again = wishes.into_iter().filter(|wanted| gone.contains(&wanted.label())).collect();
    storm(again, arguments.at_once, Duration::ZERO).await?;
    figures.add(store, "desktops on them", gone.len() as f64, "");
    let elapsed = begun.elapsed().as_secs_f64();
    figures.add(store, "all asked for again, these are elsewhere after", elapsed, "s");
    let left: usize = house
        .hosts()
        .iter()
        .skip(usize::from(arguments.vanish))
        .map(|agent| agent.host().desktops().len())
        .sum();
    let all = arguments.desktops.div_ceil(arguments.users) * arguments.users;
    ensure!(left == all, "{left} desktops run elsewhere, not {all}");
    Ok(())
}
