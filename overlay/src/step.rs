//! The shape of "this call on that file failed".

use std::io;
use std::path::{Path, PathBuf};

use rolltop_fail_points as fail_points;
use thiserror::Error;

/// A kernel call that failed, with what it was applied to.
#[derive(Debug, Error)]
#[error("{verb} {}", operand.display())]
pub struct StepError {
    /// What was tried.
    pub verb: &'static str,
    /// The file or directory it was tried on.
    pub operand: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Gives the result of a call its verb and operand.
pub(crate) trait Step<T> {
    fn step(self, verb: &'static str, operand: &Path) -> Result<T, StepError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, verb: &'static str, operand: &Path) -> Result<T, StepError> {
        fail_points::pass(verb);
        self.map_err(|error| StepError { verb, operand: operand.to_owned(), source: error.into() })
    }
}
