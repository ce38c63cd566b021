//! `rolltop desktop start`: a desktop rolls open, phase by phase.

use std::time::{Duration, Instant};

use clap::Args;
use rolltop_proto::v1::{
    Desktop, DesktopState, Progress, StartDesktopRequest, start_desktop_response::Message,
};
use serde_json::json;
use tonic::{Code, Streaming};

use super::portal_url;
use crate::{
    app::{App, no_answer},
    failure::Failure,
    output::{Format, clean, duration_ms},
    progress::{Bar, PhaseTimes},
    size,
    terminal::{Endings, TerminalError},
    view::{DesktopView, ProgressView},
};

/// For a desktop to come, seconds.
const TIMEOUT: u64 = 180;

/// Options of `desktop start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Pool to have a desktop of
    pool: String,
    /// For another user; for operators
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// First size of the screen, such as 1280x800
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = size::screen)]
    size: Option<(u32, u32)>,
    /// Time zone of the session, such as Europe/Berlin
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Seconds to wait for it
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl Start {
    /// With everything else as it is by default.
    pub(crate) fn of(pool: String, user: Option<String>) -> Self {
        Self { pool, user, size: None, time_zone: None, timeout: TIMEOUT }
    }

    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let began = Instant::now();
        let mut endings = Endings::catch().map_err(TerminalError::from)?;
        let deadline = Duration::from_secs(self.timeout);
        let named = match &self.user {
            Some(user) => format!("{}/{user}", self.pool),
            None => self.pool.clone(),
        };
        let desktop = tokio::select! {
            desktop = tokio::time::timeout(deadline, self.wait(app)) => {
                desktop.unwrap_or_else(|_| Err(still_starting(&named, no_answer(deadline))))?
            }
            signal = endings.recv() => {
                let failure = Failure::interrupted(signal, "stopped waiting");
                return Err(still_starting(&named, failure));
            }
        };
        report(app, desktop, began.elapsed())
    }

    /// Asks, and shows what streams back until the desktop comes.
    async fn wait(self, app: &App) -> Result<Desktop, Failure> {
        let mut broker = app.broker().await?;
        let (width, height) = self.size.unwrap_or_default();
        let request = StartDesktopRequest {
            pool: self.pool,
            request_id: uuid::Uuid::new_v4().to_string(),
            user: self.user.unwrap_or_default(),
            width,
            height,
            time_zone: self.time_zone.unwrap_or_default(),
        };
        let stream = broker.start_desktop(request).await?.into_inner();
        match app.output.format() {
            Format::Table => {
                let mut bar = Bar::new();
                let mut times = PhaseTimes::default();
                follow(stream, |progress| {
                    bar.show(times.note(progress));
                    Ok(())
                })
                .await
            }
            Format::Json => {
                follow(stream, |progress| {
                    let mut line = serde_json::to_value(ProgressView::from(progress))
                        .map_err(|error| Failure::output(&error.into()))?;
                    line["event"] = json!("progress");
                    app.output.json_line(&line)
                })
                .await
            }
        }
    }
}

/// Hands on each phase; returns the desktop that ends the stream.
async fn follow(
    mut stream: Streaming<rolltop_proto::v1::StartDesktopResponse>,
    mut show: impl FnMut(&Progress) -> Result<(), Failure>,
) -> Result<Desktop, Failure> {
    let mut desktop = None;
    while let Some(response) = stream.message().await? {
        match response.message {
            Some(Message::Progress(progress)) => show(&progress)?,
            Some(Message::Desktop(came)) => desktop = Some(came),
            // Something that a newer broker tells.
            None => {}
        }
    }
    desktop.ok_or_else(|| {
        Failure::new(Code::Internal, "BAD_ANSWER", "the broker ended without naming a desktop")
    })
}

fn report(app: &App, desktop: Desktop, took: Duration) -> Result<(), Failure> {
    let failed = desktop.state == i32::from(DesktopState::Failed);
    let failure = failed.then(|| {
        Failure::of_desktop(&desktop.id, &desktop.failure.clone().unwrap_or_default())
            .hint(format!("see `rolltop desktop show {}`", desktop.id))
    });
    let url = portal_url(app, &desktop.pool)?;
    let view = DesktopView::from(desktop);
    match (app.output.format(), failure) {
        (Format::Table, Some(failure)) => return Err(failure),
        (Format::Json, failure) => {
            app.output.json_line(&json!({ "event": "desktop", "desktop": view, "url": url }))?;
            return failure.map_or(Ok(()), Err);
        }
        (Format::Table, None) => {}
    }
    let place = [&view.host, &view.ip].map(|text| text.as_deref().unwrap_or("-"));
    let sentence = format!(
        "desktop {} is {} on {} at {}, after {}\nopen it: {url}\n",
        clean(&view.id),
        view.state,
        clean(place[0]),
        clean(place[1]),
        duration_ms(took.as_secs_f64() * 1000.0),
    );
    app.output.write(&sentence)
}

/// We end; the desktop does not.
fn still_starting(named: &str, mut failure: Failure) -> Failure {
    failure.message += "; the desktop goes on starting";
    let hint = format!(
        "see it with `rolltop desktop show {named}`, end it with `rolltop desktop stop {named}`"
    );
    failure.hint(hint)
}
