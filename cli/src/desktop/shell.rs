//! `rolltop desktop shell`: a shell in a desktop on a real terminal.

use std::{
    collections::HashMap,
    io::{self, IsTerminal as _},
};

use clap::Args;
use rolltop_proto::v1::{ExecRequest, ExecStart, exec_request};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::session::{self, Session};
use crate::{
    app::App,
    failure::{Exit, Failure},
    terminal::{self, Endings, ModeGuard, TerminalError},
};

/// Options of `desktop shell`.
#[derive(Debug, Args)]
pub(crate) struct Shell {
    /// "pool/user", or "pool" for your own
    id: String,
    /// As the root of the desktop; for operators
    #[arg(long)]
    as_root: bool,
}

impl Shell {
    pub(crate) async fn run(self, app: &App) -> Result<Exit, Failure> {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return Err(Failure::usage("a shell needs a terminal")
                .hint("run a single command with `rolltop desktop exec`")
                .exit(Exit::NOT_RUN));
        }
        self.on_terminal(app).await.map_err(|failure| failure.exit(Exit::NOT_RUN))
    }

    async fn on_terminal(self, app: &App) -> Result<Exit, Failure> {
        let mut broker = app.broker().await?;
        // Before the size is read: no later change of it is missed.
        let changed = signal(SignalKind::window_change()).map_err(TerminalError::from)?;
        let size = terminal::size().map_err(TerminalError::from)?;
        let kind = app.env.terminal_type().map(|kind| ("TERM".to_owned(), kind.to_owned()));
        let start = ExecStart {
            desktop: self.id,
            as_root: self.as_root,
            terminal: Some(size),
            environment: HashMap::from_iter(kind),
            ..ExecStart::default()
        };
        let mut session = Session::start(&mut broker, start).await?;

        // Caught first: whatever comes, the mode is put back below.
        let mut endings = Endings::catch().map_err(TerminalError::from)?;
        let resizes = tokio::spawn(forward_resizes(changed, session.sender()));
        let raw = ModeGuard::raw(io::stdin()).map_err(TerminalError::from)?;
        let input = session::pump_stdin(session.sender());
        let exit = tokio::select! {
            exit = session.run() => exit,
            signal = endings.recv() => Ok(Exit::from_signal(signal)),
        };
        drop(raw);
        input.abort();
        resizes.abort();
        exit
    }
}

/// Tells the command each new size of the window.
async fn forward_resizes(mut changed: Signal, to: mpsc::Sender<ExecRequest>) {
    while changed.recv().await.is_some() {
        // A terminal that does not tell its size is about to go away.
        let Ok(size) = terminal::size() else { continue };
        let message = session::request(exec_request::Message::Resize(size));
        if to.send(message).await.is_err() {
            return;
        }
    }
}
