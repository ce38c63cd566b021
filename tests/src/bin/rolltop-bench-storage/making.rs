//! A new overlay, beside `mkfs.ext4`.

use std::{ffi::OsStr, fs::File, time::Instant};

use rolltop_overlay::{OverlayKind, OverlayName, OverlaySize};
use rolltop_tests::bench::Report;

use crate::{
    Place,
    bare::command,
    names::{CREATE, CREATE_KEPT, MKFS, MKFS_SYNC},
};

/// What a desktop gets by default, MiB.
pub(crate) const SIZE_MIB: i64 = 5120;
const DELETE: &str = "delete, volatile";

pub(crate) fn kept(name: &str) -> anyhow::Result<OverlayKind> {
    Ok(OverlayKind::Persistent(OverlayName::try_from(name)?))
}

pub(crate) fn measure(place: &Place<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (overlays, size) = (&place.overlays, OverlaySize::from_mib(SIZE_MIB)?);
    let made = place.dir.join("mkfs.ext4");
    let mkfs = |sync: bool| {
        let file = File::create(&made)?;
        file.set_len(size.bytes())?;
        command("mkfs.ext4", ["-q", "-F"].map(OsStr::new).into_iter().chain([made.as_os_str()]))?;
        if sync {
            file.sync_all()?;
        }
        anyhow::Ok(())
    };
    for round in 0..=place.arguments.rounds {
        let mut add = |name, begun: Instant| {
            // The first round makes the templates.
            if round > 0 {
                report.add_time(name, begun.elapsed());
            }
        };
        for (name, sync) in [(MKFS, false), (MKFS_SYNC, true)] {
            let begun = Instant::now();
            mkfs(sync)?;
            add(name, begun);
        }
        let (volatile, named) = (OverlayKind::Volatile(round), kept("made")?);
        for (name, kind) in [(CREATE, &volatile), (CREATE_KEPT, &named)] {
            let begun = Instant::now();
            overlays.create(kind, size)?;
            add(name, begun);
        }
        let begun = Instant::now();
        overlays.delete(&volatile)?;
        add(DELETE, begun);
        overlays.delete(&named)?;
    }
    report.compare(CREATE, MKFS);
    report.compare(CREATE_KEPT, MKFS_SYNC);
    std::fs::remove_file(&made)?;
    Ok(())
}
