//! What the host has, to compare before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names on the host that contain `id`: mounts and cgroups. Other tests run
/// at the same time, so nothing else can be compared.
pub fn traces(id: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(id)).map(str::to_owned));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
        let path = hierarchy.unwrap().path();
        for candidate in [path.join(id), path] {
            if candidate.ends_with(id) && candidate.exists() {
                found.insert(candidate.display().to_string());
            }
        }
    }
    found
}

/// A namespace of a process, by the name the kernel gives it.
pub fn namespace(pid: &str, kind: &str) -> String {
    let path = Path::new("/proc").join(pid).join("ns").join(kind);
    fs::read_link(path).unwrap().display().to_string()
}

/// Whether a process exists, dead but not reaped ones included.
pub fn process_exists(pid: i32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}
