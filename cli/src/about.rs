//! `version` and `completion`: what rolltop says of itself.

use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::json;

use crate::{app::App, cli::Cli, failure::Failure};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `{"version": "…"}`
pub(crate) fn version(app: &App) -> Result<(), Failure> {
    app.output.done(&format!("rolltop {VERSION}"), &json!({ "version": VERSION }))
}

/// The script for a shell, as it is: for `source <(rolltop completion bash)`.
pub(crate) fn completion(app: &App, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rolltop", &mut script);
    app.output.write(&String::from_utf8_lossy(&script))
}
