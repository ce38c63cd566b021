//! Our own errors as failures: the one place that gives them a code, a stable
//! reason and an exit code.

use tonic::Code;

use super::Failure;
use crate::{connect::ConnectError, store::StoreError, terminal::TerminalError};

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let reason = match &error {
            StoreError::NoHome(_) => "NO_HOME",
            StoreError::Read { .. } | StoreError::Write { .. } | StoreError::Format { .. } => {
                "FILE_FAILED"
            }
            StoreError::Parse { .. } | StoreError::TooLong { .. } => "CONFIG_INVALID",
            StoreError::Exposed { .. } => "TOKEN_EXPOSED",
        };
        Self::new(Code::Unknown, reason, error.to_string())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let (code, reason, hint) = match &error {
            ConnectError::Trust(_) => {
                (Code::InvalidArgument, "CA_INVALID", Some("check the file given as --ca".into()))
            }
            ConnectError::Name { .. } => (Code::InvalidArgument, "BAD_SERVER", None),
            ConnectError::Token => (Code::InvalidArgument, "BAD_TOKEN", None),
            ConnectError::Tcp { .. } | ConnectError::Silent { .. } => (
                Code::Unavailable,
                "CANNOT_CONNECT",
                Some("check --server, and whether the broker runs there".into()),
            ),
            ConnectError::Changed { server, wrong } => (
                Code::Unavailable,
                "CERTIFICATE_CHANGED",
                Some(format!(
                    "somebody may be in between. Ask the operator for the fingerprint; only if it \
                     is the new one, run `rolltop login --server {server} --fingerprint {}`",
                    wrong.found
                )),
            ),
            ConnectError::Certificate { .. } => (
                Code::Unavailable,
                "CERTIFICATE_NOT_TRUSTED",
                Some(
                    "sign in again with the CA file of this cluster, `rolltop login --ca FILE`, \
                      or with its certificate, `--fingerprint sha256:…`"
                        .into(),
                ),
            ),
            ConnectError::Tls { .. } | ConnectError::NoCertificate { .. } => {
                (Code::Unavailable, "TLS_FAILED", Some("check the port in --server".into()))
            }
            ConnectError::Grpc { .. } => {
                (Code::Unavailable, "NOT_A_BROKER", Some("check the port in --server".into()))
            }
        };
        let mut failure = Self::new(code, reason, error.to_string());
        failure.hint = hint;
        failure
    }
}

impl From<TerminalError> for Failure {
    fn from(error: TerminalError) -> Self {
        match error {
            TerminalError::Interrupted { signal } => Self::interrupted(signal, "interrupted"),
            TerminalError::NotATerminal | TerminalError::Ended => {
                Self::new(Code::InvalidArgument, "NO_TERMINAL", error.to_string())
            }
            TerminalError::Io(_) | TerminalError::Reader => {
                Self::new(Code::Unknown, "TERMINAL_FAILED", error.to_string())
            }
        }
    }
}
