//! A snapshot and a clone of an overlay with much in it, beside a copy by hand.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::Path,
    time::Instant,
};

use anyhow::ensure;
use rolltop_overlay::{OpenPlan, OverlayFile, OverlaySize, SnapshotName, close_root, open_root};
use rolltop_tests::bench::{Report, Unit};

use crate::{
    Place,
    bare::command,
    making::kept,
    names::{CLONE, COPY, SNAPSHOT},
    reading::write_tree,
};

const SNAPSHOT_RUNNING: &str = "snapshot, running";
const ROLL_BACK: &str = "roll back";
const TAKEN: &str = "taken by the overlay that is copied";

pub(crate) fn measure(place: &Place<'_>, base: &Path, report: &mut Report) -> anyhow::Result<()> {
    let used_mib = i64::try_from(place.arguments.used_mib)?;
    let kind = kept("full")?;
    let size = OverlaySize::from_mib(used_mib * 3 / 2 + 64)?;
    let overlay = place.overlays.create(&kind, size)?;
    let mount_dir = place.run.join("full");
    let open = |overlay: &OverlayFile| {
        open_root(&OpenPlan { lower: base, overlay, mount_dir: &mount_dir, id_map: None })
    };
    let close = || {
        let closed = close_root(&mount_dir);
        ensure!(closed.is_clean(), "{closed:?}");
        Ok(())
    };
    write_tree(&open(&overlay)?.root.join("tree"), place.arguments.used_mib)?;
    close()?;
    let taken = place.overlays.usage(&kind)?.allocated_bytes;
    report.add(TAKEN, Unit::Kib, [taken as f64 / 1024.0]);

    let (by_hand, twin) = (place.dir.join("by-hand.ext4"), kept("twin")?);
    let name = SnapshotName::try_from("bench")?;
    for round in 0..=place.arguments.long_rounds {
        let mut add = |name, begun: Instant| {
            // The first round warms up.
            if round > 0 {
                report.add_time(name, begun.elapsed());
            }
        };
        let begun = Instant::now();
        let sparse = ["--sparse=always"].map(OsStr::new);
        command("cp", sparse.into_iter().chain([overlay.path().as_os_str(), by_hand.as_os_str()]))?;
        File::open(&by_hand)?.sync_all()?;
        add(COPY, begun);
        fs::remove_file(&by_hand)?;

        let begun = Instant::now();
        place.overlays.snapshot(&kind, &name, "")?;
        add(SNAPSHOT, begun);
        let begun = Instant::now();
        place.overlays.roll_back(&kind, &name, rolltop_overlay::PresentState::Discard)?;
        add(ROLL_BACK, begun);
        place.overlays.delete_snapshot(&kind, &name)?;

        let begun = Instant::now();
        place.overlays.clone_overlay(&kind.clone().into(), &twin)?;
        add(CLONE, begun);
        place.overlays.delete(&twin)?;

        open(&overlay)?;
        let begun = Instant::now();
        place.overlays.snapshot(&kind, &name, "")?;
        add(SNAPSHOT_RUNNING, begun);
        close()?;
        place.overlays.delete_snapshot(&kind, &name)?;
    }
    for name in [SNAPSHOT, ROLL_BACK, CLONE, SNAPSHOT_RUNNING] {
        report.compare(name, COPY);
    }
    place.overlays.delete_with_snapshots(&kind)?;
    Ok(())
}
