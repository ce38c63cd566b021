//! Classifies errors, once: gRPC code, stable reason, what to do next.

use std::collections::HashMap;

use rolltop_overlay::{ArchiveError, StoreError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    desktop::is_disk_full,
    keep::KeepError,
    plan::PlanError,
    registry::RegistryError,
    request::FieldFault,
    storage::StorageError,
    volumes::{Busy, VolumeError},
};

/// Domain of our reason codes (google.rpc.ErrorInfo).
const DOMAIN: &str = "rolltop";

pub(super) fn invalid(faults: &[FieldFault]) -> Status {
    let mut details = ErrorDetails::new();
    for fault in faults {
        details.add_bad_request_violation(fault.field, &fault.reason);
    }
    let mut text = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.field, fault.reason))
        .collect::<Vec<_>>()
        .join("; ");
    text.insert_str(0, "the request cannot be used: ");
    with_reason(Code::InvalidArgument, "INVALID_ARGUMENT", &text, details)
}

pub(super) fn invalid_field(field: &'static str, reason: impl Into<String>) -> Status {
    invalid(&[FieldFault { field, reason: reason.into() }])
}

pub(super) fn status(code: Code, reason: &'static str, text: impl std::fmt::Display) -> Status {
    with_reason(code, reason, &text.to_string(), ErrorDetails::new())
}

fn with_reason(code: Code, reason: &str, text: &str, mut details: ErrorDetails) -> Status {
    details.set_error_info(reason, DOMAIN, HashMap::<String, String>::new());
    Status::with_error_details(code, text, details)
}

pub(super) fn internal(error: &dyn std::error::Error) -> Status {
    tracing::error!(error = %chain(error), "a call failed for a reason of this host's own");
    status(Code::Internal, "INTERNAL", chain(error))
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    crate::desktop::sentence(error)
}

impl From<RegistryError> for Status {
    fn from(error: RegistryError) -> Self {
        let (code, reason) = match &error {
            RegistryError::Unknown(_) => (Code::NotFound, "DESKTOP_UNKNOWN"),
            RegistryError::NumberTaken { .. } => (Code::FailedPrecondition, "NUMBER_TAKEN"),
            RegistryError::StaleEpoch { .. } => (Code::FailedPrecondition, "STALE_EPOCH"),
            RegistryError::NotWarm { .. } => (Code::FailedPrecondition, "NOT_WARM"),
            RegistryError::Full(_) => (Code::ResourceExhausted, "HOST_FULL"),
            RegistryError::ShuttingDown => (Code::Unavailable, "SHUTTING_DOWN"),
        };
        status(code, reason, error)
    }
}

impl From<PlanError> for Status {
    fn from(error: PlanError) -> Self {
        match &error {
            PlanError::Address(inner) => invalid_field("number", inner.to_string()),
            PlanError::Runtime { .. } => invalid_field("runtime", error.to_string()),
            PlanError::Init { .. } => status(Code::FailedPrecondition, "INIT_UNFIT", error),
            PlanError::Overlay(_) => internal(&error),
            PlanError::Image { source, .. } => {
                status(code_of(source), source.code(), chain(&error))
            }
        }
    }
}

/// For calls about images.
pub(super) fn storage(error: &StorageError) -> Status {
    tracing::warn!(error = %chain(error), "the images cannot be had");
    status(code_of(error), error.code(), chain(error))
}

fn code_of(error: &StorageError) -> Code {
    match error.code() {
        "IMAGE_UNKNOWN" => Code::NotFound,
        "STORAGE_UNREACHABLE" => Code::Unavailable,
        "INTERNAL" => Code::Internal,
        _ => Code::FailedPrecondition,
    }
}

/// For whatever is kept.
pub(super) fn keep(error: &KeepError) -> Status {
    tracing::warn!(error = %chain(error), "what is kept cannot be had");
    let code = match error {
        KeepError::Silent { .. } | KeepError::Failed { .. } => Code::Unavailable,
        KeepError::Store { .. } => Code::FailedPrecondition,
    };
    status(code, error.code(), chain(error))
}

/// For calls on volumes.
pub(super) fn volume(error: &VolumeError) -> Status {
    match error {
        VolumeError::Store(inner) => store(inner),
        VolumeError::Busy(inner) => busy(inner),
        VolumeError::Name(inner) => invalid_field("name", inner.to_string()),
        VolumeError::Size(inner) => invalid_field("size_mib", inner.to_string()),
        VolumeError::NoSnapshot { .. } => status(Code::NotFound, "SNAPSHOT_UNKNOWN", error),
        // Nobody is left to read it.
        VolumeError::CallerGone(_) => status(Code::Cancelled, "CALLER_GONE", error),
        VolumeError::Thread(_) | VolumeError::Interrupted => internal(error),
    }
}

pub(super) fn busy(error: &Busy) -> Status {
    status(Code::Aborted, "OVERLAY_BUSY", error)
}

/// The library's reasons, by what a caller can do about them.
pub(super) fn store(error: &StoreError) -> Status {
    use StoreError as E;
    let (code, reason) = match error {
        E::NotFound(_) => (Code::NotFound, "OVERLAY_UNKNOWN"),
        E::NoSnapshot { .. } => (Code::NotFound, "SNAPSHOT_UNKNOWN"),
        E::InUse(_) => (Code::FailedPrecondition, "OVERLAY_IN_USE"),
        E::Exists(_) => (Code::AlreadyExists, "OVERLAY_EXISTS"),
        E::SnapshotExists { .. } => (Code::AlreadyExists, "SNAPSHOT_EXISTS"),
        E::TooManySnapshots(_) => (Code::FailedPrecondition, "TOO_MANY_SNAPSHOTS"),
        E::HasSnapshots { .. } => (Code::FailedPrecondition, "HAS_SNAPSHOTS"),
        E::Shrink { .. } => (Code::FailedPrecondition, "OVERLAY_SHRINKS"),
        E::GrowStopped { .. } => (Code::FailedPrecondition, "GROW_STOPPED"),
        E::NotKept(_) | E::OtherKind { .. } | E::Description { .. } => {
            (Code::InvalidArgument, "INVALID_ARGUMENT")
        }
        E::LargerThanDisk { .. } => (Code::ResourceExhausted, "OVERLAY_TOO_LARGE"),
        E::NoSpace { .. } | E::NoSpaceForCopy { .. } => (Code::ResourceExhausted, "DISK_FULL"),
        E::Damaged(_) => (Code::FailedPrecondition, "OVERLAY_DAMAGED"),
        // Nobody is left to read it.
        E::Archive(ArchiveError::Write(_)) => (Code::Cancelled, "CALLER_GONE"),
        E::Archive(ArchiveError::Step(_)) => return internal(error),
        E::Archive(_) => (Code::InvalidArgument, "BAD_ARCHIVE"),
        E::Freeze(_) => (Code::FailedPrecondition, "NOT_HELD_STILL"),
        _ if is_disk_full(error) => (Code::ResourceExhausted, "DISK_FULL"),
        _ => return internal(error),
    };
    status(code, reason, chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Number;

    #[test]
    fn every_fault_is_named() {
        let status = invalid(&[
            FieldFault { field: "number", reason: "0 is no number".into() },
            FieldFault { field: "image", reason: "empty".into() },
        ]);
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations.len(), 2);
        assert_eq!(violations[0].field, "number");
        assert_eq!(details.error_info().unwrap().reason, "INVALID_ARGUMENT");
    }

    #[test]
    fn state_conflicts_carry_a_stable_reason() {
        let number = Number::new(3).unwrap();
        let status: Status = RegistryError::StaleEpoch { number, asked: 1, known: 2 }.into();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "STALE_EPOCH");
    }
}
