//! What the page cache takes when many desktops read the same base root.

use anyhow::{Context as _, ensure};
use rolltop_overlay::{IdMap, OpenPlan, OverlayKind, OverlaySize, close_root, open_root};
use rolltop_tests::bench::{Report, Unit};

use crate::{
    Place,
    group::Group,
    names::{CACHE_MANY, CACHE_ONE},
    opening::MAP,
    reading::{Root, drop_caches, read_all},
};

const DESKTOPS: u32 = 20;
/// What is counted hardly varies, and it takes 21 readings.
const ROUNDS: u32 = 2;

/// Every kind of root would tell the same; the last is the one furthest away.
pub(crate) fn measure(
    place: &Place<'_>,
    roots: &[Root],
    name: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let root = roots.last().context("no base root")?;
    let size = OverlaySize::from_mib(64)?;
    let mut joined = Vec::new();
    for number in 1..=DESKTOPS {
        let overlay = place.overlays.create(&OverlayKind::Volatile(number), size)?;
        let mount_dir = place.run.join(format!("sharing-{number}"));
        let first = MAP.first + number * MAP.count;
        let plan = OpenPlan {
            lower: &root.at,
            overlay: &overlay,
            mount_dir: &mount_dir,
            id_map: Some(IdMap { first, ..MAP }),
        };
        joined.push((open_root(&plan)?.root, mount_dir));
    }
    let group = Group::enter(name)?;
    for _ in 0..ROUNDS {
        for (figure, count) in [(CACHE_ONE, 1), (CACHE_MANY, DESKTOPS as usize)] {
            drop_caches()?;
            let before = group.cached_kib()?;
            for (root, _) in &joined[..count] {
                read_all(root)?;
            }
            report.add(figure, Unit::Kib, [group.cached_kib()? - before]);
        }
    }
    group.leave()?;
    report.compare(CACHE_MANY, CACHE_ONE);
    for (number, (_, mount_dir)) in (1..).zip(&joined) {
        let closed = close_root(mount_dir);
        ensure!(closed.is_clean(), "{closed:?}");
        place.overlays.delete(&OverlayKind::Volatile(number))?;
    }
    Ok(())
}
