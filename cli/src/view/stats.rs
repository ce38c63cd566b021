//! What a desktop is doing.

use rolltop_proto::v1::{DesktopProcess, DesktopProcesses, DesktopStats, Pressure};
use serde::Serialize;

use super::{desktop::LimitsView, duration_in_ms, time};
use crate::output::{Column, Fields, Look, Table, Tone, View, duration_ms, size_bytes};

/// What a desktop uses. Counters that its host does not keep are `null`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StatsView {
    at: Option<String>,
    cpu_time_ms: Option<f64>,
    /// Since the answer before this one: percent of one processor.
    pub(crate) cpu_percent: Option<f64>,
    memory_bytes: Option<i64>,
    memory_peak_bytes: Option<i64>,
    pids: Option<i64>,
    oom_kills: i64,
    disk_size_bytes: Option<i64>,
    disk_used_bytes: Option<i64>,
    disk_allocated_bytes: Option<i64>,
    network_received_bytes: Option<i64>,
    network_sent_bytes: Option<i64>,
    received_bytes_per_second: Option<f64>,
    sent_bytes_per_second: Option<f64>,
    cpu_pressure: Option<PressureView>,
    memory_pressure: Option<PressureView>,
    io_pressure: Option<PressureView>,
    limits: Option<LimitsView>,
    #[serde(skip)]
    at_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
struct PressureView {
    some_10s_percent: f64,
    some_60s_percent: f64,
    some_ms: Option<f64>,
    full_10s_percent: f64,
    full_60s_percent: f64,
    full_ms: Option<f64>,
}

/// `{"processes": […], "more": …}`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProcessList {
    pub(crate) processes: Vec<ProcessView>,
    more: bool,
}

/// One process; its name and command are its own words.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProcessView {
    pub(crate) pid: i32,
    parent_pid: i32,
    uid: u32,
    state: String,
    name: String,
    command: Vec<String>,
    pub(crate) cpu_time_ms: Option<f64>,
    /// Since the list before this one: percent of one processor.
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) resident_bytes: i64,
    threads: u32,
    pub(crate) started_at: Option<String>,
}

impl StatsView {
    /// With rates, if there was an answer before.
    pub(crate) fn new(stats: DesktopStats, before: Option<&Self>) -> Self {
        let at_ms = stats.at.map(|at| at.seconds as f64 * 1e3 + f64::from(at.nanos) / 1e6);
        let mut view = Self {
            at: time(stats.at),
            cpu_time_ms: duration_in_ms(stats.cpu_time),
            cpu_percent: None,
            memory_bytes: stats.memory_bytes,
            memory_peak_bytes: stats.memory_peak_bytes,
            pids: stats.pids,
            oom_kills: stats.oom_kills,
            disk_size_bytes: stats.disk_size_bytes,
            disk_used_bytes: stats.disk_used_bytes,
            disk_allocated_bytes: stats.disk_allocated_bytes,
            network_received_bytes: stats.network_received_bytes,
            network_sent_bytes: stats.network_sent_bytes,
            received_bytes_per_second: None,
            sent_bytes_per_second: None,
            cpu_pressure: stats.cpu_pressure.map(Into::into),
            memory_pressure: stats.memory_pressure.map(Into::into),
            io_pressure: stats.io_pressure.map(Into::into),
            limits: stats.limits.map(Into::into),
            at_ms,
        };
        if let Some(before) = before {
            view.compare(before);
        }
        view
    }

    fn compare(&mut self, before: &Self) {
        let (Some(now), Some(then)) = (self.at_ms, before.at_ms) else { return };
        let passed_ms = now - then;
        // The host's clock may have been set back.
        if passed_ms <= 0.0 {
            return;
        }
        let rate = |now: Option<f64>, then: Option<f64>| Some((now? - then?).max(0.0) / passed_ms);
        let bytes = |count: Option<i64>| count.map(|count| count as f64);
        self.cpu_percent = rate(self.cpu_time_ms, before.cpu_time_ms).map(|share| share * 100.0);
        let per_second = |now, then| rate(bytes(now), bytes(then)).map(|rate| rate * 1e3);
        self.received_bytes_per_second =
            per_second(self.network_received_bytes, before.network_received_bytes);
        self.sent_bytes_per_second = per_second(self.network_sent_bytes, before.network_sent_bytes);
    }

    /// What `top` shows above the processes.
    pub(crate) fn head(&self) -> Vec<String> {
        let cpu = self.cpu_percent.map_or_else(|| "-".into(), |percent| format!("{percent:.1} %"));
        let rate = |rate: Option<f64>| {
            rate.map_or_else(|| "-".into(), |rate| format!("{}/s", size_bytes(rate as i64)))
        };
        vec![
            format!("cpu {cpu}   memory {}   processes and threads {}", self.memory(), self.pids()),
            format!(
                "disk {}   network in {}, out {}{}",
                self.disk(),
                rate(self.received_bytes_per_second),
                rate(self.sent_bytes_per_second),
                self.waiting().map(|text| format!("   waiting {text}")).unwrap_or_default(),
            ),
        ]
    }

    fn memory(&self) -> String {
        let limit = self.limits.as_ref().and_then(|limits| limits.memory_mib);
        of(self.memory_bytes, limit.map(|mib| mib.saturating_mul(1 << 20)), size_bytes)
    }

    fn pids(&self) -> String {
        let limit = self.limits.as_ref().and_then(|limits| limits.pids);
        of(self.pids, limit, |count| count.to_string())
    }

    fn disk(&self) -> String {
        of(self.disk_used_bytes, self.disk_size_bytes, size_bytes)
    }

    fn waiting(&self) -> Option<String> {
        let one = |name, pressure: &Option<PressureView>| {
            pressure.as_ref().map(|told| format!("{name} {:.1} %", told.some_10s_percent))
        };
        let all = [
            one("cpu", &self.cpu_pressure),
            one("memory", &self.memory_pressure),
            one("disk", &self.io_pressure),
        ];
        let told: Vec<String> = all.into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

/// "some of a limit".
fn of(used: Option<i64>, limit: Option<i64>, show: impl Fn(i64) -> String) -> String {
    match (used, limit) {
        (None, _) => "-".into(),
        (Some(used), None) => show(used),
        (Some(used), Some(limit)) => format!("{} of {}", show(used), show(limit)),
    }
}

impl From<Pressure> for PressureView {
    fn from(pressure: Pressure) -> Self {
        Self {
            some_10s_percent: pressure.some_10s_percent,
            some_60s_percent: pressure.some_60s_percent,
            some_ms: duration_in_ms(pressure.some),
            full_10s_percent: pressure.full_10s_percent,
            full_60s_percent: pressure.full_60s_percent,
            full_ms: duration_in_ms(pressure.full),
        }
    }
}

impl View for StatsView {
    fn text(&self, look: Look) -> String {
        let size = |bytes: Option<i64>| bytes.map(size_bytes).unwrap_or_default();
        let mut fields = Fields::default();
        fields.field("cpu time", self.cpu_time_ms.map(duration_ms).unwrap_or_default());
        if let Some(percent) = self.cpu_percent {
            fields.field("cpu", format!("{percent:.1} % of one processor"));
        }
        fields
            .field("memory", self.memory())
            .field("memory peak", size(self.memory_peak_bytes))
            .field("processes and threads", self.pids());
        if self.oom_kills > 0 {
            fields.toned("killed for memory", Tone::Bad, self.oom_kills.to_string());
        }
        fields
            .field("disk", self.disk())
            .field("disk on the host", size(self.disk_allocated_bytes))
            .field("network in", size(self.network_received_bytes))
            .field("network out", size(self.network_sent_bytes))
            .field("waiting (last 10 s)", self.waiting().unwrap_or_default());
        fields.render(look.paint)
    }
}

impl ProcessList {
    /// With processor shares, if there was a list before, `passed_ms` ago.
    pub(crate) fn new(list: DesktopProcesses, before: Option<(&Self, f64)>) -> Self {
        let mut processes: Vec<ProcessView> =
            list.processes.into_iter().map(ProcessView::from).collect();
        if let Some((before, passed_ms)) = before.filter(|(_, passed_ms)| *passed_ms > 0.0) {
            for process in &mut processes {
                // The same pid may be another process by now.
                let same = |other: &&ProcessView| {
                    (other.pid, &other.started_at) == (process.pid, &process.started_at)
                };
                let earlier = before.processes.iter().find(same).and_then(|it| it.cpu_time_ms);
                let used =
                    process.cpu_time_ms.zip(earlier).map(|(now, then)| (now - then).max(0.0));
                process.cpu_percent = used.map(|used| used / passed_ms * 100.0);
            }
        }
        Self { processes, more: list.more }
    }

    /// The busiest first, then the largest.
    pub(crate) fn by_use(mut self) -> Self {
        let share = |process: &ProcessView| process.cpu_percent.unwrap_or(0.0);
        self.processes.sort_by(|a, b| {
            share(b).total_cmp(&share(a)).then(b.resident_bytes.cmp(&a.resident_bytes))
        });
        self
    }
}

impl From<DesktopProcess> for ProcessView {
    fn from(process: DesktopProcess) -> Self {
        Self {
            pid: process.pid,
            parent_pid: process.parent_pid,
            uid: process.uid,
            state: process.state,
            name: process.name,
            command: process.command,
            cpu_time_ms: duration_in_ms(process.cpu_time),
            cpu_percent: None,
            resident_bytes: process.resident_bytes,
            threads: process.threads,
            started_at: time(process.started_at),
        }
    }
}

impl View for ProcessList {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Right("PID"),
                Column::Right("UID"),
                Column::Left("STATE"),
                Column::Right("CPU"),
                Column::Right("CPU TIME"),
                Column::Right("MEMORY"),
                Column::Left("COMMAND"),
            ],
            "no processes",
        );
        for process in &self.processes {
            let plain = |text| (Tone::Normal, text);
            let share = process.cpu_percent.map(|percent| format!("{percent:.1} %"));
            let command = match process.command.is_empty() {
                true => format!("[{}]", process.name),
                false => process.command.join(" "),
            };
            table.row([
                plain(process.pid.to_string()),
                plain(process.uid.to_string()),
                plain(process.state.clone()),
                plain(share.unwrap_or_default()),
                plain(process.cpu_time_ms.map(duration_ms).unwrap_or_default()),
                plain(size_bytes(process.resident_bytes)),
                plain(command),
            ]);
        }
        let mut text = table.render(look.paint);
        if self.more {
            text.push_str("and more\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, Timestamp};
    use rolltop_proto::v1::Limits;

    use super::*;
    use crate::view::testing::look;

    fn stats(second: i64, cpu_ms: i32, received: i64) -> DesktopStats {
        DesktopStats {
            at: Some(Timestamp { seconds: second, nanos: 0 }),
            cpu_time: Some(Duration { seconds: 0, nanos: cpu_ms * 1_000_000 }),
            limits: Some(Limits { memory_mib: 1024, ..Limits::default() }),
            memory_bytes: Some(512 << 20),
            network_received_bytes: Some(received),
            ..DesktopStats::default()
        }
    }

    #[test]
    fn rates_are_differences() {
        let first = StatsView::new(stats(100, 100, 0), None);
        assert_eq!((first.cpu_percent, first.received_bytes_per_second), (None, None));
        let second = StatsView::new(stats(102, 600, 4096), Some(&first));
        assert_eq!(second.cpu_percent, Some(25.0));
        assert_eq!(second.received_bytes_per_second, Some(2048.0));
        assert_eq!(second.sent_bytes_per_second, None, "not counted");
        let clock_set_back = StatsView::new(stats(99, 700, 0), Some(&second));
        assert_eq!(clock_set_back.cpu_percent, None);
    }

    #[test]
    fn what_is_not_counted_shows_as_nothing() {
        let text = StatsView::new(stats(100, 100, 0), None).text(look());
        assert!(text.contains("memory                 512.0 MiB of 1.0 GiB\n"), "{text}");
        assert!(text.contains("disk                   -\n"), "{text}");
        let json = serde_json::to_value(StatsView::new(stats(100, 100, 0), None)).unwrap();
        assert_eq!(json["disk_used_bytes"], serde_json::Value::Null);
        assert_eq!(json["limits"]["memory_mib"], 1024);
    }

    fn process(pid: i32, began: i64, cpu_ms: i32, command: &[&str]) -> DesktopProcess {
        DesktopProcess {
            pid,
            name: "x\x1b[2J".into(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            cpu_time: Some(Duration { seconds: 0, nanos: cpu_ms * 1_000_000 }),
            resident_bytes: i64::from(pid),
            started_at: Some(Timestamp { seconds: began, nanos: 0 }),
            ..DesktopProcess::default()
        }
    }

    #[test]
    fn a_reused_pid_is_another_process_and_the_busiest_come_first() {
        let list = |processes| DesktopProcesses { processes, ..DesktopProcesses::default() };
        let before = list(vec![process(1, 10, 0, &[]), process(2, 10, 500, &["a"])]);
        let before = ProcessList::new(before, None);
        let now = list(vec![process(1, 10, 100, &[]), process(2, 11, 700, &["b"])]);
        let now = ProcessList::new(now, Some((&before, 1000.0))).by_use();
        let told: Vec<_> = now.processes.iter().map(|it| (it.pid, it.cpu_percent)).collect();
        assert_eq!(told, [(1, Some(10.0)), (2, None)]);
    }

    #[test]
    fn the_words_of_processes_do_not_steer_a_terminal() {
        let list = DesktopProcesses {
            processes: vec![process(1, 1, 1, &[]), process(2, 1, 1, &["a\nb", "\x1b[31m"])],
            more: true,
            at: None,
        };
        let text = ProcessList::new(list, None).text(look());
        assert!(!text.contains('\x1b'), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("[x\u{fffd}[2J]"), "{text}");
    }
}
