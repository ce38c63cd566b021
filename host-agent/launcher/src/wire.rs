//! What agent, helper and container process tell each other.
//!
//! One `SOCK_SEQPACKET` pair joins them: a message is a packet, JSON with
//! descriptors beside it, and the end of the last holder is an end-of-file.
//! The helper has its end as standard input. The container's first process
//! inherits it, close-on-exec, so that end-of-file after [`Report::Executing`]
//! means the program runs.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// Descriptors beside one message, at most: a hierarchy each, and a handful.
const MAX_DESCRIPTORS: usize = 64;

/// Longest message. What can grow (a plan) travels in a memory file.
const MAX_MESSAGE: usize = 8192;

/// What a descriptor beside a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Memory file: the plan as JSON.
    Plan,
    /// Memory file: the compiled filters.
    Filters,
    /// The mount namespace containers start from.
    Seed,
    /// A directory of the version 2 hierarchy, to start in.
    Unified,
    /// A directory of a version 1 hierarchy, to enter.
    Legacy,
    /// The container's init, by pidfd.
    Init,
    /// The process's standard input.
    Stdin,
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
}

/// What the helper is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Make the seed namespace and hand it over.
    Seed,
    /// Make a container.
    Create,
    /// Execute a process in a container.
    Exec,
}

/// Agent to helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) task: Task,
    /// One for each descriptor, in order.
    pub(crate) roles: Vec<Role>,
}

/// Helper, or the process it made, to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The seed namespace is beside this.
    Seed,
    /// The process exists; its pidfd is beside this.
    Spawned { pid: i32 },
    /// The terminal's master side is beside this.
    Terminal,
    /// All is done but the execution; a [`START`] is awaited.
    Ready,
    /// The next thing is `execve`.
    Executing,
    /// A step failed; nothing more will come.
    Failed(Failure),
}

/// The packet that starts a created process.
pub(crate) const START: &[u8] = b"start";

/// Sends `message` with `descriptors`, never blocking for long: the packets
/// of a launch fit the socket's buffer together.
pub(crate) fn send<M: Serialize>(
    socket: BorrowedFd<'_>,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG.into());
    }
    if bytes.len() > MAX_MESSAGE {
        return Err(Errno::MSGSIZE.into());
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message, or `None` at end-of-file.
pub(crate) fn receive<M: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut bytes = [0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let slices = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket, slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            // A peer killed with a packet unread: an end like any other.
            Err(Errno::CONNRESET) => return Ok(None),
            result => break result?,
        }
    };
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE.into());
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let message = serde_json::from_slice(&bytes[..received.bytes])?;
    Ok(Some((message, descriptors)))
}

/// Waits until `socket` can be read. `false`: the deadline came first.
pub(crate) fn wait_readable(socket: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        let mut interest = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
        match poll(&mut interest, Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::time::Duration;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn a_message_keeps_its_descriptors_in_order() {
        let (here, there) = pair();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let request = Request { task: Task::Exec, roles: vec![Role::Plan, Role::Seed] };
        send(here.as_fd(), &request, &[read.as_fd(), write.as_fd()]).unwrap();
        let (received, descriptors) = receive::<Request>(there.as_fd()).unwrap().unwrap();
        assert_eq!(received, request);
        let [read, write] = <[OwnedFd; 2]>::try_from(descriptors).unwrap();
        rustix::io::write(&write, b"x").unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(&read, &mut byte).unwrap(), 1);
    }

    #[test]
    fn a_closed_peer_is_an_end_of_file() {
        let (here, there) = pair();
        drop(there);
        assert!(receive::<Report>(here.as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_message_that_is_no_report_is_an_error() {
        let (here, there) = pair();
        rustix::io::write(&here, b"{\"Nonsense\":1}").unwrap();
        assert!(receive::<Report>(there.as_fd()).is_err());
    }

    #[test]
    fn a_deadline_in_the_past_ends_the_wait() {
        let (here, _there) = pair();
        let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        assert!(!wait_readable(here.as_fd(), past).unwrap());
    }
}
