//! `rolltop data`: what is kept for desktops and in homes.

mod export;
mod import;
mod work;

use std::time::Duration;

use clap::{Args, Subcommand};
use rolltop_proto::v1::{
    AdoptDataRequest, CheckDataRequest, CloneDataRequest, CreateDataSnapshotRequest, DataResult,
    DeleteDataRequest, DeleteDataSnapshotRequest, GetDataRequest, GrowDataRequest, ListDataRequest,
    ListDataSnapshotsRequest, RollBackDataRequest, TrimDataRequest,
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    output::{gib_or_mib, size_bytes},
    size,
    view::{AdoptedView, CheckView, DataList, DataView, SnapshotList, SnapshotView},
};

/// Freeing a large file takes its time.
const DELETE: Duration = Duration::from_secs(150);

/// Each volume of the host is looked up.
const ADOPT: Duration = Duration::from_secs(120);

/// What can be done with data. DATA is "pool/user", or "pool" for your own; a
/// home is "home:user", or "home:" for your own.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what is kept for you
    List {
        /// What is kept for everybody; for operators
        #[arg(long)]
        all: bool,
    },
    /// Show size, place and state
    Show(Which),
    /// Make it larger; for operators
    Grow {
        #[command(flatten)]
        which: Which,
        /// The new size, such as 20GiB
        #[arg(value_parser = size::mib)]
        size: i64,
    },
    /// Give back to the host what files no longer use
    Trim(Which),
    /// Look for damage; changes nothing
    Check(Which),
    /// How it was at some time
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Make it what it was; what it is now becomes a snapshot
    Rollback {
        #[command(flatten)]
        which: Which,
        /// Name of the snapshot
        snapshot: String,
        /// Yes, roll it back
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Copy it to somebody who has none there; for operators
    Clone {
        #[command(flatten)]
        which: Which,
        /// "pool/user", or "home:user"
        to: String,
        /// As of this snapshot instead of now
        #[arg(long, value_name = "NAME")]
        snapshot: Option<String>,
    },
    /// Write it to a compressed file
    Export(export::Export),
    /// Make it from such a file; for operators
    Import(import::Import),
    /// Note what a host keeps and nobody knows of, after a restore or a move; for
    /// operators
    Adopt {
        /// Name of the host
        host: String,
    },
    /// Delete it and its snapshots; there is no way back
    Delete {
        #[command(flatten)]
        which: Which,
        /// Yes, delete it
        #[arg(long, required = true)]
        yes: bool,
    },
}

/// Which data.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// "pool/user", "pool", "home:user" or "home:"
    data: String,
}

/// What can be done with snapshots.
#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Keep it as it is now, also while the desktop runs
    Create {
        #[command(flatten)]
        which: Which,
        /// Its name [default: the time]
        name: Option<String>,
        /// What it is, for people
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
    },
    /// List the snapshots, oldest first
    List(Which),
    /// Delete one; there is no way back
    Delete {
        #[command(flatten)]
        which: Which,
        /// Name of the snapshot
        name: String,
        /// Yes, delete it
        #[arg(long, required = true)]
        yes: bool,
    },
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        match self {
            Self::List { all } => {
                let request = ListDataRequest { all };
                let data = within(QUICK, app.storage().await?.list_data(request)).await?.data;
                app.output.show(&data.into_iter().collect::<DataList>())
            }
            Self::Show(Which { data }) => {
                let request = GetDataRequest { data };
                let data = within(QUICK, app.storage().await?.get_data(request)).await?;
                app.output.show(&DataView::from(data))
            }
            Self::Adopt { host } => {
                let request = AdoptDataRequest { host };
                let found = within(ADOPT, app.storage().await?.adopt_data(request)).await?;
                app.output.show(&AdoptedView::from(found))
            }
            Self::Grow { which: Which { data }, size: size_mib } => {
                let request = GrowDataRequest { data: data.clone(), size_mib };
                let done = work::follow(app.storage().await?.grow_data(request)).await?;
                let sentence = format!("{data} has {} now", gib_or_mib(size_mib));
                app.output.done(&sentence, &json!({ "data": view(done) }))
            }
            Self::Trim(Which { data }) => {
                let request = TrimDataRequest { data: data.clone() };
                let done = work::follow(app.storage().await?.trim_data(request)).await?;
                let trimmed = done.trimmed_bytes;
                let sentence = format!("the host got back {} of {data}", size_bytes(trimmed));
                app.output.done(&sentence, &json!({ "data": view(done), "trimmed_bytes": trimmed }))
            }
            Self::Check(Which { data }) => {
                let request = CheckDataRequest { data: data.clone() };
                let done = work::follow(app.storage().await?.check_data(request)).await?;
                app.output.show(&CheckView::new(data, done.check.unwrap_or_default()))
            }
            Self::Snapshot(command) => command.run(app).await,
            // clap lets nobody get here without it.
            Self::Rollback { which: Which { data }, snapshot, yes: _ } => {
                let request = RollBackDataRequest {
                    data: data.clone(),
                    snapshot: snapshot.clone(),
                    request_id: request_id(),
                };
                let done = work::follow(app.storage().await?.roll_back_data(request)).await?;
                let before = done.snapshot.as_ref().map(|snapshot| snapshot.name.clone());
                let kept = before.as_deref().map_or_else(String::new, |name| {
                    format!("; what it was before is snapshot {name}")
                });
                let sentence = format!("{data} is what it was at {snapshot}{kept}");
                app.output.done(&sentence, &json!({ "data": view(done), "before": before }))
            }
            Self::Clone { which: Which { data }, to, snapshot } => {
                let request = CloneDataRequest {
                    data: data.clone(),
                    snapshot: snapshot.unwrap_or_default(),
                    to: to.clone(),
                    request_id: request_id(),
                };
                let done = work::follow(app.storage().await?.clone_data(request)).await?;
                app.output.done(&format!("cloned {data} to {to}"), &json!({ "data": view(done) }))
            }
            Self::Export(export) => export.run(app).await,
            Self::Import(import) => import.run(app).await,
            Self::Delete { which: Which { data }, yes: _ } => {
                let request = DeleteDataRequest { data: data.clone() };
                within(DELETE, app.storage().await?.delete_data(request)).await?;
                app.output.done(&format!("deleted {data}"), &json!({ "deleted": data }))
            }
        }
    }
}

impl Snapshot {
    async fn run(self, app: &App) -> Result<(), Failure> {
        match self {
            Self::Create { which: Which { data }, name, description } => {
                let request = CreateDataSnapshotRequest {
                    data: data.clone(),
                    name: name.unwrap_or_default(),
                    request_id: request_id(),
                    description,
                };
                let done = work::follow(app.storage().await?.create_snapshot(request)).await?;
                let snapshot = SnapshotView::from(done.snapshot.unwrap_or_default());
                let sentence = format!("{data} is kept as snapshot {}", snapshot.name());
                app.output.done(&sentence, &json!({ "snapshot": snapshot }))
            }
            Self::List(Which { data }) => {
                let request = ListDataSnapshotsRequest { data };
                let found = within(QUICK, app.storage().await?.list_snapshots(request)).await?;
                app.output.show(&found.snapshots.into_iter().collect::<SnapshotList>())
            }
            Self::Delete { which: Which { data }, name, yes: _ } => {
                let request = DeleteDataSnapshotRequest { data: data.clone(), name: name.clone() };
                within(DELETE, app.storage().await?.delete_snapshot(request)).await?;
                let document = json!({ "deleted": name, "data": data });
                app.output.done(&format!("deleted snapshot {name} of {data}"), &document)
            }
        }
    }
}

/// A repeated call, by a broken line say, is the same call.
fn request_id() -> String {
    Uuid::new_v4().to_string()
}

fn view(done: DataResult) -> Option<DataView> {
    done.data.map(DataView::from)
}
