//! `rolltop desktop limits`: what a running desktop may use, changed for its life.

use clap::{ArgGroup, Args};
use rolltop_proto::v1::SetDesktopLimitsRequest;
use serde_json::json;

use super::STOP;
use crate::{
    app::{App, within},
    failure::Failure,
    limits::{self, NewLimits},
    view::DesktopView,
};

/// What is not given stays as it is.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("new").required(true).multiple(true).args(limits::ALL)))]
pub(crate) struct Limits {
    /// "pool/user", or "pool" for your own
    id: String,
    #[command(flatten)]
    new: NewLimits,
}

impl Limits {
    pub(super) async fn run(self, app: &App) -> Result<(), Failure> {
        let new = self.new;
        let request = SetDesktopLimitsRequest {
            desktop: self.id,
            memory_mib: new.memory,
            cpu_millis: new.cpus,
            pids: new.processes,
            network_down_bits: new.network_down,
            network_up_bits: new.network_up,
            disk_read_bytes: new.disk_read,
            disk_write_bytes: new.disk_write,
            disk_ops: new.disk_iops,
        };
        let changed = within(STOP, app.broker().await?.set_desktop_limits(request)).await?;
        let changed = DesktopView::from(changed);
        let told = format!("desktop {} may use {}", changed.id, changed.limits_sentence());
        app.output.done(&told, &json!({ "desktop": changed }))
    }
}
