//! Base roots, overlay files, loop and overlayfs mounts.
