//! `rolltop-agent check`: can this machine do the job, and if not, what to mend.
//!
//! What can be read is read (kernel, limits, files); what can be tried is
//! tried: at the end a whole desktop comes up, answers, logs out and is taken
//! down again, in namespaces and directories of the check's own.

mod files;
mod kernel;
mod links;
mod rehearsal;
mod report;

use std::path::Path;

pub use self::report::{Finding, Findings, Verdict};
use crate::config::Config;

/// Looks at the machine and rehearses a desktop. Must be called while the
/// process has one thread: the rehearsal moves it to namespaces of its own,
/// and what it made ends with the process.
pub fn check(config: &Config) -> Findings {
    let root = Path::new("/");
    let mut findings = Findings::default();
    kernel::look(root, config, &mut findings);
    files::look(config, &mut findings);
    links::look(root, config, &mut findings);
    rehearsal::run(config, &mut findings);
    findings
}
