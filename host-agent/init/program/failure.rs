//! How the program fails: one line and an exit code.

use std::fmt;
use std::io;
use std::path::Path;

/// Arguments that make no sense.
pub(crate) const USAGE: u8 = 64;
/// The account cannot be made.
pub(crate) const ACCOUNT: u8 = 67;
/// The kernel refused something.
pub(crate) const SYSTEM: u8 = 71;
/// The command cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
pub(crate) const NOT_FOUND: u8 = 127;

/// Why the program ends.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    message: String,
}

impl Failure {
    /// With this code and line.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The kernel refused `verb`.
    pub(crate) fn system(verb: &str, error: io::Error) -> Self {
        Self::new(SYSTEM, format!("cannot {verb}: {error}"))
    }

    /// The kernel refused to do `verb` to a path.
    pub(crate) fn file<'p>(verb: &'p str, path: &'p Path) -> impl FnOnce(io::Error) -> Self + 'p {
        move |error| Self::new(SYSTEM, format!("cannot {verb} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
