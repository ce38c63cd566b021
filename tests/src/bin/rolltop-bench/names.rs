//! Names of figures that are compared with others or with an aim.

pub(crate) const PHASE_CONTAINER: &str = "phase container (network included)";
pub(crate) const INIT: &str = "init running";
pub(crate) const SMALL_INIT: &str = "small: init running";
pub(crate) const ANSWERS: &str = "display answers";
pub(crate) const DRAWN: &str = "drawn";
pub(crate) const RELEASED: &str = "released";
pub(crate) const DEMOS_DRAWN: &str = "10 at once: all drawn";
pub(crate) const SMALLS_FAILED: &str = "50 small at once: failures";
pub(crate) const IDLE_CPU: &str = "agent, all idle: CPU of one core";
pub(crate) const CROWDED_PSS: &str = "agent, all alive: PSS";

pub(crate) const FLOOR: &str = "bare system calls";
pub(crate) const RUNC: &str = "runc run";
pub(crate) const FORERUNNER: &str = "forerunner";
pub(crate) const PODMAN: &str = "podman run";
pub(crate) const NSPAWN: &str = "systemd-nspawn";

/// Of ours.
pub(crate) const SMALL: &str = "small";
/// Many at once.
pub(crate) const AT_ONCE: &str = "50 at once: ";

/// Until `whose` init runs; `situation` ends with a blank, or is empty.
pub(crate) fn init(situation: &str, whose: &str) -> String {
    format!("{situation}{whose}: {INIT}")
}

/// Until nothing of `whose` is left.
pub(crate) fn released(whose: &str) -> String {
    format!("{whose}: {RELEASED}")
}

/// Of a desktop that was made ahead, from when its user came.
pub(crate) fn warm(what: &str) -> String {
    format!("made ahead: {what}")
}

/// While `count` desktops are alive.
pub(crate) fn alive(count: u32) -> String {
    format!("{count} alive: ")
}
