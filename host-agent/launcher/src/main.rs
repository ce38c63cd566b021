//! The launch helper: started by the library of this crate, never by hand.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    rolltop_launcher::helper::main()
}
