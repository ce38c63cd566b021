//! Attempts to get out, each after a hole some runtime once had, and what the
//! default profile keeps a desktop from. Where the reference has its own way
//! of refusing, only the outcome is compared.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panic")]

mod support;

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use rolltop_launcher::profile::{NestedNamespaces, default_capabilities, default_seccomp};
use rolltop_launcher::{LaunchError, Stage};
use serde_json::json;
use support::bundle::{Bundle, give_to_container};
use support::host::traces;
use support::runtime::{Runtime, for_builtin, for_each_runtime};

/// A bundle with the walls of a desktop.
fn desktop(script: &str, nested: NestedNamespaces) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle
        .set("/linux/seccomp", serde_json::to_value(default_seccomp(nested)).unwrap())
        .set("/process/capabilities", serde_json::to_value(default_capabilities()).unwrap());
    bundle
}

#[test]
fn no_descriptor_of_the_host_survives() {
    // CVE-2024-21626. This one stays open across execve unless closed for it.
    let leak: OwnedFd = fs::File::open("/etc").unwrap().into();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    for_each_runtime(|runtime| {
        // The shell expands the list with a descriptor of its own in it, and
        // looks for each afterwards.
        let outcome = runtime
            .run(&Bundle::new("for fd in /proc/self/fd/*; do [ -e $fd ] && echo ${fd##*/}; done"));
        let open: Vec<&str> = outcome.stdout.lines().collect();
        assert_eq!(open, ["0", "1", "2"], "{runtime:?}");
    });
    drop(leak);
}

#[test]
fn the_working_directory_cannot_be_outside() {
    // CVE-2024-21626: through any descriptor that init might have kept.
    for_each_runtime(|runtime| {
        for number in 3..12 {
            let mut bundle = Bundle::new("ls ..");
            bundle.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
            match runtime.try_run(&bundle) {
                Ok(outcome) => assert_ne!(outcome.exit, 0, "{runtime:?} {number} {outcome:?}"),
                Err(LaunchError::Step { stage: Stage::EnterDirectory, .. }) => {}
                Err(error) => panic!("{runtime:?} {number} {error}"),
            }
        }
    });
}

#[test]
fn a_link_as_mount_point_leads_into_the_container() {
    // CVE-2021-30465: with the link followed on the host, the container would
    // mount over the victim or bind it.
    for_each_runtime(|runtime| {
        let victim = tempfile::tempdir().unwrap();
        fs::write(victim.path().join("secret"), "secret").unwrap();
        let mut bundle = Bundle::new("cat /victim/secret /etc/resolv.conf; ls -A /loot");
        let root = bundle.root();
        symlink(victim.path(), root.join("loot")).unwrap();
        fs::remove_dir(root.join("home")).unwrap();
        symlink("../../../../../../../../etc", root.join("home")).unwrap();
        symlink(victim.path().join("secret"), root.join("etc/resolv.conf")).unwrap();
        give_to_container(&root);
        let source = tempfile::NamedTempFile::new().unwrap();
        fs::write(source.path(), "nameserver").unwrap();
        bundle.add_mount(json!({
            "destination": "/etc/resolv.conf", "type": "bind", "source": source.path(),
            "options": ["bind", "ro"],
        }));
        for place in ["/loot", "/home/mounted"] {
            bundle.add_mount(json!({
                "destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"],
            }));
        }
        let outcome = runtime.try_run(&bundle);
        if let Ok(outcome) = &outcome {
            assert!(!outcome.stdout.contains("secret"), "{runtime:?} {outcome:?}");
        }
        if runtime == Runtime::Builtin {
            outcome.unwrap();
            assert!(root.join("etc/mounted").is_dir(), "made where the link leads in the root");
        }
        assert_eq!(fs::read_to_string(victim.path().join("secret")).unwrap(), "secret");
        assert!(!Path::new("/etc/mounted").exists());
        assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 1);
    });
}

#[test]
fn a_link_in_place_of_proc_is_refused() {
    // CVE-2019-16884, CVE-2019-19921: a false /proc would take the writes that
    // confine the container.
    for_each_runtime(|runtime| {
        let bundle = Bundle::new("true");
        fs::remove_dir(bundle.root().join("proc")).unwrap();
        symlink("etc", bundle.root().join("proc")).unwrap();
        match runtime.try_run(&bundle) {
            Ok(outcome) => assert_ne!(outcome.exit, 0, "{runtime:?}"),
            Err(LaunchError::Step { stage: Stage::FindMountPoint, operand, .. }) => {
                assert_eq!(operand, "/proc");
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(traces(&bundle.id).len(), 0, "{runtime:?}");
    });
}

#[test]
fn a_mask_does_not_come_from_the_containers_own_dev() {
    // CVE-2025-31133: the container's /dev/null replaced, the mask would show
    // what it leads to.
    for_builtin(|| {
        let mut bundle = Bundle::new("cat /proc/keys | wc -c; cat /dev/null");
        let fake = tempfile::tempdir().unwrap();
        fs::write(fake.path().join("null"), "shown").unwrap();
        bundle.config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        bundle.add_mount(json!({
            "destination": "/dev", "type": "bind", "source": fake.path(), "options": ["bind"],
        }));
        let outcome = Runtime::Builtin.run(&bundle);
        assert!(outcome.stdout.starts_with("0\n"), "{outcome:?}");
    });
}

#[test]
fn the_program_of_init_is_not_the_hosts() {
    // CVE-2019-5736.
    for_each_runtime(|runtime| {
        let outcome = runtime.run(&Bundle::new(
            "readlink /proc/1/exe; echo x 2>/dev/null > /proc/1/exe || echo refused",
        ));
        assert_eq!(outcome.stdout, "/bin/busybox\nrefused\n", "{runtime:?}");
    });
}

#[test]
fn exec_shows_nothing_of_the_helper() {
    // CVE-2019-5736, CVE-2016-9962: the container looks at each new process
    // as long as it can.
    for_builtin(|| {
        let bundle = Bundle::new(
            "while :; do for p in /proc/[0-9]*; do readlink $p/exe; readlink $p/cwd; \
             ls $p/fd; done; done 2>/dev/null >> /tmp/seen",
        );
        let running = Runtime::Builtin.start(&bundle);
        for _ in 0..20 {
            assert_eq!(running.exec("true").exit, 0);
        }
        running.end();
        let seen = fs::read_to_string(bundle.root().join("tmp/seen")).unwrap();
        assert!(seen.contains("/bin/busybox"));
        for word in ["memfd", "rolltop", "deleted"] {
            assert!(!seen.contains(word), "{word}");
        }
    });
}

#[test]
fn a_terminal_is_not_taken_from_a_false_devpts() {
    // CVE-2025-52565 and its kin: something else where the terminals were.
    for_builtin(|| {
        let mut bundle = Bundle::new("exec sleep 1000");
        bundle.config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| mount["destination"] != "/dev/pts");
        let running = Runtime::Builtin.start(&bundle);
        let process = json!({ "user": { "uid": 0, "gid": 0 }, "args": ["/bin/true"], "cwd": "/" });
        let made = running.exec("mkdir -p /dev/pts && touch /dev/pts/ptmx");
        assert_eq!(made.exit, 0, "{made:?}");
        match running.try_exec(&process, rolltop_launcher::Stdio::Terminal) {
            Err(LaunchError::Step { stage: Stage::OpenTerminal, .. }) => {}
            other => panic!("{other:?}"),
        }
        running.end();
    });
}

#[test]
fn a_release_agent_cannot_be_set() {
    // CVE-2022-0492: with a user and a cgroup namespace of its own, a process
    // could once mount a version 1 hierarchy and name a program of the host.
    for_each_runtime(|runtime| {
        let bundle = desktop(
            "mkdir /tmp/c; \
             unshare -UrmC sh -c 'mount -t cgroup -o memory c /tmp/c' 2>/dev/null && echo mounted; \
             mount -t cgroup -o memory c /tmp/c 2>/dev/null && echo mounted; \
             echo /bin/x 2>/dev/null > /tmp/c/release_agent && ls /tmp/c | grep -q tasks && echo set; \
             echo over",
            NestedNamespaces::Denied,
        );
        assert_eq!(runtime.run(&bundle).stdout, "over\n", "{runtime:?}");
    });
}

#[test]
fn the_default_profile_keeps_a_desktop_in() {
    for_each_runtime(|runtime| {
        let bundle = desktop(
            "mount -t tmpfs t /tmp 2>/dev/null && echo mount; \
             umount /proc/sys 2>/dev/null && echo umount; \
             unshare -U true 2>/dev/null && echo unshare; \
             mknod /tmp/node b 8 0 2>/dev/null && echo mknod; \
             hostname other 2>/dev/null && echo hostname; \
             chroot / true && echo chroot; echo over",
            NestedNamespaces::Denied,
        );
        assert_eq!(runtime.run(&bundle).stdout, "chroot\nover\n", "{runtime:?}");
    });
}

#[test]
fn nested_namespaces_pass_when_a_pool_allows_them_but_mounts_do_not() {
    for_each_runtime(|runtime| {
        let bundle = desktop(
            "unshare -Ur id -u && unshare -Urm mount -t tmpfs t /tmp 2>/dev/null && echo mount; \
             echo over",
            NestedNamespaces::Allowed,
        );
        assert_eq!(runtime.run(&bundle).stdout, "0\nover\n", "{runtime:?}");
    });
}

#[test]
fn device_nodes_are_of_no_use_but_the_bound_ones() {
    const FUSE: &str = "/dev/fuse";
    for_each_runtime(|runtime| {
        if !Path::new(FUSE).exists() {
            println!("skipped: needs {FUSE}");
            return;
        }
        // One node in the image, one in a bind mount that does not say nodev.
        let run = |rules: serde_json::Value| {
            let mut bundle = Bundle::new(
                "for n in /node /data/node; do true 2>/dev/null < $n && echo $n; done; echo over",
            );
            let source = tempfile::tempdir().unwrap();
            for place in [bundle.root(), source.path().to_path_buf()] {
                let mode = rustix::fs::Mode::from_raw_mode(0o666);
                let device = rustix::fs::makedev(10, 229);
                let kind = rustix::fs::FileType::CharacterDevice;
                let node = place.join("node");
                rustix::fs::mknodat(rustix::fs::CWD, &node, kind, mode, device).unwrap();
                rustix::fs::chmod(&node, mode).unwrap();
            }
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(source.path(), open).unwrap();
            bundle.add_mount(json!({
                "destination": "/data", "type": "bind", "source": source.path(), "options": ["bind"],
            }));
            bundle.without_user_namespace();
            bundle.set("/linux/resources", json!({ "devices": rules }));
            runtime.run(&bundle).stdout
        };
        let refused = run(json!([{ "allow": false, "access": "rwm" }]));
        assert_eq!(refused, "over\n", "{runtime:?}");
        if runtime == Runtime::Builtin {
            let free = run(json!([]));
            assert_eq!(free, "/data/node\nover\n", "the image's node is of no use even then");
        }
    });
}

#[test]
fn nothing_of_the_hosts_environment_comes_in() {
    for_each_runtime(|runtime| {
        let outcome = runtime.run(&Bundle::new("exec env"));
        for line in outcome.stdout.lines() {
            let (name, _) = line.split_once('=').unwrap();
            assert!(
                ["PATH", "HOME", "SHLVL", "PWD", "OLDPWD"].contains(&name),
                "{runtime:?} {line}"
            );
        }
    });
}

#[test]
fn signals_have_their_default_actions() {
    for_builtin(|| {
        let outcome =
            Runtime::Builtin.run(&Bundle::new("exec grep -E '^Sig(Blk|Ign)' /proc/self/status"));
        assert_eq!(outcome.stdout, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    });
}

#[test]
fn an_apparmor_profile_holds_from_the_program_on() {
    const PROFILE: &str = include_str!("../../../deploy/apparmor/rolltop-desktop");
    if !Path::new("/sys/kernel/security/apparmor/profiles").exists() {
        println!("skipped: needs a kernel with AppArmor");
        return;
    }
    let parser = |option: &str| {
        let mut parser = std::process::Command::new("apparmor_parser")
            .args([option, "--skip-cache"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        parser.stdin.take().unwrap().write_all(PROFILE.as_bytes()).unwrap();
        assert!(parser.wait().unwrap().success(), "{option}");
    };
    for_each_runtime(|runtime| {
        // Root's own settings can be written where nothing but the profile
        // minds; a thread's name anywhere.
        let mut bundle = Bundle::new(
            "cat /proc/self/attr/current; read word </proc/sys/kernel/ostype && echo reads; \
             echo 1 2>/dev/null >/proc/sys/kernel/shm_rmid_forced && echo writes; \
             echo name >/proc/self/comm && echo over",
        );
        bundle.set("/linux/readonlyPaths", json!([]));
        let free = runtime.run(&bundle).stdout;
        assert!(free.ends_with("reads\nwrites\nover\n"), "{runtime:?} {free}");
        parser("--replace");
        bundle.set("/process/apparmorProfile", json!("rolltop-desktop"));
        let held = runtime.run(&bundle).stdout;
        let staying = Bundle::new("exec sleep 1000");
        let running = runtime.start(&staying);
        let executed = running.exec_process(&json!({
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/cat", "/proc/self/attr/current"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
            "apparmorProfile": "rolltop-desktop",
        }));
        running.end();
        parser("--remove");
        assert_eq!(held, "rolltop-desktop (enforce)\nreads\nover\n", "{runtime:?}");
        assert_eq!(executed.stdout, "rolltop-desktop (enforce)\n", "{runtime:?}");
    });
}
