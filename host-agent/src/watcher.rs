//! Notices, without polling, that only init is left in a desktop, beside what
//! does not count.
//!
//! One process that is not init is held by pidfd. When it ends, the list of
//! processes is read again and another is held; when there is none, and still
//! none after a short linger, the session has ended. A thousand idle desktops
//! cost a thousand descriptors and no CPU.

use std::{error::Error, io, time::Duration};

use nix::errno::Errno;

use rolltop_launcher::{
    Pid,
    cgroup::{Cgroup, CgroupError, Part},
};

use crate::{process::Process, work::blocking};

/// How long to wait for descriptors or memory.
const SHORTAGE: Duration = Duration::from_secs(1);

/// The processes of a desktop.
#[derive(Clone, Debug)]
pub struct Members {
    /// Its control group.
    pub group: Cgroup,
    /// PID 1.
    pub init: i32,
    /// Whether init has processes of its own, and the session a part of the
    /// group to itself.
    pub apart: bool,
}

/// Which processes of a desktop keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// The session's: a command from outside, such as a shell of an operator,
    /// keeps no desktop whose user has logged out, nor does what it left.
    Session,
    /// All but init and what that has begun itself.
    All,
}

/// Returns when only init has been left of those that count for `linger`.
///
/// # Errors
/// The group cannot be read: it is gone.
pub async fn only_init_left(
    members: &Members,
    counting: Counting,
    linger: Duration,
) -> io::Result<()> {
    loop {
        if let Some(process) = other_than_init(members, counting).await? {
            process.ended().await?;
            continue;
        }
        // A session may end its first process before its next one begins.
        tokio::time::sleep(linger).await;
        if other_than_init(members, counting).await?.is_none() {
            return Ok(());
        }
    }
}

/// Watches again and again while the host is short of descriptors or memory: a
/// desktop must not end for that.
///
/// # Errors
/// Any other of `watch`.
pub async fn patiently<F>(mut watch: impl FnMut() -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>>,
{
    loop {
        match watch().await {
            Err(error) if is_shortage(&error) => {
                tracing::warn!(%error, "a desktop cannot be watched now");
                tokio::time::sleep(SHORTAGE).await;
            }
            done => return done,
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if let Some(errno) = errno {
            return [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM]
                .map(|e| e as i32)
                .contains(&errno);
        }
        cause = error.source();
    }
    false
}

/// A living process that counts, besides init.
///
/// # Errors
/// The group cannot be read.
async fn other_than_init(members: &Members, counting: Counting) -> io::Result<Option<Process>> {
    loop {
        let pids = processes(members, counting).await?;
        let mut vanished = false;
        for pid in pids {
            match Process::find(pid)? {
                // A zombie that its parent has not waited for holds nothing up.
                Some(process) if process.has_ended() => {}
                Some(process) => {
                    // Between list and open the pid may have become another's.
                    if processes(members, counting).await?.contains(&pid) {
                        return Ok(Some(process));
                    }
                    vanished = true;
                }
                None => vanished = true,
            }
        }
        if !vanished {
            return Ok(None);
        }
    }
}

async fn processes(members: &Members, counting: Counting) -> io::Result<Vec<i32>> {
    let members = members.clone();
    blocking(move || counted(&members, counting)).await.map_err(io::Error::other)
}

/// The processes that count, but for init. Blocking.
///
/// # Errors
/// A file of the group cannot be read.
pub fn counted(members: &Members, counting: Counting) -> Result<Vec<i32>, CgroupError> {
    let Members { group, init, apart } = members;
    let mut found = match (counting, apart) {
        (Counting::Session, false) => group.own_procs()?,
        (Counting::All, false) => group.procs()?,
        (Counting::Session, true) => group.part_procs(Part::Session)?,
        (Counting::All, true) => {
            let mut both = group.part_procs(Part::Session)?;
            both.extend(group.part_procs(Part::Visitors)?);
            both
        }
    };
    found.retain(|pid| pid.as_raw_nonzero().get() != *init);
    Ok(numbers(found))
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

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shortage_is_waited_for_and_nothing_else() {
        let short = |errno| io::Error::from_raw_os_error(errno as i32);
        let group =
            CgroupError::File { action: "read", path: "/x".into(), source: short(Errno::EMFILE) };
        let mut answers =
            vec![Err(short(Errno::EIO)), Err(io::Error::other(group)), Err(short(Errno::EMFILE))];
        let end = patiently(|| ready(answers.pop().unwrap_or(Ok(())))).await;
        assert_eq!(end.unwrap_err().raw_os_error(), Some(Errno::EIO as i32));
        assert!(answers.is_empty());
    }
}
