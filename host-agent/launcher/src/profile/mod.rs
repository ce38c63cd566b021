//! What a desktop's programs may ask of the kernel, unless a pool says
//! otherwise: capabilities and system calls.

mod capabilities;
mod system_calls;

pub use capabilities::default_capabilities;
pub use system_calls::{NestedNamespaces, default_seccomp};
