//! `rolltop desktop`: list, start, stop, look into, and open desktops.

mod copy;
mod exec;
mod limits;
mod logs;
mod session;
mod shell;
mod start;
mod stats;
mod top;

use std::time::Duration;

use clap::Subcommand;
use rolltop_proto::v1::{
    FreezeDesktopRequest, GetDesktopRequest, ListDesktopsRequest, StopDesktopRequest,
    ThawDesktopRequest, WatchDesktopsRequest, WhoAmIRequest,
};
use serde_json::json;
use tonic::Code;

use crate::{
    app::{App, QUICK, within},
    failure::{Exit, Failure},
    store::Config,
    view::{DesktopList, DesktopView},
    watch::watch,
};

/// A session may take its time to put its files away.
const STOP: Duration = Duration::from_secs(120);

/// What can be done with desktops. ID is "pool/user", or "pool" for your own.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List your desktops
    List {
        /// Those of everybody; for operators
        #[arg(long)]
        all: bool,
    },
    /// Tell each desktop, and then each change, until interrupted
    Watch {
        /// Those of everybody; for operators
        #[arg(short, long)]
        all: bool,
    },
    /// Show one desktop, with its addresses and sizes
    Show {
        /// "pool/user", or "pool" for your own
        id: String,
    },
    /// Start a desktop, or find the one that runs
    Start(start::Start),
    /// End a desktop; its kept data stays
    Stop {
        /// "pool/user", or "pool" for your own
        id: String,
    },
    /// End a desktop and start it again, on the version its image has now; its
    /// kept data stays
    Restart {
        /// "pool/user", or "pool" for your own
        id: String,
    },
    /// Hold a desktop still until it is thawed; for operators
    Freeze {
        /// "pool/user", or "pool" for your own
        id: String,
    },
    /// Let a frozen desktop go on; for operators
    Thaw {
        /// "pool/user", or "pool" for your own
        id: String,
    },
    /// Change what a running desktop may use, for its life; for operators
    Limits(limits::Limits),
    /// Run a command in a desktop
    Exec(exec::Exec),
    /// Open a shell in a desktop
    #[command(visible_aliases = ["attach", "console"])]
    Shell(shell::Shell),
    /// Show what a desktop uses
    Stats(stats::Stats),
    /// Look at a desktop's processes as they work; q ends
    Top(top::Top),
    /// List a desktop's processes
    Ps(stats::Ps),
    /// Print what a desktop's session has written
    Logs(logs::Logs),
    /// Copy files into a desktop, or out of it
    Cp(copy::Copy),
    /// Print the portal address of your desktop
    Open {
        /// "pool", or "pool/user" if that is you
        id: String,
    },
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<Exit, Failure> {
        match self {
            Self::List { all } => list(app, all).await?,
            Self::Watch { all } => {
                let mut broker = app.broker().await?;
                let watching = broker.watch_desktops(WatchDesktopsRequest { all });
                watch::<_, DesktopView>(app, within(QUICK, watching).await?).await?;
            }
            Self::Show { id } => show(app, id).await?,
            Self::Start(start) => start.run(app).await?,
            Self::Stop { id } => stop(app, id).await?,
            Self::Restart { id } => restart(app, id).await?,
            Self::Freeze { id } => freeze(app, id).await?,
            Self::Thaw { id } => thaw(app, id).await?,
            Self::Limits(limits) => limits.run(app).await?,
            Self::Exec(exec) => return exec.run(app).await,
            Self::Shell(shell) => return shell.run(app).await,
            Self::Stats(stats) => return stats.run(app).await,
            Self::Top(top) => return top.run(app).await,
            Self::Ps(ps) => return ps.run(app).await,
            Self::Logs(logs) => return logs.run(app).await,
            Self::Cp(copy) => return copy.run(app).await,
            Self::Open { id } => open(app, id).await?,
        }
        Ok(Exit::OK)
    }
}

async fn list(app: &App, all: bool) -> Result<(), Failure> {
    let request = ListDesktopsRequest { all };
    let desktops = within(QUICK, app.broker().await?.list_desktops(request)).await?.desktops;
    app.output.show(&desktops.into_iter().collect::<DesktopList>())
}

async fn show(app: &App, desktop: String) -> Result<(), Failure> {
    let request = GetDesktopRequest { desktop };
    let desktop = within(QUICK, app.broker().await?.get_desktop(request)).await?;
    app.output.show(&DesktopView::from(desktop))
}

async fn stop(app: &App, desktop: String) -> Result<(), Failure> {
    let request = StopDesktopRequest { desktop: desktop.clone() };
    let stopped = within(STOP, app.broker().await?.stop_desktop(request)).await?.desktop;
    let id = stopped.as_ref().map_or(desktop, |stopped| stopped.id.clone());
    let document = json!({ "stopped": id, "desktop": stopped.map(DesktopView::from) });
    app.output.done(&format!("desktop {id} is stopped"), &document)
}

async fn restart(app: &App, desktop: String) -> Result<(), Failure> {
    let request = StopDesktopRequest { desktop: desktop.clone() };
    match within(STOP, app.broker().await?.stop_desktop(request)).await {
        // None runs: then it only has to be started.
        Err(failure) if failure.reason == "UNKNOWN_DESKTOP" => {}
        stopped => drop(stopped?),
    }
    let (pool, user) = match desktop.split_once('/') {
        Some((pool, user)) => (pool.to_owned(), Some(user.to_owned())),
        None => (desktop, None),
    };
    start::Start::of(pool, user).run(app).await
}

async fn freeze(app: &App, desktop: String) -> Result<(), Failure> {
    let request = FreezeDesktopRequest { desktop };
    let frozen = within(STOP, app.broker().await?.freeze_desktop(request)).await?;
    let told = format!("desktop {} is frozen; `rolltop desktop thaw` lets it go on", frozen.id);
    app.output.done(&told, &json!({ "desktop": DesktopView::from(frozen) }))
}

async fn thaw(app: &App, desktop: String) -> Result<(), Failure> {
    let request = ThawDesktopRequest { desktop };
    let thawed = within(STOP, app.broker().await?.thaw_desktop(request)).await?;
    let told = format!("desktop {} goes on", thawed.id);
    app.output.done(&told, &json!({ "desktop": DesktopView::from(thawed) }))
}

async fn open(app: &App, desktop: String) -> Result<(), Failure> {
    let mut broker = app.broker().await?;
    let desktop = within(QUICK, broker.get_desktop(GetDesktopRequest { desktop })).await?;
    let me = within(QUICK, broker.who_am_i(WhoAmIRequest {})).await?;
    if desktop.user != me.name {
        let message = format!("the portal shows {} to {} only", desktop.id, desktop.user);
        return Err(Failure::new(Code::PermissionDenied, "NOT_YOURS", message)
            .hint("look into it with `rolltop desktop shell`"));
    }
    let url = portal_url(app, &desktop.pool)?;
    app.output.done(&url, &json!({ "desktop": desktop.id, "url": url }))
}

/// The page of one's own desktop of a pool.
fn portal_url(app: &App, pool: &str) -> Result<String, Failure> {
    let server = app.server(&Config::load(&app.env)?);
    Ok(format!("{server}/#/desktop/{pool}"))
}
