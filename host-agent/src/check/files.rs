//! Programs, directories, images and credentials that the configuration names.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rolltop_image::ImageStore;
use rustix::fs::{ioctl_ficlone, statvfs};

use super::{Findings, Verdict};
use crate::{
    apparmor::{self, Confinement, PROFILE, Wanted},
    config::{Config, StoreLocation},
    storage::{Listing, StorageError, look_at_store},
};

/// What the agent runs.
const PROGRAMS: [&str; 5] = ["mkfs.ext4", "e2fsck", "resize2fs", "tune2fs", "nft"];
/// Looked at beside PATH: services often have a short one.
const SYSTEM_DIRS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

pub(super) fn look(config: &Config, findings: &mut Findings) {
    programs(config, findings);
    disk(config, findings);
    images(config, findings);
    credentials(config, findings);
    confinement(config, findings);
}

fn confinement(config: &Config, findings: &mut Findings) {
    const ITEM: &str = "AppArmor";
    let root = Path::new("/");
    match Confinement::new(root, &config.apparmor) {
        Err(error) => findings.add(Verdict::Bad, ITEM, "not loaded", error.to_string()),
        Ok(found) => match found.profile() {
            Some(profile) => findings.good(ITEM, format!("desktops run under {profile}")),
            None if config.apparmor == Wanted::No => findings.good(ITEM, "off, as configured"),
            None if apparmor::is_there(root) => findings.add(
                Verdict::Weak,
                ITEM,
                format!("desktops have no profile: {PROFILE} is not loaded"),
                "load deploy/apparmor/rolltop-desktop with `apparmor_parser --replace`",
            ),
            None => findings.good(ITEM, "this kernel has none; desktops do without"),
        },
    }
}

fn programs(config: &Config, findings: &mut Findings) {
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|name| find(name).is_none()).collect();
    if missing.is_empty() {
        findings.good("programs", PROGRAMS.join(", "));
    } else {
        findings.add(
            Verdict::Bad,
            "programs",
            format!("without {}", missing.join(", ")),
            "install the packages e2fsprogs and nftables",
        );
    }
    if is_executable(&config.launcher) {
        findings.good("launcher", config.launcher.display().to_string());
    } else {
        findings.add(
            Verdict::Bad,
            "launcher",
            format!("{} is no program", config.launcher.display()),
            "let `launcher` name the installed rolltop-launcher",
        );
    }
    for (name, path) in &config.runtimes.by_name {
        let item = format!("runtime {name}");
        if is_executable(path) {
            findings.good(item, path.display().to_string());
        } else {
            findings.add(
                Verdict::Bad,
                item,
                format!("{} is no program", path.display()),
                format!("install it, or take runtimes.{name} out of the configuration"),
            );
        }
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(SYSTEM_DIRS.iter().map(PathBuf::from));
    dirs.map(|dir| dir.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn disk(config: &Config, findings: &mut Findings) {
    let dir = existing(&config.state_dir);
    let item = "state_dir";
    let disk = match statvfs(dir) {
        Ok(disk) => disk,
        Err(error) => {
            let found = format!("{}: {error}", dir.display());
            findings.add(Verdict::Bad, item, found, "let `state_dir` name a directory on a disk");
            return;
        }
    };
    let (free, reserve) = (disk.f_bavail * disk.f_frsize, config.reserve_bytes);
    let found = format!("{}: {} MiB free", dir.display(), free >> 20);
    if free < reserve {
        let wanted = format!("free some: {} MiB are kept in reserve (reserve_mib)", reserve >> 20);
        findings.add(Verdict::Bad, item, found, wanted);
    } else {
        findings.good(item, found);
    }
    match can_share_blocks(dir) {
        Ok(true) => findings.good("copies", "share their blocks (reflink)"),
        Ok(false) => findings.add(
            Verdict::Weak,
            "copies",
            "the file system under state_dir copies data",
            "snapshots and clones take no time on XFS or Btrfs, whose files can share blocks",
        ),
        Err(error) => findings.add(
            Verdict::Bad,
            "copies",
            format!("no file can be made in {}: {error}", dir.display()),
            "see that it is writable and not full",
        ),
    }
}

/// The nearest directory above `path` that is there already.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"))
}

fn can_share_blocks(dir: &Path) -> io::Result<bool> {
    use io::Write as _;
    let mut original = unnamed(dir)?;
    original.write_all(&[1; 4096])?;
    Ok(ioctl_ficlone(unnamed(dir)?, &original).is_ok())
}

fn unnamed(dir: &Path) -> io::Result<fs::File> {
    use rustix::fs::{Mode, OFlags, open};
    Ok(open(dir, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?.into())
}

fn images(config: &Config, findings: &mut Findings) {
    for location in &config.images {
        let item = "images";
        let listed = match location {
            StoreLocation::Directory(dir) => ImageStore::open(dir)
                .and_then(|store| store.list())
                .map(Listing::from)
                .map_err(StorageError::from),
            StoreLocation::Nfs(url) => look_at_store(url, config),
        };
        match listed {
            Ok(listing) if !listing.broken.is_empty() => {
                let broken = listing.broken.iter().map(|(_, error)| error.as_str());
                let broken = broken.collect::<Vec<_>>().join("; ");
                let found = format!("{location}: unusable: {broken}");
                findings.add(Verdict::Weak, item, found, "publish these images anew");
            }
            Ok(listing) if listing.versions.is_empty() => findings.add(
                Verdict::Weak,
                item,
                format!("{location} has none"),
                "make one: `rolltop image build RECIPE`",
            ),
            Ok(listing) => {
                let found = format!("{location}: {} versions", listing.versions.len());
                findings.good(item, found);
            }
            Err(error) => {
                let remedy = match location {
                    StoreLocation::Directory(_) => {
                        "the agent makes an empty store when it starts; \
                         `rolltop image build RECIPE` fills it"
                    }
                    StoreLocation::Nfs(_) => {
                        "see that the server runs, exports this path to this host, and is not \
                         kept away by a firewall (TCP, port 2049)"
                    }
                };
                findings.add(Verdict::Weak, item, crate::desktop::sentence(&error), remedy);
            }
        }
    }
}

fn credentials(config: &Config, findings: &mut Findings) {
    let Some(listen) = &config.listen else {
        findings.good("brokers", "none: only root on this host reaches the agent");
        return;
    };
    match crate::edge::credentials(listen) {
        Ok(_) => findings.good("brokers", format!("may call at {}", listen.address)),
        Err(error) => findings.add(
            Verdict::Bad,
            "brokers",
            crate::desktop::sentence(&error),
            "enrol this machine: `rolltop host enrol-token` on an operator's side, then `rolltop-agent enrol` here",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_where_services_do_not_look() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program").is_none());
        assert!(!is_executable(Path::new("/etc/passwd")) && !is_executable(Path::new("/etc")));
    }

    #[test]
    fn a_directory_to_come_is_judged_by_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing(&dir.path().join("a/b")), dir.path());
        assert!(can_share_blocks(dir.path()).is_ok());
        assert!(can_share_blocks(&dir.path().join("a")).is_err());
    }

    #[test]
    fn missing_credentials_name_their_file() {
        let text = "[listen]\naddress = '127.0.0.1:7443'\nca = '/none/ca'\n\
                    certificate = '/none/crt'\nkey = '/none/key'\n";
        let config = Config::read(text, &|_| None).unwrap();
        let mut findings = Findings::default();
        credentials(&config, &mut findings);
        assert_eq!(findings.worst(), Verdict::Bad);
        assert!(findings.0[0].found.contains("/none/crt"), "{findings}");
    }
}
