//! How much memory a process takes.

use std::fs;

use anyhow::{Context as _, ensure};

/// Memory of one process, KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident, shared pages counted in full.
    pub rss_kib: u64,
    /// Resident, each shared page divided by the number of its users.
    pub pss_kib: u64,
}

impl Memory {
    /// Of process `pid`, from its `smaps_rollup` (`proc_pid_smaps(5)`).
    ///
    /// # Errors
    /// The process has ended, or is not ours to look at.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Self::parse(&text).with_context(|| format!("cannot make sense of {path}"))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            let mut words = line.with_context(|| format!("no line {key}"))?.split_whitespace();
            let number = words.next().with_context(|| format!("no value of {key}"))?;
            ensure!(words.next() == Some("kB"), "{key} is not in kB");
            number.parse().with_context(|| format!("{key} {number} is no number"))
        };
        Ok(Self { rss_kib: value("Rss:")?, pss_kib: value("Pss:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_memory_is_there() {
        let own = Memory::of(std::process::id()).unwrap();
        assert!(own.rss_kib >= own.pss_kib && own.pss_kib > 0, "{own:?}");
    }

    #[test]
    fn pss_is_not_taken_from_a_longer_name() {
        let text = "Rss:  100 kB\nPss_Anon:  1 kB\nPss:  60 kB\n";
        assert_eq!(Memory::parse(text).unwrap(), Memory { rss_kib: 100, pss_kib: 60 });
        assert!(Memory::parse("Rss: 1 kB\n").is_err());
    }
}
