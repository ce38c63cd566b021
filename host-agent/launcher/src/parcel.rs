//! A request to the helper with the descriptors that go beside it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::started::Stdio;
use crate::wire::{self, Request, Role, Task};

/// A request in the making.
pub(crate) struct Parcel<'fd> {
    request: Request,
    descriptors: Vec<BorrowedFd<'fd>>,
}

impl<'fd> Parcel<'fd> {
    pub(crate) fn new(task: Task) -> Self {
        Self { request: Request { task, roles: Vec::new() }, descriptors: Vec::new() }
    }

    pub(crate) fn add(&mut self, role: Role, descriptor: BorrowedFd<'fd>) {
        self.request.roles.push(role);
        self.descriptors.push(descriptor);
    }

    pub(crate) fn add_cgroup(&mut self, unified: &'fd Option<OwnedFd>, legacy: &'fd [OwnedFd]) {
        if let Some(directory) = unified {
            self.add(Role::Unified, directory.as_fd());
        }
        for directory in legacy {
            self.add(Role::Legacy, directory.as_fd());
        }
    }

    pub(crate) fn add_stdio(&mut self, stdio: &'fd Stdio) {
        if let Stdio::Files { stdin, stdout, stderr } = stdio {
            self.add(Role::Stdin, stdin.as_fd());
            self.add(Role::Stdout, stdout.as_fd());
            self.add(Role::Stderr, stderr.as_fd());
        }
    }

    pub(crate) fn send(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        wire::send(socket, &self.request, &self.descriptors)
    }
}
