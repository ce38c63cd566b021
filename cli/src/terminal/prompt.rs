//! Questions to a person, on standard error, so that standard output stays
//! clean for results.

use std::io::{self, BufRead as _, Read as _, Write as _};

use super::{Endings, ModeGuard, TerminalError, is_interactive};

/// Longer than any name or password that a broker takes.
const MAX_LINE_BYTES: u64 = 4096;

/// Asks for a line, shown as it is typed.
pub(crate) async fn ask(question: &str) -> Result<String, TerminalError> {
    let mut endings = Endings::catch()?;
    question_to_terminal(question)?;
    answer(&mut endings).await
}

/// Asks for a line that is not shown.
pub(crate) async fn ask_secret(question: &str) -> Result<String, TerminalError> {
    // In this order: an answer may be typed as soon as the question is seen,
    // and from the change of mode on a signal must not end us before it is
    // changed back.
    let mut endings = Endings::catch()?;
    let _unseen = ModeGuard::no_echo(io::stdin()).map_err(|_| TerminalError::NotATerminal)?;
    question_to_terminal(question)?;
    answer(&mut endings).await
}

/// Asks a yes-or-no question; anything but "yes" means no.
pub(crate) async fn confirm(question: &str) -> Result<bool, TerminalError> {
    let answer = ask(&format!("{question} (yes/no) ")).await?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

/// One line of standard input, for `--password-stdin`.
pub(crate) fn read_secret_line() -> Result<String, TerminalError> {
    read_line()
}

fn question_to_terminal(question: &str) -> Result<(), TerminalError> {
    if !is_interactive() {
        return Err(TerminalError::NotATerminal);
    }
    let mut stderr = io::stderr();
    stderr.write_all(question.as_bytes())?;
    Ok(stderr.flush()?)
}

/// The answer, or the signal that came instead of one.
async fn answer(endings: &mut Endings) -> Result<String, TerminalError> {
    tokio::select! {
        line = tokio::task::spawn_blocking(read_line) => {
            line.map_err(|_| TerminalError::Reader)?
        }
        signal = endings.recv() => Err(TerminalError::Interrupted { signal }),
    }
}

fn read_line() -> Result<String, TerminalError> {
    let mut line = String::new();
    io::stdin().lock().take(MAX_LINE_BYTES).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(text) => Ok(text.strip_suffix('\r').unwrap_or(text).to_owned()),
        None if line.is_empty() => Err(TerminalError::Ended),
        // The last line of a file need not end in a newline.
        None => Ok(line),
    }
}
