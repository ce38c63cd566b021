//! Takes the agent off a host: desktops, base roots, bridge, rules, run
//! directory. Kept: persistent overlays, templates and images.

use std::{sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    config::Config,
    desktop::StopOrder,
    host::{Host, HostError},
    lifecycle::State,
    recovery::{let_go, recover},
    work::blocking,
};

/// Why a host could not be left as it was.
#[derive(Debug, Error)]
pub enum PurgeError {
    /// The agent's parts could not be set up to be taken down.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Desktops that would not go.
    #[error("{0} desktop(s) could not be taken away; see the log above")]
    Stuck(usize),
    /// Parts that would not go.
    #[error("{} part(s) of the agent could not be taken away: {}", .0.len(), join(.0))]
    Left(Vec<HostError>),
}

/// Stops every desktop and takes the agent's parts away. No agent may run.
///
/// # Errors
/// What is left, by name.
pub async fn purge(mut config: Config) -> Result<(), PurgeError> {
    // All are to end, so there is nobody to wait for a server any longer for.
    config.nfs.give_up = Duration::ZERO;
    let host = Arc::new(Host::new(config.clone()).await?);
    let recovered = recover(&host).await.map_err(HostError::from)?;
    let mut living = host.registry.all();
    // Remains on storage that does not answer: there is no saying when they go.
    living.retain(|desktop| desktop.view().state() != State::Stopping);
    for desktop in &living {
        desktop.stop(StopOrder { grace: None });
    }
    for desktop in &living {
        desktop.ended().await;
    }
    let stuck = recovered.stuck + recovered.late;
    if stuck > 0 {
        return Err(PurgeError::Stuck(stuck));
    }
    let its = Arc::clone(&host);
    blocking(move || let_go(&its)).await;
    drop(host);
    let left = Host::purge(&config).await;
    if left.is_empty() { Ok(()) } else { Err(PurgeError::Left(left)) }
}

fn join(errors: &[HostError]) -> String {
    errors.iter().map(|error| crate::desktop::sentence(error)).collect::<Vec<_>>().join("; ")
}
