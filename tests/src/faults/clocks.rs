//! Clocks that are wrong: libfaketime, by which a program sees another time of
//! day. What counts seconds from the machine's start stays as it is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// How long a program goes on with the time it had, seconds.
const TAKEN_UP_S: &str = "1";

/// The library; none: it is not installed (package `faketime`).
pub fn library() -> Option<PathBuf> {
    let dirs = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    let mut found = dirs.map(|dir| dir.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.is_file())
}

/// What a program is started with, so that it goes by the clock in `file`.
///
/// # Errors
/// The library is missing, or the file cannot be written.
pub fn environment(file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let library = library().context("there is no libfaketime (package faketime)")?;
    set(file, 0)?;
    let text = |path: &Path| path.display().to_string();
    let all = [
        ("LD_PRELOAD", text(&library)),
        ("FAKETIME_TIMESTAMP_FILE", text(file)),
        ("FAKETIME_CACHE_DURATION", TAKEN_UP_S.to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    Ok(all.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Sets a clock: wrong by so many seconds.
///
/// # Errors
/// The file cannot be written.
pub fn set(file: &Path, by_s: i64) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    // Never seen empty, which would be no offset at all.
    fs::write(&new, format!("{by_s:+}\n"))
        .and_then(|()| fs::rename(&new, file))
        .with_context(|| format!("cannot write {}", file.display()))
}
