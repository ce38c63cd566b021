//! `rolltop desktop top`: a desktop's processes, drawn anew while one looks.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::Args;
use rolltop_proto::v1::{DesktopProcessesRequest, WatchDesktopStatsRequest};
use serde::Serialize;
use tokio::{
    io::AsyncReadExt as _,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::Instant,
};
use unicode_width::UnicodeWidthChar as _;

use super::stats::seconds;
use crate::{
    app::{App, QUICK, within},
    failure::{Exit, Failure},
    output::{Format, Output, View as _},
    terminal::{self, Endings, ModeGuard, TerminalError},
    view::{ProcessList, StatsView},
};

/// Its own screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// As a terminal in raw mode sends it.
const CTRL_C: u8 = 3;

/// Options of `desktop top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// "pool/user", or "pool" for your own
    id: String,
    /// Seconds between two looks, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    interval: Duration,
}

/// One look: `{"stats": …, "processes": […], "more": …}`
#[derive(Debug, Serialize)]
struct Sight {
    stats: StatsView,
    #[serde(flatten)]
    list: ProcessList,
}

/// The terminal's own screen, left when dropped.
struct Screen<'a> {
    output: &'a Output,
    _raw: ModeGuard,
}

impl Top {
    pub(crate) async fn run(self, app: &App) -> Result<Exit, Failure> {
        // Before anything is on a screen: what is wrong is told in lines.
        let mut client = app.stats().await?;
        let request = WatchDesktopStatsRequest {
            desktop: self.id.clone(),
            number: 0,
            interval: self.interval.try_into().ok(),
        };
        let mut answers = within(QUICK, client.watch_desktop_stats(request)).await?;
        let mut endings = Endings::catch().map_err(TerminalError::from)?;
        let mut resized = signal(SignalKind::window_change()).map_err(TerminalError::from)?;
        let screen = Screen::open(app)?;
        let mut keys = match &screen {
            Some(_) => keys(),
            None => mpsc::channel(1).1,
        };
        let mut last: Option<(Sight, Instant)> = None;
        loop {
            tokio::select! {
                signal = endings.recv() => return Ok(Exit::from_signal(signal)),
                Some(key) = keys.recv() => if matches!(key, b'q' | b'Q' | CTRL_C) {
                    return Ok(Exit::OK);
                },
                _ = resized.recv(), if screen.is_some() => {}
                answer = answers.message() => {
                    let Some(stats) = answer? else { return Ok(Exit::OK) };
                    let request = DesktopProcessesRequest { desktop: self.id.clone(), number: 0, max: 0 };
                    let list = within(QUICK, client.list_desktop_processes(request)).await?;
                    let now = Instant::now();
                    let before = last.as_ref().map(|(sight, at)| {
                        (&sight.list, now.duration_since(*at).as_secs_f64() * 1e3)
                    });
                    let list = ProcessList::new(list, before).by_use();
                    let stats = StatsView::new(stats, last.as_ref().map(|(sight, _)| &sight.stats));
                    let sight = Sight { stats, list };
                    if screen.is_none() {
                        app.output.json_line(&sight)?;
                    }
                    last = Some((sight, now));
                }
            }
            if let (Some(screen), Some((sight, _))) = (&screen, &last) {
                screen.draw(&self.id, sight)?;
            }
        }
    }
}

// === impl Screen ===

impl<'a> Screen<'a> {
    /// `None`: for a program, which gets a line each time.
    fn open(app: &'a App) -> Result<Option<Self>, Failure> {
        if app.output.format() == Format::Json {
            return Ok(None);
        }
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return Err(Failure::usage("top draws on a terminal")
                .hint("use `--output json`, or `rolltop desktop stats --watch`"));
        }
        let raw = ModeGuard::raw(io::stdin()).map_err(TerminalError::from)?;
        app.output.write(ENTER)?;
        Ok(Some(Self { output: &app.output, _raw: raw }))
    }

    fn draw(&self, id: &str, sight: &Sight) -> Result<(), Failure> {
        let size = terminal::size().map_err(TerminalError::from)?;
        let (columns, rows) = (size.columns as usize, size.rows as usize);
        self.output.write(&frame(&lines(id, sight, self.output), columns, rows))
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // Nobody is left to see it, if this fails.
        self.output.write(LEAVE).ok();
    }
}

fn lines(id: &str, sight: &Sight, output: &Output) -> Vec<String> {
    let mut lines = vec![format!("{}   q ends", crate::output::clean(id))];
    lines.extend(sight.stats.head());
    lines.push(String::new());
    // Without colours: lines are cut by what is seen of them.
    let mut look = output.look();
    look.paint = crate::output::Paint::Plain;
    lines.extend(sight.list.text(look).lines().map(str::to_owned));
    lines
}

/// What draws these lines on a screen of this size, over what was there.
fn frame(lines: &[String], columns: usize, rows: usize) -> String {
    let mut text = HOME.to_owned();
    for (row, line) in lines.iter().take(rows).enumerate() {
        if row > 0 {
            text.push_str("\r\n");
        }
        text.push_str(fitting(line, columns));
        text.push_str(CLEAR_LINE);
    }
    text.push_str(CLEAR_BELOW);
    text
}

/// The begin of a line that takes no more than this many columns.
fn fitting(line: &str, columns: usize) -> &str {
    let mut left = columns;
    let end = line.char_indices().find(|(_, letter)| {
        let width = letter.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        !fits
    });
    end.map_or(line, |(at, _)| &line[..at])
}

/// Keys as they are pressed.
fn keys() -> mpsc::Receiver<u8> {
    let (sender, keys) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        while let Ok(key) = stdin.read_u8().await {
            if sender.send(key).await.is_err() {
                return;
            }
        }
    });
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_its_screen() {
        let lines: Vec<String> =
            ["short", "a line that is too long", "世界世界", "four"].map(str::to_owned).into();
        let drawn = frame(&lines, 7, 3);
        assert_eq!(drawn, "\x1b[Hshort\x1b[K\r\na line \x1b[K\r\n世界世\x1b[K\x1b[J");
        assert_eq!(frame(&lines, 0, 0), "\x1b[H\x1b[J");
    }
}
