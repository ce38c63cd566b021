//! Volumes, snapshots and work in the API's words.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use rolltop_overlay::{Fence, Health, Snapshot};
use rolltop_proto::v1;

use super::convert::duration;
pub(super) use super::convert::signed;
use crate::{
    address::Number,
    volumes::{Condition, Done, Job, Task, Volume},
};

/// Of what a check wrote, the last lines.
const CHECK_LINES: usize = 100;

pub(super) fn volume(volume: Volume, job: Option<&Job>) -> v1::Volume {
    v1::Volume {
        id: Some(volume.key.id()),
        size_bytes: signed(volume.size_bytes),
        allocated_bytes: signed(volume.allocated_bytes),
        used_bytes: volume.used_bytes.map(signed),
        created_at: volume.created_at.map(stamp),
        condition: condition(volume.condition).into(),
        snapshots: signed(volume.snapshots as u64),
        desktop: volume.desktop.map_or(0, Number::get),
        work: job.map(progress),
    }
}

pub(super) fn fence(fence: &Fence) -> v1::Fence {
    match fence {
        Fence::Open { watch } => {
            v1::Fence { held: false, holder: String::new(), watch: Some(duration(*watch)) }
        }
        Fence::Held { holder } => {
            v1::Fence { held: true, holder: holder.clone().unwrap_or_default(), watch: None }
        }
    }
}

pub(super) fn progress(job: &Job) -> v1::WorkProgress {
    v1::WorkProgress {
        task: task(job.task()).into(),
        elapsed: Some(duration(job.elapsed())),
        // The library does not tell how far it is.
        done_bytes: 0,
        total_bytes: 0,
    }
}

pub(super) fn result(done: &Done, show: impl Fn(Volume) -> v1::Volume) -> v1::VolumeResult {
    let shown = |volume: &Volume| Some(show(volume.clone()));
    match done {
        Done::Changed { volume, snapshot: made, trimmed_bytes } => v1::VolumeResult {
            volume: shown(volume),
            snapshot: made.clone().map(snapshot),
            check: None,
            trimmed_bytes: signed(*trimmed_bytes),
        },
        Done::Checked(volume, health) => v1::VolumeResult {
            volume: shown(volume),
            check: Some(check(health)),
            ..Default::default()
        },
        Done::Deleted | Done::Exported(_) => v1::VolumeResult::default(),
    }
}

pub(super) fn snapshot(snapshot: Snapshot) -> v1::Snapshot {
    v1::Snapshot {
        name: snapshot.name.to_string(),
        created_at: snapshot.created_at.map(stamp),
        size_bytes: signed(snapshot.size_bytes),
        allocated_bytes: signed(snapshot.allocated_bytes),
        description: snapshot.description,
        automatic: snapshot.automatic,
    }
}

/// "2026-11-23T01-33-00.250Z": in order of time, and a name everywhere.
pub(super) fn snapshot_name_now() -> String {
    name_at(SystemTime::now())
}

fn name_at(time: SystemTime) -> String {
    let mut stamp = stamp(time);
    stamp.nanos = stamp.nanos / 1_000_000 * 1_000_000;
    stamp.to_string().replace(':', "-")
}

fn stamp(time: SystemTime) -> Timestamp {
    // A clock before 1970 reads as 1970.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: signed(since.as_secs()),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

fn check(health: &Health) -> v1::CheckResult {
    let report = match health {
        Health::Repairable { report } | Health::Damaged { report } => report.as_str(),
        Health::Sound | Health::InUse | Health::FaultInUse => "",
    };
    let lines: Vec<&str> = report.lines().collect();
    let last = lines.get(lines.len().saturating_sub(CHECK_LINES)..).unwrap_or_default();
    v1::CheckResult {
        condition: condition(health.into()).into(),
        output: last.iter().map(|&line| line.to_owned()).collect(),
    }
}

fn condition(condition: Condition) -> v1::VolumeCondition {
    match condition {
        Condition::InUse => v1::VolumeCondition::InUse,
        Condition::AtRest => v1::VolumeCondition::AtRest,
        Condition::Sound => v1::VolumeCondition::Sound,
        Condition::Repairable => v1::VolumeCondition::Repairable,
        Condition::FaultInUse => v1::VolumeCondition::FaultInUse,
        Condition::Damaged => v1::VolumeCondition::Damaged,
    }
}

fn task(task: Task) -> v1::VolumeTask {
    match task {
        Task::Grow => v1::VolumeTask::Grow,
        Task::Trim => v1::VolumeTask::Trim,
        Task::Check => v1::VolumeTask::Check,
        Task::Delete => v1::VolumeTask::Delete,
        Task::Snapshot => v1::VolumeTask::Snapshot,
        Task::DeleteSnapshot => v1::VolumeTask::DeleteSnapshot,
        Task::RollBack => v1::VolumeTask::RollBack,
        Task::Clone => v1::VolumeTask::Clone,
        Task::Export => v1::VolumeTask::Export,
        Task::Import => v1::VolumeTask::Import,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_makes_a_name() {
        let at = |ms| name_at(UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(at(1_700_000_000_250), "2023-11-14T22-13-20.250Z");
        for ms in [0, 1, 999, 1_700_000_000_000] {
            assert!(rolltop_overlay::SnapshotName::try_from(at(ms).as_str()).is_ok(), "{}", at(ms));
        }
    }

    #[test]
    fn a_long_report_is_cut_to_its_end() {
        let report = (0..500).map(|n| format!("line {n}\n")).collect();
        let told = check(&Health::Damaged { report });
        assert_eq!(told.condition(), v1::VolumeCondition::Damaged);
        assert_eq!(told.output.len(), CHECK_LINES);
        assert_eq!(told.output.last().unwrap(), "line 499");
    }
}
