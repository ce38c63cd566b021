//! `rolltop desktop stats` and `ps`: what a desktop uses, once or again and
//! again.

use std::time::Duration;

use clap::Args;
use rolltop_proto::v1::{DesktopProcessesRequest, DesktopStatsRequest, WatchDesktopStatsRequest};

use crate::{
    app::{App, QUICK, within},
    failure::{Exit, Failure},
    output::Format,
    terminal::{Endings, TerminalError},
    view::{ProcessList, StatsView},
};

/// Options of `desktop stats`.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// "pool/user", or "pool" for your own
    id: String,
    /// Again and again until the desktop ends or you press Ctrl-C; as JSON, a
    /// line each time
    #[arg(short, long)]
    watch: bool,
    /// Seconds between two answers, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds, requires = "watch")]
    interval: Duration,
}

/// Options of `desktop ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// "pool/user", or "pool" for your own
    id: String,
    /// Most processes to list
    #[arg(long, value_name = "COUNT", default_value = "1000",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max: u32,
}

impl Stats {
    pub(crate) async fn run(self, app: &App) -> Result<Exit, Failure> {
        if self.watch {
            return self.again_and_again(app).await;
        }
        let request = DesktopStatsRequest { desktop: self.id, number: 0 };
        let stats = within(QUICK, app.stats().await?.get_desktop_stats(request)).await?;
        app.output.show(&StatsView::new(stats, None))?;
        Ok(Exit::OK)
    }

    async fn again_and_again(self, app: &App) -> Result<Exit, Failure> {
        let mut endings = Endings::catch().map_err(TerminalError::from)?;
        let request = WatchDesktopStatsRequest {
            desktop: self.id,
            number: 0,
            interval: self.interval.try_into().ok(),
        };
        let watch = app.stats().await?;
        let mut answers = within(QUICK, { watch }.watch_desktop_stats(request)).await?;
        let mut before: Option<StatsView> = None;
        loop {
            let answer = tokio::select! {
                answer = answers.message() => answer?,
                signal = endings.recv() => return Ok(Exit::from_signal(signal)),
            };
            let Some(stats) = answer else { return Ok(Exit::OK) };
            let now = StatsView::new(stats, before.as_ref());
            match app.output.format() {
                Format::Json => app.output.json_line(&now)?,
                Format::Table => app.output.write(&format!("{}\n", now.head().join("\n")))?,
            }
            before = Some(now);
        }
    }
}

impl Ps {
    pub(crate) async fn run(self, app: &App) -> Result<Exit, Failure> {
        let request = DesktopProcessesRequest { desktop: self.id, number: 0, max: self.max };
        let list = within(QUICK, app.stats().await?.list_desktop_processes(request)).await?;
        app.output.show(&ProcessList::new(list, None))?;
        Ok(Exit::OK)
    }
}

/// A pause between two answers.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} is not a number of seconds from 1 to 3600")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_whole_seconds_within_bounds() {
        assert_eq!(seconds("1"), Ok(Duration::from_secs(1)));
        assert_eq!(seconds("3600"), Ok(Duration::from_secs(3600)));
        for bad in ["0", "3601", "-1", "1.5", "", "2s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
