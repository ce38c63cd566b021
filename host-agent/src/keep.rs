//! Overlays of this host, of which the kept ones may lie on storage that falls
//! silent.
//!
//! A call on a file system whose server has gone waits in the kernel for as long
//! as that takes, and its thread with it. So whoever wants something kept asks
//! here first. One thread at a time looks whether the storage is there; who does
//! not hear within the deadline is refused, and goes on with something else. As
//! long as that thread hangs, no other is sent after it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rolltop_overlay::{OverlayKind, Overlays, Sharing, StoreError};
use rustix::fs::statvfs;
use thiserror::Error;
use tokio::sync::watch;

/// Every overlay there is here.
#[derive(Debug)]
pub struct Keep {
    own: Arc<Overlays>,
    apart: Option<Arc<Apart>>,
}

/// A directory of kept overlays that is not the host's own.
#[derive(Debug)]
struct Apart {
    own: PathBuf,
    dir: PathBuf,
    sharing: Sharing,
    deadline: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Once it has been opened.
    overlays: Option<Arc<Overlays>>,
    looking: Option<Looking>,
}

/// A thread that looks at it.
#[derive(Debug, Clone)]
struct Looking {
    since: Instant,
    answer: watch::Receiver<Option<Answer>>,
}

type Answer = Result<Arc<Overlays>, KeepError>;

/// What is kept cannot be had.
#[derive(Clone, Debug, Error)]
pub enum KeepError {
    /// Nothing was heard from it.
    #[error(
        "the storage at {dir} (kept_dir) has not answered for {seconds} s; what is kept there waits until it does"
    )]
    Silent {
        /// As configured.
        dir: String,
        /// Since it was asked.
        seconds: u64,
    },
    /// It answers, and not well.
    #[error("the storage at {dir} (kept_dir) cannot be used")]
    Failed {
        /// As configured.
        dir: String,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// It is there, and what is in it cannot be used.
    #[error("the overlays in {dir} cannot be used")]
    Store {
        /// Where they lie.
        dir: String,
        /// Why not.
        #[source]
        source: Arc<StoreError>,
    },
}

// === impl Keep ===

impl Keep {
    /// Opens `own`, and begins to open `kept`, if that is another directory.
    /// Waits for it until `deadline`, and goes on without it if need be.
    ///
    /// # Errors
    /// One of them answers, and cannot be used.
    pub async fn open(
        own: &Path,
        kept: Option<&Path>,
        sharing: Sharing,
        deadline: Duration,
    ) -> Result<Self, KeepError> {
        let failed =
            |source| KeepError::Store { dir: own.display().to_string(), source: Arc::new(source) };
        let Some(kept) = kept.filter(|kept| *kept != own) else {
            let own = Overlays::open_with(own, sharing).map_err(failed)?;
            return Ok(Self { own: Arc::new(own), apart: None });
        };
        let overlays = Overlays::open_own(own).map_err(failed)?;
        let apart = Apart {
            own: own.to_owned(),
            dir: kept.to_owned(),
            sharing,
            deadline,
            state: Mutex::default(),
        };
        let keep = Self { own: Arc::new(overlays), apart: Some(Arc::new(apart)) };
        match keep.kept().await {
            Err(error @ KeepError::Silent { .. }) => {
                tracing::warn!(%error, "serving without what is kept");
            }
            other => drop(other?),
        }
        Ok(keep)
    }

    /// Those of this host alone: volatile ones.
    pub fn own(&self) -> &Arc<Overlays> {
        &self.own
    }

    /// Those that are kept, on storage that has answered just now.
    ///
    /// # Errors
    /// It does not, or not well.
    pub async fn kept(&self) -> Answer {
        match &self.apart {
            None => Ok(Arc::clone(&self.own)),
            Some(apart) => Apart::ask(apart).await,
        }
    }

    /// Where an overlay of this kind lies.
    ///
    /// # Errors
    /// It is a kept one, and the storage does not answer, or not well.
    pub async fn of(&self, kind: &OverlayKind) -> Answer {
        match kind {
            OverlayKind::Volatile(_) => Ok(Arc::clone(&self.own)),
            OverlayKind::Persistent(_) | OverlayKind::Home(_) => self.kept().await,
        }
    }

    /// Those that are kept, if they could be opened since the agent began;
    /// whether they can be had now is another question. Asks nothing of the
    /// storage.
    pub fn once_opened(&self) -> Option<Arc<Overlays>> {
        match &self.apart {
            None => Some(Arc::clone(&self.own)),
            Some(apart) => apart.lock().overlays.clone(),
        }
    }
}

// === impl Apart ===

impl Apart {
    /// Joins whoever looks already, or begins to.
    async fn ask(this: &Arc<Self>) -> Answer {
        let Looking { since, mut answer } = Self::look(this)?;
        let heard = tokio::time::timeout(this.deadline, answer.wait_for(Option::is_some)).await;
        match heard.ok().and_then(Result::ok).and_then(|answer| answer.clone()) {
            Some(answer) => answer,
            None => Err(KeepError::Silent {
                dir: this.dir.display().to_string(),
                seconds: since.elapsed().as_secs(),
            }),
        }
    }

    fn look(this: &Arc<Self>) -> Result<Looking, KeepError> {
        let mut state = this.lock();
        if let Some(looking) = &state.looking {
            return Ok(looking.clone());
        }
        let (tell, answer) = watch::channel(None);
        let opened = state.overlays.clone();
        let its = Arc::clone(this);
        // Not one of the runtime's threads: the agent's end would wait for it.
        let thread = std::thread::Builder::new().name("kept".into()).spawn(move || {
            let answer = its.try_now(opened);
            let mut state = its.lock();
            if let Ok(overlays) = &answer {
                state.overlays = Some(Arc::clone(overlays));
            }
            state.looking = None;
            drop(state);
            tell.send_replace(Some(answer));
        });
        thread.map_err(|source| this.failed(source))?;
        let looking = Looking { since: Instant::now(), answer };
        state.looking = Some(looking.clone());
        Ok(looking)
    }

    /// Blocks for as long as the storage is silent.
    fn try_now(&self, opened: Option<Arc<Overlays>>) -> Answer {
        match opened {
            // Over NFS this is always asked of the server, never of a cache.
            Some(overlays) => {
                statvfs(&self.dir).map(|_room| overlays).map_err(|errno| self.failed(errno.into()))
            }
            None => Overlays::open_apart(&self.own, &self.dir, self.sharing).map(Arc::new).map_err(
                |source| KeepError::Store {
                    dir: self.dir.display().to_string(),
                    source: Arc::new(source),
                },
            ),
        }
    }

    fn failed(&self, source: io::Error) -> KeepError {
        KeepError::Failed { dir: self.dir.display().to_string(), source: Arc::new(source) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No step under this lock can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl KeepError ===

impl KeepError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Silent { .. } | Self::Failed { .. } => "STORAGE_UNREACHABLE",
            Self::Store { .. } => "OVERLAY_FAILED",
        }
    }
}
