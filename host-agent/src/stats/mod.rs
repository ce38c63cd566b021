//! What one desktop is doing now.

mod measure;
mod processes;

pub use measure::{Stats, measure};
pub use processes::{DesktopProcess, Processes, ProcessesError, list};
