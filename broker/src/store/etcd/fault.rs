//! What an answer that is none means.

use etcd_client::Error;
use tonic::{Code, Status};

/// Why one try with one member gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing was done; another try may fare better.
    NotDone(String),
    /// It may have been done, or may be on its way still.
    Unknown(String),
    /// Nothing was done, and no other try would fare better.
    Refused(String),
    /// Nothing was done: there is no such lease.
    NoLease,
    /// Nothing was done: the revisions asked for are no longer kept.
    Compacted,
    /// The lease that was to be granted has been.
    LeaseExists,
}

// === impl Fault ===

impl Fault {
    /// Reads an error of the client.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::GRpcStatus(status) => of_status(status),
            Error::LeaseKeepAliveError(text) if text.contains("not found") => Self::NoLease,
            Error::InvalidArgs(_)
            | Error::InvalidUri(_)
            | Error::Utf8Error(_)
            | Error::InvalidMetadataValue(_)
            | Error::EndpointsNotManaged => Self::Refused(error.to_string()),
            Error::IoError(_)
            | Error::TransportError(_)
            | Error::WatchError(_)
            | Error::LeaseKeepAliveError(_)
            | Error::ElectError(_)
            | Error::EndpointError(_)
            | Error::Internal(_) => Self::Unknown(describe(error)),
        }
    }

    /// What the last try met, in words.
    pub(super) fn problem(&self) -> String {
        match self {
            Self::NotDone(text) | Self::Unknown(text) | Self::Refused(text) => text.clone(),
            Self::NoLease => "the lease is gone".to_owned(),
            Self::Compacted => "the revision is no longer kept".to_owned(),
            Self::LeaseExists => "the lease exists".to_owned(),
        }
    }
}

/// etcd's messages are part of its interface: its own clients read them.
fn of_status(status: &Status) -> Fault {
    let text = status.message();
    match status.code() {
        Code::NotFound if text.contains("lease not found") => Fault::NoLease,
        Code::OutOfRange if text.contains("compacted") => Fault::Compacted,
        // A member that is behind; it or another will have the revision soon.
        Code::OutOfRange if text.contains("future revision") => Fault::NotDone(text.to_owned()),
        Code::FailedPrecondition if text.contains("lease already exists") => Fault::LeaseExists,
        // The client gets a new token; this one is from before a restart.
        Code::Unauthenticated => Fault::NotDone(text.to_owned()),
        Code::InvalidArgument if text.contains("revision of auth store is old") => {
            Fault::NotDone(text.to_owned())
        }
        Code::ResourceExhausted if text.contains("too many requests") => {
            Fault::NotDone(text.to_owned())
        }
        Code::InvalidArgument
        | Code::NotFound
        | Code::OutOfRange
        | Code::FailedPrecondition
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Unimplemented => Fault::Refused(text.to_owned()),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Fault::Unknown(describe(status)),
    }
}

/// An error with its causes: transport errors say nothing by themselves.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_surely_did_nothing_is_called_so() {
        let of = |code, text: &str| Fault::of(&Error::GRpcStatus(Status::new(code, text)));
        assert_eq!(of(Code::NotFound, "etcdserver: requested lease not found"), Fault::NoLease);
        assert_eq!(
            of(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"),
            Fault::Compacted
        );
        for (code, text) in [
            (Code::Unavailable, "etcdserver: request timed out"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unknown, "transport error"),
            (Code::Cancelled, "h2 protocol error"),
            (Code::DeadlineExceeded, ""),
        ] {
            assert!(matches!(of(code, text), Fault::Unknown(_)), "{code} {text}");
        }
        for (code, text) in [
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
        ] {
            assert!(matches!(of(code, text), Fault::NotDone(_)), "{code} {text}");
        }
        for (code, text) in [
            (Code::PermissionDenied, "etcdserver: permission denied"),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            (Code::InvalidArgument, "etcdserver: request is too large"),
        ] {
            assert!(matches!(of(code, text), Fault::Refused(_)), "{code} {text}");
        }
    }
}
