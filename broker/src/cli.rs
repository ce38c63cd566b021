//! The command line of the daemon.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::names::{Endpoint, HostName, UserName};
use crate::state::Role;

/// The session broker of Rolltop.
#[derive(Debug, Parser)]
#[command(name = "rolltop-broker", version, about, args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// The configuration file.
    #[arg(
        long,
        value_name = "FILE",
        env = "ROLLTOP_BROKER_CONFIG",
        default_value = "/etc/rolltop/broker.toml",
        global = true
    )]
    pub config: PathBuf,
    /// Read the configuration, say what is wrong with it, and end.
    #[arg(long)]
    pub check_config: bool,
    /// Without one: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Works on the state directory; the broker must not be running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Users, while the broker does not run.
    #[command(subcommand)]
    User(UserCommand),
    /// Hosts, while the broker does not run.
    #[command(subcommand)]
    Host(HostCommand),
    /// The store as a whole: to move it, or to keep it.
    #[command(subcommand)]
    Store(StoreCommand),
}

/// The store as a whole.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Write everything to a file: people, pools, hosts, desktops, keys. Keep it
    /// as safe as the store itself.
    Export {
        /// A new file.
        file: PathBuf,
    },
    /// Put everything of an exported file into the store of the configuration.
    /// No broker may run on it.
    Import {
        /// The file.
        file: PathBuf,
        /// Delete what is in the store.
        #[arg(long)]
        replace: bool,
    },
}

/// Users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make an account.
    Add(UserAdd),
    /// Give a user a role.
    SetRole {
        /// Login name.
        name: UserName,
        /// user, auditor, operator or admin.
        role: Role,
    },
}

/// Makes an account.
#[derive(Debug, Args)]
pub struct UserAdd {
    /// Login name.
    pub name: UserName,
    /// Name for people.
    #[arg(long, default_value = "")]
    pub full_name: String,
    /// user, auditor, operator or admin.
    #[arg(long, default_value = "user")]
    pub role: Role,
    /// The same as --role operator.
    #[arg(long, conflicts_with = "role")]
    pub operator: bool,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: PasswordFrom,
}

/// Where a password comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PasswordFrom {
    /// The password is the first line of standard input.
    #[arg(long)]
    pub password_stdin: bool,
    /// Make a password, and print it alone on standard output.
    #[arg(long)]
    pub generate_password: bool,
}

/// Hosts.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Enrol a host: note where its agent is, and issue its certificate.
    Add(HostAdd),
}

/// Enrols a host.
#[derive(Debug, Args)]
pub struct HostAdd {
    /// Name of the host.
    pub name: HostName,
    /// Where its agent listens: https://IP:PORT.
    #[arg(long, value_name = "URL")]
    pub endpoint: Endpoint,
    /// Where ca.pem, host.pem and host-key.pem for the agent are put.
    #[arg(long, value_name = "DIR")]
    pub credentials_out: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn hostile_names_do_not_get_past_the_command_line() {
        for name in ["a/b", "..", "a b", "A"] {
            let parsed =
                Cli::try_parse_from(["rolltop-broker", "user", "add", name, "--generate-password"]);
            assert!(parsed.is_err(), "{name}");
        }
        assert!(
            Cli::try_parse_from(["rolltop-broker", "user", "add", "anna"]).is_err(),
            "a password is needed"
        );
    }
}
