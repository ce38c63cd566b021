//! inotify, of which the kernel counts every desktop's use for the host's root
//! too: that is who made their user namespaces (`inc_ucount`). With the kernel's
//! own limit of 128 instances a dozen desktops have none left, and one hostile
//! desktop is enough. So the host's limits are made large enough for all, and
//! each desktop gets one of its own.

use std::{collections::HashMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::record;

/// Of one desktop. Instances are the kernel's own number for one user; each takes
/// some hundred bytes, which its memory limit counts.
const LIMITS: [(&str, u32); 2] = [("instances", 128), ("watches", 131_072)];

/// File in the run directory that says what the host had before.
const BEFORE: &str = "inotify.json";

/// The host's limits by name, before and as they were set.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Raised(HashMap<String, (u32, u32)>);

/// Settings of a desktop's user namespace.
pub(crate) fn of_a_desktop() -> HashMap<String, String> {
    LIMITS.map(|(name, limit)| (format!("user.max_inotify_{name}"), limit.to_string())).into()
}

/// Makes room for this many desktops, and as much as one more for the host.
/// What is larger stays. Repeatable.
pub(crate) fn raise(run: &Path, desktops: u32) -> io::Result<()> {
    let mut raised = read(run);
    for (name, limit) in LIMITS {
        let wanted = limit.saturating_mul(desktops.saturating_add(1)).min(i32::MAX as u32);
        let now = get(name)?;
        if now < wanted {
            let before = raised.0.get(name).map_or(now, |(before, _)| *before);
            raised.0.insert(name.to_owned(), (before, wanted));
            record::write_json(&run.join(BEFORE), &raised)?;
            fs::write(setting(name), wanted.to_string())?;
        }
    }
    Ok(())
}

/// Puts back what was there before, unless somebody else has changed it since.
pub(crate) fn lower(run: &Path) -> io::Result<()> {
    for (name, (before, wanted)) in read(run).0 {
        if LIMITS.iter().any(|(known, _)| *known == name) && get(&name)? == wanted {
            fs::write(setting(&name), before.to_string())?;
        }
    }
    Ok(())
}

fn setting(name: &str) -> String {
    format!("/proc/sys/fs/inotify/max_user_{name}")
}

fn get(name: &str) -> io::Result<u32> {
    let text = fs::read_to_string(setting(name))?;
    text.trim().parse().map_err(io::Error::other)
}

fn read(run: &Path) -> Raised {
    // Missing or damaged: then nothing is known to be ours to put back.
    fs::read(run.join(BEFORE))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}
