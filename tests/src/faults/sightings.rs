//! What machines show, whatever agents say: who has an address, and which
//! device holds a file. Each look takes a while, so a thing is known to have
//! been somewhere from the first time it was seen there to the last; whoever
//! else had it in between had it, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const BETWEEN_LOOKS: Duration = Duration::from_millis(150);

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Sightings(BTreeMap<String, BTreeMap<String, (Instant, Instant)>>);

/// A container, as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// From the name of its control group.
    pub number: u32,
    /// Of its first link beside loopback.
    pub mac: String,
    /// Its addresses, but for loopback's.
    pub ips: BTreeSet<String>,
    /// Tells its network namespace from every other.
    pub network: String,
}

/// Who looks, all the while; on a thread of its own, since the kernel may take
/// its time.
#[derive(Debug)]
pub struct Lookout {
    seen: Arc<Mutex<Sightings>>,
    /// Gone: nobody needs it any more.
    _needed: Arc<()>,
}

// === impl Lookout ===

impl Lookout {
    /// At the containers of hosts, by name and control group, and at devices that
    /// hold files below `dir`.
    pub fn new(hosts: Vec<(String, String)>, dir: PathBuf) -> Self {
        let (seen, needed) = (Arc::<Mutex<Sightings>>::default(), Arc::new(()));
        let (its, until) = (Arc::clone(&seen), Arc::downgrade(&needed));
        std::thread::spawn(move || {
            while until.strong_count() > 0 {
                for (host, group) in &hosts {
                    let found = containers(group);
                    lock(&its).note(host, &found, Instant::now());
                }
                if let Err(error) = look_at_loops(&its, &dir) {
                    eprintln!("loop devices cannot be listed: {error}");
                }
                std::thread::sleep(BETWEEN_LOOKS);
            }
        });
        Self { seen, _needed: needed }
    }

    /// What two had at once, since this was asked last; and how much was seen.
    pub fn seen_twice(&self) -> (Vec<String>, usize) {
        let seen = std::mem::take(&mut *lock(&self.seen));
        (seen.twice(), seen.0.len())
    }
}

/// Looks at all loop devices that hold files below `dir`.
fn look_at_loops(seen: &Mutex<Sightings>, dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir("/sys/block")? {
        let device = entry?;
        // Without one it is free, or no loop device, or was let go this moment.
        let read = |name| fs::read_to_string(device.path().join(name));
        let (Ok(file), Ok(use_of_it)) = (read("loop/backing_file"), read("diskseq")) else {
            continue;
        };
        if Path::new(file.trim_end()).starts_with(dir) {
            let name = device.file_name().to_string_lossy().into_owned();
            let holder = format!("{name}, use {}", use_of_it.trim_end());
            lock(seen).add(&format!("file {}", file.trim_end()), &holder, Instant::now());
        }
    }
    Ok(())
}

fn lock(seen: &Mutex<Sightings>) -> MutexGuard<'_, Sightings> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Sightings ===

impl Sightings {
    /// `holder` has `thing`.
    pub fn add(&mut self, thing: &str, holder: &str, at: Instant) {
        let holders = self.0.entry(thing.to_owned()).or_default();
        holders.entry(holder.to_owned()).or_insert((at, at)).1 = at;
    }

    /// Things that two had at the same moment, in sentences.
    pub fn twice(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (thing, holders) in &self.0 {
            for (one, (from, to)) in holders {
                // Each pair once: the one seen first is `one`.
                let meanwhile = holders.iter().filter(|(other, (begun, _))| {
                    *other != one && (begun, *other) >= (from, one) && begun < to
                });
                wrong.extend(
                    meanwhile.map(|(other, _)| format!("{thing} was with {one} and with {other}")),
                );
            }
        }
        wrong
    }

    /// Notes the containers of a host.
    pub fn note(&mut self, host: &str, containers: &[Container], at: Instant) {
        for Container { number, mac, ips, network } in containers {
            let holder = format!("number {number} of {host}, network {network}");
            self.add(&format!("address {mac}"), &holder, at);
            for ip in ips {
                self.add(&format!("address {ip}"), &holder, at);
            }
        }
    }
}

/// The containers below a control group. What is being made or taken away may
/// be missing.
pub fn containers(group: &str) -> Vec<Container> {
    // Version 1 has a tree for each controller; any will do.
    let trees = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(|tree| Path::new(tree).join(group));
    let Some(tree) = trees.into_iter().find(|tree| tree.is_dir()) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(tree) else { return Vec::new() };
    let numbered = entries.filter_map(Result::ok).filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        container(number, first_process(&entry.path())?)
    });
    numbered.collect()
}

fn container(number: u32, pid: u32) -> Option<Container> {
    let process = Path::new("/proc").join(pid.to_string());
    let network = fs::read_link(process.join("ns/net")).ok()?;
    // Its own sysfs has its own links.
    let links = fs::read_dir(process.join("root/sys/class/net")).ok()?;
    let link = links.filter_map(Result::ok).find(|link| link.file_name() != "lo")?;
    let mac = fs::read_to_string(link.path().join("address")).ok()?.trim_end().to_owned();
    let ips = local(&fs::read_to_string(process.join("net/fib_trie")).ok()?);
    let network = network.to_string_lossy().into_owned();
    Some(Container { number, mac, ips, network })
}

/// The first found in a control group or in one of those below.
fn first_process(group: &Path) -> Option<u32> {
    let own = fs::read_to_string(group.join("cgroup.procs")).ok()?;
    if let Some(pid) = own.lines().next() {
        return pid.parse().ok();
    }
    let below = fs::read_dir(group).ok()?.filter_map(Result::ok);
    below.filter(|entry| entry.path().is_dir()).find_map(|entry| first_process(&entry.path()))
}

/// Local addresses of a `/proc/net/fib_trie`: in a line before `/32 host LOCAL`.
fn local(trie: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut last = "";
    for line in trie.lines() {
        if let Some(leaf) = line.trim_start().strip_prefix("|-- ") {
            last = leaf;
        } else if line.contains("/32 host LOCAL") && !last.starts_with("127.") {
            found.insert(last.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_after_the_other_is_not_twice() {
        let mut seen = Sightings::default();
        let (now, ms) = (Instant::now(), Duration::from_millis);
        for (holder, at) in [("a", 0), ("a", 10), ("b", 20), ("b", 30), ("c", 40)] {
            seen.add("x", holder, now + ms(at));
        }
        assert_eq!(seen.twice(), [] as [String; 0]);
        seen.add("x", "a", now + ms(25));
        assert_eq!(seen.twice(), ["x was with a and with b"]);
    }

    #[test]
    fn addresses_are_read_from_the_routing_table() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 4\n     |-- 10.77.0.3\n        /32 host LOCAL\n\
            \x20    |-- 10.77.255.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(local(trie), BTreeSet::from(["10.77.0.3".to_owned()]));
        assert_eq!(local(""), BTreeSet::new());
    }
}
