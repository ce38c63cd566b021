//! Names of figures that are compared with others or with an aim.

pub(crate) const PHASE_CONTAINER: &str = "phase container (network included)";
pub(crate) const INIT: &str = "init running";
pub(crate) const ANSWERS: &str = "display answers";
pub(crate) const DRAWN: &str = "drawn";
pub(crate) const RELEASED: &str = "released";
pub(crate) const RUNC_INIT: &str = "runc run: init running";
pub(crate) const FORERUNNER_INIT: &str = "forerunner: init running";
pub(crate) const FORERUNNER_RELEASED: &str = "forerunner: released";
pub(crate) const DEMOS_DRAWN: &str = "10 at once: all drawn";
pub(crate) const SMALLS_FAILED: &str = "50 small at once: failures";
