//! `rolltop-bench-floor`: the bare system calls for a container with a disk of
//! its own, in the order that takes least: template copy, loop device, two
//! mounts, control groups, all namespaces, link, exec. What any host agent
//! does at the least, with none of what makes it safe: no locks, no records, no
//! seccomp, no readable errors, no way back after a failure.
//!
//! Prints the times as JSON: `{"init_us":N,"released_us":N}`.

#![forbid(unsafe_code)]

use std::{
    ffi::CString,
    fs::{self, File},
    io::{Read as _, pipe},
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, bail};
use clap::Parser;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::CloneFlags,
    unistd::{Whence, execv, lseek, pivot_root},
};
use rolltop_sys::{
    clone::{CloneOptions, Cloned, clone_process},
    loop_device::{LoopDevice, LoopOptions},
    pidfd,
};
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::link::{InfoData, InfoVeth},
};
use rustix::process::{Pid, pidfd_send_signal};

/// Ids of the container begin here.
const FIRST_ID: u32 = 1 << 20;
const IDS: u32 = 1 << 16;

#[derive(Debug, Parser)]
struct Arguments {
    /// The root below, mounted
    #[arg(long)]
    base: PathBuf,
    /// A formatted disk to copy
    #[arg(long)]
    template: PathBuf,
    /// Directory to work in; made and removed
    #[arg(long)]
    work: PathBuf,
    /// Name of the link
    #[arg(long)]
    link: String,
    /// Index of the bridge
    #[arg(long)]
    bridge: u32,
    /// A control group to make and to be in; may be repeated
    #[arg(long)]
    group: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolltop-bench-floor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (connection, links, _) = rtnetlink::new_connection()?;
    let driver = tokio::spawn(connection);
    let Arguments { base, template, work, link, bridge, group: groups } = arguments;
    let (file, disk, root) = (work.join("disk.ext4"), work.join("disk"), work.join("root"));
    let init = CString::new("/bin/sleep")?;
    let arguments = [init.clone(), CString::new("infinity")?];
    let template = File::open(&template).context("open the template")?;

    let begun = Instant::now();
    for dir in [&work, &disk, &root] {
        fs::create_dir(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    copy(&template, &file).context("copy the template")?;
    mount_disk(&file, &disk)?;
    let layers = ["upper", "work"].map(|name| disk.join(name));
    for layer in &layers {
        fs::create_dir(layer)?;
    }
    let [upper, inner] = layers.map(|layer| layer.display().to_string());
    let options = format!("lowerdir={},upperdir={upper},workdir={inner}", base.display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .context("join the layers")?;
    for group in &groups {
        fs::create_dir(group).with_context(|| format!("make {}", group.display()))?;
    }

    // Closed by the container's exec: then its init is running.
    let (mut running, running_here) = pipe()?;
    let (ready_there, ready) = pipe()?;
    let namespaces = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    let namespaces = u64::try_from(namespaces.bits())?;
    let cloned = clone_process(&CloneOptions { namespaces, sibling: false, cgroup: None })?;
    let Cloned::Parent { pid, pidfd } = cloned else {
        drop((running, ready));
        // Returns only if it fails: the parent sees that no init came to run.
        let never = become_init(ready_there.into(), &root, &init, &arguments)?;
        match never {}
    };
    drop((running_here, ready_there));
    for group in &groups {
        // Version 2 has no `tasks`; version 1's `cgroup.procs` waits longer.
        let tasks = group.join("tasks");
        let tasks = if tasks.exists() { tasks } else { group.join("cgroup.procs") };
        fs::write(&tasks, pid.to_string()).with_context(|| format!("write {}", tasks.display()))?;
    }
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{map}"), format!("0 {FIRST_ID} {IDS}"))
            .with_context(|| format!("write {map}"))?;
    }
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name("eth0".to_owned())
        .setns_by_fd(namespace.as_raw_fd())
        .build();
    let pair = LinkMessageBuilder::<LinkVeth>::new(&link, "eth0")
        .controller(bridge)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    links.link().add(pair).execute().await.context("make the link")?;
    drop(ready);
    let mut nothing = [0; 1];
    running.read_exact(&mut nothing).err().context("the container talks")?;
    if pidfd::exit_status(&pidfd)?.is_some() {
        bail!("the container's init did not come to run");
    }
    let init_time = begun.elapsed();

    let begun = Instant::now();
    let message = LinkUnspec::new_with_name(&link).build();
    links.link().del_with_message(message).execute().await.context("delete the link")?;
    pidfd_send_signal(&pidfd, rustix::process::Signal::KILL)?;
    let pid = Pid::from_raw(pid).context("no process")?;
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
    for point in [&root, &disk] {
        umount2(point, MntFlags::empty())
            .with_context(|| format!("unmount {}", point.display()))?;
    }
    for group in &groups {
        fs::remove_dir(group).with_context(|| format!("remove {}", group.display()))?;
    }
    fs::remove_file(&file)?;
    for dir in [&disk, &root, &work] {
        fs::remove_dir(dir)?;
    }
    let released = begun.elapsed();
    driver.abort();
    println!(
        "{}",
        serde_json::json!({
            "init_us": u64::try_from(init_time.as_micros())?,
            "released_us": u64::try_from(released.as_micros())?,
        })
    );
    Ok(())
}

/// Only what is data, as a sparse file.
fn copy(from: &File, to: &Path) -> anyhow::Result<()> {
    let length = i64::try_from(from.metadata()?.len())?;
    let to = File::options().write(true).create_new(true).open(to)?;
    to.set_len(u64::try_from(length)?)?;
    let mut at = 0;
    while at < length {
        at = match lseek(from, at, Whence::SeekData) {
            Ok(data) => data,
            Err(nix::errno::Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = lseek(from, at, Whence::SeekHole)?;
        let (mut read, mut written) = (u64::try_from(at)?, u64::try_from(at)?);
        while written < u64::try_from(end)? {
            let rest = usize::try_from(u64::try_from(end)? - written)?;
            rustix::fs::copy_file_range(from, Some(&mut read), &to, Some(&mut written), rest)?;
        }
        at = end;
    }
    Ok(())
}

fn mount_disk(file: &Path, disk: &Path) -> anyhow::Result<()> {
    let backing = File::options().read(true).write(true).open(file)?;
    let options = LoopOptions { direct_io: true, ..LoopOptions::default() };
    let device = LoopDevice::attach(backing.as_fd(), options)?;
    mount(Some(&device.path()), disk, Some("ext4"), MsFlags::empty(), None::<&str>)
        .context("mount the disk")
}

/// Waits for its link, and becomes the container's init.
fn become_init(
    ready: OwnedFd,
    root: &Path,
    init: &CString,
    arguments: &[CString],
) -> anyhow::Result<std::convert::Infallible> {
    File::from(ready).read_to_end(&mut Vec::new())?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let recursive = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(root), root, none, recursive, none).context("bind the root")?;
    std::env::set_current_dir(root)?;
    pivot_root(".", ".").context("change the root")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(execv(init, arguments)?)
}
