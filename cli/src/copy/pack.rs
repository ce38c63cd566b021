//! Files of ours, into a tar stream.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use tar::{Builder, HeaderMode};

/// Writes `source`, a file or a whole directory, as `name`. Links go as links.
///
/// # Errors
/// Something cannot be read, or the stream takes no more.
pub(crate) fn pack(source: &Path, name: &Path, to: impl Write) -> io::Result<()> {
    let mut archive = Builder::new(to);
    archive.mode(HeaderMode::Complete);
    archive.follow_symlinks(false);
    // Small tars, as in busybox, do not know GNU's sparse members.
    archive.sparse(false);
    if fs::symlink_metadata(source)?.is_dir() {
        archive.append_dir_all(name, source)?;
    } else {
        archive.append_path_with_name(source, name)?;
    }
    archive.into_inner()?.flush()
}

/// Bytes of all files in it, for a progress bar: what cannot be read counts
/// nothing here.
pub(crate) fn size_of(source: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(source) else { return 0 };
    if !meta.is_dir() {
        return if meta.is_file() { meta.len() } else { 0 };
    }
    let entries = fs::read_dir(source).into_iter().flatten().flatten();
    entries.map(|entry| size_of(&entry.path())).sum()
}
