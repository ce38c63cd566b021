//! What the broker refused, from the rich details of its `Status`.

use prost::Message as _;
use rolltop_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Failure, FieldViolation, SIGN_IN_HINT};

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .map(|info| info.reason.clone())
            .filter(|reason| !reason.is_empty())
            .unwrap_or_else(|| code_name(status.code()).to_owned());
        let message = match status.message() {
            "" => format!("the broker answered {}", code_name(status.code())),
            message => message.to_owned(),
        };
        let mut failure = Self::new(status.code(), &reason, message);

        if let Some(bad) = details.bad_request() {
            failure.field_violations = bad
                .field_violations
                .iter()
                .map(|violation| FieldViolation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect();
        }
        if let Some(quota) = details.quota_failure() {
            failure.details.extend(
                quota
                    .violations
                    .iter()
                    .map(|violation| labelled(&violation.subject, &violation.description)),
            );
        }
        if let Some(precondition) = details.precondition_failure() {
            failure.details.extend(
                precondition
                    .violations
                    .iter()
                    .map(|violation| labelled(&violation.subject, &violation.description)),
            );
        }
        if let Some(why) = desktop_failure(&status) {
            failure.details.extend(why_desktop_failed(&why));
        }
        failure.hint = hint(&status, &details);
        failure
    }
}

impl Failure {
    /// A desktop that did not come up, with the last words of its session.
    pub(crate) fn of_desktop(desktop: &str, why: &v1::Failure) -> Self {
        let code = if why.code.is_empty() { "DESKTOP_FAILED" } else { &why.code };
        let message = format!("desktop {desktop} did not come up: {}", why.reason);
        Self::new(Code::Internal, code, message).details(why_desktop_failed(why))
    }
}

fn why_desktop_failed(why: &v1::Failure) -> Vec<String> {
    let phase = format!("in phase {}", crate::view::phase_word(why.phase));
    let tail = match why.output_tail.as_slice() {
        [] => None,
        _ => Some("the session's last words:".to_owned()),
    };
    let lines = why.output_tail.iter().map(|line| format!("  {line}"));
    std::iter::once(phase).chain(tail).chain(lines).collect()
}

/// Our own detail, which the broker may put beside the common ones.
fn desktop_failure(status: &Status) -> Option<v1::Failure> {
    let rich = tonic_types::Status::decode(status.details()).ok()?;
    let ours = rich.details.iter().find(|any| any.type_url.ends_with("/rolltop.v1.Failure"))?;
    v1::Failure::decode(ours.value.as_slice()).ok()
}

fn labelled(subject: &str, description: &str) -> String {
    if subject.is_empty() { description.to_owned() } else { format!("{subject}: {description}") }
}

/// The broker's own advice first; ours where it gives none.
fn hint(status: &Status, details: &tonic_types::ErrorDetails) -> Option<String> {
    if let Some(link) = details.help().and_then(|help| help.links.first()) {
        return Some(labelled(&link.description, &link.url).trim_end_matches(": ").to_owned());
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        return Some(format!("try again in {} s", delay.as_secs_f64().ceil()));
    }
    match status.code() {
        Code::Unauthenticated => Some(SIGN_IN_HINT.to_owned()),
        Code::PermissionDenied => {
            Some("see who you are with `rolltop whoami`; an operator may be needed".to_owned())
        }
        Code::Unavailable => Some("see whether the broker runs, then try again".to_owned()),
        _ => None,
    }
}

/// The name of a code in the gRPC specification.
pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn fields_reason_and_exit_code_come_through() {
        let mut details =
            ErrorDetails::with_error_info("BAD_SIZE", "rolltop", HashMap::<String, String>::new());
        details.add_bad_request_violation("pool.overlay_size_mib", "-1 is not from 16 to 1048576");
        let status =
            Status::with_error_details(Code::InvalidArgument, "the pool is not valid", details);

        let failure = Failure::from(status);

        assert_eq!(failure.reason, "BAD_SIZE");
        assert_eq!(failure.exit.0, 2);
        assert_eq!(
            failure.field_violations,
            [FieldViolation {
                field: "pool.overlay_size_mib".into(),
                description: "-1 is not from 16 to 1048576".into(),
            }]
        );
    }

    #[test]
    fn every_host_says_why_it_has_no_room() {
        let mut details = ErrorDetails::new();
        details.add_quota_failure_violation("host-1", "memory: 512 MiB free, 1024 MiB needed");
        details.add_quota_failure_violation("host-2", "draining");
        let failure = Failure::from(Status::with_error_details(
            Code::ResourceExhausted,
            "no host has room",
            details,
        ));
        assert_eq!(
            failure.details,
            ["host-1: memory: 512 MiB free, 1024 MiB needed", "host-2: draining"]
        );
        assert_eq!(failure.exit.0, 5);
    }

    #[test]
    fn a_bare_status_still_makes_sense() {
        let failure = Failure::from(Status::new(Code::NotFound, ""));
        assert_eq!(failure.reason, "NOT_FOUND");
        assert_eq!(failure.message, "the broker answered NOT_FOUND");
    }

    #[test]
    fn whoever_is_signed_out_is_told_the_way_in() {
        let failure = Failure::from(Status::unauthenticated("no such session"));
        assert_eq!(failure.hint.as_deref(), Some("run `rolltop login`"));
    }

    #[test]
    fn the_brokers_own_advice_wins() {
        let details = ErrorDetails::with_help_link("wait for the image build", "");
        let failure =
            Failure::from(Status::with_error_details(Code::Unavailable, "not yet", details));
        assert_eq!(failure.hint.as_deref(), Some("wait for the image build"));
    }
}
