//! The built-in launcher and the references, behind one face.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio as CommandStdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rolltop_launcher::cgroup::Cgroup;
use rolltop_launcher::{Exit, LaunchError, Launcher, Pid, Started, Stdio};
use serde_json::{Value, json};

use super::bundle::Bundle;

/// Far more than anything here takes.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What a program left.
#[derive(Debug)]
pub struct Outcome {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A runtime under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    Builtin,
    /// Another's, by its program.
    Oci(&'static str),
}

/// Those of others that are tested where they are installed and run.
const OTHERS: [&str; 2] = ["runc", "crun"];

/// A container that runs.
pub struct Running {
    runtime: Runtime,
    bundle: PathBuf,
    id: String,
    pub pid: i32,
    init: Option<Started>,
    cgroup: Option<Cgroup>,
}

/// One launcher for all tests of a program, as an agent has.
pub fn launcher() -> &'static Launcher {
    static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
    LAUNCHER.get_or_init(|| Launcher::new(env!("CARGO_BIN_EXE_rolltop-launcher").as_ref()).unwrap())
}

/// Runs `test` with each runtime there is, unless it cannot be run here.
pub fn for_each_runtime(test: impl Fn(Runtime)) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    if !std::path::Path::new(super::bundle::BUSYBOX).exists() {
        println!("skipped: needs busybox-static");
        return;
    }
    test(Runtime::Builtin);
    for other in OTHERS {
        match works(other) {
            Ok(()) => test(Runtime::Oci(other)),
            Err(why) => println!("skipped for {other}: {why}"),
        }
    }
}

/// Whether a runtime can start anything at all here, and why not.
fn works(program: &'static str) -> Result<(), String> {
    static KNOWN: Mutex<BTreeMap<&str, Result<(), String>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let tried = known.entry(program).or_insert_with(|| {
        if Command::new(program).arg("--version").output().is_err() {
            return Err("not installed".into());
        }
        let outcome = Runtime::Oci(program).run(&Bundle::new("echo works"));
        if outcome.stdout == "works\n" {
            Ok(())
        } else {
            Err(format!("it starts nothing on this machine: {}", outcome.stderr.trim()))
        }
    });
    tried.clone()
}

/// Runs `test` with the built-in launcher.
pub fn for_builtin(test: impl Fn()) {
    for_each_runtime(|runtime| {
        if runtime == Runtime::Builtin {
            test();
        }
    });
}

impl Runtime {
    /// Runs the bundle's program to its end.
    pub fn run(self, bundle: &Bundle) -> Outcome {
        self.try_run(bundle).unwrap()
    }

    /// Like `run`, with the error of a launch that failed.
    pub fn try_run(self, bundle: &Bundle) -> Result<Outcome, LaunchError> {
        bundle.write();
        match self {
            Self::Oci(program) => {
                let output = Command::new(program)
                    .args(["run", "--bundle"])
                    .arg(bundle.path())
                    .arg(&bundle.id)
                    .stdin(CommandStdio::null())
                    .output()
                    .unwrap();
                Ok(Outcome {
                    exit: output.status.code().unwrap(),
                    stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                    stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                })
            }
            Self::Builtin => {
                let (stdio, streams) = pipes();
                let created =
                    launcher().create_with(bundle.path(), stdio, Instant::now() + LIMIT)?;
                let cgroup = created.cgroup().cloned();
                let started = created.start()?;
                let outcome = streams.collect(&started);
                end_cgroup(cgroup);
                Ok(outcome)
            }
        }
    }

    /// Starts the bundle's program and leaves it running.
    pub fn start(self, bundle: &Bundle) -> Running {
        bundle.write();
        let running = |pid, init, cgroup| Running {
            runtime: self,
            bundle: bundle.path().into(),
            id: bundle.id.clone(),
            pid,
            init,
            cgroup,
        };
        match self {
            Self::Oci(program) => {
                let file = bundle.path().join("pid");
                let status = Command::new(program)
                    .args(["run", "--detach", "--pid-file"])
                    .arg(&file)
                    .arg("--bundle")
                    .arg(bundle.path())
                    .arg(&bundle.id)
                    .stdin(CommandStdio::null())
                    .stdout(CommandStdio::null())
                    .stderr(CommandStdio::null())
                    .status()
                    .unwrap();
                assert!(status.success());
                running(std::fs::read_to_string(file).unwrap().parse().unwrap(), None, None)
            }
            Self::Builtin => {
                let created = launcher().create(bundle.path(), Instant::now() + LIMIT).unwrap();
                let cgroup = created.cgroup().cloned();
                let started = created.start().unwrap();
                running(started.pid.as_raw_nonzero().get(), Some(started), cgroup)
            }
        }
    }
}

impl Running {
    pub fn cgroup(&self) -> Cgroup {
        Cgroup::open(launcher().hierarchies(), self.id.as_ref()).unwrap()
    }

    /// Executes a script in the container.
    pub fn exec(&self, script: &str) -> Outcome {
        self.exec_process(&json!({
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
        }))
    }

    pub fn exec_process(&self, process: &Value) -> Outcome {
        match self.runtime {
            Runtime::Oci(program) => {
                let file = self.bundle.join("process.json");
                std::fs::write(&file, process.to_string()).unwrap();
                let output = Command::new(program)
                    .args(["exec", "--process"])
                    .arg(&file)
                    .arg(&self.id)
                    .stdin(CommandStdio::null())
                    .output()
                    .unwrap();
                Outcome {
                    exit: output.status.code().unwrap(),
                    stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                    stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                }
            }
            Runtime::Builtin => {
                let (stdio, streams) = pipes();
                let started = self.try_exec(process, stdio).unwrap();
                streams.collect(&started)
            }
        }
    }

    /// With the built-in launcher.
    pub fn try_exec(&self, process: &Value, stdio: Stdio) -> Result<Started, LaunchError> {
        let init = self.init.as_ref().unwrap();
        let process = serde_json::from_value(process.clone()).unwrap();
        launcher().exec(&self.bundle, init.pid, init.pidfd.as_fd(), &process, stdio)
    }

    /// The same, as a visitor.
    pub fn try_visit(&self, process: &Value, stdio: Stdio) -> Result<Started, LaunchError> {
        let init = self.init.as_ref().unwrap();
        let process = serde_json::from_value(process.clone()).unwrap();
        launcher().visit(&self.bundle, init.pid, init.pidfd.as_fd(), &process, stdio)
    }

    /// Ends init, and reaps it.
    pub fn kill_init(&mut self) {
        let init = self.init.as_ref().unwrap();
        init.signal(rolltop_launcher::Signal::KILL).unwrap();
        init.wait().unwrap();
    }

    /// Ends it and everything it made.
    pub fn end(self) -> Option<Exit> {
        match self.runtime {
            Runtime::Oci(program) => {
                let status =
                    Command::new(program).args(["delete", "--force", &self.id]).status().unwrap();
                assert!(status.success());
                None
            }
            Runtime::Builtin => {
                let init = self.init.unwrap();
                // Both fail when a test has ended and reaped it already.
                drop(init.signal(rolltop_launcher::Signal::KILL));
                let exit = init.wait().ok();
                end_cgroup(self.cgroup);
                exit
            }
        }
    }
}

pub fn end_cgroup(cgroup: Option<Cgroup>) {
    if let Some(cgroup) = cgroup {
        let deadline = Instant::now() + LIMIT;
        cgroup.kill_all(deadline).unwrap();
        cgroup.remove(deadline).unwrap();
    }
}

/// Our ends of a process's streams.
pub struct Streams {
    stdout: File,
    stderr: File,
}

pub fn pipes() -> (Stdio, Streams) {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (stdin, feeder) = pipe();
    drop(feeder);
    let (stdout, their_stdout) = pipe();
    let (stderr, their_stderr) = pipe();
    let swap = |ours: OwnedFd| File::from(ours);
    (
        Stdio::Files { stdin, stdout: their_stdout, stderr: their_stderr },
        Streams { stdout: swap(stdout), stderr: swap(stderr) },
    )
}

impl Streams {
    pub fn collect(mut self, started: &Started) -> Outcome {
        let errors = thread::spawn(move || {
            let mut text = String::new();
            self.stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).unwrap();
        let exit = match started.wait().unwrap() {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        };
        Outcome { exit, stdout, stderr: errors.join().unwrap() }
    }
}

/// Writes and reads a terminal until `until` appears.
pub fn converse(master: OwnedFd, input: &str, until: &str) -> String {
    let mut terminal = File::from(master);
    terminal.write_all(input.as_bytes()).unwrap();
    let mut heard = String::new();
    let mut buffer = [0; 1024];
    while !heard.contains(until) {
        match terminal.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => heard.push_str(&String::from_utf8_lossy(&buffer[..length])),
        }
    }
    heard
}

pub fn pid(number: i32) -> Pid {
    Pid::from_raw(number).unwrap()
}
