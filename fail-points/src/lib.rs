//! Named places where a test can make a daemon die as by `kill -9`.
//!
//! Without the feature `armed`, which only tests turn on, [`pass`] is an empty
//! inline function. With it, two environment variables say what happens:
//!
//! - [`TRACE`]: a file to which every place passed is appended, one `NAME#K` a
//!   line, K counting from 1 how often the process has passed that name;
//! - [`DIE_AT`]: `NAME#K`, where the process ends itself with SIGKILL.

#![forbid(unsafe_code)]

#[cfg(feature = "armed")]
mod armed;

/// Environment variable: the file that lists what was passed.
pub const TRACE: &str = "ROLLTOP_FAIL_TRACE";
/// Environment variable: the place to die at.
pub const DIE_AT: &str = "ROLLTOP_FAIL_AT";

/// The step called `name` has just been done.
#[inline]
#[cfg_attr(not(feature = "armed"), expect(unused_variables, reason = "nothing to do"))]
pub fn pass(name: &'static str) {
    #[cfg(feature = "armed")]
    armed::pass(name);
}
