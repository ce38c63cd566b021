//! How a command fails: one value that a person and a program can both read.
//!
//! Inner modules return their own errors. They become a [`Failure`] here, at
//! the edge, and nowhere else: code, stable reason, sentence, exit code.

mod classify;
mod render;
mod status;

use std::{
    io,
    ops::{Deref, DerefMut},
};

use tonic::Code;

/// Exit code of the process. The table is part of the documented interface:
/// see `EXIT CODES` in `rolltop --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    pub(crate) const OK: Self = Self(0);
    pub(crate) const FAILURE: Self = Self(1);
    pub(crate) const USAGE: Self = Self(2);
    pub(crate) const NOT_SIGNED_IN: Self = Self(3);
    pub(crate) const NOT_FOUND: Self = Self(4);
    pub(crate) const NO_ROOM: Self = Self(5);
    pub(crate) const DENIED: Self = Self(6);
    pub(crate) const UNREACHABLE: Self = Self(7);
    pub(crate) const CONFLICT: Self = Self(8);
    pub(crate) const TIMED_OUT: Self = Self(9);
    /// `exec` and `shell` could not run the command, or lost it. Everything
    /// else they return is the command's own.
    pub(crate) const NOT_RUN: Self = Self(125);

    /// What a shell reports for a process ended by this signal.
    pub(crate) fn from_signal(signal: i32) -> Self {
        Self(u8::try_from(128 + (signal & 0x7f)).unwrap_or(u8::MAX))
    }

    /// The exit code that goes with a gRPC code.
    pub(crate) fn from_code(code: Code) -> Self {
        match code {
            Code::Ok => Self::OK,
            Code::InvalidArgument | Code::OutOfRange => Self::USAGE,
            Code::Unauthenticated => Self::NOT_SIGNED_IN,
            Code::NotFound => Self::NOT_FOUND,
            Code::ResourceExhausted => Self::NO_ROOM,
            Code::PermissionDenied => Self::DENIED,
            Code::Unavailable => Self::UNREACHABLE,
            Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => Self::CONFLICT,
            Code::DeadlineExceeded => Self::TIMED_OUT,
            Code::Cancelled
            | Code::Unknown
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss => Self::FAILURE,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// One input that was refused, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct FieldViolation {
    /// Name of the field in the API, such as `pool.overlay_size_mib`.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) description: String,
}

/// Why a command failed. Boxed: it rides in every `Result` and is rare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(Box<Report>);

/// What there is to say of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) code: Code,
    /// Stable word for programs, such as `NOT_SIGNED_IN`.
    pub(crate) reason: String,
    /// One sentence for a person.
    pub(crate) message: String,
    pub(crate) field_violations: Vec<FieldViolation>,
    /// Further lines: the reasons per host, the last output of a session.
    pub(crate) details: Vec<String>,
    /// What to do next.
    pub(crate) hint: Option<String>,
    pub(crate) exit: Exit,
    /// Nobody is left to read a message: the reader of our output went away.
    pub(crate) quiet: bool,
}

impl Failure {
    /// A failure with the exit code that belongs to `code`.
    pub(crate) fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self(Box::new(Report {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            field_violations: Vec::new(),
            details: Vec::new(),
            hint: None,
            exit: Exit::from_code(code),
            quiet: false,
        }))
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, "USAGE", message)
    }

    /// There is no token for the server.
    pub(crate) fn not_signed_in(server: &str) -> Self {
        Self::new(Code::Unauthenticated, "NOT_SIGNED_IN", format!("not signed in to {server}"))
            .hint(SIGN_IN_HINT)
    }

    /// A signal ended the waiting.
    pub(crate) fn interrupted(signal: i32, message: impl Into<String>) -> Self {
        let mut failure = Self::new(Code::Cancelled, "INTERRUPTED", message);
        failure.exit = Exit::from_signal(signal);
        failure
    }

    /// Our own output could not be written.
    pub(crate) fn output(error: &io::Error) -> Self {
        let mut failure =
            Self::new(Code::Unknown, "OUTPUT_FAILED", format!("cannot write the output: {error}"));
        if error.kind() == io::ErrorKind::BrokenPipe {
            failure.quiet = true;
            failure.exit = Exit::from_signal(rustix::process::Signal::PIPE.as_raw());
        }
        failure
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl Deref for Failure {
    type Target = Report;

    fn deref(&self) -> &Report {
        &self.0
    }
}

impl DerefMut for Failure {
    fn deref_mut(&mut self) -> &mut Report {
        &mut self.0
    }
}

/// What somebody without a session does next.
pub(crate) const SIGN_IN_HINT: &str = "run `rolltop login`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_exit_codes() {
        for (code, exit) in [
            (Code::InvalidArgument, 2),
            (Code::Unauthenticated, 3),
            (Code::NotFound, 4),
            (Code::ResourceExhausted, 5),
            (Code::PermissionDenied, 6),
            (Code::Unavailable, 7),
            (Code::FailedPrecondition, 8),
            (Code::AlreadyExists, 8),
            (Code::DeadlineExceeded, 9),
            (Code::Internal, 1),
        ] {
            assert_eq!(Exit::from_code(code), Exit(exit), "{code:?}");
        }
    }

    #[test]
    fn signals_exit_as_a_shell_reports_them() {
        assert_eq!(Exit::from_signal(2), Exit(130));
        assert_eq!(Exit::from_signal(9), Exit(137));
        assert_eq!(Exit::from_signal(127), Exit(255));
        assert_eq!(Exit::from_signal(-1), Exit(255));
    }

    #[test]
    fn a_closed_pipe_is_no_news() {
        let closed = Failure::output(&io::ErrorKind::BrokenPipe.into());
        assert!(closed.quiet);
        assert_eq!(closed.exit, Exit(141));
        assert!(!Failure::output(&io::ErrorKind::StorageFull.into()).quiet);
    }
}
