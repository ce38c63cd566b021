//! `rolltop place`: why a desktop would be placed where. For operators.

use clap::Subcommand;
use rolltop_proto::v1::ExplainPlacementRequest;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    view::PlacementView,
};

/// What can be asked about placement.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what speaks for and against each host, and which would be taken now
    Explain {
        /// Of which pool
        #[arg(long)]
        pool: String,
        /// For whom [default: somebody who has nothing yet]
        #[arg(long, default_value = "")]
        user: String,
    },
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let Self::Explain { pool, user } = self;
        let mut hosts = app.hosts().await?;
        let request = ExplainPlacementRequest { pool, user };
        let told = within(QUICK, hosts.explain_placement(request)).await?;
        app.output.show(&PlacementView::from(told))
    }
}
