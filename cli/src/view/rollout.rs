//! Image roll-outs.

use rolltop_proto::v1::{FailedRestart, RestartingDesktop, Rollout, rollout_settings::Batch};
use serde::Serialize;

use super::{ago, or_empty, some, time, words};
use crate::output::{Column, Fields, Look, Table, Tone, View};

/// `{"rollouts": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct RolloutList {
    rollouts: Vec<RolloutView>,
}

/// The last roll-out of a pool.
#[derive(Debug, Serialize)]
pub(crate) struct RolloutView {
    pool: String,
    id: String,
    state: &'static str,
    back: bool,
    image: String,
    version: Option<String>,
    before: Option<String>,
    replaced: Option<String>,
    by: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    settings: SettingsView,
    deadline: Option<String>,
    batch: u32,
    total: u32,
    restarted: u32,
    ended: u32,
    failed: u32,
    behind: u32,
    connected: u32,
    unreachable: u32,
    unplaceable: u32,
    because: Option<String>,
    restarting: Vec<RestartingView>,
    failures: Vec<FailedView>,
    #[serde(skip)]
    tone: Tone,
}

/// One of `batch_desktops` and `batch_percent` is null.
#[derive(Debug, Default, Serialize)]
struct SettingsView {
    deadline_s: Option<i64>,
    batch_desktops: Option<u32>,
    batch_percent: Option<u32>,
    max_failures: u32,
    warning_s: Option<i64>,
}

#[derive(Debug, Serialize)]
struct RestartingView {
    desktop: String,
    since: Option<String>,
    again: bool,
}

#[derive(Debug, Serialize)]
struct FailedView {
    desktop: String,
    host: Option<String>,
    code: String,
    reason: String,
    at: Option<String>,
}

impl RolloutView {
    /// What it has come to, on a line.
    pub(crate) fn sentence(&self) -> String {
        let what = if self.back { "roll-back" } else { "roll-out" };
        let target = self.version.as_ref().unwrap_or(&self.image);
        let mut said = format!(
            "{what} of {target} in pool {} is {}: {}",
            self.pool,
            self.state,
            self.progress()
        );
        if let Some(because) = &self.because {
            said = format!("{said}; {because}");
        }
        said
    }

    fn progress(&self) -> String {
        let counts = [
            (self.restarted, "restarted"),
            (self.ended, "ended"),
            (self.failed, "failed"),
            (count(&self.restarting), "being restarted"),
            (self.behind, "to go"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        let of = format!("of {} desktops", self.total);
        if counts.is_empty() {
            format!("none {of}")
        } else {
            format!("{of}, {}", counts.join(", "))
        }
    }
}

fn count<T>(all: &[T]) -> u32 {
    u32::try_from(all.len()).unwrap_or(u32::MAX)
}

impl FromIterator<Rollout> for RolloutList {
    fn from_iter<I: IntoIterator<Item = Rollout>>(rollouts: I) -> Self {
        Self { rollouts: rollouts.into_iter().map(RolloutView::from).collect() }
    }
}

impl View for RolloutList {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Left("POOL"),
                Column::Left("STATE"),
                Column::Left("VERSION"),
                Column::Right("TOTAL"),
                Column::Right("DONE"),
                Column::Right("FAILED"),
                Column::Right("BEHIND"),
                Column::Left("STARTED"),
            ],
            "no roll-outs",
        );
        for rollout in &self.rollouts {
            let plain = |text| (Tone::Normal, text);
            let done = rollout.restarted.saturating_add(rollout.ended);
            table.row([
                plain(rollout.pool.clone()),
                (rollout.tone, rollout.state.to_owned()),
                plain(rollout.version.as_ref().unwrap_or(&rollout.image).clone()),
                plain(rollout.total.to_string()),
                plain(done.to_string()),
                plain(rollout.failed.to_string()),
                plain(rollout.behind.to_string()),
                plain(ago(rollout.started_at.as_ref(), look)),
            ]);
        }
        table.render(look.paint)
    }
}

impl View for RolloutView {
    fn text(&self, look: Look) -> String {
        let mut fields = Fields::default();
        fields.field("pool", &self.pool).toned("state", self.tone, self.state);
        if let Some(because) = &self.because {
            fields.toned("because", self.tone, because);
        }
        let version = self.version.as_ref().filter(|version| **version != self.image);
        let image = version
            .map_or_else(|| self.image.clone(), |version| format!("{} ({version})", self.image));
        fields.field("image", image).field("before", or_empty(self.before.as_ref()));
        if let Some(replaced) = &self.replaced {
            fields.field("in place of", replaced);
        }
        let started = self.started_at.as_ref();
        fields
            .field("started", format!("{} by {}", ago(started, look), self.by))
            .field("progress", self.progress())
            .field("at a time", self.batch.to_string())
            .field(
                "deadline",
                self.deadline.clone().unwrap_or_else(|| "none: who is connected stays".to_owned()),
            );
        for restarting in &self.restarting {
            fields.field("restarting", &restarting.desktop);
        }
        for failed in &self.failures {
            let host = failed.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
            let FailedView { desktop, reason, code, .. } = failed;
            fields.toned("failed", Tone::Bad, format!("{desktop}{host}: {reason} ({code})"));
        }
        fields.render(look.paint)
    }
}

// === from the contract ===

impl From<Rollout> for RolloutView {
    fn from(rollout: Rollout) -> Self {
        let (state, tone) = words::rollout_state(rollout.state);
        let settings = rollout.settings.unwrap_or_default();
        let seconds = |span: Option<prost_types::Duration>| span.map(|span| span.seconds);
        let (batch_desktops, batch_percent) = match settings.batch {
            Some(Batch::Desktops(desktops)) => (Some(desktops), None),
            Some(Batch::Percent(percent)) => (None, Some(percent)),
            None => (None, None),
        };
        Self {
            state,
            tone,
            version: some(&rollout.version),
            before: some(&rollout.before),
            replaced: some(&rollout.replaced),
            because: some(&rollout.because),
            pool: rollout.pool,
            id: rollout.id,
            back: rollout.back,
            image: rollout.image,
            by: rollout.by,
            started_at: time(rollout.started_at),
            ended_at: time(rollout.ended_at),
            settings: SettingsView {
                deadline_s: seconds(settings.deadline),
                batch_desktops,
                batch_percent,
                max_failures: settings.max_failures,
                warning_s: seconds(settings.warning),
            },
            deadline: time(rollout.deadline),
            batch: rollout.batch,
            total: rollout.total,
            restarted: rollout.restarted,
            ended: rollout.ended,
            failed: rollout.failed,
            behind: rollout.behind,
            connected: rollout.connected,
            unreachable: rollout.unreachable,
            unplaceable: rollout.unplaceable,
            restarting: rollout.restarting.into_iter().map(RestartingView::from).collect(),
            failures: rollout.failures.into_iter().map(FailedView::from).collect(),
        }
    }
}

impl From<RestartingDesktop> for RestartingView {
    fn from(restarting: RestartingDesktop) -> Self {
        let RestartingDesktop { desktop, since, again } = restarting;
        Self { desktop, since: time(since), again }
    }
}

impl From<FailedRestart> for FailedView {
    fn from(failed: FailedRestart) -> Self {
        let FailedRestart { desktop, host, code, reason, at } = failed;
        Self { desktop, host: some(&host), code, reason, at: time(at) }
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::RolloutState;
    use serde_json::json;

    use super::*;
    use crate::view::testing::{earlier, look};

    fn halted() -> Rollout {
        Rollout {
            pool: "demo".into(),
            id: "a1".into(),
            state: RolloutState::Halted.into(),
            image: "demo:stable".into(),
            version: "demo@2".into(),
            before: "demo@1".into(),
            by: "olga".into(),
            started_at: earlier(300),
            batch: 2,
            total: 10,
            restarted: 3,
            failed: 1,
            behind: 6,
            because: "a start failed".into(),
            failures: vec![FailedRestart {
                desktop: "demo/ada".into(),
                host: "h1".into(),
                code: "DISPLAY_TIMEOUT".into(),
                reason: "no display".into(),
                at: earlier(60),
            }],
            ..Rollout::default()
        }
    }

    #[test]
    fn json() {
        let value = serde_json::to_value(RolloutView::from(halted())).unwrap();
        assert_eq!((&value["state"], &value["ended_at"]), (&json!("halted"), &json!(null)));
        assert_eq!((&value["behind"], &value["replaced"]), (&json!(6), &json!(null)));
        assert_eq!(
            value["failures"],
            json!([{
                "desktop": "demo/ada",
                "host": "h1",
                "code": "DISPLAY_TIMEOUT",
                "reason": "no display",
                "at": "2026-01-02T03:03:05Z",
            }])
        );
    }

    #[test]
    fn text() {
        let view = RolloutView::from(halted());
        assert_eq!(
            view.sentence(),
            "roll-out of demo@2 in pool demo is halted: of 10 desktops, 3 restarted, 1 failed, 6 to go; a start failed"
        );
        let text = view.text(look());
        for line in [
            "image      demo:stable (demo@2)\n",
            "started    5 min ago by olga\n",
            "failed     demo/ada on h1: no display (DISPLAY_TIMEOUT)\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        let list: RolloutList = [halted()].into_iter().collect();
        assert_eq!(
            list.text(look()),
            "POOL  STATE   VERSION  TOTAL  DONE  FAILED  BEHIND  STARTED\n\
             demo  halted  demo@2      10     3       1       6  5 min ago\n"
        );
        let done = Rollout { state: RolloutState::Done.into(), ..Rollout::default() };
        assert!(RolloutView::from(done).sentence().ends_with("is done: none of 0 desktops"));
    }
}
