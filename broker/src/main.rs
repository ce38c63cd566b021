#![forbid(unsafe_code)]
//! `rolltop-broker`: reads the configuration, then serves or runs one command.

use std::{
    fs,
    io::{IsTerminal as _, stderr, stdin, stdout},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::Parser as _;
use rolltop_broker::{
    cli::Cli,
    clock::SystemClock,
    config::{Config, Log, LogFormat},
    daemon::Daemon,
    offline,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Of sysexits.h: the user's fault, in what was given to us.
const EX_USAGE: u8 = 64;

/// Threads share so many heaps. More cost memory that is never given back.
const HEAPS: u16 = 2;
/// Larger than any buffer of a connection; smaller than what a password's hash
/// works in, 19 MiB.
const LARGE_BYTES: u32 = 1 << 20;

fn main() -> ExitCode {
    // Before there are threads; with another C library memory is what it is.
    let _set =
        rolltop_sys::heap::share_heaps(HEAPS) && rolltop_sys::heap::map_large_blocks(LARGE_BYTES);
    let cli = Cli::parse();
    let config = match read_config(&cli) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("rolltop-broker: {error:#}");
            return ExitCode::from(EX_USAGE);
        }
    };
    if cli.check_config {
        println!("{}: no faults", cli.config.display());
        return ExitCode::SUCCESS;
    }
    match run(cli, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolltop-broker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn read_config(cli: &Cli) -> anyhow::Result<Config> {
    let path = cli.config.display();
    let text = fs::read_to_string(&cli.config).with_context(|| format!("cannot read {path}"))?;
    // Variables that are not Unicode cannot be meant for us.
    let environment = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    Config::read(&text, environment).with_context(|| path.to_string())
}

fn run(cli: Cli, config: Config) -> anyhow::Result<()> {
    start_logging(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(async {
        match cli.command {
            Some(command) => offline::run(&config, command, &mut stdin().lock(), &mut stdout())
                .await
                .map_err(Into::into),
            None => serve(config).await,
        }
    })
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Each host and each person who looks at a desktop costs some.
    if let Err(error) = rolltop_sys::descriptors::allow_as_many_as_may_be() {
        tracing::warn!(%error, "the limit of open files stays low");
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut daemon = Daemon::start(config, Arc::new(SystemClock)).await?;
    tell_systemd(&[sd_notify::NotifyState::Ready]);
    let broken = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        part = daemon.broken() => Some(part),
    };
    tell_systemd(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("the broker ends");
    daemon.stop().await;
    match broken {
        None => Ok(()),
        Some(part) => anyhow::bail!("a part of the broker ended: {part}"),
    }
}

/// Without systemd there is nobody to tell, which is no fault.
fn tell_systemd(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

fn start_logging(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).context("log.filter")?;
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => logging.try_init(),
        LogFormat::Json => logging.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}
