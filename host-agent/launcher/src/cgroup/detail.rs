//! More of what a cgroup has used, for those who look closely.

use std::path::Path;
use std::time::Duration;

use super::usage::{number, read_if_there};
use super::{Cgroup, CgroupError, Home};

/// How much its processes had to wait for one resource (`PSI`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Some of them waited.
    pub some: Stall,
    /// All of them waited at once. The kernel does not tell for processors at
    /// the root; in a cgroup it does from Linux 5.13 on.
    pub full: Stall,
}

/// Waiting, as shares of the last seconds and in all.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// Percent of the last 10 s.
    pub percent_10s: f64,
    /// Percent of the last 60 s.
    pub percent_60s: f64,
    /// So far.
    pub total: Duration,
}

/// Pressure on each resource, `None` where the kernel does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressures {
    /// Processors.
    pub cpu: Option<Pressure>,
    /// Memory.
    pub memory: Option<Pressure>,
    /// Disks.
    pub io: Option<Pressure>,
}

// === impl Cgroup ===

impl Cgroup {
    /// The most memory it ever had, bytes. `None` where the host does not keep
    /// that: version 2 does from Linux 5.19 on.
    ///
    /// # Errors
    /// The file cannot be read or parsed.
    pub fn memory_peak(&self) -> Result<Option<u64>, CgroupError> {
        match self.controller("memory")? {
            Home::Unified(directory) => number(&directory.join("memory.peak")),
            Home::Legacy(directory) => number(&directory.join("memory.max_usage_in_bytes")),
        }
    }

    /// How much its processes had to wait. Version 2 tells, also where the
    /// controllers are version 1's, if the processes are in its hierarchy too.
    ///
    /// # Errors
    /// A file cannot be read or parsed.
    pub fn pressures(&self) -> Result<Pressures, CgroupError> {
        let Some(directory) = &self.unified else { return Ok(Pressures::default()) };
        let of = |name| pressure(&directory.join(name));
        Ok(Pressures {
            cpu: of("cpu.pressure")?,
            memory: of("memory.pressure")?,
            io: of("io.pressure")?,
        })
    }
}

fn pressure(path: &Path) -> Result<Option<Pressure>, CgroupError> {
    // Without PSI in the kernel's command line the files answer EOPNOTSUPP.
    let unsupported = rustix::io::Errno::OPNOTSUPP.raw_os_error();
    let text = match read_if_there(path) {
        Err(CgroupError::File { source, .. }) if source.raw_os_error() == Some(unsupported) => None,
        other => other?,
    };
    let Some(text) = text else { return Ok(None) };
    match parse(&text) {
        Some(pressure) => Ok(Some(pressure)),
        None => Err(CgroupError::Garbage { path: path.into(), text }),
    }
}

/// Lines such as `some avg10=0.00 avg60=0.12 avg300=0.02 total=4321`.
fn parse(text: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let (kind, values) = line.split_once(' ')?;
        let value = |key: &str| {
            values.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
        };
        let stall = Stall {
            percent_10s: value("avg10")?.parse().ok()?,
            percent_60s: value("avg60")?.parse().ok()?,
            total: Duration::from_micros(value("total")?.parse().ok()?),
        };
        match kind {
            "some" => pressure.some = stall,
            "full" => pressure.full = stall,
            // Something that a newer kernel tells.
            _ => {}
        }
    }
    Some(pressure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_form_is_read() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.02 total=4321\n\
                    full avg10=0.00 avg60=0.10 avg300=0.00 total=21\n";
        let pressure = parse(text).unwrap();
        assert_eq!(pressure.some.percent_10s, 1.5);
        assert_eq!(pressure.some.total, Duration::from_micros(4321));
        assert_eq!(pressure.full.percent_60s, 0.1);
        assert_eq!(
            parse("some avg10=1.50 avg60=0.25 avg300=0.02 total=1\n").unwrap().full,
            Stall::default()
        );
    }

    #[test]
    fn garbage_is_not() {
        for text in ["some", "some avg10=x avg60=0 total=1", "some avg10=0 total=1", "x y\n"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
