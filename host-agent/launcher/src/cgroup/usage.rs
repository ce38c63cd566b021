//! What a cgroup has used.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Cgroup, CgroupError, Home, read};

/// Counters of a cgroup, `None` where the host does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory charged, page cache included, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// CPU time used by all processes so far.
    pub cpu_time: Option<Duration>,
}

// === impl Cgroup ===

impl Cgroup {
    /// Reads the counters.
    ///
    /// # Errors
    /// A file cannot be read or parsed. One that does not exist is `None`.
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        let memory = match self.controller("memory")? {
            Home::Unified(directory) => number(&directory.join("memory.current"))?,
            Home::Legacy(directory) => number(&directory.join("memory.usage_in_bytes"))?,
        };
        let (Home::Unified(directory) | Home::Legacy(directory)) = self.controller("pids")?;
        Ok(Usage {
            memory_bytes: memory,
            pids: number(&directory.join("pids.current"))?,
            cpu_time: self.cpu_time()?,
        })
    }

    /// How many processes the kernel has killed in it for want of memory.
    ///
    /// # Errors
    /// The file cannot be read or parsed. One that does not exist counts zero.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let path = match self.controller("memory")? {
            Home::Unified(directory) => directory.join("memory.events"),
            Home::Legacy(directory) => directory.join("memory.oom_control"),
        };
        Ok(keyed(&path, "oom_kill")?.unwrap_or(0))
    }

    /// Version 2 counts CPU time without any controller.
    fn cpu_time(&self) -> Result<Option<Duration>, CgroupError> {
        if let Some(directory) = &self.unified
            && let Some(microseconds) = keyed(&directory.join("cpu.stat"), "usage_usec")?
        {
            return Ok(Some(Duration::from_micros(microseconds)));
        }
        match self.legacy_directory("cpuacct") {
            Some(directory) => {
                Ok(number(&directory.join("cpuacct.usage"))?.map(Duration::from_nanos))
            }
            None => Ok(None),
        }
    }
}

pub(super) fn number(path: &Path) -> Result<Option<u64>, CgroupError> {
    let Some(text) = read_if_there(path)? else { return Ok(None) };
    match text.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(CgroupError::Garbage { path: path.into(), text }),
    }
}

/// The value of `key` in a file of `key value` lines.
fn keyed(path: &Path, key: &str) -> Result<Option<u64>, CgroupError> {
    let Some(text) = read_if_there(path)? else { return Ok(None) };
    let found = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(name, value)| (name == key).then(|| value.trim().parse()));
    match found.transpose() {
        Ok(value) => Ok(value),
        Err(_) => Err(CgroupError::Garbage { path: path.into(), text }),
    }
}

pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, CgroupError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(CgroupError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
