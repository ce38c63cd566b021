//! `rolltop audit`: who did what, from where, and what came of it.

use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use prost_types::Timestamp;
use rolltop_proto::v1::{
    AuditFilter, AuditOutcome, ListActsRequest, ListAuditRequest, WatchAuditRequest,
};

use crate::{
    app::{App, QUICK, within},
    failure::{Exit, Failure},
    output::Format,
    terminal::{Endings, TerminalError},
    view::{ActList, AuditEntryView, AuditList},
};

/// Entries of one page of an export.
const PAGE: u32 = 1000;

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List entries, the newest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// Most entries listed
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100,
              value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Print all entries, the oldest first, one JSON object on a line
    Export {
        #[command(flatten)]
        filter: Filter,
    },
    /// Print entries as they come, until you press Ctrl-C
    ///
    /// With --from, first those that there are since then.
    Watch {
        #[command(flatten)]
        filter: Filter,
    },
    /// List the acts there are, and who may
    Acts,
}

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only what this user did
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    user: String,
    /// Only this act; `rolltop audit acts` lists them
    #[arg(long, value_name = "ACT", default_value = "", hide_default_value = true)]
    act: String,
    /// Only to this: "pool:demo", "desktop:demo/ada", or "host:" for all hosts
    #[arg(long, value_name = "KIND:NAME", default_value = "", hide_default_value = true)]
    object: String,
    /// Only with this outcome
    #[arg(long, value_enum)]
    outcome: Option<Outcome>,
    /// Not before: "2026-01-31", "2026-01-31T08:00:00Z", or "2h" for two hours ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Before that time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
}

/// What came of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Outcome {
    /// Done
    Ok,
    /// Begun; another entry tells of the end
    Begun,
    /// Not allowed
    Refused,
    /// Allowed, and not done
    Failed,
    /// The caller left before the answer
    Unknown,
}

// === impl Filter ===

impl From<Filter> for AuditFilter {
    fn from(filter: Filter) -> Self {
        let outcome = match filter.outcome {
            None => AuditOutcome::Unspecified,
            Some(Outcome::Ok) => AuditOutcome::Ok,
            Some(Outcome::Begun) => AuditOutcome::Begun,
            Some(Outcome::Refused) => AuditOutcome::Refused,
            Some(Outcome::Failed) => AuditOutcome::Failed,
            Some(Outcome::Unknown) => AuditOutcome::Unknown,
        };
        Self {
            user: filter.user,
            act: filter.act,
            object: filter.object,
            outcome: outcome.into(),
            from: filter.from,
            to: filter.to,
        }
    }
}

/// A time, or how long ago.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = crate::duration::parse(text) {
        return SystemTime::now()
            .checked_sub(ago)
            .map(Timestamp::from)
            .ok_or_else(|| format!("{text:?} is too long ago"));
    }
    text.parse().map_err(|_| {
        format!("{text:?} is not a time such as 2026-01-31, 2026-01-31T08:00:00Z or 2h (ago)")
    })
}

// === impl Command ===

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<Exit, Failure> {
        match self {
            Self::List { filter, limit } => list(app, filter.into(), limit).await?,
            Self::Export { filter } => export(app, filter.into()).await?,
            Self::Watch { filter } => return watch(app, filter.into()).await,
            Self::Acts => {
                let acts = within(QUICK, app.audit().await?.list_acts(ListActsRequest {})).await?;
                app.output.show(&acts.acts.into_iter().collect::<ActList>())?;
            }
        }
        Ok(Exit::OK)
    }
}

async fn list(app: &App, filter: AuditFilter, limit: u32) -> Result<(), Failure> {
    let mut audit = app.audit().await?;
    let (mut entries, mut page_token) = (Vec::new(), String::new());
    loop {
        let left = limit.saturating_sub(entries.len() as u32);
        let request = ListAuditRequest {
            filter: Some(filter.clone()),
            page_size: left.min(PAGE),
            page_token,
            oldest_first: false,
        };
        let page = within(QUICK, audit.list_audit(request)).await?;
        entries.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() || entries.len() >= limit as usize {
            return app.output.show(&entries.into_iter().collect::<AuditList>());
        }
    }
}

async fn export(app: &App, filter: AuditFilter) -> Result<(), Failure> {
    let mut audit = app.audit().await?;
    let mut page_token = String::new();
    loop {
        let request = ListAuditRequest {
            filter: Some(filter.clone()),
            page_size: PAGE,
            page_token,
            oldest_first: true,
        };
        let page = within(QUICK, audit.list_audit(request)).await?;
        for entry in page.entries {
            app.output.json_line(&AuditEntryView::from(entry))?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

async fn watch(app: &App, filter: AuditFilter) -> Result<Exit, Failure> {
    let mut endings = Endings::catch().map_err(TerminalError::from)?;
    let mut audit = app.audit().await?;
    let request = WatchAuditRequest { filter: Some(filter) };
    let mut entries = within(QUICK, audit.watch_audit(request)).await?;
    loop {
        let entry = tokio::select! {
            entry = entries.message() => entry?,
            signal = endings.recv() => return Ok(Exit::from_signal(signal)),
        };
        let Some(entry) = entry else { return Ok(Exit::OK) };
        let entry = AuditEntryView::from(entry);
        match app.output.format() {
            Format::Json => app.output.json_line(&entry)?,
            Format::Table => app.output.write(&entry.line())?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_moments_or_lengths() {
        assert_eq!(moment("2026-01-31").unwrap().to_string(), "2026-01-31T00:00:00Z");
        assert_eq!(moment("2026-01-31T08:00:00Z").unwrap().to_string(), "2026-01-31T08:00:00Z");
        let hour = moment("1h").unwrap();
        assert!(hour.seconds < moment("1min").unwrap().seconds);
        for bad in ["", "yesterday", "31.1.2026", "2026-13-01"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
