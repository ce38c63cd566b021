//! The AppArmor profile desktops run under, where the host has it.

use std::{fs, path::Path};

use oci_spec::runtime::Process;
use thiserror::Error;

/// The one that comes with Rolltop (`deploy/apparmor`).
pub const PROFILE: &str = "rolltop-desktop";

/// Where the kernel lists what is loaded, below the root of the file system.
const LOADED: &str = "sys/kernel/security/apparmor/profiles";

/// What the configuration wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// [`PROFILE`], if it is loaded.
    WhereLoaded,
    /// None.
    No,
    /// This one.
    Named(String),
}

/// What desktops are confined by beside all else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement(Option<String>);

/// The profile that the configuration names is not loaded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "apparmor_profile: the kernel has no profile {0:?}: load it with `apparmor_parser --replace FILE`, or say \"auto\" or \"off\""
)]
pub struct NotLoaded(pub String);

// === impl Confinement ===

impl Confinement {
    /// What is wanted, on the machine whose file system is at `root`.
    ///
    /// # Errors
    /// A profile is named that is not loaded.
    pub fn new(root: &Path, wanted: &Wanted) -> Result<Self, NotLoaded> {
        match wanted {
            Wanted::No => Ok(Self(None)),
            Wanted::WhereLoaded if is_loaded(root, PROFILE) => Ok(Self(Some(PROFILE.to_owned()))),
            Wanted::WhereLoaded => Ok(Self(None)),
            Wanted::Named(name) if is_loaded(root, name) => Ok(Self(Some(name.clone()))),
            Wanted::Named(name) => Err(NotLoaded(name.clone())),
        }
    }

    /// The profile's name.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Puts a process of a desktop under it.
    pub fn confine(&self, process: &mut Process) {
        process.set_apparmor_profile(self.0.clone());
    }
}

/// Whether the kernel has AppArmor at all.
#[must_use]
pub fn is_there(root: &Path) -> bool {
    root.join(LOADED).exists()
}

fn is_loaded(root: &Path, name: &str) -> bool {
    // "NAME (MODE)" a line.
    let profiles = fs::read_to_string(root.join(LOADED)).unwrap_or_default();
    profiles.lines().any(|line| line.rsplit_once(" (").is_some_and(|(loaded, _)| loaded == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_used_where_it_is_loaded() {
        let root = tempfile::tempdir().unwrap();
        let confined = |wanted| Confinement::new(root.path(), &wanted).map(|found| found.0);
        assert_eq!(confined(Wanted::WhereLoaded), Ok(None));
        let list = root.path().join(LOADED);
        fs::create_dir_all(list.parent().unwrap()).unwrap();
        fs::write(list, "docker-default (enforce)\nrolltop-desktop (enforce)\n").unwrap();
        assert_eq!(confined(Wanted::WhereLoaded), Ok(Some(PROFILE.into())));
        assert_eq!(confined(Wanted::No), Ok(None));
        let own = Wanted::Named("docker-default".into());
        assert_eq!(confined(own), Ok(Some("docker-default".into())));
        let missing = confined(Wanted::Named("docker".into()));
        assert_eq!(missing, Err(NotLoaded("docker".into())));
    }
}
