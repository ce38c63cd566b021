//! Built-in container launcher: OCI configuration in, container out.
//!
//! # Processes
//!
//! The caller has threads, so it must not fork itself. Each launch is done by a
//! fresh process of one thread, the *helper*: the program `rolltop-launcher`,
//! executed from a sealed copy in memory that [`Launcher::new`] takes.
//!
//! 1. The library turns the configuration into a plan (pure; whatever is not
//!    supported is refused by name), compiles the seccomp profile, makes the
//!    cgroup, and hands the plan and all descriptors to the helper.
//! 2. The helper opens what the container is to see of the host (root, bind
//!    sources, device nodes) as detached mounts, enters the cgroups, enters a
//!    *seed* mount namespace which is all but empty, so that the cost does not
//!    grow with the host's mounts, and calls `clone3` with every namespace.
//! 3. The new process builds the container around itself, everything attached
//!    through descriptors, gives up its privileges, and reports [`Created`].
//! 4. [`Created::start`] lets it execute the program.
//!
//! The new process is born as a sibling of the helper (`CLONE_PARENT`), so it
//! is the caller's own child from its first instruction: the caller waits for
//! it by pidfd, and no orphan is ever in between.
//!
//! # Who ends whom
//!
//! If the caller dies before `start`, the process reads end-of-file instead of
//! the word to start, and ends; its namespaces and mounts end with it. If the
//! helper dies, the process loses the other end of its private pair, and ends.
//! A parent-death signal would not do: it follows the *thread* that launched,
//! and is cleared by each change of credentials on the way.
#![forbid(unsafe_code)]

pub mod cgroup;
mod created;
mod error;
#[doc(hidden)]
pub mod helper;
mod launcher;
mod memory;
mod parcel;
mod plan;
pub mod profile;
mod seccomp;
mod started;
mod wire;

pub use created::{Created, Creating};
pub use error::{LaunchError, Stage};
pub use launcher::{Launcher, ReadyHelper};
pub use plan::PlanError;
pub use rustix::process::{Pid, Signal};
pub use seccomp::FilterError;
pub use started::{Exit, Started, Stdio};
