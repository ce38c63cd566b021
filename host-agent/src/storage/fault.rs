//! What goes wrong between the agent and its image stores.

use std::{io, time::Duration};

use rolltop_image::StoreError;
use rolltop_overlay::{BaseError, OpenError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::identity::IdentityError;
use crate::desktop::sentence;

/// Why a store could not give an image, or a root not be made of it.
#[derive(Debug, Error)]
pub enum StorageError {
    /// A local store.
    #[error(transparent)]
    Image(#[from] StoreError),
    /// A local base root.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// A desktop's root.
    #[error(transparent)]
    Root(#[from] OpenError),
    /// The desktop can have no ids it may have.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What a helper said.
    #[error("{0}")]
    Remote(Fault),
    /// The server is silent.
    #[error("NFS server {server} did not answer within {after:?}")]
    Silent {
        /// As configured.
        server: String,
        /// The deadline.
        after: Duration,
    },
    /// Enough wait for it already.
    #[error(
        "NFS server {server} does not answer: {waiting} helpers wait for it, no more are started"
    )]
    Crowded {
        /// As configured.
        server: String,
        /// How many there are.
        waiting: usize,
    },
    /// No helper, or one that broke off.
    #[error("the helper for NFS server {server} cannot be used")]
    Helper {
        /// As configured.
        server: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A helper that answers something else than it was asked.
    #[error("the helper for NFS server {server} gave an answer that makes no sense: {what}")]
    Nonsense {
        /// As configured.
        server: String,
        /// What is wrong.
        what: String,
    },
}

/// An error on its way from a helper.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{text}")]
pub struct Fault {
    /// What kind of.
    pub kind: FaultKind,
    /// For people.
    pub text: String,
}

/// What an error of a helper means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// No image of that name.
    NoImage,
    /// The image has no such tag or version.
    NoVersion,
    /// It is there, but nothing new is to start from it.
    Retired,
    /// It is there, but cannot be used.
    ImageBroken,
    /// The server cannot be reached, or refuses.
    Unreachable,
    /// The base root could not be mounted.
    NotMounted,
    /// Another desktop has the overlay.
    OverlayInUse,
    /// The overlay is damaged.
    OverlayDamaged,
    /// The root could not be opened.
    OverlayFailed,
}

impl StorageError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Image(error) => Fault::from(error).kind.code(),
            Self::Base(error) => Fault::from(error).kind.code(),
            Self::Root(error) => Fault::from(error).kind.code(),
            Self::Remote(fault) => fault.kind.code(),
            Self::Identity(_) => "NO_IDS_OF_ITS_OWN",
            Self::Silent { .. } | Self::Crowded { .. } => "STORAGE_UNREACHABLE",
            Self::Helper { .. } | Self::Nonsense { .. } => "INTERNAL",
        }
    }

    /// No image of that name in this store; another may have it.
    pub fn is_no_image(&self) -> bool {
        match self {
            Self::Image(error) => matches!(error, StoreError::NoImage(_)),
            Self::Remote(fault) => fault.kind == FaultKind::NoImage,
            _ => false,
        }
    }

    /// The server cannot be reached now, but may be later.
    pub fn is_unreachable(&self) -> bool {
        self.code() == "STORAGE_UNREACHABLE"
    }
}

impl FaultKind {
    fn code(self) -> &'static str {
        match self {
            Self::NoImage | Self::NoVersion => "IMAGE_UNKNOWN",
            Self::Retired => "IMAGE_RETIRED",
            Self::ImageBroken => "IMAGE_BROKEN",
            Self::Unreachable => "STORAGE_UNREACHABLE",
            Self::NotMounted => "IMAGE_NOT_MOUNTED",
            Self::OverlayInUse => "OVERLAY_IN_USE",
            Self::OverlayDamaged => "OVERLAY_DAMAGED",
            Self::OverlayFailed => "OVERLAY_FAILED",
        }
    }
}

impl From<&StoreError> for Fault {
    fn from(error: &StoreError) -> Self {
        let kind = match error {
            StoreError::NoImage(_) => FaultKind::NoImage,
            StoreError::NoTag(..) | StoreError::NoVersion(..) => FaultKind::NoVersion,
            StoreError::Retired(..) => FaultKind::Retired,
            _ => FaultKind::ImageBroken,
        };
        Self { kind, text: sentence(error) }
    }
}

impl From<&BaseError> for Fault {
    fn from(error: &BaseError) -> Self {
        let (kind, text) = match error {
            // Its own words say it all; the key is ours.
            BaseError::Nfs { source, .. } => (FaultKind::Unreachable, sentence(source)),
            _ => (FaultKind::NotMounted, sentence(error)),
        };
        Self { kind, text }
    }
}

impl From<&OpenError> for Fault {
    fn from(error: &OpenError) -> Self {
        let kind = match error {
            OpenError::InUse(_) => FaultKind::OverlayInUse,
            OpenError::Damaged(_) => FaultKind::OverlayDamaged,
            _ => FaultKind::OverlayFailed,
        };
        Self { kind, text: sentence(error) }
    }
}
