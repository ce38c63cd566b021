//! Classifies errors, once: gRPC code, stable reason, what to do next.

use std::collections::HashMap;

use rolltop_overlay::StoreError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{plan::PlanError, registry::RegistryError, request::FieldFault, storage::StorageError};

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

/// For calls on persistent overlays by name.
pub(super) fn overlay(error: &StoreError) -> Status {
    let text = chain(error);
    if matches!(error, StoreError::NotFound(_)) {
        status(Code::NotFound, "OVERLAY_UNKNOWN", text)
    } else if matches!(error, StoreError::InUse(_)) {
        status(Code::FailedPrecondition, "OVERLAY_IN_USE", text)
    } else {
        internal(error)
    }
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
