//! `rolltop session`: who works in which desktop, and who looks at it.

use std::time::Duration;

use clap::{Args, Subcommand};
use rolltop_proto::v1::{
    DisconnectSessionRequest, KillSessionRequest, ListSessionsRequest, LogOutSessionRequest,
    SendMessageRequest, WatchSessionsRequest, send_message_request::To,
};
use serde_json::json;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    view::{SessionList, SessionView},
    watch::watch,
};

/// An end may take as long as its programs may, and what the host needs then.
const ENDING: Duration = Duration::from_secs(120);

/// What can be done about sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List your sessions, and who looks at them from where since when
    List {
        /// Everybody's
        #[arg(short, long)]
        all: bool,
    },
    /// Tell each session, and then each change, until interrupted
    Watch {
        /// Everybody's
        #[arg(short, long)]
        all: bool,
    },
    /// End the connection of who looks at a desktop; the session goes on
    Disconnect {
        /// POOL, or POOL/USER
        desktop: String,
        /// What they are told
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Have the programs of a session end, and end it when the time is up
    LogOut {
        /// POOL, or POOL/USER
        desktop: String,
        /// How long they may take, such as 30s [default: the host's]
        #[arg(long, value_name = "TIME", value_parser = crate::duration::parse)]
        grace: Option<Duration>,
    },
    /// End a session without asking
    Kill {
        /// POOL, or POOL/USER
        desktop: String,
    },
    /// Show a text to the users of running desktops, in the portal
    Message {
        /// What they are to know
        text: String,
        #[command(flatten)]
        to: Audience,
        /// How long it is shown to who comes back, such as 2h
        #[arg(long, default_value = "1h", value_name = "TIME", value_parser = crate::duration::parse)]
        life: Duration,
    },
}

/// To whom.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Audience {
    /// One desktop: POOL/USER
    #[arg(long, value_name = "DESKTOP")]
    desktop: Option<String>,
    /// Those of a pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Those on a host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Everybody's
    #[arg(long)]
    all: bool,
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut sessions = app.sessions().await?;
        match self {
            Self::List { all } => {
                let request = ListSessionsRequest { all };
                let listed = within(QUICK, sessions.list_sessions(request)).await?.sessions;
                app.output.show(&listed.into_iter().collect::<SessionList>())
            }
            Self::Watch { all } => {
                let watching = sessions.watch_sessions(WatchSessionsRequest { all });
                watch::<_, SessionView>(app, within(QUICK, watching).await?).await
            }
            Self::Disconnect { desktop, reason } => {
                let request = DisconnectSessionRequest { desktop: desktop.clone(), reason };
                let viewer = within(QUICK, sessions.disconnect_session(request)).await?.viewer;
                let sentence = match &viewer {
                    Some(viewer) => format!(
                        "{} at {} does not look at {desktop} any more",
                        viewer.user, viewer.address
                    ),
                    None => format!("nobody was looking at {desktop}"),
                };
                let from = viewer.map(|viewer| viewer.address);
                app.output.done(&sentence, &json!({ "desktop": desktop, "disconnected": from }))
            }
            Self::LogOut { desktop, grace } => {
                let within_time = ENDING + grace.unwrap_or_default();
                let grace = grace.and_then(|grace| prost_types::Duration::try_from(grace).ok());
                let request = LogOutSessionRequest { desktop, grace };
                let ended = within(within_time, sessions.log_out_session(request)).await?;
                let ended = SessionView::from(ended);
                app.output.done(&format!("the session of {} has ended", ended.desktop()), &ended)
            }
            Self::Kill { desktop } => {
                let request = KillSessionRequest { desktop };
                let ended =
                    SessionView::from(within(ENDING, sessions.kill_session(request)).await?);
                app.output.done(&format!("the session of {} was ended", ended.desktop()), &ended)
            }
            Self::Message { text, to, life } => {
                let Audience { desktop, pool, host, all: _ } = to;
                let to = desktop.map(To::Desktop).or(pool.map(To::Pool)).or(host.map(To::Host));
                let life = prost_types::Duration::try_from(life).ok();
                let request = SendMessageRequest { text, life, to };
                let told = within(QUICK, sessions.send_message(request)).await?;
                let sentence = format!(
                    "given to {} desktops; somebody is looking at {} of them",
                    told.desktops, told.watched
                );
                let told = json!({ "desktops": told.desktops, "watched": told.watched });
                app.output.done(&sentence, &told)
            }
        }
    }
}
