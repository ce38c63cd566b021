//! The one place with unsafe code: kernel calls that no library wraps safely.
