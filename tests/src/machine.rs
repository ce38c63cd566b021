//! The state of the machine as sets of names, to be compared before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, ensure};

/// What desktops leave behind if they leave something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Mounts in this mount namespace.
    Mount,
    /// Loop devices, by the file they hold.
    Loop,
    /// Network links in this network namespace.
    Link,
    /// Control groups, in every hierarchy.
    ControlGroup,
    /// Tables of the packet filter in this network namespace.
    FilterTable,
    /// Rates of devices that the root control group has, of version 1.
    DiskRate,
    /// Processes in this process namespace, by id, start and name. Not the
    /// kernel's own.
    Process,
}

/// Which part of what the whole machine shares is looked at, so that others
/// may work beside. Mounts, links, tables and processes are looked at whole:
/// see [`crate::isolation`].
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Only loop devices over files below this directory.
    pub loop_files: &'a Path,
    /// Only control groups with this in their path.
    pub control_groups: &'a str,
}

/// Everything there is of every kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<Kind, BTreeSet<String>>);

/// One thing that came or went.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Of what kind.
    pub kind: Kind,
    /// Whether it is there now and was not before.
    pub appeared: bool,
    /// Which.
    pub name: String,
}

impl Snapshot {
    /// The machine as it is now.
    ///
    /// # Errors
    /// A file of `/proc` or `/sys` cannot be read, or `nft` fails.
    pub fn take(scope: Scope<'_>) -> anyhow::Result<Self> {
        Ok(Self(BTreeMap::from([
            (Kind::Mount, mounts()?),
            (Kind::Loop, loops(scope.loop_files)?),
            (Kind::Link, links()?),
            (Kind::ControlGroup, control_groups(scope.control_groups)?),
            (Kind::FilterTable, filter_tables()?),
            (Kind::DiskRate, disk_rates()?),
            (Kind::Process, processes()?),
        ])))
    }

    /// What has changed since `before`, by kind and name.
    pub fn since(&self, before: &Self) -> Vec<Change> {
        let empty = BTreeSet::new();
        let mut changes = Vec::new();
        for (&kind, now) in &self.0 {
            let then = before.0.get(&kind).unwrap_or(&empty);
            for name in now.symmetric_difference(then) {
                changes.push(Change { kind, appeared: now.contains(name), name: name.clone() });
            }
        }
        changes
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.appeared { "was left" } else { "is gone" };
        write!(f, "{:?} {verb}: {}", self.kind, self.name)
    }
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// Mount points with what is mounted there (`proc_pid_mountinfo(5)`). Mount ids
/// are left out: they are given anew. Of several that look the same each
/// counts.
fn mounts() -> anyhow::Result<BTreeSet<String>> {
    let text = read("/proc/self/mountinfo")?;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let dash = fields.iter().position(|field| *field == "-").context("no mountinfo")?;
        let name = format!("{} of {} {}", fields[4], fields[3], fields[dash + 1..].join(" "));
        let copies = (2..).map(|copy| format!("{name} #{copy}"));
        let mut names = std::iter::once(name.clone()).chain(copies);
        names.find(|name| found.insert(name.clone()));
    }
    Ok(found)
}

fn loops(below: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/sys/block").context("cannot list /sys/block")? {
        // Without such a file it is free, or no loop device.
        let file = entry?.path().join("loop/backing_file");
        if let Ok(held) = fs::read_to_string(file)
            && Path::new(&held).starts_with(below)
        {
            found.insert(held.trim_end().to_owned());
        }
    }
    Ok(found)
}

/// From `/proc`, which follows the caller's network namespace; `/sys` shows the
/// links of whoever mounted it.
fn links() -> anyhow::Result<BTreeSet<String>> {
    let text = read("/proc/self/net/dev")?;
    let names = text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    Ok(names.collect())
}

/// Paths of control groups that have `with` in them, in every hierarchy and at
/// any depth: what a machine is made of may itself be in groups.
///
/// # Errors
/// A directory cannot be read.
pub fn control_groups(with: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut todo = vec!["/sys/fs/cgroup".to_owned()];
    while let Some(dir) = todo.pop() {
        let entries = match fs::read_dir(&dir) {
            // Groups of others come and go.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("cannot list {dir}"))?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let path = entry.path().to_string_lossy().into_owned();
                if path.contains(with) {
                    found.insert(path.clone());
                }
                todo.push(path);
            }
        }
    }
    Ok(found)
}

/// Lines such as "7:3 4194304". Without version 1 there are none.
///
/// # Errors
/// A file cannot be read.
pub fn disk_rates() -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for file in ["write_bps_device", "write_iops_device"] {
        match fs::read_to_string(format!("/sys/fs/cgroup/blkio/blkio.throttle.{file}")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => {
                let text = other.with_context(|| format!("cannot read {file}"))?;
                found.extend(text.lines().map(|line| format!("{file} {line}")));
            }
        }
    }
    Ok(found)
}

fn filter_tables() -> anyhow::Result<BTreeSet<String>> {
    let output = match Command::new("nft").args(["list", "tables"]).output() {
        // Then nobody else can make tables either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other.context("cannot run nft")?,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nft cannot list tables: {said}");
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

fn processes() -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Gone since it was listed: not there.
        if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
            found.extend(process_name(&stat));
        }
    }
    Ok(found)
}

/// Id, name and start time from a line of `proc_pid_stat(5)`; none for a thread
/// of the kernel.
fn process_name(stat: &str) -> Option<String> {
    const FLAGS: usize = 6;
    const START_TIME: usize = 19;
    const PF_KTHREAD: u64 = 0x0020_0000;
    // The name may hold blanks and brackets itself.
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let flags: u64 = fields.get(FLAGS)?.parse().ok()?;
    let start = fields.get(START_TIME)?;
    (flags & PF_KTHREAD == 0).then(|| format!("{head}) since {start}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(names: &[&str]) -> Snapshot {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Snapshot(BTreeMap::from([(Kind::Link, names)]))
    }

    #[test]
    fn what_came_and_what_went() {
        let changes = snapshot(&["lo", "rt1"]).since(&snapshot(&["lo", "eth0"]));
        let told: Vec<String> = changes.iter().map(Change::to_string).collect();
        assert_eq!(told, ["Link is gone: eth0", "Link was left: rt1"]);
        assert_eq!(snapshot(&["lo"]).since(&snapshot(&["lo"])), []);
    }

    #[test]
    fn this_process_and_its_machine_are_seen() {
        let scope = Scope { loop_files: Path::new("/"), control_groups: "no such group" };
        let Snapshot(sets) = Snapshot::take(scope).unwrap();
        let has = |kind, text: &str| sets[&kind].iter().any(|name| name.starts_with(text));
        assert!(has(Kind::Mount, "/proc of / proc"));
        assert!(has(Kind::Link, "lo"));
        assert!(has(Kind::Process, &format!("{} (", std::process::id())));
        assert!(sets[&Kind::ControlGroup].is_empty());
    }

    #[test]
    fn a_name_may_hold_brackets_and_the_kernels_threads_do_not_count() {
        let line = |flags: u64| {
            format!("7 (a) b)) S 1 7 7 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0")
        };
        assert_eq!(process_name(&line(0x40_0000)).unwrap(), "7 (a) b)) since 4711");
        assert_eq!(process_name(&line(0x20_8040)), None);
    }
}
