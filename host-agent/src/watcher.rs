//! Notices, without polling, that only init is left in a desktop.
//!
//! One process that is not init is held by pidfd. When it ends, the list of
//! processes is read again and another is held; when there is none, and still
//! none after a short linger, the session has ended. A thousand idle desktops
//! cost a thousand descriptors and no CPU.

use std::{io, time::Duration};

use rolltop_launcher::cgroup::{Cgroup, CgroupError};

use crate::{process::Process, work::blocking};

/// Returns when only `init` has been left in `group` for `linger`.
///
/// # Errors
/// The group cannot be read: it is gone.
pub async fn only_init_left(group: &Cgroup, init: i32, linger: Duration) -> io::Result<()> {
    loop {
        if let Some(process) = other_than_init(group, init).await? {
            process.ended().await?;
            continue;
        }
        // A session may end its first process before its next one begins.
        tokio::time::sleep(linger).await;
        if other_than_init(group, init).await?.is_none() {
            return Ok(());
        }
    }
}

/// A living process of the group besides `init`.
async fn other_than_init(group: &Cgroup, init: i32) -> io::Result<Option<Process>> {
    loop {
        let pids = processes(group).await?;
        let mut vanished = false;
        for pid in pids.into_iter().filter(|pid| *pid != init) {
            match Process::open(pid) {
                // A zombie that its parent has not waited for holds nothing up.
                Ok(process) if process.has_ended() => {}
                Ok(process) => {
                    // Between list and open the pid may have become another's.
                    if processes(group).await?.contains(&pid) {
                        return Ok(Some(process));
                    }
                    vanished = true;
                }
                Err(_gone) => vanished = true,
            }
        }
        if !vanished {
            return Ok(None);
        }
    }
}

async fn processes(group: &Cgroup) -> io::Result<Vec<i32>> {
    let group = group.clone();
    blocking(move || pids(&group)).await.map_err(io::Error::other)
}

/// The processes of a group by number. Blocking.
///
/// # Errors
/// A file of the group cannot be read.
pub fn pids(group: &Cgroup) -> Result<Vec<i32>, CgroupError> {
    Ok(group.procs()?.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect())
}
