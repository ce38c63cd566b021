//! A root to run the program in: account files of its own, programs of the host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

pub(crate) struct Scratch {
    dir: TempDir,
}

/// Whether the test can run; says so if not.
pub(crate) fn is_root() -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        println!("skipped: needs root");
    }
    root
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["etc/skel/.config", "usr", "proc", "run", "tmp", "dev", "home"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
        }
        let put = |name: &str, text: &str, mode: u32| {
            fs::write(root.join(name), text).unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        put(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\ngames:x:5:60:games:/usr/games:/bin/sh\n",
            0o644,
        );
        put("etc/group", "root:x:0:\nvideo:x:44:\n", 0o644);
        put("etc/shadow", "root:*:1:0:99999:7:::\n", 0o640);
        put("etc/skel/.profile", "# from the skeleton\n", 0o644);
        put("etc/skel/.config/setting", "default\n", 0o600);
        fs::write(root.join("init"), rolltop_init::PROGRAM).unwrap();
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Owner, group and mode.
    pub(crate) fn owner(&self, name: &str) -> (u32, u32, u32) {
        let meta = fs::symlink_metadata(self.path(name)).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    }

    /// The program as PID 1 of namespaces of its own, in this root, with descriptor 9 left open.
    fn command(&self, arguments: &[&str]) -> Command {
        let script = "mount --rbind /usr \"$0/usr\" && mount -t proc proc \"$0/proc\" && exec 9</dev/null && exec chroot \"$0\" /init \"$@\"";
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation=private",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
        ]);
        command.arg(self.dir.path()).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// `init session` for anna, with a script for a command.
    pub(crate) fn session(&self, options: &[&str], script: &str) -> Output {
        let mut arguments =
            vec!["session", "--user", "anna", "--uid", "1000", "--full-name", "Anna: Muster"];
        arguments.extend(options);
        arguments.extend(["--", "sh", "-c", script]);
        self.run(&arguments)
    }

    /// `init reap`, running.
    pub(crate) fn reaper(&self) -> Reaper {
        let mut unshare = self.command(&["reap"]).stdout(Stdio::piped()).spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        // The shell becomes the program by exec: its name tells when.
        loop {
            assert!(unshare.try_wait().unwrap().is_none(), "init ended at once");
            let pid = fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
            if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "init\n")
                && is_waiting(&pid)
            {
                return Reaper { unshare, pid };
            }
            std::thread::yield_now();
        }
    }
}

/// Whether it sleeps until a signal comes, and so is ready for one.
fn is_waiting(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/wchan"))
        .is_ok_and(|function| function.contains("sigtimedwait"))
}

pub(crate) struct Reaper {
    unshare: Child,
    pub(crate) pid: String,
}

impl Reaper {
    /// A shell that enters from outside, as the agent's commands do.
    pub(crate) fn enter(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--mount", "--pid", "--root", "sh", "-c", script]);
        command
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn end(mut self) -> std::process::ExitStatus {
        assert!(Command::new("kill").args(["-TERM", &self.pid]).status().unwrap().success());
        self.unshare.wait().unwrap()
    }
}
