//! `rolltop-agent`: the daemon on a host.

#![forbid(unsafe_code)]

mod service;

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use rolltop_host_agent::{
    check::{self, Verdict},
    config::Config,
    edge::{Listening, serve},
    host::Host,
    purge,
    recovery::recover,
    storage::helper,
};
use rustix::fs::Mode;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::service::{keep_watchdog, notify};

/// Exit code for a configuration that cannot be used (`EX_USAGE`).
const BAD_CONFIG: u8 = 64;

/// Makes, watches, keeps and removes desktops on this host.
#[derive(Debug, Parser)]
#[command(name = "rolltop-agent", version)]
struct Arguments {
    /// Configuration file; agent.example.toml documents every key.
    #[arg(long, default_value = "/etc/rolltop/agent.toml")]
    config: PathBuf,
    /// Report every fault in the configuration and end.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Talks to NFS servers for an agent; started by it.
    #[command(hide = true)]
    StorageHelper,
    /// Stop every desktop and leave the host as it was before the agent.
    /// Persistent overlays and images are kept.
    Purge,
    /// Say, thing by thing, whether this machine can do the job, and how to mend
    /// what is missing. Ends with a rehearsal: a small desktop comes up, logs out
    /// and is taken down. Safe beside a running agent.
    Check {
        /// Print it for a program.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Files of desktops have the modes they are given, whoever starts us.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if let Some(Command::StorageHelper) = arguments.command {
        return help();
    }
    let config = match read_config(&arguments) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("rolltop-agent: {error:#}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    if arguments.check_config {
        println!("{}: no faults", arguments.config.display());
        return ExitCode::SUCCESS;
    }
    if let Some(Command::Check { json }) = arguments.command {
        return tell_check(&config, json);
    }
    start_log(config.log_json);
    match run(config, arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolltop-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> ExitCode {
    start_log(false);
    match helper::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolltop-agent storage-helper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell_check(config: &Config, json: bool) -> ExitCode {
    let findings = check::check(config);
    if json {
        // Cannot fail: strings and names of variants.
        println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default());
    } else {
        println!("{findings}");
    }
    if findings.worst() == Verdict::Bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn read_config(arguments: &Arguments) -> anyhow::Result<Config> {
    let path = arguments.config.display();
    let text = std::fs::read_to_string(&arguments.config)
        .with_context(|| format!("cannot read {path}; see agent.example.toml"))?;
    Config::read(&text, &|key| std::env::var(key).ok()).with_context(|| path.to_string())
}

fn start_log(json: bool) {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if json { log.json().init() } else { log.init() }
}

#[tokio::main]
async fn run(config: Config, command: Option<Command>) -> anyhow::Result<()> {
    // Inits and sessions whose launcher has gone become our children, so that
    // they are reaped at once.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot become the reaper of desktops' processes")?;
    raise_descriptor_limit();
    if let Some(Command::Purge) = command {
        // Held meanwhile: no agent may run, and none may start.
        let _socket = Listening::bind(&config.socket, None).await?;
        return Ok(purge(config).await?);
    }
    // Before the host is touched: a second agent must fail here.
    let listening = Listening::bind(&config.socket, config.listen.as_ref()).await?;
    let host = Arc::new(Host::new(config).await?);
    recover(&host).await;

    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(Arc::clone(&host), listening, shutdown.clone()));
    // Whoever is told that it serves may ask it to end.
    let ended = ended_by_signal()?;
    notify(&[NotifyState::Ready]);
    tokio::spawn(keep_watchdog());
    info!(name = %host.config.name, socket = %host.config.socket.display(), "serving");
    tokio::select! {
        signal = ended => info!(signal, "ending; desktops run on"),
        () = shutdown.cancelled() => {}
    }
    notify(&[NotifyState::Stopping]);
    host.registry.close();
    shutdown.cancel();
    // Open connections would hold the end up for as long as people work.
    match tokio::time::timeout(std::time::Duration::from_secs(2), serving).await {
        Ok(served) => served??,
        Err(_elapsed) => warn!("some connections were still open"),
    }
    host.storage.close();
    Ok(())
}

/// Each desktop costs a few descriptors, and shells start us with 1,024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "the limit of open files stays low");
    }
}

/// Takes these signals from now on, and waits for one.
fn ended_by_signal() -> anyhow::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}
