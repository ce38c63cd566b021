//! `rolltop desktop logs`: what a desktop's session has written.

use std::io::{self, IsTerminal as _};

use clap::Args;
use rolltop_proto::v1::DesktopLogRequest;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{
    app::{App, QUICK, within},
    failure::{Exit, Failure},
    output::{Format, clean},
    terminal::{Endings, TerminalError},
};

/// A line without an end is shown when it is so long.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Options of `desktop logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// "pool/user", or "pool" for your own
    id: String,
    /// Go on until the desktop ends or you press Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    lines: Option<u32>,
}

impl Logs {
    pub(crate) async fn run(self, app: &App) -> Result<Exit, Failure> {
        let mut endings = Endings::catch().map_err(TerminalError::from)?;
        let request = DesktopLogRequest {
            desktop: self.id,
            number: 0,
            lines: self.lines.unwrap_or(0),
            follow: self.follow,
        };
        let mut client = app.stats().await?;
        let mut chunks = within(QUICK, client.read_desktop_log(request)).await?;
        let mut lines = Lines::default();
        loop {
            let chunk = tokio::select! {
                chunk = chunks.message() => chunk?,
                signal = endings.recv() => return Ok(Exit::from_signal(signal)),
            };
            let Some(chunk) = chunk else { break };
            if app.output.format() == Format::Table && !io::stdout().is_terminal() {
                // A file or a program gets what was written, byte by byte.
                as_is(&chunk.data).await?;
                continue;
            }
            for line in lines.take(&chunk.data) {
                show(app, &line)?;
            }
        }
        if let Some(line) = lines.rest() {
            show(app, &line)?;
        }
        Ok(Exit::OK)
    }
}

/// A session's words must not steer the terminal of whoever reads them.
fn show(app: &App, line: &str) -> Result<(), Failure> {
    match app.output.format() {
        Format::Json => app.output.json_line(&json!({ "line": line })),
        Format::Table => app.output.write(&format!("{}\n", clean(line))),
    }
}

async fn as_is(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = tokio::io::stdout();
    let written = async {
        stdout.write_all(bytes).await?;
        stdout.flush().await
    };
    written.await.map_err(|error| Failure::output(&error))
}

/// Puts lines together from pieces.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// The lines that are whole now.
    fn take(&mut self, piece: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(piece);
        let mut whole = Vec::new();
        let mut begin = 0;
        for (at, _) in self.0.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            whole.push(text(&self.0[begin..at]));
            begin = at + 1;
        }
        self.0.drain(..begin);
        if self.0.len() > MAX_LINE_BYTES {
            whole.extend(self.rest());
        }
        whole
    }

    fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.0);
        (!rest.is_empty()).then(|| text(&rest))
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_bounded() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"one\r\ntw"), ["one"]);
        assert_eq!(lines.take(b"o\n\nthr\xffee"), ["two", ""]);
        assert_eq!(lines.rest().as_deref(), Some("thr\u{fffd}ee"));
        assert_eq!(lines.rest(), None);
        let endless = vec![b'x'; MAX_LINE_BYTES + 1];
        assert_eq!(lines.take(&endless).len(), 1);
        assert_eq!(lines.rest(), None);
    }
}
