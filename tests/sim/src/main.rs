//! `rolltop-sim`: many hosts in one process, each on a port of its own.

#![forbid(unsafe_code)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use rolltop_sim::{Host, Keys, Pace, serve};
use tokio::{
    net::TcpListener,
    process::Command,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

/// Serves hosts that have nothing but memory, for a broker to work with.
#[derive(Debug, Parser)]
#[command(name = "rolltop-sim", version)]
struct Arguments {
    /// For credentials, one directory a host: DIR/sim-1 and so on.
    #[arg(long)]
    dir: PathBuf,
    /// How many hosts.
    #[arg(long, default_value_t = 3)]
    hosts: u16,
    /// The first listens here, on 127.0.0.1; the others on the ports after it.
    #[arg(long, default_value_t = 30_000)]
    first_port: u16,
    /// Desktops a host takes.
    #[arg(long, default_value_t = 200)]
    max_desktops: i64,
    /// How long each of the five phases of a start takes, milliseconds.
    #[arg(long, default_value_t = 0)]
    phase_ms: u64,
    /// How long an end takes, milliseconds.
    #[arg(long, default_value_t = 0)]
    stop_ms: u64,
    /// Hosts without credentials are made known to the broker of this
    /// configuration (`rolltop-broker host add`). With an embedded store no
    /// broker may run meanwhile.
    #[arg(long, value_name = "FILE")]
    enrol: Option<PathBuf>,
    /// The broker's program.
    #[arg(long, default_value = "rolltop-broker")]
    broker: PathBuf,
    /// Enrol only, and end.
    #[arg(long, requires = "enrol")]
    enrol_only: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut agents = JoinSet::new();
    for place in 0..arguments.hosts {
        let name = format!("sim-{}", place + 1);
        let port = arguments.first_port.checked_add(place);
        let port = port.with_context(|| format!("--first-port leaves no port for {name}"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let credentials = arguments.dir.join(&name);
        if let Some(config) = &arguments.enrol
            && !credentials.join("host.pem").exists()
        {
            enrol(&arguments.broker, config, &name, address, &credentials).await?;
        }
        if arguments.enrol_only {
            continue;
        }
        let host = Host::new(&name);
        if let Ok(mut facts) = host.facts.lock() {
            facts.max_desktops = arguments.max_desktops;
            // So that places are what bounds it.
            facts.memory_bytes = arguments.max_desktops << 32;
            facts.memory_available_bytes = facts.memory_bytes;
            facts.overlay_free_bytes = facts.memory_bytes;
            facts.cpus = arguments.max_desktops.max(1);
            facts.network = "10.64.0.0/10".into();
        }
        if let Ok(mut pace) = host.pace.lock() {
            *pace = Pace {
                phase: Duration::from_millis(arguments.phase_ms),
                stop: Duration::from_millis(arguments.stop_ms),
            };
        }
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("{name} cannot listen at {address}"))?;
        agents.spawn(serve(host, Keys::new(credentials), listener));
    }
    if arguments.enrol_only {
        return Ok(());
    }
    println!("{} hosts are served", arguments.hosts);
    tokio::select! {
        ended = agents.join_next() => match ended {
            Some(ended) => ended?.context("an agent ended"),
            None => Ok(()),
        },
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

async fn enrol(
    broker: &Path,
    config: &Path,
    name: &str,
    address: SocketAddr,
    credentials: &Path,
) -> anyhow::Result<()> {
    let output = Command::new(broker)
        .arg("--config")
        .arg(config)
        .args(["host", "add", name, "--endpoint", &format!("https://{address}")])
        .arg("--credentials-out")
        .arg(credentials)
        .output()
        .await
        .with_context(|| format!("cannot run {}", broker.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} cannot be made known: {said}");
    Ok(())
}
