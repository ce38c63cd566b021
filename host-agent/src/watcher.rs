//! Notices, without polling, that only init is left in a desktop, beside what
//! does not count.
//!
//! One process that is not init is held by pidfd. When it ends, the list of
//! processes is read again and another is held; when there is none, and still
//! none after a short linger, the session has ended. A thousand idle desktops
//! cost a thousand descriptors and no CPU.

use std::{io, time::Duration};

use rolltop_launcher::{
    Pid,
    cgroup::{Cgroup, CgroupError},
};

use crate::{process::Process, work::blocking};

/// Which processes of a desktop keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// The session's: a command from outside, such as a shell of an operator,
    /// keeps no desktop whose user has logged out, nor does what it left.
    Session,
    /// All of them.
    All,
}

/// Returns when only `init` has been left in `group` for `linger`.
///
/// # Errors
/// The group cannot be read: it is gone.
pub async fn only_init_left(
    group: &Cgroup,
    init: i32,
    counting: Counting,
    linger: Duration,
) -> io::Result<()> {
    loop {
        if let Some(process) = other_than_init(group, init, counting).await? {
            process.ended().await?;
            continue;
        }
        // A session may end its first process before its next one begins.
        tokio::time::sleep(linger).await;
        if other_than_init(group, init, counting).await?.is_none() {
            return Ok(());
        }
    }
}

/// A living process of the group besides `init`.
///
/// # Errors
/// The group cannot be read.
pub async fn other_than_init(
    group: &Cgroup,
    init: i32,
    counting: Counting,
) -> io::Result<Option<Process>> {
    loop {
        let pids = processes(group, counting).await?;
        let mut vanished = false;
        for pid in pids.into_iter().filter(|pid| *pid != init) {
            match Process::open(pid) {
                // A zombie that its parent has not waited for holds nothing up.
                Ok(process) if process.has_ended() => {}
                Ok(process) => {
                    // Between list and open the pid may have become another's.
                    if processes(group, counting).await?.contains(&pid) {
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

async fn processes(group: &Cgroup, counting: Counting) -> io::Result<Vec<i32>> {
    let group = group.clone();
    blocking(move || match counting {
        Counting::Session => group.own_procs().map(numbers),
        Counting::All => pids(&group),
    })
    .await
    .map_err(io::Error::other)
}

/// The processes of a group by number. Blocking.
///
/// # Errors
/// A file of the group cannot be read.
pub fn pids(group: &Cgroup) -> Result<Vec<i32>, CgroupError> {
    group.procs().map(numbers)
}

fn numbers(pids: Vec<Pid>) -> Vec<i32> {
    pids.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect()
}
