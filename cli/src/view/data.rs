//! Kept data and its snapshots.

use rolltop_proto::v1::{CheckResult, Data, Snapshot, VolumeCondition, VolumeKind, VolumeTask};
use serde::Serialize;

use super::{ago, or_empty, some, time};
use crate::output::{Column, Fields, Look, Table, Tone, View, size_bytes};

/// `{"data": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct DataList {
    data: Vec<DataView>,
}

/// What is kept of one desktop, or one home.
#[derive(Debug, Serialize)]
pub(crate) struct DataView {
    id: String,
    kind: &'static str,
    user: String,
    pool: Option<String>,
    host: String,
    size_bytes: Option<i64>,
    used_bytes: Option<i64>,
    allocated_bytes: Option<i64>,
    snapshots: Option<i64>,
    condition: Option<&'static str>,
    /// What is being done to it.
    work: Option<&'static str>,
    desktop: Option<String>,
    created_at: Option<String>,
    problem: Option<String>,
}

/// `{"snapshots": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotList {
    snapshots: Vec<SnapshotView>,
}

/// One snapshot.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotView {
    name: String,
    description: Option<String>,
    created_at: Option<String>,
    size_bytes: i64,
    allocated_bytes: i64,
    automatic: bool,
}

/// What a check found.
#[derive(Debug, Serialize)]
pub(crate) struct CheckView {
    data: String,
    condition: &'static str,
    output: Vec<String>,
}

impl From<Data> for DataView {
    fn from(data: Data) -> Self {
        let kind = match data.kind() {
            VolumeKind::Home => "home",
            VolumeKind::Overlay | VolumeKind::Unspecified => "desktop",
        };
        let volume = data.volume.as_ref();
        Self {
            kind,
            pool: some(&data.pool),
            size_bytes: volume.map(|volume| volume.size_bytes),
            used_bytes: volume.and_then(|volume| volume.used_bytes),
            allocated_bytes: volume.map(|volume| volume.allocated_bytes),
            snapshots: volume.map(|volume| volume.snapshots),
            condition: volume.map(|volume| condition_word(volume.condition())),
            work: volume.and_then(|volume| volume.work.as_ref()).map(|work| task_word(work.task())),
            desktop: some(&data.desktop),
            created_at: volume.and_then(|volume| time(volume.created_at)),
            problem: some(&data.problem),
            id: data.id,
            user: data.user,
            host: data.host,
        }
    }
}

impl FromIterator<Data> for DataList {
    fn from_iter<I: IntoIterator<Item = Data>>(data: I) -> Self {
        Self { data: data.into_iter().map(DataView::from).collect() }
    }
}

impl From<Snapshot> for SnapshotView {
    fn from(snapshot: Snapshot) -> Self {
        Self {
            description: some(&snapshot.description),
            created_at: time(snapshot.created_at),
            size_bytes: snapshot.size_bytes,
            allocated_bytes: snapshot.allocated_bytes,
            automatic: snapshot.automatic,
            name: snapshot.name,
        }
    }
}

impl FromIterator<Snapshot> for SnapshotList {
    fn from_iter<I: IntoIterator<Item = Snapshot>>(snapshots: I) -> Self {
        Self { snapshots: snapshots.into_iter().map(SnapshotView::from).collect() }
    }
}

impl SnapshotView {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl CheckView {
    pub(crate) fn new(data: String, check: CheckResult) -> Self {
        Self { data, condition: condition_word(check.condition()), output: check.output }
    }
}

impl DataView {
    /// What matters most.
    fn state(&self) -> (Tone, String) {
        match (&self.problem, self.work, self.condition) {
            (Some(problem), _, _) => (Tone::Bad, problem.clone()),
            (None, Some(work), _) => (Tone::Normal, work.to_owned()),
            (None, None, Some(word @ ("damaged" | "faulty, in use"))) => {
                (Tone::Bad, word.to_owned())
            }
            (None, None, word) => (Tone::Normal, word.unwrap_or_default().to_owned()),
        }
    }
}

fn size(bytes: Option<i64>) -> String {
    bytes.map(size_bytes).unwrap_or_default()
}

impl View for DataList {
    fn text(&self, look: Look) -> String {
        table(&self.data, "nothing is kept", look)
    }
}

/// A line for each, or the sentence if there is none.
pub(super) fn table(list: &[DataView], none: &'static str, look: Look) -> String {
    let mut table = Table::new(
        [
            Column::Left("DATA"),
            Column::Right("SIZE"),
            Column::Right("USED"),
            Column::Right("ON DISK"),
            Column::Right("SNAPSHOTS"),
            Column::Left("HOST"),
            Column::Left("STATE"),
        ],
        none,
    );
    for data in list {
        let plain = |text| (Tone::Normal, text);
        table.row([
            plain(data.id.clone()),
            plain(size(data.size_bytes)),
            plain(size(data.used_bytes)),
            plain(size(data.allocated_bytes)),
            plain(data.snapshots.map(|count| count.to_string()).unwrap_or_default()),
            plain(data.host.clone()),
            data.state(),
        ]);
    }
    table.render(look.paint)
}

impl View for DataView {
    fn text(&self, look: Look) -> String {
        let mut fields = Fields::default();
        fields
            .field("data", &self.id)
            .field("kind", self.kind)
            .field("host", &self.host)
            .field("size", size(self.size_bytes))
            .field("used inside", size(self.used_bytes))
            .field("on disk", size(self.allocated_bytes))
            .field("snapshots", self.snapshots.map(|n| n.to_string()).unwrap_or_default())
            .field("state", self.state().1)
            .field("in use by", or_empty(self.desktop.as_ref()))
            .field("made", ago(self.created_at.as_ref(), look));
        fields.render(look.paint)
    }
}

impl View for SnapshotList {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Left("SNAPSHOT"),
                Column::Left("MADE"),
                Column::Right("SIZE"),
                Column::Right("ON DISK"),
                Column::Left("DESCRIPTION"),
            ],
            "no snapshots",
        );
        for snapshot in &self.snapshots {
            let plain = |text| (Tone::Normal, text);
            table.row([
                plain(snapshot.name.clone()),
                plain(ago(snapshot.created_at.as_ref(), look)),
                plain(size_bytes(snapshot.size_bytes)),
                plain(size_bytes(snapshot.allocated_bytes)),
                plain(or_empty(snapshot.description.as_ref())),
            ]);
        }
        table.render(look.paint)
    }
}

impl View for CheckView {
    fn text(&self, _: Look) -> String {
        let mut text = format!("{} is {}\n", crate::output::clean(&self.data), self.condition);
        for line in &self.output {
            text += &format!("  {}\n", crate::output::clean(line));
        }
        text
    }
}

fn condition_word(condition: VolumeCondition) -> &'static str {
    match condition {
        VolumeCondition::Unspecified => "unknown",
        VolumeCondition::InUse => "in use",
        VolumeCondition::AtRest => "at rest",
        VolumeCondition::Sound => "sound",
        VolumeCondition::Repairable => "repairable by the next start",
        VolumeCondition::FaultInUse => "faulty, in use",
        VolumeCondition::Damaged => "damaged",
    }
}

/// What is going on.
pub(crate) fn task_word(task: VolumeTask) -> &'static str {
    match task {
        VolumeTask::Unspecified => "working",
        VolumeTask::Grow => "growing",
        VolumeTask::Trim => "trimming",
        VolumeTask::Check => "checking",
        VolumeTask::Delete => "deleting",
        VolumeTask::Snapshot => "taking a snapshot",
        VolumeTask::DeleteSnapshot => "deleting a snapshot",
        VolumeTask::RollBack => "rolling back",
        VolumeTask::Clone => "cloning",
        VolumeTask::Export => "exporting",
        VolumeTask::Import => "importing",
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::{Volume, WorkProgress};
    use serde_json::json;

    use super::*;
    use crate::view::testing::{earlier, look};

    fn sample() -> Data {
        Data {
            id: "demo-keep/ada".into(),
            kind: VolumeKind::Overlay.into(),
            user: "ada".into(),
            pool: "demo-keep".into(),
            host: "host-1".into(),
            volume: Some(Volume {
                size_bytes: 1 << 30,
                allocated_bytes: 3 << 20,
                used_bytes: Some(1 << 20),
                created_at: earlier(7200),
                condition: VolumeCondition::AtRest.into(),
                snapshots: 2,
                ..Volume::default()
            }),
            ..Data::default()
        }
    }

    #[test]
    fn json() {
        assert_eq!(
            serde_json::to_value(DataView::from(sample())).unwrap(),
            json!({
                "id": "demo-keep/ada",
                "kind": "desktop",
                "user": "ada",
                "pool": "demo-keep",
                "host": "host-1",
                "size_bytes": 1 << 30,
                "used_bytes": 1 << 20,
                "allocated_bytes": 3 << 20,
                "snapshots": 2,
                "condition": "at rest",
                "work": null,
                "desktop": null,
                "created_at": "2026-01-02T01:04:05Z",
                "problem": null,
            })
        );
    }

    #[test]
    fn text() {
        let away = Data {
            id: "home:ada".into(),
            host: "host-2".into(),
            problem: "host host-2 does not answer".into(),
            ..Data::default()
        };
        let mut busy = sample();
        if let Some(volume) = &mut busy.volume {
            let task = VolumeTask::RollBack.into();
            volume.work = Some(WorkProgress { task, ..WorkProgress::default() });
        }
        let list: DataList = [sample(), busy, away].into_iter().collect();
        assert_eq!(
            list.text(look()),
            "DATA              SIZE     USED  ON DISK  SNAPSHOTS  HOST    STATE\n\
             demo-keep/ada  1.0 GiB  1.0 MiB  3.0 MiB          2  host-1  at rest\n\
             demo-keep/ada  1.0 GiB  1.0 MiB  3.0 MiB          2  host-1  rolling back\n\
             home:ada             -        -        -          -  host-2  host host-2 does not answer\n"
        );
        let one = DataView::from(sample()).text(look());
        assert!(one.contains("made         2 h ago\n"), "{one}");
    }

    #[test]
    fn what_others_wrote_cannot_move_the_cursor() {
        let check = CheckResult {
            condition: VolumeCondition::Damaged.into(),
            output: vec!["\x1b[2Jx".into()],
        };
        let text = CheckView::new("demo/ada".into(), check).text(look());
        assert_eq!(text, "demo/ada is damaged\n  \u{fffd}[2Jx\n");
    }
}
