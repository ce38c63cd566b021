//! The OCI bundle of a desktop: a pure function of what is known about it, and
//! the only thing a container runtime gets to see.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use oci_spec::{
    OciSpecError,
    runtime::{
        LinuxBlockIo, LinuxBlockIoBuilder, LinuxBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder,
        LinuxIdMapping, LinuxIdMappingBuilder, LinuxMemoryBuilder, LinuxNamespace,
        LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder, LinuxResources,
        LinuxResourcesBuilder, LinuxThrottleDeviceBuilder, Mount, MountBuilder, Process,
        ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
    },
};
use rolltop_launcher::profile::{self, NestedNamespaces};
use rolltop_overlay::{IdMap, IdRange, LOOP_MAJOR};

use crate::{
    extra::ExtraBind,
    paths::{DISPLAY_DIR_INSIDE, DesktopPaths, INIT_INSIDE, NOTIFY_INSIDE},
    request::{Account, DiskRates, Limits},
    watches,
};

/// Period of the CPU quota, microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// In OCI resources.
const UNLIMITED: i64 = -1;

/// Paths of `/proc` and `/sys` that tell about the host or change it.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// What a bundle is made of.
#[derive(Debug)]
pub struct Ingredients<'a> {
    /// The desktop's directories.
    pub paths: &'a DesktopPaths,
    /// The joined root.
    pub root: &'a Path,
    /// The init program on the host.
    pub init_program: &'a Path,
    /// What PID 1 is.
    pub init: InitKind<'a>,
    /// Name inside.
    pub host_name: &'a str,
    /// The ids of its user namespace.
    pub ids: IdMap,
    /// Directories of the host over its root.
    pub extra_dirs: &'a [ExtraBind],
    /// What it may use.
    pub limits: Limits,
    /// N of each /dev/loopN that is its own.
    pub disks: &'a [u32],
    /// The user, and the directory of the host that is their home.
    pub home: Option<(&'a str, &'a Path)>,
    /// Whether the runtime can keep its use of inotify apart from others'.
    pub own_watches: bool,
}

/// What PID 1 of a desktop is.
#[derive(Clone, Copy, Debug)]
pub enum InitKind<'a> {
    /// Rolltop's own.
    Builtin,
    /// The program of the image at this path. It has a control group to divide,
    /// and says at a socket when it is done.
    Own(&'a str),
}

/// The configuration of a desktop's container.
///
/// # Errors
/// A value the OCI types refuse; the agent's own fault.
pub fn container(from: &Ingredients<'_>) -> Result<Spec, OciSpecError> {
    let mut environment =
        vec![format!("PATH={PATH}"), "HOME=/root".into(), "container=rolltop".into()];
    let command = match from.init {
        InitKind::Builtin => vec![INIT_INSIDE.to_owned(), "reap".to_owned()],
        InitKind::Own(path) => {
            environment.push(format!("NOTIFY_SOCKET={NOTIFY_INSIDE}"));
            vec![path.to_owned()]
        }
    };
    let init = ProcessBuilder::default()
        .terminal(false)
        .user(UserBuilder::default().uid(0u32).gid(0u32).build()?)
        .args(command)
        .env(environment)
        .cwd("/")
        .capabilities(profile::default_capabilities())
        .rlimits(Vec::new())
        .no_new_privileges(true)
        .build()?;
    let ids = id_mappings(&from.ids)?;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces()?)
        .uid_mappings(ids.clone())
        .gid_mappings(ids)
        .cgroups_path(from.paths.cgroup())
        .resources(first_resources(from.limits, from.disks)?)
        .masked_paths(MASKED.map(str::to_owned))
        .readonly_paths(READ_ONLY.map(str::to_owned))
        .seccomp(profile::default_seccomp(NestedNamespaces::Denied));
    if from.own_watches {
        linux = linux.sysctl(watches::of_a_desktop());
    }
    let linux = linux.build()?;
    SpecBuilder::default()
        .version("1.0.2")
        .hostname(from.host_name)
        .root(RootBuilder::default().path(from.root).readonly(false).build()?)
        .process(init)
        .mounts(mounts(from)?)
        .linux(linux)
        .build()
}

fn mounts(from: &Ingredients<'_>) -> Result<Vec<Mount>, OciSpecError> {
    let bundle = from.paths.bundle();
    let display = from.paths.display_dir();
    let file = |name: &str| bundle.join(name);
    // First: what is each desktop's own lies over them, not they over it.
    let extra = from.extra_dirs.iter().map(|extra| {
        let inside = extra.inside.to_string_lossy();
        bind(&inside, &extra.host, &["ro", "nosuid", "nodev"])
    });
    let own = [
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        tmpfs("/dev", &["nosuid", "strictatime", "mode=755", "size=64k"])?,
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        tmpfs("/dev/shm", &["nosuid", "nodev", "noexec", "mode=1777"])?,
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?,
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])?,
        tmpfs("/run", &["nosuid", "nodev", "mode=755"])?,
        tmpfs("/tmp", &["nosuid", "nodev", "mode=1777"])?,
        // X servers and session managers want these to be root's.
        tmpfs("/tmp/.X11-unix", &["nosuid", "nodev", "noexec", "mode=1777", "size=64k"])?,
        tmpfs("/tmp/.ICE-unix", &["nosuid", "nodev", "noexec", "mode=1777", "size=64k"])?,
        bind(DISPLAY_DIR_INSIDE, &display, &["nosuid", "nodev", "noexec"])?,
        bind(INIT_INSIDE, from.init_program, &["ro", "nosuid", "nodev"])?,
        bind("/etc/hostname", &file("hostname"), &["ro", "nosuid", "nodev", "noexec"])?,
        bind("/etc/hosts", &file("hosts"), &["ro", "nosuid", "nodev", "noexec"])?,
        bind("/etc/machine-id", &file("machine-id"), &["ro", "nosuid", "nodev", "noexec"])?,
        bind("/etc/resolv.conf", &file("resolv.conf"), &["ro", "nosuid", "nodev", "noexec"])?,
    ];
    // What an init like systemd would mount, and may not.
    let for_init = match from.init {
        InitKind::Builtin => Vec::new(),
        InitKind::Own(_) => vec![
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "rw"])?,
            tmpfs("/run/lock", &["nosuid", "nodev", "noexec", "mode=1777", "size=5m"])?,
            bind(NOTIFY_INSIDE, &from.paths.notify_socket(), &["nosuid", "nodev", "noexec"])?,
        ],
    };
    let home = from.home.map(|(user, home)| {
        let at = format!("/home/{user}");
        bind(&at, home, &["nosuid", "nodev"])
    });
    let extra = extra.collect::<Result<Vec<_>, _>>()?;
    Ok(extra.into_iter().chain(own).chain(for_init).chain(home.transpose()?).collect())
}

fn tmpfs(at: &str, options: &[&str]) -> Result<Mount, OciSpecError> {
    mount(at, "tmpfs", "tmpfs", options)
}

fn bind(at: &str, from: &Path, options: &[&str]) -> Result<Mount, OciSpecError> {
    let options = ["bind"].into_iter().chain(options.iter().copied());
    MountBuilder::default()
        .destination(at)
        .typ("bind")
        .source(from)
        .options(options.map(str::to_owned).collect::<Vec<_>>())
        .build()
}

fn mount(at: &str, kind: &str, source: &str, options: &[&str]) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .destination(at)
        .typ(kind)
        .source(source)
        .options(options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
        .build()
}

fn namespaces() -> Result<Vec<LinuxNamespace>, OciSpecError> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, User, Uts};
    [User, Mount, Pid, Network, Ipc, Uts, Cgroup]
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect()
}

fn id_mappings(ids: &IdMap) -> Result<Vec<LinuxIdMapping>, OciSpecError> {
    let ranges = ids.ranges().map_err(|error| OciSpecError::Other(error.to_string()))?;
    let mapping = |range: IdRange| {
        LinuxIdMappingBuilder::default()
            .container_id(range.inner)
            .host_id(range.outer)
            .size(range.count)
            .build()
    };
    ranges.into_iter().map(mapping).collect()
}

/// What is not limited is not mentioned: the kernel's own default holds.
fn first_resources(limits: Limits, disks: &[u32]) -> Result<LinuxResources, OciSpecError> {
    let mut resources = resources(
        limits.memory_mib.map(bytes),
        limits.cpu_millis.map(quota),
        limits.pids.map(count),
    )?;
    // Each runtime adds what every container has in `/dev`.
    let no_device = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
    resources.set_devices(Some(vec![no_device]));
    if limits.disk != DiskRates::default() {
        resources.set_block_io(Some(block_io(limits.disk, disks)?));
    }
    Ok(resources)
}

/// Limits for a container that has some already: what is not limited any more
/// is said so.
///
/// # Errors
/// A value the OCI types refuse; the agent's own fault.
pub fn new_resources(limits: Limits) -> Result<LinuxResources, OciSpecError> {
    resources(
        Some(limits.memory_mib.map_or(UNLIMITED, bytes)),
        Some(limits.cpu_millis.map_or(UNLIMITED, quota)),
        Some(limits.pids.map_or(UNLIMITED, count)),
    )
}

/// Rates of the disks /dev/loopN that a desktop has; what is not limited is said
/// so.
///
/// # Errors
/// A value the OCI types refuse; the agent's own fault.
pub fn disk_resources(rates: DiskRates, disks: &[u32]) -> Result<LinuxResources, OciSpecError> {
    LinuxResourcesBuilder::default().block_io(block_io(rates, disks)?).build()
}

fn block_io(rates: DiskRates, disks: &[u32]) -> Result<LinuxBlockIo, OciSpecError> {
    let of_each = |rate: Option<u64>| {
        let device = |number: &u32| {
            LinuxThrottleDeviceBuilder::default()
                .major(LOOP_MAJOR)
                .minor(*number)
                .rate(rate.unwrap_or(0))
                .build()
        };
        disks.iter().map(device).collect::<Result<Vec<_>, _>>()
    };
    LinuxBlockIoBuilder::default()
        .throttle_read_bps_device(of_each(rates.read_bytes)?)
        .throttle_write_bps_device(of_each(rates.write_bytes)?)
        .throttle_read_iops_device(of_each(rates.operations)?)
        .throttle_write_iops_device(of_each(rates.operations)?)
        .build()
}

fn bytes(mib: u64) -> i64 {
    mib.checked_mul(1 << 20).map_or(i64::MAX, count)
}

fn quota(millis: u64) -> i64 {
    millis.checked_mul(CPU_PERIOD_US).map_or(i64::MAX, |product| count(product / 1_000))
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn resources(
    memory: Option<i64>,
    quota: Option<i64>,
    pids: Option<i64>,
) -> Result<LinuxResources, OciSpecError> {
    let mut resources = LinuxResourcesBuilder::default();
    if let Some(bytes) = memory {
        resources = resources.memory(LinuxMemoryBuilder::default().limit(bytes).build()?);
    }
    if let Some(quota) = quota {
        let cpu = LinuxCpuBuilder::default().period(CPU_PERIOD_US).quota(quota).build()?;
        resources = resources.cpu(cpu);
    }
    if let Some(limit) = pids {
        resources = resources.pids(LinuxPidsBuilder::default().limit(limit).build()?);
    }
    resources.build()
}

/// What a session needs to be started.
#[derive(Debug)]
pub struct SessionIngredients<'a> {
    /// Whose session.
    pub account: &'a Account,
    /// The image's session command.
    pub command: &'a [String],
    /// The image's additions to the environment.
    pub environment: &'a BTreeMap<String, String>,
    /// File name of the display's socket.
    pub display_socket: &'a str,
    /// First size of the screen.
    pub geometry: (u32, u32),
    /// Title for people.
    pub label: &'a str,
    /// Such as `Europe/Berlin`.
    pub time_zone: Option<&'a str>,
}

/// The process that writes the user's account, becomes that user and runs the
/// session command. It begins as the container's root.
///
/// # Errors
/// A value the OCI types refuse; the agent's own fault.
pub fn session(from: &SessionIngredients<'_>) -> Result<Process, OciSpecError> {
    let account = from.account;
    let mut args: Vec<String> = [
        INIT_INSIDE,
        "session",
        "--user",
        &account.name,
        "--uid",
        &account.uid.to_string(),
        "--full-name",
        &account.full_name,
        "--shell",
        "/bin/bash",
        "--",
    ]
    .map(str::to_owned)
    .into();
    args.extend_from_slice(from.command);
    let (width, height) = from.geometry;
    let mut environment = user_environment(account, from.time_zone);
    environment.extend([
        ("ROLLTOP_DISPLAY_SOCKET".into(), format!("{DISPLAY_DIR_INSIDE}/{}", from.display_socket)),
        ("ROLLTOP_GEOMETRY".into(), format!("{width}x{height}")),
        ("ROLLTOP_DESKTOP_NAME".into(), from.label.to_owned()),
    ]);
    environment.extend(from.environment.clone());
    process(0, args, environment, "/", false)
}

/// A command run in a desktop by `Exec`; an empty one is a login shell.
///
/// # Errors
/// A value the OCI types refuse, such as a NUL in an argument.
pub fn exec(
    account: &Account,
    as_root: bool,
    command: Vec<String>,
    extra: impl IntoIterator<Item = (String, String)>,
    terminal: bool,
) -> Result<Process, OciSpecError> {
    let args = if command.is_empty() {
        // The image decides which shells there are.
        let login = "for s in /bin/bash /bin/sh; do [ -x $s ] && exec $s -l; done";
        vec!["/bin/sh".into(), "-c".into(), login.into()]
    } else {
        command
    };
    let mut environment = if as_root {
        BTreeMap::from([
            ("HOME".to_owned(), "/root".to_owned()),
            ("USER".to_owned(), "root".to_owned()),
            ("PATH".to_owned(), PATH.to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ])
    } else {
        user_environment(account, None)
    };
    environment.insert("DISPLAY".into(), ":1".into());
    if terminal {
        environment.insert("TERM".into(), "xterm-256color".into());
    }
    environment.extend(extra);
    let (uid, home) = if as_root {
        (0, "/".to_owned())
    } else {
        (account.uid, format!("/home/{}", account.name))
    };
    process(uid, args, environment, &home, terminal)
}

fn user_environment(account: &Account, time_zone: Option<&str>) -> BTreeMap<String, String> {
    let name = &account.name;
    let mut environment = BTreeMap::from([
        ("HOME".to_owned(), format!("/home/{name}")),
        ("USER".to_owned(), name.clone()),
        ("LOGNAME".to_owned(), name.clone()),
        ("SHELL".to_owned(), "/bin/bash".to_owned()),
        ("PATH".to_owned(), PATH.to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("XDG_RUNTIME_DIR".to_owned(), format!("/run/user/{}", account.uid)),
    ]);
    environment.extend(time_zone.map(|zone| ("TZ".to_owned(), zone.to_owned())));
    environment
}

fn process(
    uid: u32,
    args: Vec<String>,
    environment: BTreeMap<String, String>,
    cwd: &str,
    terminal: bool,
) -> Result<Process, OciSpecError> {
    let env: Vec<_> =
        environment.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut process = ProcessBuilder::default()
        .terminal(terminal)
        .user(UserBuilder::default().uid(uid).gid(uid).build()?)
        .args(args)
        .env(env)
        .cwd(cwd)
        .rlimits(Vec::new())
        .no_new_privileges(true);
    // A user's command starts with no capability; the bounding set alone stays.
    let mut kept = profile::default_capabilities();
    if uid != 0 {
        kept.set_effective(Some(HashSet::new())).set_permitted(Some(HashSet::new()));
    }
    process = process.capabilities(kept);
    process.build()
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Capability;

    use super::*;
    use crate::{address::Number, paths::Paths};

    fn account() -> Account {
        Account { name: "alice".into(), uid: 2000, full_name: "Alice".into() }
    }

    fn spec(limits: Limits) -> Spec {
        spec_with(InitKind::Builtin, limits)
    }

    fn spec_with(init: InitKind<'_>, limits: Limits) -> Spec {
        let paths = Paths::new(Path::new("/s"), Path::new("/r"), "rolltop")
            .desktop(Number::new(7).unwrap());
        container(&Ingredients {
            paths: &paths,
            root: Path::new("/r/desktops/7/mounts/root"),
            init_program: Path::new("/r/init"),
            init,
            host_name: "demo-alice",
            ids: IdMap { first: 458_752, count: 65_536, kept: None },
            extra_dirs: &[ExtraBind { host: "/lib/modules/6.1".into(), inside: "/m".into() }],
            limits,
            disks: &[3, 5],
            home: Some(("alice", Path::new("/r/desktops/7/home/disk"))),
            own_watches: true,
        })
        .unwrap()
    }

    #[test]
    fn a_home_is_bound_where_the_account_has_it() {
        let spec = spec(Limits::default());
        let mounts = spec.mounts().as_ref().unwrap();
        let home = mounts.last().unwrap();
        assert_eq!(home.destination(), Path::new("/home/alice"));
        let options = home.options().as_ref().unwrap();
        assert!(options.iter().any(|option| option == "nosuid"), "{options:?}");
    }

    #[test]
    fn rates_are_those_of_each_disk() {
        let block_io = |limits| {
            let spec = spec(limits);
            spec.linux().as_ref().unwrap().resources().as_ref().unwrap().block_io().clone()
        };
        assert!(block_io(Limits::default()).is_none());
        let disk = DiskRates { write_bytes: Some(1 << 20), ..DiskRates::default() };
        let limited = block_io(Limits { disk, ..Limits::default() }).unwrap();
        let written = limited.throttle_write_bps_device().as_ref().unwrap();
        let written: Vec<_> =
            written.iter().map(|it| (it.major(), it.minor(), it.rate())).collect();
        assert_eq!(written, [(7, 3, 1 << 20), (7, 5, 1 << 20)]);
        assert_eq!(limited.throttle_read_bps_device().as_ref().unwrap()[0].rate(), 0);
    }

    #[test]
    fn every_wall_stands() {
        let spec = spec(Limits {
            memory_mib: Some(2048),
            cpu_millis: Some(1500),
            pids: Some(512),
            ..Limits::default()
        });
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 7);
        assert_eq!(linux.uid_mappings().as_ref().unwrap()[0].host_id(), 458_752);
        assert!(linux.seccomp().is_some());
        assert_eq!(spec.process().as_ref().unwrap().no_new_privileges(), Some(true));
        let extra = &spec.mounts().as_ref().unwrap()[0];
        assert_eq!(extra.destination(), Path::new("/m"));
        assert!(extra.options().as_ref().unwrap().contains(&"ro".to_owned()));
        let resources = linux.resources().as_ref().unwrap();
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(2 << 30));
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(150_000));
        let capabilities = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        let bounding = capabilities.bounding().as_ref().unwrap();
        for forbidden in [
            Capability::SysAdmin,
            Capability::SysModule,
            Capability::SysPtrace,
            Capability::NetAdmin,
            Capability::NetRaw,
            Capability::Mknod,
            Capability::SysRawio,
        ] {
            assert!(!bounding.contains(&forbidden), "{forbidden:?}");
        }
    }

    #[test]
    fn an_images_own_init_finds_what_it_may_not_mount() {
        let own = spec_with(InitKind::Own("/sbin/init"), Limits::default());
        let process = own.process().as_ref().unwrap();
        assert_eq!(process.args().as_ref().unwrap(), &["/sbin/init"]);
        let env = process.env().as_ref().unwrap();
        assert!(env.contains(&"NOTIFY_SOCKET=/run/rolltop/notify".into()), "{env:?}");
        assert_eq!(process.no_new_privileges(), Some(true));
        let mounts = own.mounts().as_ref().unwrap();
        let at = |path: &str| mounts.iter().find(|mount| mount.destination() == Path::new(path));
        assert_eq!(at("/sys/fs/cgroup").unwrap().typ().as_deref(), Some("cgroup"));
        let builtin = spec(Limits::default());
        let none = builtin.mounts().as_ref().unwrap();
        assert!(none.iter().all(|mount| mount.typ().as_deref() != Some("cgroup")), "{none:?}");
        let all = |spec: &Spec| spec.process().as_ref().unwrap().capabilities().clone();
        assert_eq!(all(&own), all(&builtin), "the walls are the same");
    }

    #[test]
    fn no_limit_asked_for_is_no_limit_set() {
        let spec = spec(Limits::default());
        let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
        assert!(
            resources.memory().is_none() && resources.cpu().is_none() && resources.pids().is_none()
        );
    }

    #[test]
    fn the_session_is_told_what_the_image_expects() {
        let process = session(&SessionIngredients {
            account: &account(),
            command: &["/usr/local/bin/rolltop-session".into()],
            environment: &BTreeMap::from([("GTK_THEME".into(), "x".into())]),
            display_socket: "vnc.sock",
            geometry: (800, 600),
            label: "demo/alice",
            time_zone: Some("Europe/Berlin"),
        })
        .unwrap();
        let env = process.env().as_ref().unwrap();
        for expected in [
            "HOME=/home/alice",
            "XDG_RUNTIME_DIR=/run/user/2000",
            "TZ=Europe/Berlin",
            "ROLLTOP_DISPLAY_SOCKET=/run/rolltop/display/vnc.sock",
            "ROLLTOP_GEOMETRY=800x600",
            "GTK_THEME=x",
        ] {
            assert!(env.iter().any(|entry| entry == expected), "{expected} in {env:?}");
        }
        let args = process.args().as_ref().unwrap();
        assert_eq!(args.last().unwrap(), "/usr/local/bin/rolltop-session");
    }

    #[test]
    fn a_users_command_has_no_capability() {
        let process = exec(&account(), false, vec!["id".into()], [], false).unwrap();
        let capabilities = process.capabilities().as_ref().unwrap();
        assert!(capabilities.effective().as_ref().unwrap().is_empty());
        assert_eq!(process.user().uid(), 2000);
        let shell = exec(&account(), true, Vec::new(), [], true).unwrap();
        assert_eq!(shell.user().uid(), 0);
        assert_eq!(shell.terminal(), Some(true));
    }
}
