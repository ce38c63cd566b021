//! Taking up a changed configuration while desktops run (SIGHUP).

use std::sync::Arc;

use tracing::{error, info, warn};

use crate::{
    config::{Config, fixed_differences, live_differences},
    host::Host,
};

/// What became of a changed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// All that has changed holds from now on.
    Taken,
    /// Some of it needs another start of the agent.
    Partly,
    /// It cannot be used: nothing has changed.
    Refused,
}

/// Takes up what `read` returns, as far as that can be done now; what cannot is
/// named in a warning and stays as it was. `filter` sets what is logged.
///
/// A configuration with any fault in it changes nothing at all.
pub fn reload(
    host: &Arc<Host>,
    read: Result<Config, String>,
    filter: impl FnOnce(&str) -> Result<(), String>,
) -> Reloaded {
    let outcome = match read {
        Ok(new) => take_up(host, &new, filter),
        Err(fault) => {
            error!(%fault, "the configuration cannot be used: the one before it stays");
            Reloaded::Refused
        }
    };
    host.metrics.reloaded(outcome);
    outcome
}

fn take_up(
    host: &Arc<Host>,
    new: &Config,
    filter: impl FnOnce(&str) -> Result<(), String>,
) -> Reloaded {
    let (old, live) = (host.live(), new.live());
    let taken = live_differences(&old, &live);
    let kept = fixed_differences(&host.config, new);
    if live.log_filter != old.log_filter
        && let Err(fault) = filter(&live.log_filter)
    {
        error!(%fault, "the log's filter cannot be set: the configuration before it stays");
        return Reloaded::Refused;
    }
    host.set_live(live);
    info!(changed = ?taken, "the configuration was read again");
    if kept.is_empty() {
        return Reloaded::Taken;
    }
    warn!(keys = ?kept, "these have changed and hold from the agent's next start on; desktops outlive that");
    Reloaded::Partly
}

impl Reloaded {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Taken, Self::Partly, Self::Refused];

    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Partly => "partly",
            Self::Refused => "refused",
        }
    }
}
