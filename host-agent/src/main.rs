//! The host daemon: makes, watches, keeps and removes desktops on one host.

fn main() {}
