//! Which status an error becomes: code, a sentence, and details with a stable reason
//! code for programs.

use std::{error::Error as StdError, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::RpcError;
use crate::{
    auth::{AccountError, GroupError, PasswordError, ProgramError, SecondError, TokenError},
    data::DataError,
    desktops::{DesktopError, TicketError},
    enrol::EnrolError,
    hosts::HostError,
    names::BadField,
    pki::PkiError,
    placement::NoRoom,
    rollout::RolloutError,
    state::Role,
    store::StoreError,
};

/// Of every reason code.
pub const DOMAIN: &str = "rolltop";

/// The status of an error that others may hold too.
pub(in crate::rpc) fn status_of(error: &RpcError) -> Status {
    match error {
        RpcError::Field(field) => bad_field(field),
        RpcError::Store(error) => store(error),
        RpcError::Account(error) => account(error),
        RpcError::Second(error) => second(error),
        RpcError::Program(error) => program(error),
        RpcError::Group(error) => group(error),
        RpcError::Desktop(error) => desktop(error),
        RpcError::Rollout(error) => rollout(error),
        RpcError::Data(error) => data(error),
        RpcError::Host(error) => host(error),
        RpcError::Enrol(error) => enrol(error),
        RpcError::Ticket(error) => ticket(error),
        RpcError::NotSignedIn => plain(Code::Unauthenticated, "NOT_SIGNED_IN", error),
        RpcError::CookieOutsideWeb => plain(Code::Unauthenticated, "COOKIE_OUTSIDE_WEB", error),
        RpcError::NoAddress => fault("NO_ADDRESS", error),
        RpcError::NotFor(roles) if roles.contains(&Role::Operator) => {
            plain(Code::PermissionDenied, "OPERATORS_ONLY", error)
        }
        RpcError::OutOfScope(_) => plain(Code::PermissionDenied, "TOKEN_SCOPE", error),
        RpcError::SessionOnly => plain(Code::PermissionDenied, "SESSION_ONLY", error),
        RpcError::Token(error) => match error {
            TokenError::Store(error) => store(error),
            TokenError::Field(field) => bad_field(field),
            TokenError::Unknown { .. } => plain(Code::NotFound, "UNKNOWN_TOKEN", error),
            TokenError::TooMany(_) => plain(Code::ResourceExhausted, "TOO_MANY_TOKENS", error),
        },
        RpcError::NotFor(_) => plain(Code::PermissionDenied, "ADMINS_ONLY", error),
        RpcError::NotYours | RpcError::NotYourData => {
            plain(Code::PermissionDenied, "NOT_YOURS", error)
        }
        RpcError::OwnAccount => plain(Code::FailedPrecondition, "OWN_ACCOUNT", error),
        RpcError::PoolInUse { .. } => plain(Code::FailedPrecondition, "POOL_IN_USE", error),
        RpcError::UnknownHost(_) => plain(Code::NotFound, "UNKNOWN_HOST", error),
        RpcError::HostInUse { .. } => plain(Code::FailedPrecondition, "HOST_IN_USE", error),
        RpcError::HostAnswers { .. } => plain(Code::FailedPrecondition, "HOST_ANSWERS", error),
        RpcError::Ending => plain(Code::Unavailable, "BROKER_ENDING", error),
        RpcError::Relayed(status) => {
            Status::with_details(status.code(), status.message(), status.details().to_vec().into())
        }
    }
}

/// The status of a start that several callers wait for.
pub(in crate::rpc) fn shared_desktop_status(error: &DesktopError) -> Status {
    desktop(error)
}

fn bad_field(field: &BadField) -> Status {
    let mut details = reason("BAD_FIELD", &[("field", field.field), ("value", &field.value)]);
    details.add_bad_request_violation(
        field.field,
        format!("{} is not acceptable: {}", field.value, field.wanted),
    );
    Status::with_error_details(Code::InvalidArgument, field.to_string(), details)
}

fn store(error: &StoreError) -> Status {
    match error {
        StoreError::Contended { .. } => plain(Code::Aborted, "CONTENDED", error),
        StoreError::Unavailable { .. } => {
            retry(Code::Unavailable, "STORE_UNAVAILABLE", error, Duration::from_secs(5))
        }
        // Not `Unavailable`: clients repeat that blindly.
        StoreError::Indeterminate { .. } => plain(Code::Unknown, "STORE_INDETERMINATE", error),
        StoreError::InUse { .. }
        | StoreError::Open { .. }
        | StoreError::Database { .. }
        | StoreError::Worker { .. }
        | StoreError::Refused { .. }
        | StoreError::Setup { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Damaged { .. }
        | StoreError::LeaseGone(_)
        | StoreError::Compacted(_)
        | StoreError::WrittenTwice(_) => fault("STORE_FAILED", error),
    }
}

fn account(error: &AccountError) -> Status {
    match error {
        AccountError::Store(error) => store(error),
        AccountError::Field(field) => bad_field(field),
        AccountError::Password(PasswordError::Busy) => {
            retry(Code::Unavailable, "BUSY", error, Duration::from_secs(2))
        }
        AccountError::Password(PasswordError::Hash { .. }) => fault("PASSWORD_FAILED", error),
        AccountError::WrongCredentials => plain(Code::Unauthenticated, "WRONG_CREDENTIALS", error),
        AccountError::WrongCurrentPassword => {
            let field = BadField {
                field: "current_password",
                value: "the present password".to_owned(),
                wanted: "the password you signed in with".to_owned(),
            };
            bad_field(&field)
        }
        AccountError::CodeWanted => plain(Code::Unauthenticated, "SECOND_FACTOR_REQUIRED", error),
        AccountError::WrongCode => plain(Code::Unauthenticated, "WRONG_CODE", error),
        AccountError::Second(error) => second(error),
        AccountError::Directory(error) => {
            tracing::error!(error = error as &dyn StdError, "the directory cannot be asked");
            let message = "the directory cannot be asked at this moment; try again soon";
            let details = reason("DIRECTORY_UNAVAILABLE", &[]);
            Status::with_error_details(Code::Unavailable, message, details)
        }
        AccountError::Foreign(_) => plain(Code::FailedPrecondition, "DIRECTORY_PASSWORD", error),
        AccountError::Refused(refusal) => {
            let code = if refusal.locked { "LOCKED_OUT" } else { "TOO_MANY_ATTEMPTS" };
            retry(Code::ResourceExhausted, code, error, refusal.wait)
        }
        AccountError::NameTaken { .. } => plain(Code::AlreadyExists, "NAME_TAKEN", error),
        AccountError::Exists(_) => plain(Code::AlreadyExists, "USER_EXISTS", error),
        AccountError::Unknown(_) => plain(Code::NotFound, "UNKNOWN_USER", error),
        AccountError::LastAdmin(_) => plain(Code::FailedPrecondition, "LAST_ADMIN", error),
        AccountError::NoUid => plain(Code::ResourceExhausted, "NO_UID", error),
        AccountError::HasDesktop { .. } => {
            plain(Code::FailedPrecondition, "USER_HAS_DESKTOP", error)
        }
    }
}

fn second(error: &SecondError) -> Status {
    match error {
        SecondError::Store(error) => store(error),
        SecondError::Foreign(_) => plain(Code::FailedPrecondition, "PROVIDER_SECOND_FACTOR", error),
        SecondError::Enrolled => plain(Code::FailedPrecondition, "SECOND_FACTOR_SET", error),
        SecondError::NotBegun => plain(Code::FailedPrecondition, "SECOND_FACTOR_NOT_BEGUN", error),
        SecondError::None => plain(Code::FailedPrecondition, "NO_SECOND_FACTOR", error),
        SecondError::WrongCode => plain(Code::InvalidArgument, "WRONG_CODE", error),
        SecondError::Library(_) => fault("SECOND_FACTOR_FAILED", error),
    }
}

fn program(error: &ProgramError) -> Status {
    match error {
        ProgramError::Store(error) => store(error),
        ProgramError::Account(error) => account(error),
        ProgramError::Field(field) => bad_field(field),
        ProgramError::WrongCode => plain(Code::Unauthenticated, "WRONG_CODE", error),
        ProgramError::TooMany(_) => plain(Code::ResourceExhausted, "TOO_MANY_CODES", error),
    }
}

fn group(error: &GroupError) -> Status {
    match error {
        GroupError::Store(error) => store(error),
        GroupError::Field(field) => bad_field(field),
        GroupError::Exists(_) => plain(Code::AlreadyExists, "GROUP_EXISTS", error),
        GroupError::Unknown(_) => plain(Code::NotFound, "UNKNOWN_GROUP", error),
        GroupError::UnknownUser(_) => plain(Code::NotFound, "UNKNOWN_USER", error),
        GroupError::InUse { .. } => plain(Code::FailedPrecondition, "GROUP_IN_USE", error),
        GroupError::TooMany(_) => plain(Code::ResourceExhausted, "TOO_MANY_GROUPS", error),
    }
}

fn desktop(error: &DesktopError) -> Status {
    match error {
        DesktopError::Store(error) => store(error),
        DesktopError::Host(error) => host(error),
        DesktopError::Unknown(_) => plain(Code::NotFound, "UNKNOWN_DESKTOP", error),
        DesktopError::UnknownPool(_) => plain(Code::NotFound, "UNKNOWN_POOL", error),
        DesktopError::UnknownUser(_) => plain(Code::NotFound, "UNKNOWN_USER", error),
        DesktopError::NotEntitled { .. } => plain(Code::PermissionDenied, "NOT_ENTITLED", error),
        DesktopError::PoolClosed { .. } => plain(Code::FailedPrecondition, "POOL_CLOSED", error),
        DesktopError::PoolFull { .. } => plain(Code::ResourceExhausted, "POOL_FULL", error),
        DesktopError::NoRoom(no_room) => no_room_status(no_room),
        DesktopError::WrongState { desktop, state, wanted } => {
            let (state, wanted) = (state.to_string(), wanted.to_string());
            let mut details = reason("WRONG_STATE", &[("state", &state), ("wanted", &wanted)]);
            details.add_precondition_failure_violation(
                "STATE",
                desktop.to_string(),
                format!("{state}, not {wanted}"),
            );
            Status::with_error_details(Code::FailedPrecondition, error.to_string(), details)
        }
        DesktopError::Illegal { .. } => plain(Code::FailedPrecondition, "WRONG_STATE", error),
        DesktopError::Superseded { .. } => plain(Code::Aborted, "SUPERSEDED", error),
        DesktopError::Data(error) => data(error),
        DesktopError::DataApart { .. } => plain(Code::FailedPrecondition, "DATA_APART", error),
        DesktopError::DataHeld { .. } => plain(Code::Unavailable, "DATA_HELD", error),
        DesktopError::DataOnLostHost { .. } => plain(Code::Unavailable, "DATA_ON_LOST_HOST", error),
        DesktopError::Stopped(_) => plain(Code::Aborted, "STOPPED", error),
        DesktopError::SlowStop { .. } => plain(Code::DeadlineExceeded, "SLOW_STOP", error),
        DesktopError::LimitsTooLarge { .. } => {
            plain(Code::ResourceExhausted, "LIMITS_TOO_LARGE", error)
        }
        DesktopError::LimitInUse { .. } => plain(Code::FailedPrecondition, "LIMIT_IN_USE", error),
        DesktopError::Agent { .. } => plain(Code::Unavailable, "HOST_FAILED", error),
        DesktopError::Abandoned(_) => fault("ABANDONED", error),
    }
}

fn rollout(error: &RolloutError) -> Status {
    match error {
        RolloutError::Store(error) => store(error),
        RolloutError::Field(field) => bad_field(field),
        RolloutError::UnknownPool(_) => plain(Code::NotFound, "UNKNOWN_POOL", error),
        RolloutError::Unknown(_) => plain(Code::NotFound, "UNKNOWN_ROLLOUT", error),
        RolloutError::UnderWay { .. } => {
            plain(Code::FailedPrecondition, "ROLLOUT_UNDER_WAY", error)
        }
        RolloutError::NothingBehind { .. } => {
            plain(Code::FailedPrecondition, "NOTHING_BEHIND", error)
        }
        RolloutError::Illegal { .. } => plain(Code::FailedPrecondition, "WRONG_STATE", error),
        RolloutError::NoEarlierVersion(_) => {
            plain(Code::FailedPrecondition, "NO_EARLIER_VERSION", error)
        }
        RolloutError::UnknownVersion(_) => plain(Code::NotFound, "VERSION_UNKNOWN", error),
    }
}

fn data(error: &DataError) -> Status {
    match error {
        DataError::Store(error) => store(error),
        DataError::Host(error) => host(error),
        DataError::None(_) => plain(Code::NotFound, "NO_DATA", error),
        DataError::UnknownUser(_) => plain(Code::NotFound, "UNKNOWN_USER", error),
        DataError::InUse { .. } => plain(Code::FailedPrecondition, "DATA_IN_USE", error),
        DataError::Busy { .. } => plain(Code::Aborted, "DATA_BUSY", error),
        DataError::Exists(_) => plain(Code::AlreadyExists, "DATA_EXISTS", error),
        DataError::Deleting(_) => plain(Code::FailedPrecondition, "DATA_DELETING", error),
        DataError::Unfinished(_) => plain(Code::FailedPrecondition, "DATA_UNFINISHED", error),
        DataError::Kinds { .. } => plain(Code::InvalidArgument, "DATA_KINDS", error),
        DataError::NoHost(_) => plain(Code::Unavailable, "NO_HOST", error),
        // The host's words, with its code and details.
        DataError::Refused { status, .. } => {
            Status::with_details(status.code(), status.message(), status.details().to_vec().into())
        }
        DataError::Lost { .. } => plain(Code::Unavailable, "HOST_LOST", error),
        DataError::BadStream(_) => plain(Code::InvalidArgument, "BAD_STREAM", error),
        DataError::Ending => plain(Code::Unavailable, "BROKER_ENDING", error),
    }
}

fn no_room_status(no_room: &NoRoom) -> Status {
    let mut details = reason("NO_ROOM", &[]);
    for (host, reasons) in &no_room.0 {
        for reason in reasons {
            details.add_quota_failure_violation(format!("host:{host}"), reason.to_string());
        }
    }
    Status::with_error_details(Code::ResourceExhausted, no_room.to_string(), details)
}

fn host(error: &HostError) -> Status {
    match error {
        HostError::Unknown(_) => plain(Code::NotFound, "UNKNOWN_HOST", error),
        HostError::Unreachable { .. } => plain(Code::Unavailable, "HOST_UNREACHABLE", error),
    }
}

fn enrol(error: &EnrolError) -> Status {
    match error {
        EnrolError::Store(error) => store(error),
        EnrolError::Field(field) | EnrolError::Pki(PkiError::Request(field)) => bad_field(field),
        EnrolError::Pki(PkiError::Store(error)) => store(error),
        EnrolError::Pki(PkiError::Certificate { .. } | PkiError::Stored(_)) => {
            fault("NO_CERTIFICATE", error)
        }
        EnrolError::Invalid(_) => plain(Code::PermissionDenied, "ENROL_TOKEN_INVALID", error),
        EnrolError::Refused(refusal) => {
            retry(Code::ResourceExhausted, "TOO_MANY_ATTEMPTS", error, refusal.wait)
        }
    }
}

fn ticket(error: &TicketError) -> Status {
    match error {
        TicketError::Store(error) => store(error),
        TicketError::Invalid => plain(Code::PermissionDenied, "TICKET_INVALID", error),
        TicketError::DesktopEnded => plain(Code::FailedPrecondition, "DESKTOP_ENDED", error),
        TicketError::TooMany { .. } => plain(Code::ResourceExhausted, "TOO_MANY_TICKETS", error),
    }
}

fn plain(code: Code, stable: &str, error: &dyn StdError) -> Status {
    Status::with_error_details(code, error.to_string(), reason(stable, &[]))
}

fn retry(code: Code, stable: &str, error: &dyn StdError, wait: Duration) -> Status {
    let mut details = reason(stable, &[]);
    details.set_retry_info(Some(wait));
    Status::with_error_details(code, error.to_string(), details)
}

/// Ours to mend: the log gets it all, the caller learns that much.
fn fault(stable: &str, error: &(dyn StdError + 'static)) -> Status {
    tracing::error!(error, code = stable, "a call failed");
    let message = "the broker has a fault; its log says more";
    Status::with_error_details(Code::Internal, message, reason(stable, &[]))
}

fn reason(stable: &str, about: &[(&str, &str)]) -> ErrorDetails {
    let about = about.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ErrorDetails::with_error_info(
        stable,
        DOMAIN,
        about.collect::<std::collections::HashMap<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_field_tells_field_value_and_remedy() {
        let status = Status::from(RpcError::from(BadField::new("pool", "a/b", "letters")));
        assert_eq!(status.code(), Code::InvalidArgument);
        let violation = &status.get_details_bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "pool");
        assert_eq!(violation.description, "\"a/b\" is not acceptable: letters");
        assert_eq!(status.get_details_error_info().unwrap().domain, DOMAIN);
    }

    #[test]
    fn a_fault_hides_its_inside() {
        let status = Status::from(RpcError::from(StoreError::Damaged {
            key: "user/x".into(),
            reason: "secret".into(),
        }));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret"));
    }
}
