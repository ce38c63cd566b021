//! What the kernel is, has, and allows.

use std::{fs, path::Path};

use super::{Findings, Verdict};
use crate::config::Config;

/// Overlays over ID-mapped layers: Linux 5.19. All that came before is older:
/// `mount_setattr` 5.12, `LOOP_CONFIGURE` 5.8, `CLONE_INTO_CGROUP` 5.7.
const OLDEST: (u32, u32) = (5, 19);
/// EROFS straight from a file: Linux 6.12.
const EROFS_FROM_FILES: (u32, u32) = (6, 12);

/// File systems, and whether every desktop needs them.
const FILE_SYSTEMS: [(&str, bool); 9] = [
    ("overlay", true),
    ("ext4", true),
    ("tmpfs", true),
    ("proc", true),
    ("sysfs", true),
    ("devpts", true),
    ("mqueue", true),
    ("erofs", false),
    ("nfs4", false),
];

/// Kinds of namespaces a desktop has, one each.
const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// Descriptors the agent holds for a desktop at most: pidfds, its display's
/// connection, event files of its control group.
const DESCRIPTORS_PER_DESKTOP: u64 = 16;

/// Processes of an ordinary desktop.
const PIDS_PER_DESKTOP: u64 = 50;

pub(super) fn look(root: &Path, config: &Config, findings: &mut Findings) {
    release(root, findings);
    capabilities(root, findings);
    file_systems(root, findings);
    namespaces(root, config, findings);
    seccomp(root, findings);
    limits(root, config, findings);
}

fn release(root: &Path, findings: &mut Findings) {
    let text = read(root, "proc/sys/kernel/osrelease").unwrap_or_default();
    let (verdict, remedy) = match version(&text) {
        Some(version) if version < OLDEST => {
            (Verdict::Bad, "Linux 5.19 is the oldest that can ID-map the layers of an overlay")
        }
        Some(version) if version < EROFS_FROM_FILES => (
            Verdict::Weak,
            "from Linux 6.12 on, EROFS roots are mounted without a loop device and start faster",
        ),
        Some(_) => (Verdict::Good, ""),
        None => (Verdict::Weak, "its version cannot be read; Linux 5.19 or newer is needed"),
    };
    findings.add(verdict, "kernel", text, remedy);
}

/// "6.1.0-13-amd64": 6 and 1.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Bits of `CapEff` (`linux/capability.h`).
const CAPABILITIES: [(&str, u32); 12] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_MKNOD", 27),
];
const CAP_SYS_RESOURCE: u32 = 24;

fn capabilities(root: &Path, findings: &mut Findings) {
    let status = read(root, "proc/self/status").unwrap_or_default();
    let held = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok())
        .unwrap_or(0);
    let has = |bit: u32| held >> bit & 1 == 1;
    let missing: Vec<_> =
        CAPABILITIES.iter().filter(|(_, bit)| !has(*bit)).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        findings.add(
            Verdict::Bad,
            "privileges",
            format!("without {}", missing.join(", ")),
            "run it as root; in a unit file, do not take these from CapabilityBoundingSet",
        );
    } else if has(CAP_SYS_RESOURCE) {
        findings.good("privileges", "all that are needed");
    } else {
        findings.add(
            Verdict::Weak,
            "privileges",
            "without CAP_SYS_RESOURCE",
            "the disk of a running desktop cannot be grown; a stopped one's can",
        );
    }
}

fn file_systems(root: &Path, findings: &mut Findings) {
    let known = read(root, "proc/filesystems").unwrap_or_default();
    let loaded = |name: &str| known.lines().any(|line| line.split('\t').next_back() == Some(name));
    let modules = {
        let release = read(root, "proc/sys/kernel/osrelease").unwrap_or_default();
        let dir = format!("lib/modules/{release}");
        ["modules.dep", "modules.builtin"]
            .map(|list| read(root, &format!("{dir}/{list}")).unwrap_or_default())
            .concat()
    };
    // The module of nfs4 is nfsv4; the others are called as they are.
    let loadable = |name: &str| {
        let module = if name == "nfs4" { "nfsv4" } else { name };
        modules.contains(&format!("/{module}.ko"))
    };
    let (mut there, mut missing, mut optional) = (Vec::new(), Vec::new(), Vec::new());
    for (name, needed) in FILE_SYSTEMS {
        match (loaded(name) || loadable(name), needed) {
            (true, _) => there.push(name),
            (false, true) => missing.push(name),
            (false, false) => optional.push(name),
        }
    }
    if !missing.is_empty() {
        findings.add(
            Verdict::Bad,
            "file systems",
            format!("this kernel has no {}", missing.join(", ")),
            "install a kernel that has them; Debian's linux-image packages do",
        );
    }
    if !optional.is_empty() {
        findings.add(
            Verdict::Weak,
            "file systems",
            format!("this kernel has no {}", optional.join(", ")),
            "base roots cannot be of these kinds here",
        );
    }
    findings.good("file systems", there.join(", "));
}

fn namespaces(root: &Path, config: &Config, findings: &mut Findings) {
    let needed = u64::from(config.max_desktops);
    let mut refused = Vec::new();
    for kind in NAMESPACES {
        let path = format!("proc/sys/user/max_{kind}_namespaces");
        match number(root, &path) {
            Some(allowed) if allowed >= needed => {}
            Some(allowed) => refused.push(format!("{kind}: {allowed}")),
            None => refused.push(format!("{kind}: none")),
        }
    }
    if refused.is_empty() {
        findings.good("namespaces", format!("of all kinds, for {needed} desktops"));
    } else {
        findings.add(
            Verdict::Bad,
            "namespaces",
            format!("{}; {needed} desktops are configured", refused.join(", ")),
            format!("sysctl user.max_KIND_namespaces={}, or a smaller max_desktops", needed * 2),
        );
    }
}

fn seccomp(root: &Path, findings: &mut Findings) {
    let actions = read(root, "proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "errno") {
        findings.good("seccomp", "filters");
    } else {
        findings.add(
            Verdict::Bad,
            "seccomp",
            "this kernel has no filters",
            "install a kernel with CONFIG_SECCOMP_FILTER",
        );
    }
}

fn limits(root: &Path, config: &Config, findings: &mut Findings) {
    let desktops = u64::from(config.max_desktops);
    let ports = u64::from(config.network.most_desktops());
    if desktops > ports {
        findings.add(
            Verdict::Bad,
            "max_desktops",
            format!("{desktops}, but there are ports for {ports} on all bridges together"),
            format!("set max_desktops to {ports} or less, or network.ports_per_bridge higher"),
        );
    }
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let wanted = 256 + desktops * DESCRIPTORS_PER_DESKTOP;
    at_least(
        findings,
        "open files",
        files.unwrap_or(u64::MAX),
        wanted,
        "LimitNOFILE= in the unit, or ulimit -Hn",
    );
    for (path, wanted) in [
        ("kernel/pid_max", desktops * PIDS_PER_DESKTOP),
        ("kernel/threads-max", desktops * PIDS_PER_DESKTOP * 4),
        // Above it the kernel forgets neighbours, and packets with them.
        ("net/ipv4/neigh/default/gc_thresh3", desktops * 2),
    ] {
        let name = path.replace('/', ".");
        if let Some(found) = number(root, &format!("proc/sys/{path}")) {
            at_least(findings, &name, found, wanted, &format!("sysctl {name}="));
        }
    }
}

fn at_least(findings: &mut Findings, item: &str, found: u64, wanted: u64, remedy: &str) {
    if found >= wanted {
        findings.good(item, found.to_string());
    } else {
        findings.add(
            Verdict::Weak,
            item,
            format!("{found}, too little for the configured number of desktops"),
            format!("{remedy}{}{wanted} or more", if remedy.ends_with('=') { "" } else { ": " }),
        );
    }
}

pub(super) fn read(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path)).ok().map(|text| text.trim_end().to_owned())
}

fn number(root: &Path, path: &str) -> Option<u64> {
    read(root, path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn found(files: &[(&str, &str)], look: impl Fn(&Path, &mut Findings)) -> Findings {
        let mut findings = Findings::default();
        look(machine(files).path(), &mut findings);
        findings
    }

    #[test]
    fn releases_are_told_apart() {
        for (text, verdict) in [
            ("5.10.0-28-amd64\n", Verdict::Bad),
            ("5.19.1", Verdict::Weak),
            ("6.1.0-13-amd64", Verdict::Weak),
            ("6.12-rc1", Verdict::Good),
            ("10.0", Verdict::Good),
            ("plan9", Verdict::Weak),
        ] {
            let findings = found(&[("proc/sys/kernel/osrelease", text)], release);
            assert_eq!(findings.worst(), verdict, "{text}");
        }
    }

    #[test]
    fn a_module_that_can_be_loaded_counts() {
        let needed =
            "nodev\tproc\nnodev\tsysfs\nnodev\ttmpfs\nnodev\tdevpts\nnodev\tmqueue\n\text4\n";
        let files = [
            ("proc/filesystems", needed),
            ("proc/sys/kernel/osrelease", "6.12.1\n"),
            (
                "lib/modules/6.12.1/modules.dep",
                "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/fs/nfs/nfsv4.ko.xz: a\n",
            ),
        ];
        let findings = found(&files, file_systems);
        assert_eq!(findings.worst(), Verdict::Weak);
        assert!(findings.0[0].found.ends_with("no erofs"), "{findings}");
        let findings = found(&files[..2], file_systems);
        assert_eq!(findings.worst(), Verdict::Bad);
        assert!(findings.0[0].found.ends_with("no overlay"), "{findings}");
    }

    #[test]
    fn missing_privileges_are_named() {
        let status = |bits: &str| format!("Name:\tx\nCapEff:\t{bits}\n");
        let look = |bits: &str| found(&[("proc/self/status", &status(bits))], capabilities);
        assert_eq!(look("000001ffffffffff").worst(), Verdict::Good);
        assert_eq!(look("000001fffeffffff").worst(), Verdict::Weak);
        let without = look("000001ffffffefff");
        assert_eq!(without.worst(), Verdict::Bad);
        assert!(without.0[0].found.contains("CAP_NET_ADMIN"), "{without}");
    }

    #[test]
    fn few_namespaces_and_small_limits_are_told() {
        let mut config = Config::read("", &|_| None).unwrap();
        config.max_desktops = 600;
        let all: Vec<(String, &str)> = NAMESPACES
            .iter()
            .map(|kind| {
                (
                    format!("proc/sys/user/max_{kind}_namespaces"),
                    if *kind == "net" { "599" } else { "9000" },
                )
            })
            .collect();
        let all: Vec<_> = all.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let findings = found(&all, |root, findings| namespaces(root, &config, findings));
        assert_eq!(findings.worst(), Verdict::Bad);
        assert!(findings.0[0].found.starts_with("net: 599;"), "{findings}");

        let thresh = [("proc/sys/net/ipv4/neigh/default/gc_thresh3", "1024\n")];
        let findings = found(&thresh, |root, findings| limits(root, &config, findings));
        let neighbours = findings.0.iter().find(|finding| finding.item.contains("gc_thresh3"));
        assert_eq!(neighbours.unwrap().verdict, Verdict::Weak);
        config.max_desktops = 24_000;
        let findings = found(&[], |root, findings| limits(root, &config, findings));
        assert_eq!(findings.worst(), Verdict::Bad);
    }
}
