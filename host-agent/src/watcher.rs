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
    cgroup::{Cgroup, CgroupError},
};

use crate::{process::Process, work::blocking};

/// How long to wait for descriptors or memory.
const SHORTAGE: Duration = Duration::from_secs(1);

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
            match Process::find(pid)? {
                // A zombie that its parent has not waited for holds nothing up.
                Some(process) if process.has_ended() => {}
                Some(process) => {
                    // Between list and open the pid may have become another's.
                    if processes(group, counting).await?.contains(&pid) {
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
