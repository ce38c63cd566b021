//! The words for the contract's enums. A number that this version does not
//! know reads as "unknown".

use rolltop_proto::v1::{DesktopState, DisplayProtocol, HostState, Phase, Role, RolloutState};

use crate::output::Tone;

pub(crate) fn phase_word(number: i32) -> &'static str {
    match Phase::try_from(number).unwrap_or_default() {
        Phase::Unspecified => "unknown",
        Phase::Placement => "placement",
        Phase::Disk => "disk",
        Phase::Network => "network",
        Phase::Container => "container",
        Phase::Session => "session",
        Phase::Display => "display",
    }
}

pub(super) fn desktop_state(number: i32) -> (&'static str, Tone) {
    match DesktopState::try_from(number).unwrap_or_default() {
        DesktopState::Unspecified => ("unknown", Tone::Faint),
        DesktopState::Planned => ("planned", Tone::Busy),
        DesktopState::Preparing => ("preparing", Tone::Busy),
        DesktopState::Starting => ("starting", Tone::Busy),
        DesktopState::Warm => ("warm", Tone::Good),
        DesktopState::Running => ("running", Tone::Good),
        DesktopState::Frozen => ("frozen", Tone::Busy),
        DesktopState::Stopping => ("stopping", Tone::Busy),
        DesktopState::Gone => ("gone", Tone::Faint),
        DesktopState::Failed => ("failed", Tone::Bad),
    }
}

pub(super) fn host_state(number: i32) -> (&'static str, Tone) {
    match HostState::try_from(number).unwrap_or_default() {
        HostState::Unspecified | HostState::Unknown => ("unknown", Tone::Faint),
        HostState::Ready => ("ready", Tone::Good),
        HostState::Draining => ("draining", Tone::Normal),
        HostState::Drained => ("drained", Tone::Faint),
        HostState::Suspect => ("suspect", Tone::Bad),
        HostState::Lost => ("lost", Tone::Bad),
    }
}

pub(super) fn rollout_state(number: i32) -> (&'static str, Tone) {
    match RolloutState::try_from(number).unwrap_or_default() {
        RolloutState::Unspecified => ("unknown", Tone::Faint),
        RolloutState::Running => ("running", Tone::Busy),
        RolloutState::Paused => ("paused", Tone::Normal),
        RolloutState::Halted => ("halted", Tone::Bad),
        RolloutState::Done => ("done", Tone::Good),
        RolloutState::Cancelled => ("cancelled", Tone::Faint),
    }
}

pub(super) fn role(number: i32) -> &'static str {
    match Role::try_from(number).unwrap_or_default() {
        Role::Unspecified => "unknown",
        Role::User => "user",
        Role::Auditor => "auditor",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

pub(super) fn display(number: i32) -> &'static str {
    match DisplayProtocol::try_from(number).unwrap_or_default() {
        DisplayProtocol::Unspecified => "unknown",
        DisplayProtocol::Vnc => "vnc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_newer_broker_are_unknown() {
        assert_eq!(phase_word(99), "unknown");
        assert_eq!(desktop_state(-1).0, "unknown");
        assert_eq!(host_state(99).0, "unknown");
        assert_eq!(rollout_state(99).0, "unknown");
        assert_eq!(role(99), "unknown");
        assert_eq!(display(99), "unknown");
    }
}
