//! `rolltop host`: machines that run desktops. For operators.

use std::time::Duration;

use clap::Subcommand;
use rolltop_proto::v1::{
    DeleteHostRequest, DrainHostRequest, HostState, ListHostsRequest, MakeEnrolTokenRequest,
    PutHostRequest, RevokeHostRequest, SetHostLabelsRequest, UndrainHostRequest, WatchHostsRequest,
};
use serde_json::json;
use tonic::Code;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    output::{Format, notice},
    view::{EnrolTokenView, HostList, HostView},
    watch::watch,
};

/// What can be done with hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the hosts
    List,
    /// Tell each host, and then each change, until interrupted
    Watch {
        /// Only this one
        #[arg(default_value = "", hide_default_value = true)]
        name: String,
    },
    /// Make a token with which a machine can enrol itself, once
    ///
    /// Run `rolltop-agent enrol` with it on that machine. For a host that is there
    /// already it makes a new certificate, and the present one counts no more.
    EnrolToken {
        /// Name of the host, as in its agent's configuration
        name: String,
        /// How long the token is good, such as 30min or 2d; a week at most
        #[arg(long, default_value = "1h", value_name = "TIME", value_parser = crate::duration::parse)]
        valid: Duration,
    },
    /// Let no certificate of a host count any more
    ///
    /// Its desktops go on, out of reach, until it is enrolled anew.
    Revoke {
        /// Name of the host
        name: String,
    },
    /// Change the address of a host
    ///
    /// One that is not there yet is added, and has to be enrolled (`enrol-token`).
    Add {
        /// Name of the host
        name: String,
        /// Address of its agent: https://address:port
        endpoint: String,
    },
    /// Give a host no new desktops, and end those it has at a deadline
    ///
    /// Their users are told at once. Again: another deadline.
    Drain {
        /// Name of the host
        name: String,
        /// When desktops that are still there are ended, such as 30min or 2h; 0s:
        /// now [default: never]
        #[arg(long, value_name = "TIME", value_parser = crate::duration::parse)]
        deadline: Option<Duration>,
        /// Show how many are left until there are none
        #[arg(long)]
        wait: bool,
    },
    /// Let a drained host take desktops again
    Undrain {
        /// Name of the host
        name: String,
    },
    /// Set or remove labels of a host, for pools to choose by
    Label {
        /// Name of the host
        name: String,
        /// KEY=VALUE to set, KEY- to remove
        #[arg(required = true, value_name = "LABEL")]
        labels: Vec<String>,
    },
    /// Remove a host
    Remove {
        /// Name of the host
        name: String,
        /// Forget the desktops and the data of a host that will not come back
        #[arg(long)]
        force: bool,
    },
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut broker = app.broker().await?;
        match self {
            Self::List => {
                let hosts = within(QUICK, broker.list_hosts(ListHostsRequest {})).await?.hosts;
                app.output.show(&hosts.into_iter().collect::<HostList>())
            }
            Self::Watch { name } => {
                let mut hosts = app.hosts().await?;
                let watching = hosts.watch_hosts(WatchHostsRequest { name });
                watch::<_, HostView>(app, within(QUICK, watching).await?).await
            }
            Self::EnrolToken { name, valid } => {
                let life = prost_types::Duration::try_from(valid).ok();
                let request = MakeEnrolTokenRequest { name: name.clone(), life };
                let mut hosts = app.hosts().await?;
                let made = within(QUICK, hosts.make_enrol_token(request)).await?;
                let view = EnrolTokenView::new(name, made, &app.server_in_use()?);
                app.output.done(&view.sentence(), &view)
            }
            Self::Revoke { name } => {
                let mut hosts = app.hosts().await?;
                let request = RevokeHostRequest { name };
                let host = HostView::from(within(QUICK, hosts.revoke_host(request)).await?);
                let sentence = format!(
                    "no certificate of host {name} counts any more; `rolltop host enrol-token {name}` lets it \
                     back in",
                    name = host.name()
                );
                app.output.done(&sentence, &host)
            }
            Self::Add { name, endpoint } => {
                let request = PutHostRequest { name, endpoint };
                let host = HostView::from(within(QUICK, broker.put_host(request)).await?);
                let sentence = format!("host {} added; it is {}", host.name(), host.state());
                app.output.done(&sentence, &host)
            }
            Self::Drain { name, deadline, wait } => drain(app, name, deadline, wait).await,
            Self::Undrain { name } => {
                let mut hosts = app.hosts().await?;
                let request = UndrainHostRequest { name };
                let host = HostView::from(within(QUICK, hosts.undrain_host(request)).await?);
                let sentence =
                    format!("host {} may take desktops again; it is {}", host.name(), host.state());
                app.output.done(&sentence, &host)
            }
            Self::Label { name, labels } => {
                let mut request = SetHostLabelsRequest { name, ..SetHostLabelsRequest::default() };
                for label in labels {
                    match (label.split_once('='), label.strip_suffix('-')) {
                        (Some((key, value)), _) => {
                            request.set.insert(key.to_owned(), value.to_owned());
                        }
                        (None, Some(key)) => request.remove.push(key.to_owned()),
                        (None, None) => return Err(bad_label(&label)),
                    }
                }
                let mut hosts = app.hosts().await?;
                let host = HostView::from(within(QUICK, hosts.set_host_labels(request)).await?);
                let sentence = format!("host {} has the labels {}", host.name(), host.labels());
                app.output.done(&sentence, &host)
            }
            Self::Remove { name, force } => {
                let request = DeleteHostRequest { name: name.clone(), force };
                within(QUICK, broker.delete_host(request)).await?;
                app.output.done(&format!("removed host {name}"), &json!({ "removed": name }))
            }
        }
    }
}

fn bad_label(label: &str) -> Failure {
    let message = format!("{label:?} is not a label: KEY=VALUE to set it, KEY- to remove it");
    Failure::new(Code::InvalidArgument, "BAD_FIELD", message)
}

async fn drain(
    app: &App,
    name: String,
    deadline: Option<Duration>,
    wait: bool,
) -> Result<(), Failure> {
    let mut hosts = app.hosts().await?;
    let deadline = deadline.and_then(|wait| prost_types::Duration::try_from(wait).ok());
    let request = DrainHostRequest { name: name.clone(), deadline };
    let host = HostView::from(within(QUICK, hosts.drain_host(request)).await?);
    if !wait {
        let left = host.remaining();
        let sentence = format!("host {name} takes no more desktops; {left} are still there");
        return app.output.done(&sentence, &host);
    }
    let watching = hosts.watch_hosts(WatchHostsRequest { name: name.clone() });
    let mut told = within(QUICK, watching).await?;
    let mut last = None;
    while let Some(host) = told.message().await? {
        let Some(drain) = &host.drain else {
            let message = format!("host {name} may take desktops again: somebody has undrained it");
            return Err(Failure::new(Code::Aborted, "UNDRAINED", message));
        };
        let left = drain.remaining;
        let drained = left == 0 && host.state() == HostState::Drained;
        if last.replace(left) != Some(left) {
            match app.output.format() {
                Format::Json => {
                    app.output.json_line(&json!({ "event": "progress", "remaining": left }))?
                }
                Format::Table => notice(&format!("{left} desktops are left on {name}")),
            }
        }
        if drained {
            let host = HostView::from(host);
            return app.output.done(&format!("host {name} is drained"), &host);
        }
    }
    Err(Failure::new(Code::Unavailable, "BROKER_ENDING", "the broker ended the answer; ask again"))
}
