//! `rolltop desktop limits`: what a running desktop may use, changed for its life.

use clap::{ArgGroup, Args};
use rolltop_proto::v1::SetDesktopLimitsRequest;
use serde_json::json;

use super::STOP;
use crate::{
    app::{App, within},
    failure::Failure,
    size,
    view::DesktopView,
};

/// What is not given stays as it is.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("new").required(true).multiple(true).args(["memory", "cpus", "processes"])))]
pub(crate) struct Limits {
    /// "pool/user", or "pool" for your own
    id: String,
    /// Most memory, such as 4GiB, or "none"
    #[arg(long, value_name = "SIZE", value_parser = size::mib_or_none)]
    memory: Option<i64>,
    /// Most processors, such as 1.5, or "none"
    #[arg(long, value_name = "NUMBER", value_parser = size::cpu_millis)]
    cpus: Option<i64>,
    /// Most processes, or "none"
    #[arg(long, value_name = "NUMBER", value_parser = size::count_or_none)]
    processes: Option<i64>,
}

impl Limits {
    pub(super) async fn run(self, app: &App) -> Result<(), Failure> {
        let request = SetDesktopLimitsRequest {
            desktop: self.id,
            memory_mib: self.memory,
            cpu_millis: self.cpus,
            pids: self.processes,
        };
        let changed = within(STOP, app.broker().await?.set_desktop_limits(request)).await?;
        let changed = DesktopView::from(changed);
        let told = format!("desktop {} may use {}", changed.id, changed.limits_sentence());
        app.output.done(&told, &json!({ "desktop": changed }))
    }
}
