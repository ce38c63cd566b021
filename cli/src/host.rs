//! `rolltop host`: machines that run desktops. For operators.

use clap::Subcommand;
use rolltop_proto::v1::{DeleteHostRequest, ListHostsRequest, PutHostRequest};
use serde_json::json;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    view::{HostList, HostView},
};

/// What can be done with hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the hosts
    List,
    /// Add a host, or change the address of one
    Add {
        /// Name of the host
        name: String,
        /// Address of its agent: https://address:port
        endpoint: String,
    },
    /// Remove a host
    Remove {
        /// Name of the host
        name: String,
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
            Self::Add { name, endpoint } => {
                let request = PutHostRequest { name, endpoint };
                let host = HostView::from(within(QUICK, broker.put_host(request)).await?);
                let sentence = format!("host {} added; it is {}", host.name(), host.state());
                app.output.done(&sentence, &host)
            }
            Self::Remove { name } => {
                let request = DeleteHostRequest { name: name.clone() };
                within(QUICK, broker.delete_host(request)).await?;
                app.output.done(&format!("removed host {name}"), &json!({ "removed": name }))
            }
        }
    }
}
