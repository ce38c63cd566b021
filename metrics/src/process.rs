//! The process itself, under the names that every Prometheus client library
//! uses, so that common dashboards fit.

use std::{fs, io, sync::atomic::AtomicU64};

use prometheus_client::{
    metrics::{counter::ConstCounter, gauge::ConstGauge, gauge::Gauge},
    registry::Registry,
};

/// Puts this process, as it is now, into a registry that lives for one answer.
/// What the kernel does not tell is left out.
pub fn register_process(registry: &mut Registry) {
    let page = rustix::param::page_size() as f64;
    let tick = rustix::param::clock_ticks_per_second() as f64;
    let stat = fs::read_to_string("/proc/self/stat").ok();
    if let Some(stat) = stat.as_deref().and_then(Stat::parse) {
        registry.register(
            "process_cpu_seconds",
            "Processor time used by this process",
            ConstCounter::new(stat.ticks / tick),
        );
        gauge(registry, "process_resident_memory_bytes", "Memory it has", stat.pages * page);
        gauge(registry, "process_virtual_memory_bytes", "Address space it has", stat.virtual_bytes);
        gauge(registry, "process_threads", "Threads it has", stat.threads);
        if let Some(boot) = boot_time() {
            let begun = boot + stat.start_ticks / tick;
            gauge(registry, "process_start_time_seconds", "When it began, Unix time", begun);
        }
    }
    if let Ok(open) = open_files() {
        gauge(registry, "process_open_fds", "Descriptors it has open", open as f64);
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(limit) = limit {
        gauge(registry, "process_max_fds", "Descriptors it may have open", limit as f64);
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge: Gauge<f64, AtomicU64> = Gauge::default();
    gauge.set(value);
    registry.register(name, help, ConstGauge::new(gauge.get()));
}

/// The descriptor that reads the directory is not counted.
fn open_files() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1))
}

/// When the machine began, seconds of Unix time.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// Of `/proc/PID/stat` (`proc_pid_stat(5)`).
#[derive(Debug, PartialEq)]
struct Stat {
    ticks: f64,
    threads: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    pages: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name stands in parentheses and may hold any byte.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // Field 3 of the manual is the first of these.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;

    #[test]
    fn fields_are_counted_after_a_hostile_name() {
        let text = "7 (a) b (c 1 2) R 1 1 1 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 5 0 999 4096 77 18446744073709551615";
        let stat = Stat::parse(text).unwrap();
        let wanted = Stat {
            ticks: 42.0,
            threads: 5.0,
            start_ticks: 999.0,
            virtual_bytes: 4096.0,
            pages: 77.0,
        };
        assert_eq!(stat, wanted);
        assert_eq!(Stat::parse("7 (x"), None);
        assert_eq!(Stat::parse("7 (x) R 1"), None);
    }

    #[test]
    fn this_process_is_told() {
        let mut registry = Registry::default();
        register_process(&mut registry);
        let text = encode(&[&registry]).unwrap();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_start_time_seconds",
            "process_open_fds",
            "process_max_fds",
        ] {
            let told = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            let told: f64 = told.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap();
            assert!(told >= 0.0 && told.is_finite(), "{name} {told}");
        }
    }
}
