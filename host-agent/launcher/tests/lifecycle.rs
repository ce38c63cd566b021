//! The launcher's own promises: its errors, its terminals, and that nothing
//! is left behind however a launch ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panic")]

mod support;

use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rolltop_launcher::cgroup::{Cgroup, CgroupError};
use rolltop_launcher::{Exit, LaunchError, Launcher, Signal, Stage, Stdio};
use serde_json::json;
use support::bundle::Bundle;
use support::host::{namespace, process_exists, traces};
use support::runtime::{LIMIT, Runtime, converse, end_cgroup, for_builtin, launcher};

fn soon() -> Instant {
    Instant::now() + LIMIT
}

#[test]
fn a_created_container_waits_with_its_namespaces_made() {
    for_builtin(|| {
        let mut bundle = Bundle::new("");
        bundle.set("/process/args", json!(["sleep", "1000"]));
        bundle.write();
        let created = launcher().create(bundle.path(), soon()).unwrap();
        let pid = created.pid().as_raw_nonzero().to_string();
        assert_ne!(namespace(&pid, "net"), namespace("self", "net"));
        let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert_ne!(command.trim(), "sleep");
        let cgroup = created.cgroup().cloned();
        let started = created.start().unwrap();
        // execve has happened when start returns.
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim(), "sleep");
        started.signal(Signal::KILL).unwrap();
        assert_eq!(started.wait().unwrap(), Exit::Signal(9));
        end_cgroup(cgroup);
    });
}

#[test]
fn namespaces_can_be_used_while_the_rest_is_built() {
    for_builtin(|| {
        let bundle = Bundle::new("exit 4");
        bundle.write();
        let creating = launcher().begin(bundle.path(), None, soon()).unwrap();
        let pid = creating.pid().as_raw_nonzero().to_string();
        assert_ne!(namespace(&pid, "net"), namespace("self", "net"));
        let created = creating.finish(soon()).unwrap();
        let cgroup = created.cgroup().cloned();
        assert_eq!(created.start().unwrap().wait().unwrap(), Exit::Code(4));
        end_cgroup(cgroup);
        drop(launcher().begin(bundle.path(), None, soon()).unwrap());
        assert_eq!(traces(&bundle.id).len(), 0);
    });
}

#[test]
fn dropping_or_aborting_undoes_everything() {
    for_builtin(|| {
        for abort in [true, false] {
            let bundle = Bundle::new("exec sleep 1000");
            bundle.write();
            let created = launcher().create(bundle.path(), soon()).unwrap();
            let pid = created.pid().as_raw_nonzero().get();
            assert_ne!(traces(&bundle.id).len(), 0, "the cgroups are there");
            if abort {
                created.abort().unwrap();
            } else {
                drop(created);
            }
            assert!(!process_exists(pid));
            assert_eq!(traces(&bundle.id).len(), 0);
        }
    });
}

#[test]
fn a_deadline_in_the_past_leaves_nothing() {
    for_builtin(|| {
        let bundle = Bundle::new("exec sleep 1000");
        bundle.write();
        let error = launcher().create(bundle.path(), Instant::now()).unwrap_err();
        assert!(matches!(error, LaunchError::Deadline { .. }), "{error}");
        assert_eq!(traces(&bundle.id).len(), 0);
    });
}

#[test]
fn the_step_that_failed_is_told_with_its_operand() {
    for_builtin(|| {
        let failing = |change: &dyn Fn(&mut Bundle)| {
            let mut bundle = Bundle::new("true");
            change(&mut bundle);
            bundle.write();
            let error = launcher().create(bundle.path(), soon()).unwrap_err();
            assert_eq!(traces(&bundle.id).len(), 0, "{error}");
            match error {
                LaunchError::Step { stage, operand, source } => {
                    (stage, operand, source.raw_os_error().unwrap())
                }
                other => panic!("{other:?}"),
            }
        };
        let (stage, operand, errno) = failing(&|bundle| {
            bundle.add_mount(json!({
                "destination": "/data", "type": "bind", "source": "/no/such/place", "options": ["bind"],
            }));
        });
        assert_eq!((stage, operand.as_str(), errno), (Stage::OpenSource, "/no/such/place", 2));
        let (stage, operand, errno) = failing(&|bundle| {
            bundle.add_mount(json!({
                "destination": "/data", "type": "tmpfs", "source": "t", "options": ["nonsense=1"],
            }));
        });
        assert_eq!((stage, operand.as_str(), errno), (Stage::Mount, "/data", 22));
        let (stage, _, errno) = failing(&|bundle| {
            bundle.set("/process/cwd", json!("/no/where"));
        });
        assert_eq!((stage, errno), (Stage::EnterDirectory, 2));
        let (stage, _, errno) = failing(&|bundle| {
            bundle.set("/process/user", json!({ "uid": 70_000, "gid": 0 }));
        });
        assert_eq!((stage, errno), (Stage::SetUser, 22));
    });
}

#[test]
fn a_script_whose_interpreter_is_missing_fails_at_start() {
    for_builtin(|| {
        let mut bundle = Bundle::new("true");
        let script = bundle.root().join("bin/script");
        fs::write(&script, "#!/no/interpreter\n").unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        bundle.set("/process/args", json!(["script"]));
        bundle.write();
        let created = launcher().create(bundle.path(), soon()).unwrap();
        let error = created.start().unwrap_err();
        assert!(matches!(error, LaunchError::NoSuchCommand { .. }), "{error}");
        assert_eq!(traces(&bundle.id).len(), 0);
    });
}

#[test]
fn a_cgroup_that_exists_is_not_shared() {
    for_builtin(|| {
        let bundle = Bundle::new("exec sleep 1000");
        let running = Runtime::Builtin.start(&bundle);
        let error = launcher().create(bundle.path(), soon()).unwrap_err();
        assert!(matches!(error, LaunchError::Cgroup(CgroupError::Exists { .. })), "{error}");
        assert_eq!(running.exec("true").exit, 0, "the first one lives on");
        running.end();
    });
}

#[test]
fn an_existing_container_that_ends_is_told_apart() {
    for_builtin(|| {
        let bundle = Bundle::new("exec sleep 1000");
        let mut running = Runtime::Builtin.start(&bundle);
        running.kill_init();
        let process = json!({ "user": { "uid": 0, "gid": 0 }, "args": ["/bin/true"], "cwd": "/" });
        let error = running.try_exec(&process, Stdio::Null).unwrap_err();
        assert!(matches!(error, LaunchError::ContainerGone), "{error}");
        running.end();
    });
}

#[test]
fn exec_of_a_missing_command_is_told_and_reaped() {
    for_builtin(|| {
        let bundle = Bundle::new("exec sleep 1000");
        let running = Runtime::Builtin.start(&bundle);
        let process = json!({
            "user": { "uid": 0, "gid": 0 }, "args": ["frobnicate"], "cwd": "/", "env": ["PATH=/bin:/usr/bin"],
        });
        let error = running.try_exec(&process, Stdio::Null).unwrap_err();
        assert_eq!(error.to_string(), "no such command in the image: frobnicate");
        assert_eq!(running.cgroup().procs().unwrap().len(), 1);
        running.end();
    });
}

#[test]
fn a_visitor_and_what_it_leaves_are_told_apart() {
    for_builtin(|| {
        let bundle = Bundle::new("exec sleep 1000");
        let running = Runtime::Builtin.start(&bundle);
        let process = json!({
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/sh", "-c", "sleep 1000 & exit 0"],
            "cwd": "/",
            "env": ["PATH=/bin:/usr/bin"],
        });
        let visitor = running.try_visit(&process, Stdio::Null).unwrap();
        assert_eq!(visitor.wait().unwrap(), Exit::Code(0));
        let cgroup = running.cgroup();
        assert_eq!(cgroup.procs().unwrap().len(), 2, "init, and what the visitor left");
        let own = cgroup.own_procs().unwrap();
        let own: Vec<i32> = own.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        assert_eq!(own, [running.pid], "init alone");
        // Limits and counters know no difference.
        assert_eq!(cgroup.usage().unwrap().pids, Some(2));
        running.end();
    });
}

#[test]
fn exec_has_no_capability_unless_named() {
    for_builtin(|| {
        let bundle = Bundle::new("exec sleep 1000");
        let running = Runtime::Builtin.start(&bundle);
        let outcome = running.exec("grep -E '^Cap(Eff|Bnd)' /proc/self/status");
        assert_eq!(outcome.stdout, "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n");
        running.end();
    });
}

#[test]
fn a_terminal_is_the_containers_own_and_resizes() {
    for_builtin(|| {
        let bundle = Bundle::new("exec sleep 1000");
        let running = Runtime::Builtin.start(&bundle);
        let process = json!({
            "user": { "uid": 1000, "gid": 1000 }, "args": ["/bin/sh"], "cwd": "/", "env": ["PATH=/bin", "PS1="],
            "terminal": true, "consoleSize": { "width": 81, "height": 26 },
        });
        let started = running.try_exec(&process, Stdio::Terminal).unwrap();
        let master: &OwnedFd = started.terminal.as_ref().unwrap();
        let heard = converse(
            master.try_clone().unwrap(),
            "tty; stat -c %u `tty`; stty size; echo o''ver\n",
            "over\r\n",
        );
        assert!(heard.contains("/dev/pts/0\r\n1000\r\n26 81\r\n"), "{heard}");
        let size = rustix::termios::Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(master, size).unwrap();
        let heard = converse(master.try_clone().unwrap(), "stty size; echo o''ver\n", "over\r\n");
        assert!(heard.contains("40 120"), "{heard}");
        // The controlling terminal: its interrupt key ends the job in front.
        let job = "sh -c \"echo on''going; exec sleep 1000\"\n";
        converse(master.try_clone().unwrap(), job, "ongoing\r\n");
        let heard = converse(master.try_clone().unwrap(), "\x03", "^C");
        assert!(heard.contains("^C"), "{heard}");
        let heard = converse(master.try_clone().unwrap(), "echo o''ver $?\n", "over 130\r\n");
        assert!(heard.contains("over 130"), "{heard}");
        converse(master.try_clone().unwrap(), "exit 3\n", "\0");
        assert_eq!(started.wait().unwrap(), Exit::Code(3));
        running.end();
    });
}

#[test]
fn init_has_a_console() {
    for_builtin(|| {
        let mut bundle = Bundle::new(
            "tty; stty size; echo x > /dev/console; stat -c %t:%T /dev/console; echo o''ver",
        );
        bundle.set("/process/terminal", json!(true));
        bundle.set("/process/consoleSize", json!({ "width": 90, "height": 30 }));
        bundle.write();
        let created = launcher().create(bundle.path(), soon()).unwrap();
        let cgroup = created.cgroup().cloned();
        let mut started = created.start().unwrap();
        let heard = converse(started.terminal.take().unwrap(), "", "over\r\n");
        assert!(heard.contains("30 90\r\nx\r\n88:0\r\n"), "{heard}");
        assert_eq!(started.wait().unwrap(), Exit::Code(0));
        end_cgroup(cgroup);
    });
}

#[test]
fn a_process_that_forks_on_is_killed_with_all_its_own() {
    for_builtin(|| {
        let bundle = Bundle::new("(while :; do sleep 1000 & done) & exec sleep 1000");
        let mut bundle = bundle;
        bundle.set("/linux/resources", json!({ "pids": { "limit": 50 } }));
        let running = Runtime::Builtin.start(&bundle);
        let cgroup: Cgroup = running.cgroup();
        cgroup.kill_all(soon()).unwrap();
        assert_eq!(cgroup.procs().unwrap().len(), 0);
        running.end();
        assert_eq!(traces(&bundle.id).len(), 0);
    });
}

#[test]
fn memory_beyond_the_limit_is_an_oom_kill() {
    for_builtin(|| {
        let mut bundle = Bundle::new("dd if=/dev/zero of=/dev/null bs=64M count=1; echo $?");
        bundle
            .set("/linux/resources", json!({ "memory": { "limit": 16 << 20, "swap": 16 << 20 } }));
        bundle.write();
        let (stdio, streams) = support::runtime::pipes();
        let created = launcher().create_with(bundle.path(), stdio, soon()).unwrap();
        let cgroup = created.cgroup().cloned().unwrap();
        let started = created.start().unwrap();
        let outcome = streams.collect(&started);
        assert_eq!(outcome.stdout, "137\n", "{outcome:?}");
        assert_eq!(cgroup.oom_kills().unwrap(), 1);
        end_cgroup(Some(cgroup));
    });
}

#[test]
fn launches_side_by_side_do_not_disturb_each_other() {
    for_builtin(|| {
        std::thread::scope(|scope| {
            for number in 0..16 {
                scope.spawn(move || {
                    let outcome = Runtime::Builtin.run(&Bundle::new(&format!("echo {number}")));
                    assert_eq!(outcome.stdout, format!("{number}\n"));
                });
            }
        });
    });
}

#[test]
fn a_helper_that_is_no_program_is_refused() {
    for_builtin(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "no program").unwrap();
        let error = Launcher::new(file.path()).unwrap_err();
        assert!(matches!(error, LaunchError::Helper { action: "start", .. }), "{error}");
        assert!(Launcher::new("/no/such/file".as_ref()).is_err());
    });
}

#[test]
fn what_is_not_offered_is_refused_by_name() {
    for_builtin(|| {
        let refused = |pointer: &str, value: serde_json::Value| {
            let mut bundle = Bundle::new("true");
            bundle.set(pointer, value).write();
            let error = launcher()
                .create(bundle.path(), Instant::now() + Duration::from_secs(5))
                .unwrap_err();
            let mut text = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                text = format!("{text}: {source}");
            }
            text
        };
        for (pointer, value, word) in [
            ("/hooks", json!({ "prestart": [{ "path": "/bin/true" }] }), "hooks"),
            ("/linux/rootfsPropagation", json!("shared"), "rootfsPropagation"),
            ("/linux/namespaces", json!([{ "type": "mount" }, { "type": "time" }]), "time"),
            ("/linux/resources/blockIO", json!({ "weight": 10 }), "blockIO"),
            ("/linux/cgroupsPath", json!("a/../b"), "a/../b"),
            ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_NOTIFY" }), "NOTIFY"),
        ] {
            let text = refused(pointer, value);
            assert!(text.contains(word), "{pointer}: {text}");
        }
    });
}
