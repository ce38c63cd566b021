use rolltop_proto::v1::{DesktopState, Phase};
use serde_json::json;

use super::*;
use crate::view::testing::{earlier, look};

fn running() -> Desktop {
    Desktop {
        id: "demo/ada".into(),
        pool: "demo".into(),
        user: "ada".into(),
        pool_title: "Demo".into(),
        state: DesktopState::Running.into(),
        host: "host-1".into(),
        number: 4,
        epoch: 2,
        image: "demo:stable".into(),
        version: "v1".into(),
        mac: "54:52:00:00:00:04".into(),
        ip: "10.77.0.4".into(),
        started_at: earlier(300),
        overlay: Some(OverlayInfo {
            name: String::new(),
            persistent: false,
            size_bytes: 1 << 30,
            allocated_bytes: 3 << 20,
        }),
        limits: Some(Limits {
            memory_mib: 2048,
            cpu_millis: 1500,
            network_up_bits: 12_500_000,
            disk_read_bytes: 100 << 20,
            ..Limits::default()
        }),
        usage: Some(Usage {
            memory_bytes: 80 << 20,
            pids: 9,
            cpu_time: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
        }),
        viewer: Some(Viewer {
            user: "ada".into(),
            address: "192.0.2.7".into(),
            since: earlier(60),
        }),
        phases: vec![Progress {
            phase: Phase::Disk.into(),
            done: true,
            elapsed: Some(prost_types::Duration { seconds: 0, nanos: 12_300_000 }),
        }],
        ..Desktop::default()
    }
}

fn failed() -> Desktop {
    Desktop {
        id: "demo/bob".into(),
        pool: "demo".into(),
        user: "bob".into(),
        state: DesktopState::Failed.into(),
        failure: Some(Failure {
            phase: Phase::Session.into(),
            reason: "the session ended at once".into(),
            code: "SESSION_ENDED_EARLY".into(),
            output_tail: vec!["startx: \x1b[31mnot found".into()],
        }),
        ..Desktop::default()
    }
}

#[test]
fn json_of_a_running_desktop() {
    assert_eq!(
        serde_json::to_value(DesktopView::from(running())).unwrap(),
        json!({
            "id": "demo/ada",
            "pool": "demo",
            "pool_title": "Demo",
            "user": "ada",
            "state": "running",
            "host": "host-1",
            "number": 4,
            "epoch": 2,
            "image": "demo:stable",
            "version": "v1",
            "behind": false,
            "next_version": null,
            "mac": "54:52:00:00:00:04",
            "ip": "10.77.0.4",
            "started_at": "2026-01-02T02:59:05Z",
            "overlay": {
                "name": null,
                "persistent": false,
                "size_bytes": 1_073_741_824,
                "allocated_bytes": 3_145_728,
            },
            "limits": {
                "memory_mib": 2048, "cpu_millis": 1500, "pids": null,
                "network_down_bits": null, "network_up_bits": 12_500_000,
                "disk_read_bytes": 104_857_600, "disk_write_bytes": null, "disk_ops": null,
            },
            "usage": {"memory_bytes": 83_886_080, "pids": 9, "cpu_time_ms": 1500.0},
            "failure": null,
            "viewer": {"user": "ada", "address": "192.0.2.7", "since": "2026-01-02T03:03:05Z"},
            "end_reason": null,
            "phases": [{"phase": "disk", "done": true, "elapsed_ms": 12.3}],
        })
    );
}

#[test]
fn json_of_a_list_is_one_object() {
    let list: DesktopList = [failed()].into_iter().collect();
    let value = serde_json::to_value(list).unwrap();
    assert_eq!(value["desktops"][0]["failure"]["code"], "SESSION_ENDED_EARLY");
    assert_eq!(value["desktops"][0]["host"], json!(null));
}

#[test]
fn a_list_for_people() {
    let list: DesktopList = [running(), failed()].into_iter().collect();
    assert_eq!(
        list.text(look()),
        "DESKTOP   STATE    HOST    VERSION  ADDRESS      MEMORY     DISK  STARTED    VIEWED FROM\n\
         demo/ada  running  host-1  v1       10.77.0.4  80.0 MiB  3.0 MiB  5 min ago  192.0.2.7\n\
         demo/bob  failed   -       -        -                 -        -  -          -\n"
    );
    let behind = Desktop { behind: true, next_version: "v2".into(), ..running() };
    let one = DesktopView::from(behind.clone()).text(look());
    assert!(one.contains("demo:stable (v1 -> v2)\n"), "{one}");
    let list: DesktopList = [behind].into_iter().collect();
    assert!(list.text(look()).contains("v1 -> v2"));
    let empty: DesktopList = [].into_iter().collect();
    assert_eq!(empty.text(look()), "no desktops\n");
}

#[test]
fn one_desktop_for_people() {
    let text = DesktopView::from(running()).text(look());
    for line in [
        "disk       volatile, 3.0 MiB of 1.0 GiB\n",
        "uses       80.0 MiB memory, 9 processes, 1.5 s of CPU\n",
        "limits     2 GiB memory, 1.5 CPUs, 12.5 Mbit/s up, 100.0 MiB/s read\n",
        "viewed by  ada from 192.0.2.7\n",
        "disk ready after 12.3 ms\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn what_a_session_wrote_cannot_steer_the_terminal() {
    let text = DesktopView::from(failed()).text(look());
    assert!(text.contains("the session ended at once (in phase session)"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn a_bad_end_is_told_with_its_reason() {
    let mut desktop = failed();
    desktop.state = DesktopState::Gone.into();
    desktop.end_reason = "OUT_OF_MEMORY".into();
    let text = DesktopView::from(desktop).text(look());
    for line in ["ended      OUT_OF_MEMORY\n", "why        the session ended at once\n"] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn a_change_is_a_sentence() {
    assert_eq!(DesktopView::from(running()).sentence(), "demo/ada: running on host-1");
    let ended = Desktop {
        state: DesktopState::Gone.into(),
        end_reason: "LOST".into(),
        host: String::new(),
        ..running()
    };
    assert_eq!(DesktopView::from(ended).sentence(), "demo/ada: gone: LOST");
}
