//! Finishing or clearing what a killed process left half done.
//!
//! Whatever is locked is somebody's work and left alone.

use std::path::{Path, PathBuf};

use crate::deletion::{finish, remove};
use crate::draft::clear_abandoned;
use crate::freeze::thaw_abandoned;
use crate::names_lock::NamesLock;
use crate::places::{Places, VOLATILE, deleted_kind, making_kind, record};
use crate::rollback::is_unfinished;
use crate::step::{Step, StepError};
use crate::store::finish_making;
use crate::store_error::StoreError;

/// Of all overlays.
pub(crate) fn recover(places: &Places) -> Result<(), StoreError> {
    // First: what is frozen makes a desktop hang.
    thaw_abandoned(places)?;
    recover_own(places)?;
    for sub in Places::KEPT {
        clear_drafts(&places.of(sub))?;
        let names = NamesLock::take(&places.names_lock(sub))?;
        finish_names(places, sub)?;
        let snapshots = places.snapshots_of_kind(sub);
        for dir in entries(&snapshots)? {
            recover_snapshots(places, sub, &dir)?;
        }
        drop(names);
    }
    Ok(())
}

/// Of those that are this host's alone, but for what is frozen.
pub(crate) fn recover_own(places: &Places) -> Result<(), StoreError> {
    clear_drafts(&places.templates())?;
    Ok(clear_drafts(&places.of(VOLATILE))?)
}

fn clear_drafts(dir: &Path) -> Result<(), StepError> {
    let cleared = clear_abandoned(dir)?;
    if cleared > 0 {
        tracing::info!(dir = %dir.display(), cleared, "cleared half-made files");
    }
    Ok(())
}

fn finish_names(places: &Places, sub: &str) -> Result<(), StepError> {
    for path in entries(&places.of(sub))? {
        if let Some(kind) = deleted_kind(sub, &path) {
            finish(&places.overlay(&kind), &path)?;
        } else if let Some(kind) = making_kind(sub, &path) {
            finish_making(&places.overlay(&kind), &path)?;
        }
    }
    Ok(())
}

/// `dir` has the snapshots of one overlay, or did when that was deleted.
fn recover_snapshots(places: &Places, sub: &str, dir: &Path) -> Result<(), StepError> {
    let Some(name) = dir.file_name() else { return Ok(()) };
    clear_drafts(dir)?;
    let mut overlay = places.of(sub).join(name).into_os_string();
    overlay.push(".ext4");
    for path in entries(dir)? {
        if path.extension().is_some_and(|is| is == "ext4") {
            if is_unfinished(&path, Path::new(&overlay))? {
                remove(&path)?;
                remove(&record(&path))?;
            }
        } else if path.extension().is_some_and(|is| is == "json")
            && !path.with_extension("ext4").exists()
        {
            remove(&path)?;
        }
    }
    // Fails while snapshots are in it, and that is most often so.
    drop(std::fs::remove_dir(dir));
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, StepError> {
    let entries = std::fs::read_dir(dir).step("list", dir)?;
    entries.map(|entry| Ok(entry.step("list", dir)?.path())).collect()
}
