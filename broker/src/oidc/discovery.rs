//! Where a provider is, and which keys are its own: its discovery document, kept for a
//! while, and asked for anew when it signs with a key that was not there.

use std::{sync::Arc, time::Duration};

use openidconnect::{IssuerUrl, ProviderMetadataWithLogout};
use tokio::{sync::Mutex, time::Instant};

use super::{
    error::{ProviderError, unreachable},
    http_client::Http,
};

/// How long what was discovered is good; keys that are not known are asked for at once.
const FRESH: Duration = Duration::from_secs(300);
/// After a failure, and between looks for unknown keys, it is not asked again at once.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) type Metadata = ProviderMetadataWithLogout;

/// What is known of a provider.
pub(super) struct Discovery {
    issuer: IssuerUrl,
    http: Http,
    known: Mutex<Discovered>,
}

#[derive(Default)]
struct Discovered {
    metadata: Option<(Arc<Metadata>, Instant)>,
    failed: Option<Instant>,
    /// When a key was last looked for that was not known.
    searched: Option<Instant>,
}

// === impl Discovery ===

impl Discovery {
    /// Of this issuer, and nothing yet.
    pub(super) fn new(issuer: IssuerUrl, http: Http) -> Self {
        Self { issuer, http, known: Mutex::default() }
    }

    /// What is known of it, if that is not old; otherwise it is asked.
    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        // Those who come meanwhile wait for the answer to the first.
        let mut known = self.known.lock().await;
        if let Some((metadata, _)) = known.metadata.as_ref().filter(|(_, at)| at.elapsed() < FRESH)
        {
            return Ok(Arc::clone(metadata));
        }
        self.discover(&mut known).await
    }

    /// The same, with keys that were not there before, perhaps.
    pub(super) async fn metadata_with_new_keys(&self) -> Result<Arc<Metadata>, ProviderError> {
        let mut known = self.known.lock().await;
        match (&known.metadata, known.searched) {
            (Some((metadata, _)), Some(at)) if at.elapsed() < PAUSE => Ok(Arc::clone(metadata)),
            _ => {
                known.searched = Some(Instant::now());
                self.discover(&mut known).await
            }
        }
    }

    async fn discover(&self, known: &mut Discovered) -> Result<Arc<Metadata>, ProviderError> {
        if known.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(ProviderError::Resting);
        }
        match Metadata::discover_async(self.issuer.clone(), &self.http).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                known.metadata = Some((Arc::clone(&metadata), Instant::now()));
                known.failed = None;
                Ok(metadata)
            }
            Err(error) => {
                known.failed = Some(Instant::now());
                Err(unreachable("reading its discovery document and keys")(error.into()))
            }
        }
    }
}
