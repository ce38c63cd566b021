//! Entries of the audit log.

use std::collections::BTreeMap;

use rolltop_proto::v1::{ActInfo, AuditEntry, AuditOutcome};
use serde::Serialize;

use super::{or_empty, some, time};
use crate::output::{Column, Look, Table, Tone, View, clean};

/// `{"entries": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct AuditList {
    entries: Vec<AuditEntryView>,
}

/// One entry.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AuditEntryView {
    id: String,
    at: Option<String>,
    act: String,
    user: Option<String>,
    via: Option<String>,
    from: Option<String>,
    object: Option<String>,
    outcome: &'static str,
    reason: Option<String>,
    details: BTreeMap<String, String>,
}

/// `{"acts": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct ActList {
    acts: Vec<ActView>,
}

#[derive(Clone, Debug, Serialize)]
struct ActView {
    name: String,
    about: String,
    own: bool,
    roles: Vec<String>,
}

impl From<AuditEntry> for AuditEntryView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            outcome: outcome(entry.outcome),
            id: entry.id,
            at: time(entry.at),
            act: entry.act,
            user: some(&entry.user),
            via: some(&entry.via),
            from: some(&entry.from),
            object: some(&entry.object),
            reason: some(&entry.reason),
            details: entry.details.into_iter().collect(),
        }
    }
}

impl FromIterator<AuditEntry> for AuditList {
    fn from_iter<I: IntoIterator<Item = AuditEntry>>(entries: I) -> Self {
        Self { entries: entries.into_iter().map(AuditEntryView::from).collect() }
    }
}

impl FromIterator<ActInfo> for ActList {
    fn from_iter<I: IntoIterator<Item = ActInfo>>(acts: I) -> Self {
        let acts = acts.into_iter().map(|act| {
            let ActInfo { name, about, own, roles } = act;
            ActView { name, about, own, roles }
        });
        Self { acts: acts.collect() }
    }
}

fn outcome(number: i32) -> &'static str {
    match AuditOutcome::try_from(number).unwrap_or_default() {
        AuditOutcome::Unspecified | AuditOutcome::Unknown => "unknown",
        AuditOutcome::Ok => "ok",
        AuditOutcome::Begun => "begun",
        AuditOutcome::Refused => "refused",
        AuditOutcome::Failed => "failed",
    }
}

// === impl AuditEntryView ===

impl AuditEntryView {
    fn tone(&self) -> Tone {
        match self.outcome {
            "ok" => Tone::Good,
            "refused" | "failed" => Tone::Bad,
            _ => Tone::Busy,
        }
    }

    /// Why, and what else.
    fn more(&self) -> String {
        let details = self.details.iter().map(|(key, value)| format!("{key}={value}"));
        self.reason.iter().cloned().chain(details).collect::<Vec<_>>().join(", ")
    }

    /// On a line of its own, for a watch.
    pub(crate) fn line(&self) -> String {
        let parts = [&self.at, &Some(self.act.clone()), &self.object, &self.user, &self.from];
        let mut line: Vec<&str> = parts.iter().map(|part| part.as_deref().unwrap_or("-")).collect();
        let more = self.more();
        line.extend([self.outcome, more.as_str()]);
        format!("{}\n", clean(line.join("  ").trim_end()))
    }
}

impl View for AuditList {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Left("TIME"),
                Column::Left("ACT"),
                Column::Left("OBJECT"),
                Column::Left("USER"),
                Column::Left("FROM"),
                Column::Left("OUTCOME"),
                Column::Left("MORE"),
            ],
            "no entries",
        );
        for entry in &self.entries {
            let plain = |text| (Tone::Normal, text);
            table.row([
                plain(or_empty(entry.at.as_ref())),
                plain(entry.act.clone()),
                plain(or_empty(entry.object.as_ref())),
                plain(or_empty(entry.user.as_ref())),
                plain(or_empty(entry.from.as_ref())),
                (entry.tone(), entry.outcome.to_owned()),
                plain(entry.more()),
            ]);
        }
        table.render(look.paint)
    }
}

impl View for ActList {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Left("ACT"),
                Column::Left("WITH ONE'S OWN"),
                Column::Left("WITH EVERYBODY'S"),
                Column::Left("WHAT IT IS"),
            ],
            "no acts",
        );
        for act in &self.acts {
            let own = if act.own { "everybody" } else { "" };
            table.row([
                (Tone::Normal, act.name.clone()),
                (Tone::Normal, own.to_owned()),
                (Tone::Normal, act.roles.join(", ")),
                (Tone::Normal, act.about.clone()),
            ]);
        }
        table.render(look.paint)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::view::testing::{earlier, look};

    fn sample() -> AuditEntry {
        AuditEntry {
            id: "1.2.3.4".into(),
            at: earlier(0),
            act: "put-pool".into(),
            user: "ada".into(),
            via: "session".into(),
            from: "10.0.0.1".into(),
            object: "pool:demo".into(),
            outcome: AuditOutcome::Refused.into(),
            reason: "OPERATORS_ONLY: this is for operators".into(),
            details: [("times".to_owned(), "95\u{1b}[2J".to_owned())].into(),
        }
    }

    #[test]
    fn json() {
        let view = AuditEntryView::from(AuditEntry { reason: String::new(), ..sample() });
        assert_eq!(
            serde_json::to_value(view).unwrap(),
            json!({
                "id": "1.2.3.4", "at": "2026-01-02T03:04:05Z", "act": "put-pool", "user": "ada",
                "via": "session", "from": "10.0.0.1", "object": "pool:demo", "outcome": "refused",
                "reason": null, "details": { "times": "95\u{1b}[2J" },
            })
        );
    }

    #[test]
    fn text_cannot_steer_the_terminal() {
        let list: AuditList = [sample()].into_iter().collect();
        let line = list.entries[0].line();
        assert!(
            line.starts_with(
                "2026-01-02T03:04:05Z  put-pool  pool:demo  ada  10.0.0.1  refused  OP"
            )
        );
        assert!(!line.contains('\u{1b}') && !list.text(look()).contains('\u{1b}'));
    }
}
