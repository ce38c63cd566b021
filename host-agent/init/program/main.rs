//! PID 1 of a desktop, and the way from its root to its user.
//!
//! Nothing but std: the program is linked statically and must stay small,
//! since every desktop keeps it in memory.

#![deny(warnings, unsafe_op_in_unsafe_fn, missing_docs)]

mod account;
mod answer;
mod failure;
mod files;
mod kernel;
mod reap;
mod session;

use std::process::ExitCode;

use failure::{Failure, USAGE};

const HELP: &str = "use: init reap | init session --user NAME --uid N [--full-name TEXT] [--shell PATH] \
                    [--allow-new-privileges] -- COMMAND… | init answer";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let done = match arguments.next().as_deref().and_then(|a| a.to_str()) {
        Some("reap") => reap::run(),
        Some("session") => session::Request::parse(arguments).and_then(session::run),
        Some("answer") => answer::run(std::env::var_os("ROLLTOP_DISPLAY_SOCKET").as_deref()),
        _ => Err(Failure::new(USAGE, HELP)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("rolltop-init: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
