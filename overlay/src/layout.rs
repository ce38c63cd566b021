//! What lies in the directory of an open root.

/// The base root, ID-mapped if asked for.
pub(crate) const LOWER: &str = "lower";
/// The ext4 of the overlay file.
pub(crate) const DISK: &str = "disk";
/// The overlay of the two: what a desktop sees.
pub(crate) const ROOT: &str = "root";

/// Within the ext4: what the desktop changed.
pub(crate) const UPPER: &str = "upper";
/// Within the ext4: overlayfs's own scratch space.
pub(crate) const WORK: &str = "work";

pub(crate) const UPPER_IN_DIR: &str = "disk/upper";
pub(crate) const WORK_IN_DIR: &str = "disk/work";

/// In the order they are unmounted.
pub(crate) const MOUNTS: [&str; 3] = [ROOT, DISK, LOWER];

/// Within the ext4 of a home volume: the files of its user, without ext4's own
/// `lost+found`.
pub(crate) const DATA: &str = "data";
