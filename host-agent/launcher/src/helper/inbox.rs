//! A request's descriptors, each in its place.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;
use serde::de::DeserializeOwned;

use crate::error::{AtStage, Failure, Stage};
use crate::seccomp::FilterStack;
use crate::wire::{Request, Role};

/// What came with a request.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    plan: Option<OwnedFd>,
    filters: Option<OwnedFd>,
    pub(super) seed: Option<OwnedFd>,
    pub(super) unified: Option<OwnedFd>,
    pub(super) legacy: Vec<OwnedFd>,
    pub(super) init: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// The three standard streams.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

// === impl Inbox ===

impl Inbox {
    pub(super) fn sort(request: &Request, descriptors: Vec<OwnedFd>) -> Result<Self, Failure> {
        if request.roles.len() != descriptors.len() {
            return Err(Errno::BADMSG).at(Stage::Request, "descriptors");
        }
        let mut inbox = Self::default();
        for (role, descriptor) in request.roles.iter().zip(descriptors) {
            let place = match role {
                Role::Plan => &mut inbox.plan,
                Role::Filters => &mut inbox.filters,
                Role::Seed => &mut inbox.seed,
                Role::Unified => &mut inbox.unified,
                Role::Init => &mut inbox.init,
                Role::Stdin => &mut inbox.stdin,
                Role::Stdout => &mut inbox.stdout,
                Role::Stderr => &mut inbox.stderr,
                Role::Legacy => {
                    inbox.legacy.push(descriptor);
                    continue;
                }
            };
            *place = Some(descriptor);
        }
        Ok(inbox)
    }

    pub(super) fn plan<P: DeserializeOwned>(&mut self) -> Result<P, Failure> {
        parse(self.plan.take(), "plan")?.ok_or(Errno::BADMSG).at(Stage::Request, "plan")
    }

    pub(super) fn filters(&mut self) -> Result<Option<FilterStack>, Failure> {
        parse(self.filters.take(), "filters")
    }

    pub(super) fn streams(&mut self) -> Option<Streams> {
        match (self.stdin.take(), self.stdout.take(), self.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Some(Streams { stdin, stdout, stderr }),
            _ => None,
        }
    }
}

/// Reads a memory file from its start, whatever its position: helpers that run
/// at the same time share the file of a cached filter.
fn parse<T: DeserializeOwned>(file: Option<OwnedFd>, name: &str) -> Result<Option<T>, Failure> {
    let Some(file) = file.map(File::from) else { return Ok(None) };
    let length = file.metadata().at(Stage::Request, name)?.len();
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).at(Stage::Request, name)?;
    serde_json::from_slice(&bytes).map(Some).at(Stage::Request, name)
}
