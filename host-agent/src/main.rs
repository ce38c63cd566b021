//! `rolltop-agent`: the daemon on a host.

#![forbid(unsafe_code)]

mod log;
mod service;

use std::{
    io::{BufRead as _, Read as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use rolltop_host_agent::{
    address::{Format, export},
    check::{self, Verdict},
    config::Config,
    credentials::{Enrolment, enrol},
    edge::{Listening, serve},
    host::Host,
    metrics, purge,
    recovery::recover,
    reload::reload,
    storage::helper,
};
use rolltop_metrics::Port;
use rustix::fs::Mode;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::log::Filter;
use crate::service::{keep_watchdog, notify};

/// Exit code for a configuration that cannot be used (`EX_USAGE`).
const BAD_CONFIG: u8 = 64;

/// A token is about 115.
const MAX_TOKEN_BYTES: u64 = 4096;

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
    /// Become a host of a cluster: make a key, and have it certified by a broker
    /// with a token from `rolltop host enrol-token`. The files go where [listen]
    /// says; an agent that runs has to be restarted afterwards.
    Enrol {
        /// The broker: https://NAME-OR-ADDRESS[:PORT].
        #[arg(long, value_name = "URL")]
        broker: String,
        /// The token, or `-` to read it from standard input.
        #[arg(long, value_name = "TOKEN", env = "ROLLTOP_ENROL_TOKEN", hide_env_values = true)]
        token: String,
        /// Where brokers reach this agent, https://ADDRESS:PORT [default: the
        /// address it listens at, or the one it calls the broker from].
        #[arg(long, value_name = "URL")]
        endpoint: Option<String>,
    },
    /// Print which addresses desktops have by their numbers: for DHCP servers,
    /// firewalls and /etc/hosts, before there is any desktop.
    Addresses {
        /// For whom.
        #[arg(long, value_enum, default_value_t = Format::Hosts)]
        format: Format,
        /// The first number.
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        from: u32,
        /// The last number [default: the most desktops of this host].
        #[arg(long, value_name = "NUMBER")]
        to: Option<u32>,
        /// What stands before the number in a desktop's name.
        #[arg(long, value_name = "TEXT", default_value = "desktop-", value_parser = host_name)]
        prefix: String,
    },
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
    // Before there are threads. Without it a thousand desktops cost half as much
    // memory again; with another C library it costs what it costs.
    let _set = rolltop_sys::heap::share_heaps(HEAPS);
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
    if let Some(Command::Addresses { format, from, to, prefix }) = &arguments.command {
        let plan = &config.network.addresses;
        let to = to.unwrap_or(config.max_desktops.min(plan.last_desktop()));
        return match export(plan, *from..=to, prefix, *format) {
            Ok(text) => write_out(&text),
            Err(error) => {
                eprintln!("rolltop-agent: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some(Command::Enrol { broker, token, endpoint }) = arguments.command {
        return match become_host(&config, broker, token, endpoint) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("rolltop-agent: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let done = log::start(config.log_json, &config.log_filter)
        .and_then(|filter| run(config, filter, arguments));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolltop-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> ExitCode {
    let served = log::start(false, "info").and_then(|_filter| Ok(helper::serve()?));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolltop-agent storage-helper: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn become_host(
    config: &Config,
    broker: String,
    token: String,
    endpoint: Option<String>,
) -> anyhow::Result<()> {
    let token = if token == "-" {
        let mut line = String::new();
        std::io::stdin().lock().take(MAX_TOKEN_BYTES).read_line(&mut line)?;
        line
    } else {
        token
    };
    let at = enrol(config, &Enrolment { broker, token, endpoint }).await?;
    println!("{} is a host now; brokers look for its agent at {at}", config.name);
    Ok(())
}

/// Whoever reads it may have seen enough.
fn write_out(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What the names of desktops can begin with, so that nothing else ends up in
/// other programs' configuration.
fn host_name(text: &str) -> Result<String, String> {
    let fits = text.len() <= 48
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    if fits {
        Ok(text.into())
    } else {
        Err("write a letter, then letters, digits and `-`, 48 at most".into())
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

/// Heaps that all threads share.
const HEAPS: u16 = 2;

#[tokio::main]
async fn run(config: Config, filter: Filter, arguments: Arguments) -> anyhow::Result<()> {
    // Inits and sessions whose launcher has gone become our children, so that
    // they are reaped at once.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot become the reaper of desktops' processes")?;
    raise_descriptor_limit();
    if let Some(Command::Purge) = arguments.command {
        // Held meanwhile: no agent may run, and none may start.
        let _socket = Listening::bind(&config.socket, None).await?;
        return Ok(purge(config).await?);
    }
    // From now on, or it would end us.
    let hangups = signal(SignalKind::hangup())?;
    // Before the host is touched: a second agent must fail here.
    let listening = Listening::bind(&config.socket, config.listen.as_ref()).await?;
    let metrics_port = match config.metrics {
        Some(address) => Some(Port::bind(address).await?),
        None => None,
    };
    let host = Arc::new(Host::new(config).await?);
    recover(&host).await.context("the packet filter cannot be set")?;

    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(Arc::clone(&host), listening, shutdown.clone()));
    if let Some(port) = metrics_port {
        let host = Arc::clone(&host);
        let read = move || {
            let host = Arc::clone(&host);
            async move { metrics::read(&host).await }
        };
        tokio::spawn(port.serve(read, shutdown.clone()));
    }
    // Whoever is told that it serves may ask it to end.
    let ended = ended_by_signal()?;
    notify(&[NotifyState::Ready]);
    tokio::spawn(keep_watchdog());
    tokio::spawn(reload_on_hangup(hangups, Arc::clone(&host), filter, arguments));
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

/// Reads the configuration again whenever someone asks for it.
async fn reload_on_hangup(
    mut hangups: Signal,
    host: Arc<Host>,
    filter: Filter,
    arguments: Arguments,
) {
    while hangups.recv().await.is_some() {
        let read = read_config(&arguments).map_err(|error| format!("{error:#}"));
        reload(&host, read, |text| filter.set(text));
    }
}

/// Each desktop costs a few descriptors.
fn raise_descriptor_limit() {
    if let Err(error) = rolltop_sys::descriptors::allow_as_many_as_may_be() {
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
