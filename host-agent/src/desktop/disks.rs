//! The disks that are a desktop's own, and how fast they are: the loop devices
//! of its overlay and of its home's volume. Blocking.

use std::path::PathBuf;

use rolltop_fail_points as fail_points;
use rolltop_launcher::cgroup::{Cgroup, CgroupError, Hierarchies};
use rolltop_overlay::{LOOP_MAJOR, own_device};
use thiserror::Error;

use crate::{
    bundle,
    paths::DesktopPaths,
    request::{DiskRates, Home},
};

/// N of each /dev/loopN that is in use by one desktop alone.
#[derive(Debug)]
pub(super) struct Disks(Vec<u32>);

/// Disks cannot be limited.
#[derive(Debug, Error)]
pub enum DisksError {
    /// They cannot be told.
    #[error("cannot tell which disks are the desktop's own")]
    Find(#[from] rolltop_overlay::StepError),
    /// Control groups.
    #[error(transparent)]
    Group(#[from] CgroupError),
    /// A value that OCI does not know.
    #[error("the rates of its disks cannot be written down")]
    Spec(#[from] oci_spec::OciSpecError),
}

// === impl Disks ===

impl Disks {
    /// The disks a desktop has now. A directory of the host as its `home` is not
    /// its own, whatever that is on.
    pub(super) fn of(paths: &DesktopPaths, home: Option<&Home>) -> Result<Self, DisksError> {
        let volume = matches!(home, Some(Home::Volume { .. })).then(|| paths.home());
        Self::below([Some(paths.mounts()), volume].into_iter().flatten())
    }

    /// For who does not know what its home is.
    pub(super) fn all_of(paths: &DesktopPaths) -> Result<Self, DisksError> {
        Self::below([paths.mounts(), paths.home()].into_iter())
    }

    fn below(places: impl Iterator<Item = PathBuf>) -> Result<Self, DisksError> {
        let found = places.filter_map(|dir| own_device(&dir).transpose());
        Ok(Self(found.collect::<Result<_, _>>()?))
    }

    pub(super) fn numbers(&self) -> &[u32] {
        &self.0
    }

    /// Limits what the desktop's processes do with them.
    pub(super) fn limit(&self, group: &Cgroup, rates: DiskRates) -> Result<(), DisksError> {
        Ok(group.set_limits(&bundle::disk_resources(rates, &self.0)?)?)
    }

    /// Limits what the kernel writes for them. To be taken away again, by
    /// [`DiskRates::default`], before the disks are closed: the next desktop may
    /// get the same devices.
    pub(super) fn limit_write_back(
        &self,
        hierarchies: &Hierarchies,
        rates: DiskRates,
    ) -> Result<(), DisksError> {
        for number in &self.0 {
            let device = (LOOP_MAJOR, *number);
            hierarchies.limit_write_back(device, rates.write_bytes, rates.operations)?;
            fail_points::pass("limit write-back");
        }
        Ok(())
    }
}
