//! A small root, bundles made of it, and runtimes to run them.

#![allow(dead_code, unreachable_pub, reason = "shared by test programs that use a part each")]

pub mod bundle;
pub mod host;
pub mod runtime;
