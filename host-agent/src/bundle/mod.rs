//! The OCI bundle of a desktop: a pure function of what is known about it, and
//! the only thing a container runtime gets to see.

mod limits;
mod process;

use std::path::Path;

use oci_spec::{
    OciSpecError,
    runtime::{
        LinuxBuilder, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceBuilder,
        LinuxNamespaceType, Mount, MountBuilder, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
        UserBuilder,
    },
};
use rolltop_launcher::profile::{self, NestedNamespaces};
use rolltop_overlay::{IdMap, IdRange};

pub use self::{
    limits::{disk_resources, new_resources},
    process::{SessionIngredients, exec, session},
};
use crate::{
    extra::ExtraBind,
    paths::{DISPLAY_DIR_INSIDE, DesktopPaths, INIT_INSIDE, NOTIFY_INSIDE},
    request::Limits,
    watches,
};

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
        .resources(limits::first_resources(from.limits, from.disks)?)
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

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Capability;

    use super::*;
    use crate::{address::Number, paths::Paths};

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
}
