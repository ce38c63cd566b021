//! Names of cgroups; what the kernel does is tested in `tests/cgroup.rs`.

use super::*;

#[test]
fn a_path_is_taken_from_the_root() {
    for good in ["/rolltop/desk7", "rolltop/desk7"] {
        assert_eq!(relative(Path::new(good)).unwrap(), Path::new("rolltop/desk7"));
    }
}

#[test]
fn a_path_that_leads_elsewhere_is_refused() {
    for bad in ["", "/", "..", "a/../b", "/../x", "./a", "system.slice:rolltop:7", "a\nb"] {
        assert!(matches!(relative(Path::new(bad)), Err(CgroupError::BadPath { .. })), "{bad:?}");
    }
}
