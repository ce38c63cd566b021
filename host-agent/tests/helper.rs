//! The process that waits for servers in the agent's place, waiting for real:
//! for a FUSE file system that nobody serves, which holds a caller in the
//! kernel as a dead NFS server does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn helper() -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_rolltop-agent"))
        .arg("storage-helper")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    (child, ours)
}

fn unmount_in(dir: &Path) -> String {
    format!("{{\"Unmount\":{{\"dir\":{dir:?},\"key\":\"demo@1\"}}}}\n")
}

/// Waits for the end of a process; a panic if it does not come.
fn ended(mut child: Child) {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(child.wait()));
    told.recv_timeout(PATIENCE).unwrap().unwrap();
}

#[test]
fn tasks_are_answered_in_order_and_bad_ones_refused() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        private();
        let dir = tempfile::tempdir().unwrap();
        let (child, mut stream) = helper();
        let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut ask = |line: &str| {
            stream.write_all(line.as_bytes()).unwrap();
            answers.next().unwrap().unwrap()
        };
        assert_eq!(ask(&unmount_in(&dir.path().join("bases"))), r#"{"Ok":"Nothing"}"#);
        assert!(ask("{}\n").contains("Err"));
        assert!(ask("\u{0}\n").contains("Err"));
        assert!(ask(&unmount_in(Path::new("/proc/none"))).contains("NotMounted"));
        drop((answers, stream));
        ended(child);
        umount2(&dir.path().join("bases"), MntFlags::empty()).unwrap();
    })
    .join()
    .unwrap();
}

#[test]
fn it_ends_with_its_agent_even_while_it_waits_in_the_kernel() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let Ok(server) = File::options().read(true).write(true).open("/dev/fuse") else {
        eprintln!("skipped: needs /dev/fuse");
        return;
    };
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        private();
        let dir = tempfile::tempdir().unwrap();
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        mount(Some("none"), dir.path(), Some("fuse"), MsFlags::empty(), Some(data.as_str()))
            .unwrap();
        let (child, mut stream) = helper();
        stream.write_all(unmount_in(&dir.path().join("bases")).as_bytes()).unwrap();
        waits_in_fuse(child.id());
        // No answer, no signal: the agent has gone, and so does the helper.
        drop(stream);
        ended(child);
        umount2(dir.path(), MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).unwrap();
        drop(server);
    })
    .join()
    .unwrap();
}

fn private() {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
}

/// Waits until a thread of the process waits inside of a file system call.
fn waits_in_fuse(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let waits =
            threads.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
        // "PID (NAME) STATE ...": D is a wait that signals do not end.
        let states: Vec<_> =
            waits.filter_map(|stat| stat.rsplit(") ").next()?.chars().next()).collect();
        if states.contains(&'D') {
            return;
        }
        assert!(Instant::now() < deadline, "no thread waits: {states:?}");
        thread::yield_now();
    }
}
