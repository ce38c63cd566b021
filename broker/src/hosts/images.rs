//! What hosts can start, as they told it last.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use rolltop_proto::v1::{DesktopState, ImageVersion};

use super::{Health, Host, Hosts, link};
use crate::{
    names::{DesktopId, HostName, ImageRef, PoolName},
    state::Duty,
};

/// Whether a desktop runs what its next start would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// One of the two is not known.
    Unknown,
    /// It does.
    Current,
    /// Another version.
    Behind,
}

/// How many of a pool run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ages {
    /// All.
    pub running: u32,
    /// Those that are behind.
    pub behind: u32,
}

/// `image`, by its name alone, and `version` run; the next start takes `next`,
/// which means the version `there` on its host, if that has it.
pub fn age(image: &str, version: &str, next: &ImageRef, there: Option<&str>) -> Age {
    if version.is_empty() {
        return Age::Unknown;
    }
    if image != next.image() {
        return Age::Behind;
    }
    match next.version().or(there) {
        None => Age::Unknown,
        Some(wanted) if wanted == version => Age::Current,
        Some(_) => Age::Behind,
    }
}

// === impl Hosts ===

impl Hosts {
    /// Asks all hosts that answer for their images, now.
    pub async fn refresh_images(&self) {
        let hosts: Vec<Arc<Host>> = self.table().values().map(Arc::clone).collect();
        let asked = hosts.iter().map(|host| async {
            let Ok(mut agent) = self.agent(&host.name) else { return };
            match link::images(&mut agent).await {
                Ok(images) => host.note(|seen| seen.images = images),
                // What it told before stands.
                Err(error) => tracing::warn!(
                    host.name = %host.name, error = &error as &dyn std::error::Error,
                    "a host did not tell its images"
                ),
            }
        });
        futures_util::future::join_all(asked).await;
    }

    /// The version that a reference means on a host.
    pub fn version_on(&self, host: &HostName, image: &ImageRef) -> Option<String> {
        let host = self.find(host).ok()?;
        let seen = host.seen.borrow();
        version_among(&seen.images, image).map(str::to_owned)
    }

    /// Hosts that could start it now, room apart: version by host.
    pub fn startable(&self, image: &ImageRef) -> BTreeMap<HostName, String> {
        let table = self.table();
        let have = table.values().filter_map(|host| {
            let seen = host.seen.borrow();
            let serves = seen.health == Health::Ready && seen.duty == Duty::Serving;
            let version = version_among(&seen.images, image).filter(|_| serves)?;
            Some((host.name.clone(), version.to_owned()))
        });
        have.collect()
    }

    /// Whether other hosts reach what a host keeps.
    pub fn shares_storage(&self, host: &HostName) -> bool {
        let Ok(host) = self.find(host) else { return false };
        host.seen.borrow().info.as_ref().is_some_and(|info| info.storage_shared)
    }

    /// How many run of each pool, and how many of them are behind what it names.
    pub fn ages(&self, pools: &BTreeMap<PoolName, ImageRef>) -> BTreeMap<PoolName, Ages> {
        let mut ages: BTreeMap<PoolName, Ages> =
            pools.keys().map(|name| (name.clone(), Ages::default())).collect();
        for host in self.table().values() {
            let seen = host.seen.borrow();
            for desktop in seen.desktops.values() {
                let runs = matches!(desktop.state(), DesktopState::Running | DesktopState::Frozen);
                let id = DesktopId::from_key(&desktop.label).filter(|_| runs);
                let Some(id) = id else { continue };
                let (Some(next), Some(ages)) = (pools.get(&id.pool), ages.get_mut(&id.pool)) else {
                    continue;
                };
                let there = version_among(&seen.images, next);
                // As it was asked for, tag and all.
                let age = ImageRef::parse("image", &desktop.image).map_or(Age::Unknown, |image| {
                    age(image.image(), &desktop.version, next, there)
                });
                ages.running += 1;
                ages.behind += u32::from(age == Age::Behind);
            }
        }
        ages
    }

    /// Another number whenever one of `images` means another version somewhere, or
    /// a pool names another one.
    pub fn print_of(
        &self,
        images: &BTreeSet<&ImageRef>,
        pools: &BTreeMap<PoolName, ImageRef>,
    ) -> u64 {
        let mut print = DefaultHasher::new();
        pools.hash(&mut print);
        for host in self.table().values() {
            let seen = host.seen.borrow();
            host.name.hash(&mut print);
            for image in images {
                version_among(&seen.images, image).hash(&mut print);
            }
        }
        print.finish()
    }
}

fn version_among<'a>(images: &'a [ImageVersion], wanted: &ImageRef) -> Option<&'a str> {
    let meant = images.iter().find(|known| wanted.means(&known.image, &known.version, &known.tags));
    meant.map(|known| known.version.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_held_against_what_the_next_start_takes() {
        let of = |image: &str, version: &str, next: &str, there| {
            age(image, version, &next.parse().unwrap(), there)
        };
        for (image, version, next, there, expected) in [
            ("demo", "1", "demo:stable", Some("1"), Age::Current),
            ("demo", "1", "demo:stable", Some("2"), Age::Behind),
            ("demo", "1", "demo:stable", None, Age::Unknown),
            ("demo", "", "demo:stable", Some("2"), Age::Unknown),
            // What names a version means that one, wherever a tag points.
            ("demo", "1", "demo@1", Some("2"), Age::Current),
            ("demo", "2", "demo@1", None, Age::Behind),
            ("demo", "1", "office:stable", None, Age::Behind),
        ] {
            assert_eq!(of(image, version, next, there), expected, "{image}@{version}, {next}");
        }
    }
}
