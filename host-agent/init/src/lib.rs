//! The small static program that is PID 1 of a desktop and starts its session.
//!
//! It is a program of its own, in `program/`, because it runs inside roots of
//! which nothing is known, not even their libc. The host agent writes
//! [`PROGRAM`] to a file and binds that, read-only, into every desktop.
//!
//! - `init reap` is PID 1: it reaps, and ends the desktop on SIGTERM.
//! - `init session --user NAME --uid N [--full-name TEXT] [--shell PATH]
//!   [--allow-new-privileges] -- COMMAND…`, run as the desktop's root, makes the
//!   account if it is new and becomes the command as that user.
//! - `init answer` answers once at the socket named by `ROLLTOP_DISPLAY_SOCKET`,
//!   as a display server would, and ends: the session of a rehearsal.

#![forbid(unsafe_code)]

/// The program, an ELF executable that needs no file of the root it runs in.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// How the program ends when it cannot do what it was asked; the reason is one
/// line on standard error. Any other code is that of the command it became.
pub mod exit_code {
    /// Arguments that make no sense.
    pub const USAGE: u8 = 64;
    /// The account cannot be made: its name or id belongs to another.
    pub const ACCOUNT: u8 = 67;
    /// The kernel refused something, or a file could not be written.
    pub const SYSTEM: u8 = 71;
    /// The command is there but cannot be executed.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// There is no such command.
    pub const NOT_FOUND: u8 = 127;
}

#[cfg(test)]
#[path = "../program/account.rs"]
mod account;
