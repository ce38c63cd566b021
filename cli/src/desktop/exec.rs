//! `rolltop desktop exec`: a command in a desktop, with our standard streams.

use clap::Args;
use rolltop_proto::v1::{ExecStart, exec_request};

use super::session::{self, Session};
use crate::{
    app::App,
    failure::{Exit, Failure},
};

/// Options of `desktop exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// "pool/user", or "pool" for your own
    id: String,
    /// As the root of the desktop; for operators
    #[arg(long)]
    as_root: bool,
    /// Give the command no standard input
    #[arg(short = 'n', long)]
    no_stdin: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, app: &App) -> Result<Exit, Failure> {
        // A number below 125 would be taken for the command's own.
        self.pass_through(app).await.map_err(|failure| match failure.quiet {
            true => failure,
            false => failure.exit(Exit::NOT_RUN),
        })
    }

    async fn pass_through(self, app: &App) -> Result<Exit, Failure> {
        let mut broker = app.broker().await?;
        let start = ExecStart {
            desktop: self.id,
            command: self.command,
            as_root: self.as_root,
            ..ExecStart::default()
        };
        let mut session = Session::start(&mut broker, start).await?;
        if self.no_stdin {
            let closed = session::request(exec_request::Message::StdinClosed(true));
            // Nobody receives: the command has ended, and run() says how.
            session.sender().send(closed).await.ok();
            return session.run().await;
        }
        let input = session::pump_stdin(session.sender());
        let exit = session.run().await;
        input.abort();
        exit
    }
}
