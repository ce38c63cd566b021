//! The one place with unsafe code: kernel calls that no library wraps safely.
pub mod clone;
pub mod descriptors;
pub mod device_filter;
pub mod filesystem;
pub mod heap;
pub mod loop_device;
pub mod mount_attr;
pub mod pidfd;
pub mod seccomp;
pub mod signals;
pub mod user_namespace;
