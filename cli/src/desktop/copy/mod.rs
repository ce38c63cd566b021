//! `rolltop desktop cp`: files into a desktop and out of it.
//!
//! Paths in the desktop are resolved there, by a `tar` that runs as its user.

mod line;
mod place;
mod streams;

use std::io;

use clap::Args;
use serde_json::json;

use self::{
    line::Line,
    place::{Inner, Place},
};
use crate::{
    app::App,
    copy::Landed,
    failure::{Exit, Failure},
    output::{clean, notice, size_bytes},
    terminal::{Endings, TerminalError},
};

/// Options of `desktop cp`.
#[derive(Debug, Args)]
#[command(
    after_help = "One of the two is ID:PATH, such as demo:report.odt or demo/ada:/etc/motd; a relative path \
    begins at the user's home. Directories go with all that is in them. \"-\" is standard input or output, \
    for a single file. Into a directory that is there, things go by their own name."
)]
pub(crate) struct Copy {
    /// What to copy
    source: Place,
    /// Where to
    target: Place,
    /// As the root of the desktop; for operators
    #[arg(long)]
    as_root: bool,
}

impl Copy {
    pub(crate) async fn run(self, app: &App) -> Result<Exit, Failure> {
        let mut endings = Endings::catch().map_err(TerminalError::from)?;
        tokio::select! {
            done = self.copy(app) => done.map(|()| Exit::OK),
            signal = endings.recv() => Err(Failure::interrupted(signal, "interrupted; what was copied by then stays")),
        }
    }

    async fn copy(self, app: &App) -> Result<(), Failure> {
        let Self { source, target, as_root } = self;
        match (source, target) {
            (Place::There { desktop, path }, Place::Stream) => {
                let command = vec!["cat".into(), "--".into(), Inner::new(&path).0];
                let line = Line::new(app, desktop, as_root).await?;
                line.out(command, io::stdout()).await
            }
            (Place::There { desktop, path }, Place::Here(to)) => {
                let line = Line::new(app, desktop, as_root).await?;
                let landed = line.fetch(&Inner::new(&path), &to).await?;
                told(app, &landed)
            }
            (Place::Stream, Place::There { desktop, path }) => {
                let script = "cat > \"$1\"".to_owned();
                let command =
                    vec!["/bin/sh".into(), "-c".into(), script, "sh".into(), Inner::new(&path).0];
                let line = Line::new(app, desktop, as_root).await?;
                line.feed(command, |to| io::copy(&mut io::stdin().lock(), to).map(drop)).await
            }
            (Place::Here(from), Place::There { desktop, path }) => {
                let line = Line::new(app, desktop, as_root).await?;
                line.send(&from, &Inner::new(&path)).await
            }
            (Place::There { .. }, Place::There { .. }) => {
                Err(Failure::usage("both are in desktops").hint("copy it here first"))
            }
            (Place::Here(_) | Place::Stream, Place::Here(_) | Place::Stream) => {
                Err(Failure::usage("neither is in a desktop")
                    .hint("name one as ID:PATH, such as demo:file"))
            }
        }
    }
}

fn told(app: &App, landed: &Landed) -> Result<(), Failure> {
    let Landed { files, bytes, skipped, skipped_count } = landed;
    if let Some(first) = skipped.first() {
        let first = clean(&first.to_string_lossy());
        notice(&format!("{skipped_count} left out that are no files, such as {first}"));
    }
    let sentence =
        format!("{files} file(s), {}", size_bytes(i64::try_from(*bytes).unwrap_or(i64::MAX)));
    let document = json!({ "files": files, "bytes": bytes, "left_out": skipped_count });
    app.output.done(&sentence, &document)
}
