//! The terminal we run in: its modes, its size, its signals, and questions to
//! the person before it.

mod mode;
mod prompt;
mod signals;

use std::io::{self, IsTerminal as _};

use rolltop_proto::v1::TerminalSize;

pub(crate) use mode::ModeGuard;
pub(crate) use prompt::{ask, ask_secret, confirm, read_secret_line};
pub(crate) use signals::Endings;

/// Why the terminal did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TerminalError {
    #[error("there is no terminal to ask at")]
    NotATerminal,
    #[error("the input ended before the answer")]
    Ended,
    #[error("interrupted by signal {signal}")]
    Interrupted { signal: i32 },
    #[error("terminal: {0}")]
    Io(#[from] io::Error),
    #[error("the thread that reads the terminal ended")]
    Reader,
}

/// Whether there is a person to ask: they type here and see what we ask.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Size of the terminal on standard output. A terminal that does not know its
/// own (0 by 0) is taken for the classic 80 by 24.
pub(crate) fn size() -> io::Result<TerminalSize> {
    let size = rustix::termios::tcgetwinsize(io::stdout())?;
    Ok(match (size.ws_col, size.ws_row) {
        (0, _) | (_, 0) => TerminalSize { columns: 80, rows: 24 },
        (columns, rows) => TerminalSize { columns: columns.into(), rows: rows.into() },
    })
}
