//! A root from its layers and back, beside the commands and the bare calls.

use std::{path::Path, time::Instant};

use anyhow::ensure;
use rolltop_overlay::{
    IdMap, OpenPlan, OverlayFile, OverlayKind, OverlaySize, close_root, open_root,
};
use rolltop_tests::bench::Report;

use crate::{
    Place,
    bare::Bare,
    making::{SIZE_MIB, kept},
    names::{BARE, COMMANDS, OPEN_MAPPED},
};

pub(crate) const MAP: IdMap = IdMap { first: 100_000, count: 65_536, kept: None };
const OPEN: &str = "open+close, no id map";
const OPEN_VOLATILE: &str = "open+close, id map, volatile";

pub(crate) fn measure(place: &Place<'_>, base: &Path, report: &mut Report) -> anyhow::Result<()> {
    let size = OverlaySize::from_mib(SIZE_MIB)?;
    // One each: what one case leaves to be written must not slow down the next.
    let make = |kind: OverlayKind| place.overlays.create(&kind, size);
    let cases = [
        (OPEN, make(kept("plain")?)?, None),
        (OPEN_MAPPED, make(kept("mapped")?)?, Some(MAP)),
        (OPEN_VOLATILE, make(OverlayKind::Volatile(1))?, Some(MAP)),
    ];
    let (by_calls, by_commands) = (make(kept("calls")?)?, make(kept("commands")?)?);
    let mount_dir = place.run.join("desktop");
    // The references find the directories of the layers made.
    for overlay in [&by_calls, &by_commands] {
        cycle(base, overlay, &mount_dir, None)?;
    }
    let bare = Bare::new(&place.run.join("bare"), base)?;
    for round in 0..=place.arguments.rounds {
        let mut add = |name, begun: Instant| {
            // The first round warms up.
            if round > 0 {
                report.add_time(name, begun.elapsed());
            }
        };
        let begun = Instant::now();
        bare.by_commands(by_commands.path())?;
        add(COMMANDS, begun);
        let begun = Instant::now();
        bare.by_calls(by_calls.path())?;
        add(BARE, begun);
        for (name, overlay, map) in &cases {
            let begun = Instant::now();
            cycle(base, overlay, &mount_dir, *map)?;
            add(*name, begun);
        }
    }
    for (name, overlay, _) in &cases {
        report.compare(name, BARE);
        place.overlays.delete(overlay.kind())?;
    }
    for overlay in [by_calls, by_commands] {
        place.overlays.delete(overlay.kind())?;
    }
    Ok(())
}

fn cycle(
    lower: &Path,
    overlay: &OverlayFile,
    mount_dir: &Path,
    id_map: Option<IdMap>,
) -> anyhow::Result<()> {
    open_root(&OpenPlan { lower, overlay, mount_dir, id_map })?;
    let report = close_root(mount_dir);
    ensure!(report.is_clean(), "{report:?}");
    Ok(())
}
