//! One suite over every runtime there is, the reference included: what a
//! configuration asks for is what the container gets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panic")]

mod support;

use serde_json::json;
use support::bundle::{BASE, Bundle};
use support::host::{namespace, traces};
use support::runtime::{Outcome, Runtime, for_each_runtime};

fn ok(outcome: &Outcome) -> &str {
    assert_eq!(outcome.exit, 0, "{outcome:?}");
    outcome.stdout.trim_end()
}

#[test]
fn every_namespace_is_its_own() {
    for_each_runtime(|runtime| {
        let kinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
        let script = kinds.map(|kind| format!("readlink /proc/self/ns/{kind}")).join("; ");
        let outcome = runtime.run(&Bundle::new(&script));
        let inside: Vec<&str> = ok(&outcome).lines().collect();
        assert_eq!(inside.len(), kinds.len());
        for (kind, inside) in kinds.iter().zip(inside) {
            assert_ne!(inside, namespace("self", kind), "{runtime:?}");
        }
    });
}

#[test]
fn exit_status_and_streams_are_the_programs() {
    for_each_runtime(|runtime| {
        let outcome = runtime.run(&Bundle::new("echo out; echo err >&2; exit 7"));
        assert_eq!((outcome.exit, outcome.stdout.as_str()), (7, "out\n"), "{runtime:?}");
        assert_eq!(outcome.stderr, "err\n");
    });
}

#[test]
fn a_signal_reaches_init() {
    for_each_runtime(|runtime| {
        // PID 1 gets only the signals it asked for.
        let outcome = runtime.run(&Bundle::new("trap 'exit 9' TERM; kill -TERM $$; exit 1"));
        assert_eq!(outcome.exit, 9, "{runtime:?} {outcome:?}");
    });
}

#[test]
fn mounts_are_as_asked() {
    for_each_runtime(|runtime| {
        let mut bundle = Bundle::new("cat /proc/self/mountinfo; cat /data/hello; touch /data/x");
        let source = tempfile::tempdir().unwrap();
        std::fs::write(source.path().join("hello"), "hello\n").unwrap();
        std::fs::set_permissions(
            source.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        bundle.add_mount(json!({
            "destination": "/data", "type": "bind", "source": source.path(),
            "options": ["rbind", "ro", "nosuid", "nodev", "noexec"],
        }));
        bundle.add_mount(json!({
            "destination": "/run/user/1000", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "mode=0700", "uid=1000", "gid=1000", "size=128k"],
        }));
        let outcome = runtime.run(&bundle);
        assert_eq!(outcome.exit, 1, "the bind mount is read-only: {outcome:?}");
        assert!(outcome.stdout.ends_with("hello\n"));
        let options = |place: &str| {
            let line = outcome.stdout.lines().find(|line| line.split(' ').nth(4) == Some(place));
            let line = line.unwrap_or_else(|| panic!("{runtime:?} {place}"));
            (
                line.split(' ').nth(5).unwrap().to_owned(),
                line.rsplit(' ').next().unwrap().to_owned(),
            )
        };
        for word in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(
                options("/data").0.split(',').any(|option| option == word),
                "{runtime:?} {word}"
            );
        }
        let (_, tmpfs) = options("/run/user/1000");
        for word in ["mode=700", &format!("uid={}", BASE + 1000), "size=128k"] {
            assert!(tmpfs.split(',').any(|option| option == word), "{runtime:?} {tmpfs}");
        }
        assert!(options("/sys").0.starts_with("ro"));
        assert!(options("/dev/pts").1.contains("ptmxmode=666"));
    });
}

#[test]
fn dev_is_furnished() {
    for_each_runtime(|runtime| {
        let outcome = runtime.run(&Bundle::new(
            "for n in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$n; done; \
             readlink /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/ptmx; \
             for l in fd stdin ptmx; do readlink /dev/$l; done; \
             dd if=/dev/zero of=/dev/null bs=1 count=1 2>/dev/null && echo fine",
        ));
        let out = &outcome.stdout;
        for line in ["/dev/null 1:3 666", "/dev/tty 5:0 666", "/dev/urandom 1:9 666"] {
            assert!(out.contains(line), "{runtime:?} {line} in {out}");
        }
        assert!(out.ends_with("/proc/self/fd\n/proc/self/fd/0\npts/ptmx\nfine\n"), "{out}");
    });
}

#[test]
fn masked_paths_show_nothing_and_read_only_paths_refuse() {
    for_each_runtime(|runtime| {
        let outcome = runtime.run(&Bundle::new(
            "cat /proc/kcore | wc -c; cat /proc/keys | wc -c; ls /sys/firmware | wc -l; \
             echo 1 2>/dev/null > /proc/sys/net/ipv4/ip_forward || echo refused; \
             echo b 2>/dev/null > /proc/sysrq-trigger || echo refused; \
             touch /sys/firmware/x 2>/dev/null || echo refused",
        ));
        assert_eq!(ok(&outcome), "0\n0\n0\nrefused\nrefused\nrefused", "{runtime:?}");
    });
}

#[test]
fn capabilities_are_those_named_and_no_more() {
    for_each_runtime(|runtime| {
        let mut bundle = Bundle::new("grep -E '^(Cap|NoNew)' /proc/self/status");
        let ambient = json!(["CAP_NET_BIND_SERVICE"]);
        let all = json!(["CAP_NET_BIND_SERVICE", "CAP_CHOWN", "CAP_KILL"]);
        bundle.set(
            "/process/capabilities",
            json!({
                "bounding": all, "permitted": all, "effective": ambient, "inheritable": ambient,
                "ambient": ambient,
            }),
        );
        bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        let outcome = runtime.run(&bundle);
        let value = |name: &str| {
            let line = outcome.stdout.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        // Bits 0, 5 and 10; after execve by a user, ambient ones alone are left.
        assert_eq!(value("CapBnd"), "0000000000000421", "{runtime:?}");
        for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(value(set), "0000000000000400", "{runtime:?} {set}");
        }
        assert_eq!(value("NoNewPrivs"), "1");
    });
}

#[test]
fn the_user_is_who_was_asked_for() {
    for_each_runtime(|runtime| {
        let mut bundle = Bundle::new("grep -E '^(Uid|Gid|Groups)' /proc/self/status; umask; pwd");
        bundle.set(
            "/process/user",
            json!({
                "uid": 1000, "gid": 1001, "additionalGids": [27, 44], "umask": 0o27,
            }),
        );
        bundle.set("/process/cwd", json!("/home"));
        let outcome = runtime.run(&bundle);
        let text = ok(&outcome).replace('\t', " ");
        assert!(text.contains("Uid: 1000 1000 1000 1000"), "{runtime:?} {text}");
        assert!(text.contains("Gid: 1001 1001 1001 1001"), "{text}");
        assert!(text.contains("Groups: 27 44"), "{text}");
        assert!(text.ends_with("0027\n/home"), "{text}");
    });
}

#[test]
fn limits_and_scores_are_set() {
    for_each_runtime(|runtime| {
        let mut bundle =
            Bundle::new("ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj");
        bundle.set(
            "/process/rlimits",
            json!([
                { "type": "RLIMIT_NOFILE", "soft": 123, "hard": 456 },
                { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
            ]),
        );
        bundle.set("/process/oomScoreAdj", json!(250));
        assert_eq!(ok(&runtime.run(&bundle)), "123\n456\n0\n250", "{runtime:?}");
    });
}

#[test]
fn names_and_sysctls_are_set() {
    for_each_runtime(|runtime| {
        let mut bundle = Bundle::new("hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
        bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_unprivileged_port_start": "81" }));
        assert_eq!(ok(&runtime.run(&bundle)), "desk\n81", "{runtime:?}");
    });
}

#[test]
fn a_filter_refuses_what_it_names() {
    for_each_runtime(|runtime| {
        let mut bundle =
            Bundle::new("mkdir /tmp/a; mkdir /tmp/b || echo $?; grep ^Seccomp: /proc/self/status");
        bundle.set("/linux/seccomp", json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }],
        }));
        let outcome = runtime.run(&bundle);
        assert_eq!(outcome.stdout, "1\nSeccomp:\t2\n", "{runtime:?}");
        assert!(outcome.stderr.contains("No space left"), "{outcome:?}");
    });
}

#[test]
fn a_read_only_root_refuses_and_its_mounts_do_not() {
    for_each_runtime(|runtime| {
        let mut bundle =
            Bundle::new("touch /etc/x 2>/dev/null || echo refused; touch /dev/shm/x && echo fine");
        bundle.set("/root/readonly", json!(true));
        assert_eq!(ok(&runtime.run(&bundle)), "refused\nfine", "{runtime:?}");
    });
}

#[test]
fn cgroup_limits_hold() {
    for_each_runtime(|runtime| {
        // The fourth of these is one too many, in whatever way the shell says so.
        let mut bundle = Bundle::new("sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000 & wait");
        bundle.set(
            "/linux/resources",
            json!({
                "memory": { "limit": 64 << 20 }, "pids": { "limit": 3 },
                "cpu": { "quota": 50_000, "period": 100_000 },
            }),
        );
        let outcome = runtime.run(&bundle);
        assert_ne!(outcome.exit, 0, "{runtime:?} {outcome:?}");
        assert!(outcome.stderr.contains("fork"), "{runtime:?} {outcome:?}");
    });
}

#[test]
fn nothing_is_left_when_it_is_over() {
    for_each_runtime(|runtime| {
        let bundle = Bundle::new("sleep 1000 & echo done");
        ok(&runtime.run(&bundle));
        assert_eq!(traces(&bundle.id).len(), 0, "{runtime:?}: {:?}", traces(&bundle.id));
    });
}

#[test]
fn without_a_user_namespace_root_is_the_hosts_but_bound() {
    for_each_runtime(|runtime| {
        let mut bundle = Bundle::new("readlink /proc/self/ns/user; grep CapEff /proc/self/status");
        bundle.without_user_namespace();
        let outcome = runtime.run(&bundle);
        let lines: Vec<&str> = ok(&outcome).lines().collect();
        assert_eq!(
            lines,
            [namespace("self", "user").as_str(), "CapEff:\t00000000000000e3"],
            "{runtime:?}"
        );
    });
}

#[test]
fn exec_joins_everything() {
    for_each_runtime(|runtime| {
        let bundle = Bundle::new("exec sleep 1000");
        let running = runtime.start(&bundle);
        let kinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
        let script = kinds.map(|kind| format!("readlink /proc/self/ns/{kind}")).join("; ");
        let outcome = running.exec(&format!("{script}; id; exit 5"));
        assert_eq!(outcome.exit, 5, "{runtime:?} {outcome:?}");
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        for (kind, inside) in kinds.iter().zip(&lines) {
            assert_eq!(*inside, namespace(&running.pid.to_string(), kind), "{runtime:?}");
        }
        assert!(lines[kinds.len()].starts_with("uid=0"), "{outcome:?}");
        running.end();
        assert_eq!(traces(&bundle.id).len(), 0, "{runtime:?}");
    });
}

#[test]
fn counters_are_read_whoever_made_the_container() {
    for_each_runtime(|runtime| {
        let bundle = Bundle::new("exec sleep 1000");
        let running = runtime.start(&bundle);
        let cgroup = running.cgroup();
        let procs: Vec<i32> =
            cgroup.procs().unwrap().iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        assert_eq!(procs, [running.pid], "{runtime:?}");
        let usage = cgroup.usage().unwrap();
        // The reference returns while its own threads still wait for execve.
        assert!(usage.pids.is_some_and(|pids| pids >= 1), "{runtime:?} {usage:?}");
        assert!(usage.memory_bytes.is_some_and(|bytes| bytes > 0), "{runtime:?} {usage:?}");
        assert!(usage.cpu_time.is_some(), "{runtime:?} {usage:?}");
        assert_eq!(cgroup.oom_kills().unwrap(), 0);
        running.end();
    });
}

#[test]
fn a_configuration_without_command_is_refused() {
    for_each_runtime(|runtime| {
        let mut bundle = Bundle::new("true");
        bundle.set("/process/args", json!(["/no/such/program"]));
        match (runtime, runtime.try_run(&bundle)) {
            (Runtime::Builtin, Err(error)) => {
                assert_eq!(error.to_string(), "no such command in the image: /no/such/program");
            }
            (Runtime::Oci(_), Ok(outcome)) => assert_ne!(outcome.exit, 0),
            (_, other) => panic!("{runtime:?} {other:?}"),
        }
        assert_eq!(traces(&bundle.id).len(), 0, "{runtime:?}");
    });
}
