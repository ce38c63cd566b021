//! Names of figures that are compared with others or with an aim, and the aims.

use rolltop_tests::bench::{Aim, Most};

pub(crate) const MKFS: &str = "mkfs.ext4";
pub(crate) const MKFS_SYNC: &str = "mkfs.ext4 + fsync";
pub(crate) const CREATE: &str = "create, volatile";
pub(crate) const CREATE_KEPT: &str = "create, kept";
pub(crate) const COPY: &str = "cp --sparse=always + fsync";
pub(crate) const SNAPSHOT: &str = "snapshot";
pub(crate) const CLONE: &str = "clone";
pub(crate) const BARE: &str = "open+close: bare calls";
pub(crate) const COMMANDS: &str = "open+close: mount commands";
pub(crate) const OPEN_MAPPED: &str = "open+close, id map";
pub(crate) const NFS_COLD: &str = "read cold: NFS directory";
pub(crate) const NFS_EROFS_COLD: &str = "read cold: EROFS on NFS";
pub(crate) const CACHE_ONE: &str = "page cache, tree read in 1 desktop";
pub(crate) const CACHE_MANY: &str = "page cache, tree read in 20 desktops";

pub(crate) const AIMS: [Aim; 4] = [
    Aim { text: "create in a third of mkfs", figure: CREATE, most: Most::PartOf(MKFS, 1.0 / 3.0) },
    Aim {
        text: "open and close within 1.3 times the bare calls",
        figure: OPEN_MAPPED,
        most: Most::PartOf(BARE, 1.3),
    },
    Aim {
        text: "EROFS on NFS reads cold in half the time of the NFS directory",
        figure: NFS_EROFS_COLD,
        most: Most::PartOf(NFS_COLD, 0.5),
    },
    Aim {
        text: "the page cache does not grow with the desktops",
        figure: CACHE_MANY,
        most: Most::PartOf(CACHE_ONE, 1.1),
    },
];
