//! The agent's log: text or JSON, with a filter that can be set anew.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, fmt, layer::SubscriberExt as _, registry, reload,
    util::SubscriberInitExt as _,
};

/// Sets what is logged from now on.
pub(crate) struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    /// The environment's word goes before the configuration's.
    pinned: bool,
}

/// Begins to log. `RUST_LOG`, if set, goes before `filter`.
///
/// # Errors
/// The filter cannot be read.
pub(crate) fn start(json: bool, filter: &str) -> anyhow::Result<Filter> {
    let variable = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let first = EnvFilter::try_new(variable.as_deref().unwrap_or(filter))?;
    let (filter, handle) = reload::Layer::new(first);
    let lines = fmt::layer().with_ansi(stderr().is_terminal()).with_writer(stderr);
    let lines = if json { lines.json().boxed() } else { lines.boxed() };
    registry().with(filter).with(lines).try_init()?;
    Ok(Filter { handle, pinned: variable.is_some() })
}

// === impl Filter ===

impl Filter {
    /// Logs by `filter` from now on, unless the environment says otherwise.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn set(&self, filter: &str) -> Result<(), String> {
        if self.pinned {
            tracing::warn!("RUST_LOG is set and goes before log.filter");
            return Ok(());
        }
        let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        self.handle.reload(filter).map_err(|error| error.to_string())
    }
}
