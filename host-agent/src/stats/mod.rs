//! What one desktop is doing now.

mod log;
mod measure;
mod processes;

pub use log::{LogError, SessionLog};
pub use measure::{Stats, measure};
pub use processes::{DesktopProcess, Processes, ProcessesError, list};
