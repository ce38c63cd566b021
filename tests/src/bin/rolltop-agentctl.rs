//! `rolltop-agentctl`: one call to a host agent at its Unix socket, for tests
//! that are shell commands on another machine.

#![forbid(unsafe_code)]

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use rolltop_proto::v1::{
    DesktopState, HomeDirectorySpec, HomeSpec, HostDesktop, Limits, ListHostDesktopsRequest,
    WatchHostDesktopsRequest, home_spec, host_desktop_event::Event,
};
use rolltop_tests::{
    client::{self, Api},
    display,
    rfb::Viewer,
};
use uuid::Uuid;

/// Calls a host agent.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Its socket
    #[arg(long, default_value = "/run/rolltop/agent.sock")]
    socket: PathBuf,
    #[command(subcommand)]
    call: Call,
}

#[derive(Debug, Subcommand)]
enum Call {
    /// Start a desktop and wait until its display answers
    Start {
        number: u32,
        image: String,
        #[arg(long, default_value_t = 256)]
        overlay_mib: i64,
        /// Keep the overlay, by this name
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        keep: String,
        /// The home: a directory of the host, below one where homes may lie
        #[arg(long, value_name = "DIR")]
        home: Option<PathBuf>,
        /// 0: no limit
        #[arg(long, default_value_t = 0)]
        memory_mib: i64,
        /// 0: no limit
        #[arg(long, default_value_t = 0)]
        pids: i64,
    },
    /// Run a shell command in a desktop; its status is the status
    Exec {
        number: u32,
        command: String,
        #[arg(long)]
        root: bool,
    },
    /// Join a desktop's display and wait for its first picture
    Look { number: u32 },
    /// Tell each desktop's number, state and reason to end
    List,
    /// Stop a desktop
    Stop { number: u32 },
    /// Run a shell command in a desktop, and wait until that has ended it; tells
    /// the reason
    Until { number: u32, command: String },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match call(arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rolltop-agentctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn call(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut api = client::connect(&arguments.socket).await?;
    match arguments.call {
        Call::Start { number, image, overlay_mib, keep, home, memory_mib, pids } => {
            let mut request = client::volatile(number, 1, &image);
            // Each is a request of its own.
            request.request_id = Uuid::new_v4().to_string();
            if let Some(overlay) = &mut request.overlay {
                overlay.size_mib = overlay_mib;
                overlay.persistent_name = keep;
            }
            request.home = home.as_deref().map(home_directory).transpose()?;
            request.limits = Some(Limits { memory_mib, pids, ..Limits::default() });
            tell(&client::start(&mut api, request).await?.desktop);
        }
        Call::Exec { number, command, root } => {
            let (output, code) = client::exec(&mut api, number, root, &command).await?;
            print!("{output}");
            return Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from));
        }
        Call::Look { number } => {
            let stream = display::connect(&mut api, number, 1).await?;
            Viewer::greet(stream).await?;
        }
        Call::List => {
            let all = api.list_desktops(ListHostDesktopsRequest {}).await?.into_inner();
            all.desktops.iter().for_each(tell);
        }
        Call::Stop { number } => {
            client::stop(&mut api, number, 1).await?;
        }
        Call::Until { number, command } => tell(&until(&mut api, number, &command).await?),
    }
    Ok(ExitCode::SUCCESS)
}

fn home_directory(path: &Path) -> anyhow::Result<HomeSpec> {
    let text = |part: Option<&OsStr>| part.and_then(OsStr::to_str).map(str::to_owned);
    let parent = text(path.parent().map(Path::as_os_str)).context("--home has no parent")?;
    let name = text(path.file_name()).context("--home has no name")?;
    Ok(HomeSpec { kind: Some(home_spec::Kind::Directory(HomeDirectorySpec { parent, name })) })
}

/// Watches from before the command, so that nothing is missed.
async fn until(api: &mut Api, number: u32, command: &str) -> anyhow::Result<HostDesktop> {
    let mut events = api.watch_desktops(WatchHostDesktopsRequest::default()).await?.into_inner();
    // The command may itself be ended with the desktop.
    let (_output, _code) = client::exec(api, number, false, command).await?;
    while let Some(event) = events.message().await? {
        if let Some(Event::Desktop(desktop)) = event.event
            && desktop.number == number
            && desktop.state() == DesktopState::Gone
        {
            return Ok(desktop);
        }
    }
    anyhow::bail!("the agent ended before desktop {number}")
}

fn tell(desktop: &HostDesktop) {
    let HostDesktop { number, ip, end_reason, .. } = desktop;
    println!("{number} {} {ip} {end_reason}", desktop.state().as_str_name());
}
