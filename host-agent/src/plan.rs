//! From a checked request to everything a start needs: number to addresses,
//! tag to version, name to runtime. Reads, but makes nothing.

use std::{sync::Arc, time::SystemTime};

use rolltop_image::{ImageRef, Init};
use rolltop_launcher::cgroup::Layout;
use rolltop_overlay::{NameError, OverlayKind, OverlayName};
use thiserror::Error;

use crate::{
    address::AddressError,
    desktop::Start,
    host::Host,
    lifecycle::State,
    record::{FORMAT, Record},
    request::{Home, StartRequest},
    runtime::Runtime,
    storage::StorageError,
    view::View,
    work::blocking,
};

/// A request that makes sense in itself, but not on this host.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The number has no address here.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A record names an overlay that cannot be.
    #[error("the record names no overlay")]
    Overlay(#[from] NameError),
    /// No such image, tag or version, or it is broken.
    #[error("image {image} cannot be used on this host")]
    Image {
        /// As asked for.
        image: ImageRef,
        /// Why not.
        #[source]
        source: Box<StorageError>,
    },
    /// The image's own init cannot run here.
    #[error("image {image} has an init of its own ({path}), {reason}")]
    Init {
        /// As asked for.
        image: ImageRef,
        /// The init.
        path: String,
        /// Why not, and what would be right.
        reason: &'static str,
    },
    /// No runtime of that name is configured.
    #[error("runtime `{asked}` is not configured on this host, which has: {known}")]
    Runtime {
        /// As asked for.
        asked: String,
        /// What there is.
        known: String,
    },
}

impl Host {
    /// Resolves `request`.
    ///
    /// # Errors
    /// The number, image or runtime is not to be had here.
    pub async fn plan(self: &Arc<Self>, request: StartRequest) -> Result<(Start, View), PlanError> {
        let addresses = self.config.network.addresses.addresses(request.number)?;
        let (name, runtime) =
            self.runtimes.get(request.runtime.as_deref()).ok_or_else(|| PlanError::Runtime {
                asked: request.runtime.clone().unwrap_or_default(),
                known: self.runtimes.names().collect::<Vec<_>>().join(", "),
            })?;
        let found = {
            let (host, wanted) = (Arc::clone(self), request.image.clone());
            blocking(move || host.storage.resolve(&wanted)).await
        }
        .map_err(|source| PlanError::Image {
            image: request.image.clone(),
            source: Box::new(source),
        })?;
        let image = &found.image;
        if let Init::Own(init) = &image.manifest.desktop.init {
            let reason = if !matches!(*runtime, Runtime::Builtin { .. }) {
                "which the built-in runtime alone can tell from its session"
            } else if self.hierarchies.layout() == Layout::Legacy {
                "which needs version 2 control groups; beside version 1 they can be had with \
                 `mount -t cgroup2 none /sys/fs/cgroup/unified`"
            } else {
                ""
            };
            if !reason.is_empty() {
                let (image, path) = (request.image.clone(), init.path.clone());
                return Err(PlanError::Init { image, path, reason });
            }
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let record = Record {
            format: FORMAT,
            number: request.number,
            epoch: request.epoch,
            request_id: request.request_id.clone(),
            label: request.label.clone(),
            account: request.account.clone(),
            image: request.image.to_string(),
            version: image.version.to_string(),
            persistent_overlay: request.persistent_overlay.as_ref().map(ToString::to_string),
            home: request.home.clone(),
            egress: request.egress.to_texts(),
            limits: request.limits,
            runtime: name.to_owned(),
            display_socket: image.manifest.desktop.display.socket.clone(),
            init_stop_signal: match &image.manifest.desktop.init {
                Init::Builtin => None,
                Init::Own(own) => Some(own.stop_signal.number()),
            },
            state: State::Planned,
            init: None,
            started_at: now.as_secs(),
        };
        let view = self.view_of(record)?;
        Ok((Start { request, addresses, image: found, runtime }, view))
    }

    /// The first snapshot of a desktop with this record.
    ///
    /// # Errors
    /// Its number has no address here.
    pub fn view_of(&self, record: Record) -> Result<View, PlanError> {
        let addresses = self.config.network.addresses.addresses(record.number)?;
        Ok(View {
            mac: addresses.mac,
            ips: addresses.ips(),
            overlay: overlay_kind(&record)?,
            home_volume: record.home.as_ref().map(Home::volume).transpose()?.flatten(),
            record,
            marks: Vec::new(),
            failure: None,
            end: None,
        })
    }
}

fn overlay_kind(record: &Record) -> Result<OverlayKind, NameError> {
    Ok(match &record.persistent_overlay {
        Some(name) => OverlayKind::Persistent(OverlayName::try_from(name.as_str())?),
        None => OverlayKind::Volatile(record.number.get()),
    })
}
