//! Keeps the logs of sessions short, without a process or a timer for each.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _};
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use nix::libc::O_NOFOLLOW;
use rustix::fs::{FallocateFlags, fallocate};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error};

use crate::work::blocking;

/// Of each log, at least so much of its end is kept. Bytes.
const KEPT: u64 = 512 * 1024;
/// And no more for long.
const MOST: u64 = 1024 * 1024;
/// What `st_blocks` counts in.
const BLOCK: u64 = 512;
/// Holes end at a multiple of this, and so of any page: no part of a page is
/// ever zeroed.
const ALIGNED: u64 = 64 * 1024;
/// Between two looks: sessions that write without end cost no more than this
/// many looks.
const PAUSE: Duration = Duration::from_millis(50);

type Files = Arc<Mutex<HashMap<WatchDescriptor, PathBuf>>>;

/// Cuts logs when they have grown.
#[derive(Debug)]
pub struct Keeper {
    watches: Watches,
    files: Files,
    _work: AbortOnDropHandle<()>,
}

impl Keeper {
    /// One that has nothing to do yet. Needs a runtime.
    ///
    /// # Errors
    /// The kernel gives no inotify instance.
    pub fn new() -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let (watches, files) = (inotify.watches(), Files::default());
        let changes = inotify.into_event_stream(vec![0; 4096])?;
        let work = tokio::spawn(keep(changes, Arc::clone(&files)));
        Ok(Self { watches, files, _work: AbortOnDropHandle::new(work) })
    }

    /// Keeps the log at `path` short from now on, until it is removed. Blocking.
    ///
    /// # Errors
    /// It is not there, or the kernel watches no more files.
    pub fn add(&self, path: &Path) -> io::Result<()> {
        {
            // Held: the first change may be told before this returns.
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            let watch = self.watches.clone().add(path, WatchMask::MODIFY)?;
            files.insert(watch, path.to_owned());
        }
        // It may have grown while no agent ran.
        cut(path)
    }
}

async fn keep(mut changes: EventStream<Vec<u8>>, files: Files) {
    loop {
        let Some(first) = changes.next().await else { return };
        let more = std::iter::from_fn(|| changes.next().now_or_never().flatten());
        match std::iter::once(first).chain(more).collect::<io::Result<Vec<_>>>() {
            Ok(events) => {
                let grown = grown(&events, &files);
                blocking(move || grown.iter().for_each(|path| cut_or_tell(path))).await;
            }
            // The end of the agent's descriptors or memory, say: it goes on later.
            Err(error) => error!(%error, "sessions' logs are not kept short"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn grown(events: &[EventOwned], files: &Files) -> HashSet<PathBuf> {
    let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
    let mut grown = HashSet::new();
    for event in events {
        if event.mask.contains(EventMask::IGNORED) {
            files.remove(&event.wd);
        } else if event.mask.contains(EventMask::Q_OVERFLOW) {
            return files.values().cloned().collect();
        } else {
            grown.extend(files.get(&event.wd).cloned());
        }
    }
    grown
}

fn cut_or_tell(path: &Path) {
    // One whose desktop has just gone needs none; nor one that its session has
    // made unfit for it.
    if let Err(error) = cut(path) {
        debug!(%error, log = %path.display(), "a session's log cannot be cut");
    }
}

/// Makes a hole of all but the end, if there is much.
fn cut(path: &Path) -> io::Result<()> {
    let log: File = OpenOptions::new().write(true).custom_flags(O_NOFOLLOW).open(path)?;
    let facts = log.metadata()?;
    if facts.blocks().saturating_mul(BLOCK) <= MOST {
        return Ok(());
    }
    let old = facts.len().saturating_sub(KEPT) / ALIGNED * ALIGNED;
    if old > 0 {
        fallocate(&log, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, old)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{super::SessionLog, *};

    const LINE: usize = 64;

    fn lines(numbers: std::ops::Range<usize>) -> Vec<u8> {
        numbers.flat_map(|n| format!("{n:>63}\n").into_bytes()).collect()
    }

    fn all(log: &mut SessionLog) -> Vec<u8> {
        let chunks = std::iter::from_fn(|| Some(log.next_known().unwrap()));
        chunks.take_while(|chunk| !chunk.is_empty()).flatten().collect()
    }

    #[tokio::test]
    async fn the_end_stays_and_readers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        log.write_all(&lines(0..10)).unwrap();
        let mut slow = SessionLog::open(&path, None).unwrap();
        assert_eq!(all(&mut slow), lines(0..10));

        // It was not watched while this was written.
        let count = 5 * MOST as usize / LINE;
        log.write_all(&lines(10..count)).unwrap();
        let keeper = Keeper::new().unwrap();
        keeper.add(&path).unwrap();
        let facts = path.metadata().unwrap();
        assert!(facts.blocks() * BLOCK <= KEPT + ALIGNED, "{}", facts.blocks());
        let kept = all(&mut SessionLog::open(&path, None).unwrap());
        assert!(kept.len() as u64 >= KEPT - LINE as u64, "{}", kept.len());
        assert!(lines(0..count).ends_with(&kept), "it begins with a line, and ends at the end");
        assert_eq!(kept[LINE - 1], b'\n');
        // Who was in the midst of it goes on with what there is.
        assert_eq!(all(&mut slow), kept);

        // From now on it is told; until there is much, nothing is done.
        log.write_all(&lines(count..count + 10)).unwrap();
        assert_eq!(all(&mut slow), lines(count..count + 10));
        let last = all(&mut SessionLog::open(&path, Some(2)).unwrap());
        assert_eq!(last, lines(count + 8..count + 10));
        log.write_all(&lines(count + 10..2 * count)).unwrap();
        while path.metadata().unwrap().blocks() * BLOCK > MOST {
            slow.changed().await.unwrap();
        }
        assert!(lines(0..2 * count).ends_with(&all(&mut slow)));
        std::fs::remove_file(&path).unwrap();
        drop((log, slow));
        while !keeper.files.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_log_that_its_session_has_spoilt_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = File::create(&path).unwrap();
        log.set_len(1 << 40).unwrap();
        cut(&path).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let mut reader = SessionLog::open(&path, None).unwrap();
        assert!(reader.next_known().unwrap().is_empty());
        assert!(SessionLog::open(&path, Some(3)).unwrap().next_known().unwrap().is_empty());
        std::os::unix::fs::FileExt::write_at(&log, b"cut\nfar\n", (1 << 40) + 5).unwrap();
        assert_eq!(all(&mut reader), b"far\n", "neither the hole nor what may be half a line");
        // Begun anew: so does who reads.
        log.set_len(0).unwrap();
        std::os::unix::fs::FileExt::write_at(&log, b"new\n", 0).unwrap();
        assert_eq!(all(&mut reader), b"new\n");
    }
}
