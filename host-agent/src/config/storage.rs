//! Where images come from, and what is laid over their roots.

use std::{fmt, path::PathBuf, time::Duration};

use rolltop_overlay::{
    Sharing,
    nfs::{NfsOptions, NfsUrl},
};

use super::{absolute, number, reader::Reader};
use crate::{
    extra::ExtraDir,
    storage::{IdentityMaps, UnmappedHomes},
};

/// An image store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// A directory of this host.
    Directory(PathBuf),
    /// An NFS export, mounted by the agent.
    Nfs(NfsUrl),
}

/// How stores on NFS are dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NfsConfig {
    /// Mount options as given; all of them can be used.
    pub given: Vec<String>,
    /// For a server to answer, whatever it is asked.
    pub deadline: Duration,
    /// Processes that may wait for one server.
    pub helpers: usize,
    /// How long a server must have been silent before what waits for it is
    /// given an error, so that a desktop that is to end can end.
    pub give_up: Duration,
}

pub(super) fn images(r: &mut Reader<'_>) -> Vec<StoreLocation> {
    let default = || vec![StoreLocation::Directory("/var/lib/rolltop/images".into())];
    let given = r.has("images");
    let stores = r.list("images", default(), location);
    if stores.is_empty() && given && !r.has_fault("images") {
        r.fault("images", "", "names no store: give a directory or nfs://server/export/path");
    }
    if stores.is_empty() { default() } else { stores }
}

fn location(text: &str) -> Result<StoreLocation, String> {
    if text.contains("://") {
        text.parse().map(StoreLocation::Nfs).map_err(|error| error.to_string())
    } else {
        let or = "nor an export such as nfs://server/export/path";
        absolute(text).map(StoreLocation::Directory).map_err(|reason| format!("{reason}, {or}"))
    }
}

pub(super) fn nfs(r: &mut Reader<'_>) -> NfsConfig {
    let given = r.list("nfs.options", Vec::new(), |text| Ok(text.to_owned()));
    for fault in NfsOptions::parse(&given).err().into_iter().flatten() {
        r.fault("nfs.options", fault.option, fault.reason);
    }
    NfsConfig {
        given,
        deadline: super::millis(r, "nfs.deadline_ms", 5_000),
        helpers: r.value("nfs.helpers", 8, number(1, 64)) as usize,
        give_up: Duration::from_secs(r.value("nfs.give_up_s", 600, number(0, 1 << 30)).into()),
    }
}

pub(super) fn kept_sharing(r: &mut Reader<'_>) -> Sharing {
    r.value("kept_sharing", Sharing::Detect, |text| match text {
        "detect" => Ok(Sharing::Detect),
        "shared" => Ok(Sharing::Shared),
        "alone" => Ok(Sharing::Alone),
        _ => Err("is neither detect, shared nor alone".into()),
    })
}

pub(super) fn identity_map(r: &mut Reader<'_>) -> IdentityMaps {
    r.value("identity_map", IdentityMaps::Allow, |text| match text {
        "allow" => Ok(IdentityMaps::Allow),
        "refuse" => Ok(IdentityMaps::Refuse),
        _ => Err("is neither allow nor refuse".into()),
    })
}

pub(super) fn unmapped_homes(r: &mut Reader<'_>) -> UnmappedHomes {
    r.value("homes.unmapped", UnmappedHomes::Allow, |text| match text {
        "allow" => Ok(UnmappedHomes::Allow),
        "refuse" => Ok(UnmappedHomes::Refuse),
        _ => Err("is neither allow nor refuse".into()),
    })
}

pub(super) fn extra_dirs(r: &mut Reader<'_>) -> Vec<ExtraDir> {
    let dirs = r.list("extra_dirs", Vec::new(), |text| {
        text.parse::<ExtraDir>().map_err(|error| error.to_string())
    });
    for (index, dir) in dirs.iter().enumerate() {
        if dirs[..index].iter().any(|other| other.inside() == dir.inside()) {
            r.fault("extra_dirs", dir.to_string(), "lies where another one lies; take one out");
        }
    }
    dirs
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(dir) => dir.display().fmt(f),
            Self::Nfs(url) => url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Config, Vec<(String, String)>> {
        Config::read(text, &|_| None)
            .map_err(|bad| bad.0.into_iter().map(|fault| (fault.key, fault.value)).collect())
    }

    #[test]
    fn one_store_or_several() {
        let one = read("images = 'nfs://[::1]:20490/srv/images'").unwrap();
        assert_eq!(
            one.images,
            [StoreLocation::Nfs("nfs://[::1]:20490/srv/images".parse().unwrap())]
        );
        let two = read("images = ['/srv/images', 'nfs://filer/images']").unwrap();
        let told: Vec<_> = two.images.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["/srv/images", "nfs://filer/images"]);
        assert_eq!(two.nfs.deadline, Duration::from_secs(5));
    }

    #[test]
    fn every_fault_in_it_is_told() {
        let text = "images = ['nfs://filer', 'here', 'http://filer/x']\nidentity_map = 'yes'\n\
                    extra_dirs = ['lib', '/lib/modules/${kernel}', '/opt:/lib/modules/${kernel}']\n\
                    [nfs]\noptions = ['nconnect=4', 'rw', 'lock']\ndeadline_ms = 0\nhelpers = 99\n";
        let mut faults = read(text).unwrap_err();
        faults.sort();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            faults,
            [
                pair("extra_dirs", "/opt:/lib/modules/${kernel}"),
                pair("extra_dirs", "lib"),
                pair("identity_map", "yes"),
                pair("images", "here"),
                pair("images", "http://filer/x"),
                pair("images", "nfs://filer"),
                pair("nfs.deadline_ms", "0"),
                pair("nfs.helpers", "99"),
                pair("nfs.options", "lock"),
                pair("nfs.options", "rw"),
            ]
        );
        assert_eq!(read("images = []").unwrap_err(), [pair("images", "")]);
    }
}
