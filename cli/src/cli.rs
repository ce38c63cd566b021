//! The command line: what can be typed. Each noun's own words are in its
//! module.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    account, audit, data, desktop, group, host, image, output::Format, place, pool,
    server::ServerUrl, session, token, totp, user,
};

const ABOUT: &str = "Desktops that roll open when you sit down";

/// Shown by `rolltop --help`; part of the documented interface.
const REFERENCE: &str = "\
EXIT CODES:
  0  done
  1  failed
  2  wrong command line, or a value that the broker refused
  3  not signed in, or the session is over
  4  not found
  5  no room on any host, or too many tries
  6  not allowed
  7  the broker cannot be reached, or its certificate is not trusted
  8  not possible in the present state
  9  no answer in time
  125  `desktop exec` and `desktop shell` only: the command could not be run.
       Every other code there is the command's own; 128+N: ended by signal N.
  128+N  rolltop itself was ended by signal N

FILES:
  $XDG_CONFIG_HOME/rolltop/config.toml    known servers and their certificates
  $XDG_STATE_HOME/rolltop/sessions.toml   session tokens, mode 0600

ENVIRONMENT:
  ROLLTOP_SERVER, ROLLTOP_CA   as --server and --ca
  ROLLTOP_TOKEN                a session token, or one of `rolltop token create`,
                               in place of the stored one
  NO_COLOR                     no colours";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "rolltop", version, about = ABOUT, after_long_help = REFERENCE)]
#[command(max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Output for people or for programs
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub(crate) output: Format,
    /// The broker [default: that of the last login, or https://localhost:8443]
    #[arg(long, global = true, env = "ROLLTOP_SERVER", value_name = "URL")]
    pub(crate) server: Option<ServerUrl>,
    /// CA certificate of the cluster, in PEM
    #[arg(long, global = true, env = "ROLLTOP_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// The first word.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign in to a broker
    Login(account::Login),
    /// Sign out, and forget the session
    Logout,
    /// Show who is signed in, and where
    Whoami,
    /// Change a password
    Passwd(account::Passwd),
    /// Kinds of desktop
    #[command(subcommand)]
    Pool(pool::Command),
    /// Desktops
    #[command(subcommand)]
    Desktop(desktop::Command),
    /// Who works in which desktop, who looks at it
    #[command(subcommand)]
    Session(session::Command),
    /// What is kept for desktops, and homes
    #[command(subcommand)]
    Data(data::Command),
    /// Machines that run desktops
    #[command(subcommand)]
    Host(host::Command),
    /// Where desktops would be placed, and why
    #[command(subcommand)]
    Place(place::Command),
    /// Images that desktops are made from
    #[command(subcommand)]
    Image(image::Command),
    /// Accounts
    #[command(subcommand)]
    User(user::Command),
    /// Groups of users
    #[command(subcommand)]
    Group(group::Command),
    /// Tokens for programs
    #[command(subcommand)]
    Token(token::Command),
    /// Codes from a device as a second factor of your sign-in
    #[command(subcommand)]
    Totp(totp::Command),
    /// Who did what, from where, and what came of it
    #[command(subcommand)]
    Audit(audit::Command),
    /// Print a completion script for a shell
    Completion {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_command_is_understood() {
        for line in [
            "rolltop login --server https://h:8443 --ca ca.pem --user ada --password-stdin",
            "rolltop login --fingerprint sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "rolltop logout",
            "rolltop whoami -o json",
            "rolltop passwd --user bob",
            "rolltop pool list --all",
            "rolltop pool show demo",
            "rolltop pool set demo --image demo:stable --disk 2GiB --memory 1GiB --cpus 1.5 --processes 300 --persistent --users ada,bob",
            "rolltop pool set demo --volatile --everyone --memory none",
            "rolltop pool delete demo",
            "rolltop desktop list --all",
            "rolltop desktop watch --all",
            "rolltop desktop show demo/ada",
            "rolltop desktop start demo --user ada --size 1280x800 --time-zone Europe/Berlin",
            "rolltop desktop stop demo",
            "rolltop desktop freeze demo/ada",
            "rolltop desktop thaw demo/ada",
            "rolltop desktop exec demo -- ls -l --all",
            "rolltop desktop exec demo --as-root -- id",
            "rolltop desktop shell demo --as-root",
            "rolltop data list --all",
            "rolltop data show demo/ada",
            "rolltop data grow home:ada 20GiB",
            "rolltop data trim demo",
            "rolltop data check demo",
            "rolltop data snapshot create demo before-upgrade --description why",
            "rolltop data snapshot create home:",
            "rolltop data snapshot list demo/ada",
            "rolltop data snapshot delete demo before-upgrade --yes",
            "rolltop data rollback demo before-upgrade --yes",
            "rolltop data clone demo/ada demo/bob --snapshot before-upgrade",
            "rolltop data export demo - --snapshot before-upgrade",
            "rolltop data import demo/ada backup.rto --host host-1",
            "rolltop data delete demo/ada --yes",
            "rolltop pool set demo --home volume:10GiB",
            "rolltop pool set demo --home directory:/srv/homes",
            "rolltop pool set demo --home none",
            "rolltop pool set demo --idle-limit 30min --disconnected-limit 8h --time-limit none --warning 5min",
            "rolltop pool set demo --max-desktops 20",
            "rolltop pool set demo --close Back-at-noon",
            "rolltop pool set demo --reopen --max-desktops none",
            "rolltop desktop open demo",
            "rolltop host list",
            "rolltop host watch",
            "rolltop host watch host-1",
            "rolltop host add host-1 https://10.0.0.1:7443",
            "rolltop host remove host-1",
            "rolltop host enrol-token host-1 --valid 30min",
            "rolltop host revoke host-1",
            "rolltop place explain --pool demo --user ada",
            "rolltop host remove host-1 --force",
            "rolltop host drain host-1 --deadline 2h --wait",
            "rolltop host undrain host-1",
            "rolltop host label host-1 gpu=a40 room-",
            "rolltop image build recipe --store dir --tag stable --format erofs --reuse",
            "rolltop image build recipe --store dir --format directory --shift-ids 100000",
            "rolltop image import demo root.tar.zst --store dir --manifest image.toml --max-size 20GiB",
            "rolltop image import demo layout --store dir --reference latest --compress none",
            "rolltop image publish demo root.erofs --store dir --description text",
            "rolltop image untag demo:next --store dir",
            "rolltop image retire demo@v1 --store dir --reason broken",
            "rolltop image retire demo@v1 --store dir --undo",
            "rolltop image verify --store dir",
            "rolltop image verify demo@v1 demo:stable --store dir",
            "rolltop image gc --store dir",
            "rolltop image gc --store dir --keep 0 --older-than 12h --offline --forget-host h1 --yes",
            "rolltop image list",
            "rolltop image list --store dir",
            "rolltop image tag demo@v1 stable --store dir",
            "rolltop image show demo:stable --store dir",
            "rolltop audit list --user ada --act put-pool --object pool:demo --outcome refused --from 2h -n 5",
            "rolltop audit export --from 2026-01-31 --to 2026-02-01T08:00:00Z",
            "rolltop audit watch --object host:",
            "rolltop audit acts",
            "rolltop login --user ada --code 123456",
            "rolltop totp enrol --password-stdin",
            "rolltop totp confirm 123456",
            "rolltop totp disable 123456",
            "rolltop user reset-totp ada",
            "rolltop user unlock ada",
            "rolltop token create backup --scope read,operate --valid 90d",
            "rolltop token list --all",
            "rolltop token revoke ab12 --user ada",
            "rolltop group create staff --description text",
            "rolltop group add staff ada bob",
            "rolltop group remove staff bob",
            "rolltop group members staff",
            "rolltop group list",
            "rolltop group delete staff",
            "rolltop pool set demo --groups staff,guests --users ada",
            "rolltop user list --output json",
            "rolltop user add ada --generate-password --operator",
            "rolltop user add ada --password-stdin",
            "rolltop user add ada --password-stdin --role auditor",
            "rolltop user set-role ada admin",
            "rolltop user delete ada",
            "rolltop completion bash",
            "rolltop version",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}\n{error}"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "rolltop",
            "rolltop desktop exec demo",
            "rolltop desktop exec demo --",
            "rolltop host enrol-token host-1 --valid soon",
            "rolltop data delete demo/ada",
            "rolltop data rollback demo before-upgrade",
            "rolltop data snapshot delete demo before-upgrade",
            "rolltop data grow demo 0",
            "rolltop data export demo",
            "rolltop pool set demo --home volume",
            "rolltop pool set demo --idle-limit soon",
            "rolltop pool set demo --close Why --reopen",
            "rolltop pool set demo --home directory:homes",
            "rolltop desktop start demo --size 12",
            "rolltop desktop start demo --size 0x100",
            "rolltop pool set demo --disk -1",
            "rolltop pool set demo --disk 0",
            "rolltop pool set demo --persistent --volatile",
            "rolltop pool set demo --everyone --users ada",
            "rolltop pool set demo --everyone --groups staff",
            "rolltop group add staff",
            "rolltop token create backup",
            "rolltop token create backup --scope everything",
            "rolltop user add ada --generate-password --password-stdin",
            "rolltop user set-role ada king",
            "rolltop user add ada --operator --role admin",
            "rolltop whoami --output xml",
            "rolltop --server http://h whoami",
            "rolltop login --fingerprint sha256:12",
            "rolltop image import Demo root.tar --store dir",
            "rolltop image import demo root.tar",
            "rolltop image build recipe --store dir --shift-ids 12",
            "rolltop image gc --store dir --older-than soon",
            "rolltop image retire demo@v1 --store dir --reason x --undo",
            "rolltop audit list --from soon",
            "rolltop audit list --outcome perhaps",
            "rolltop audit list -n 0",
            "rolltop completion nosuch",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
