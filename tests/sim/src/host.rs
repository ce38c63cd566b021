//! A host: what it is, has and does. It outlives its agent.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rolltop_proto::v1::{
    AssignHostDesktopRequest, DesktopState, Failure, HostDesktop, HostInfo, ImageVersion,
    StartHostDesktopRequest,
};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::{deed::Deed, lock, storage::Disks, table::Table};

/// What a host does with the next starts.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// It makes them.
    Run,
    /// Ends with a desktop that FAILED.
    Fail(Failure),
    /// Answers with an error.
    Refuse(Status),
    /// The request waits at the door until the semaphore lets it in.
    Hold(Arc<Semaphore>),
    /// It makes them, and says nothing of it until the semaphore lets it.
    Late(Arc<Semaphore>),
}

/// How long things take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Each phase of a start.
    pub phase: Duration,
    /// An end.
    pub stop: Duration,
}

/// What a host is, has and does.
#[derive(Debug)]
pub struct Host {
    /// What it tells of itself; `desktops` is counted when it is asked.
    pub facts: Mutex<HostInfo>,
    /// What it can start.
    pub images: Mutex<Vec<ImageVersion>>,
    /// What it does with the next starts.
    pub behaviour: Mutex<Behaviour>,
    /// Starts of these versions end with a desktop that FAILED.
    pub broken: Mutex<BTreeMap<String, Failure>>,
    /// Desktops use so much memory, MiB: less cannot be their limit.
    pub memory_in_use_mib: AtomicI64,
    /// How long that takes.
    pub pace: Mutex<Pace>,
    /// Every start that reached it.
    pub requests: Mutex<Vec<StartHostDesktopRequest>>,
    /// Every warm desktop it was to give somebody.
    pub assignments: Mutex<Vec<AssignHostDesktopRequest>>,
    /// Its disks.
    pub storage: Disks,
    starts: AtomicUsize,
    watches: AtomicUsize,
    pub(crate) table: Mutex<Table>,
}

impl Host {
    /// Four processors, 16 GiB, room for 20 desktops, version 1 of the image "demo".
    pub fn new(name: &str) -> Arc<Self> {
        let facts = HostInfo {
            name: name.into(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            cpus: 4,
            memory_bytes: 16 << 30,
            memory_available_bytes: 8 << 30,
            overlay_free_bytes: 100 << 30,
            max_desktops: 20,
            network: "10.77.0.0/16".into(),
            ..Default::default()
        };
        let demo = ImageVersion {
            image: "demo".into(),
            version: "1".into(),
            tags: vec!["stable".into()],
            ..Default::default()
        };
        Arc::new(Self {
            facts: Mutex::new(facts),
            images: Mutex::new(vec![demo]),
            behaviour: Mutex::new(Behaviour::Run),
            broken: Mutex::default(),
            memory_in_use_mib: AtomicI64::new(0),
            pace: Mutex::default(),
            requests: Mutex::default(),
            assignments: Mutex::default(),
            storage: Disks::default(),
            starts: AtomicUsize::new(0),
            watches: AtomicUsize::new(0),
            table: Mutex::default(),
        })
    }

    /// Does this with the next starts.
    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.behaviour) = behaviour;
    }

    /// Publishes a version of the image "demo", and lets the tag point at it; or
    /// lets the tag point at one that is there.
    pub fn publish(&self, version: &str, tag: &str) {
        let mut images = lock(&self.images);
        images.iter_mut().for_each(|known| known.tags.retain(|known| known != tag));
        let is_it = |known: &&mut ImageVersion| known.image == "demo" && known.version == version;
        match images.iter_mut().find(is_it) {
            Some(known) => known.tags.push(tag.into()),
            None => images.push(ImageVersion {
                image: "demo".into(),
                version: version.into(),
                tags: vec![tag.into()],
                ..Default::default()
            }),
        }
    }

    /// How many starts have reached it, repeated ones included.
    pub fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }

    /// How often somebody has begun to watch it.
    pub fn watches(&self) -> usize {
        self.watches.load(Ordering::SeqCst)
    }

    /// Whoever watches it has to ask anew, as after a restart; calls go on.
    pub fn break_watches(&self) {
        lock(&self.table).begin_anew();
    }

    /// A desktop ends by itself.
    pub fn end(&self, number: u32, reason: &str) {
        self.end_as(number, reason, None);
    }

    /// A desktop ends by itself, and badly.
    pub fn break_down(&self, number: u32, failure: Failure) {
        self.end_as(number, &failure.code.clone(), Some(failure));
    }

    fn end_as(&self, number: u32, reason: &str, failure: Option<Failure>) {
        let mut table = lock(&self.table);
        let Some(there) = table.get(number) else { return };
        table.end(number, there.epoch, |desktop| {
            desktop.set_state(DesktopState::Gone);
            desktop.end_reason = reason.into();
            desktop.failure = failure;
        });
    }

    /// Whether it has a desktop of this number.
    pub fn has(&self, number: u32) -> bool {
        lock(&self.table).get(number).is_some()
    }

    /// Every desktop it has, by number.
    pub fn desktops(&self) -> Vec<HostDesktop> {
        lock(&self.table).all()
    }

    /// Those that nobody has yet.
    pub fn warm(&self) -> Vec<HostDesktop> {
        self.desktops().into_iter().filter(|desktop| desktop.warm).collect()
    }

    /// Puts a desktop there without a word to anybody, in place of one of its
    /// number. For while no agent runs.
    pub fn put(&self, desktop: HostDesktop) {
        lock(&self.table).put(desktop);
    }

    /// Takes a desktop away without a word to anybody.
    pub fn remove(&self, number: u32) -> Option<HostDesktop> {
        lock(&self.table).take(number)
    }

    /// The power goes: no desktop is left. What is kept on disk is.
    pub fn lose_power(&self) {
        let mut table = lock(&self.table);
        for desktop in table.all() {
            table.take(desktop.number);
        }
    }

    /// All that has become of its desktops, oldest first.
    pub fn deeds(&self) -> Vec<Deed> {
        lock(&self.table).deeds()
    }

    pub(crate) fn note_watch(&self) {
        self.watches.fetch_add(1, Ordering::SeqCst);
    }

    /// What is to let answers go that are late.
    pub(crate) fn lateness(&self) -> Option<Arc<Semaphore>> {
        match &*lock(&self.behaviour) {
            Behaviour::Late(gate) => Some(Arc::clone(gate)),
            Behaviour::Run | Behaviour::Fail(_) | Behaviour::Refuse(_) | Behaviour::Hold(_) => None,
        }
    }

    pub(crate) fn note_request(&self, request: &StartHostDesktopRequest) {
        self.starts.fetch_add(1, Ordering::SeqCst);
        lock(&self.requests).push(request.clone());
    }
}
