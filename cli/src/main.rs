//! rolltop: the command line of users and operators.

#![forbid(unsafe_code)]

mod about;
mod account;
mod app;
mod audit;
mod browser;
mod cli;
mod connect;
mod copy;
mod data;
mod desktop;
mod duration;
mod env;
mod failure;
mod group;
mod host;
mod image;
mod limits;
mod login;
mod output;
mod place;
mod pool;
mod progress;
mod rollout;
mod secret;
mod server;
mod session;
mod size;
mod store;
mod terminal;
mod token;
mod totp;
mod trust;
mod user;
mod view;
mod watch;

use std::{ffi::OsString, io, process::ExitCode};

use clap::Parser as _;

use crate::{
    app::App,
    cli::Cli,
    env::Environment,
    failure::{Exit, Failure},
    output::Format,
};

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error) => refuse(&error),
    }
}

fn run(cli: Cli) -> ExitCode {
    let format = cli.global.output;
    let app = App::new(Environment::from_process(), cli.global);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::output(&error), format),
    };
    let result = runtime.block_on(app.run(cli.command));
    // A thread may still sit in a read of the terminal, with nothing to come.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => report(&failure, format),
    }
}

fn report(failure: &Failure, format: Format) -> ExitCode {
    // If standard error cannot be written, the exit code is all we have.
    failure.write(&mut io::stderr().lock(), format).ok();
    failure.exit.into()
}

/// Help and the version were asked for, or the command line is wrong.
fn refuse(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && wants_json(std::env::args_os()) {
        // "error: " and the usage lines are for people.
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        let failure = Failure::usage(message).hint("see `rolltop --help`");
        return report(&failure, Format::Json);
    }
    match error.print() {
        Ok(()) if !error.use_stderr() => Exit::OK.into(),
        Ok(()) => Exit::USAGE.into(),
        Err(error) => report(&Failure::output(&error), Format::Table),
    }
}

/// Whether JSON was asked for on a command line that could not be parsed.
fn wants_json(args: impl Iterator<Item = OsString>) -> bool {
    let args: Vec<_> = args.filter_map(|arg| arg.into_string().ok()).collect();
    let ours = args.split(|arg| arg == "--").next().unwrap_or_default();
    ours.iter().any(|arg| matches!(arg.as_str(), "--output=json" | "-o=json" | "-ojson"))
        || ours
            .windows(2)
            .any(|pair| matches!(pair[0].as_str(), "-o" | "--output") && pair[1] == "json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_recognised_on_a_broken_command_line() {
        let wants = |line: &str| wants_json(line.split(' ').map(OsString::from));
        assert!(wants("rolltop nosuch --output json"));
        assert!(wants("rolltop -o json nosuch"));
        assert!(wants("rolltop --output=json nosuch"));
        assert!(!wants("rolltop nosuch"));
        assert!(!wants("rolltop --output table json"));
        assert!(!wants("rolltop desktop exec x -- y -o json"));
    }
}
