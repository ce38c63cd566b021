//! Writing an archive.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use tar::EntryType;
use zstd::stream::write::Encoder;

use super::Exported;
use super::error::ArchiveError;
use super::header::Header;
use super::sums::{Sums, hex};
use super::tar_format::{
    BLOCK, DESCRIPTION, DISK, Extent, MAX_EXTENTS, SUMS, header, map_text, padding, sparse_records,
};
use crate::sparse_copy::for_each_extent;
use crate::step::{Step, StepError};

/// zstd's own default.
const LEVEL: i32 = 3;

/// Each piece of the contents is a frame of its own, with a checksum: damage is
/// confined to one, and found at its end.
const FRAME_BYTES: u64 = 16 << 20;

const BUFFER_BYTES: usize = 256 * 1024;

/// GNU tar's archives end at a multiple of this.
const RECORD_BYTES: u64 = 10_240;

/// Writes the file of the overlay that `about` describes.
pub(super) fn write(
    about: &Header,
    file: &File,
    path: &Path,
    to: &mut dyn Write,
) -> Result<Exported, ArchiveError> {
    let extents = extents(file, path)?;
    let map = map_text(&extents, about.size_bytes());
    let text = about.text()?;
    let mtime = about.exported_at_s();
    let mut sums = Sums::new(&text, &map);
    let mut out = Frames::new(to)?;

    out.member(DESCRIPTION, EntryType::Regular, mtime, &text)?;
    let records = sparse_records(about.size_bytes());
    out.member(&format!("PaxHeaders/{DISK}"), EntryType::XHeader, mtime, &records)?;
    let data_bytes: u64 = extents.iter().map(|extent| extent.length).sum();
    let stored = data_bytes + map.len() as u64;
    let name = format!("GNUSparseFile.0/{DISK}");
    out.put(header(&name, stored, EntryType::Regular, mtime)?.as_bytes())?;
    out.put(&map)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    for extent in &extents {
        let mut done = 0;
        while done < extent.length {
            let wanted = usize::try_from(extent.length - done)
                .map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            let offset = extent.start + done;
            file.read_exact_at(&mut buffer[..wanted], offset).step("read", path)?;
            sums.feed(offset, &buffer[..wanted]);
            out.put(&buffer[..wanted])?;
            done += wanted as u64;
        }
    }
    out.pad(stored)?;
    let text: String = sums.lines().map(|(line, _)| line).collect();
    out.member(SUMS, EntryType::Regular, mtime, text.as_bytes())?;
    let (archive_bytes, sha256) = out.finish()?;
    Ok(Exported { archive_bytes, data_bytes, sha256 })
}

/// What is not a hole. Where that is more than a map holds, small holes count
/// as data.
fn extents(file: &File, path: &Path) -> Result<Vec<Extent>, StepError> {
    let mut small_hole = 0;
    loop {
        let mut found: Vec<Extent> = Vec::new();
        let complete = for_each_extent(file, |start, end| {
            match found.last_mut() {
                Some(last) if start - (last.start + last.length) <= small_hole => {
                    last.length = end - last.start;
                }
                Some(_) | None => found.push(Extent { start, length: end - start }),
            }
            Ok(found.len() <= MAX_EXTENTS)
        });
        if complete.step("find the holes of", path)? {
            return Ok(found);
        }
        small_hole = (small_hole * 4).max(4096);
    }
}

/// Counts and hashes what passes.
struct Counted<'a> {
    to: &'a mut dyn Write,
    bytes: u64,
    hash: Sha256,
}

impl Write for Counted<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.to.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The contents of an archive on their way into compressed frames.
struct Frames<'a> {
    /// Always there but while a frame ends.
    frame: Option<Encoder<'static, Counted<'a>>>,
    in_frame: u64,
    total: u64,
}

fn begin(to: Counted<'_>) -> io::Result<Encoder<'static, Counted<'_>>> {
    let mut frame = Encoder::new(to, LEVEL)?;
    frame.include_checksum(true)?;
    Ok(frame)
}

impl<'a> Frames<'a> {
    fn new(to: &'a mut dyn Write) -> Result<Self, ArchiveError> {
        let counted = Counted { to, bytes: 0, hash: Sha256::new() };
        let frame = begin(counted).map_err(ArchiveError::Write)?;
        Ok(Self { frame: Some(frame), in_frame: 0, total: 0 })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.try_put(bytes).map_err(ArchiveError::Write)
    }

    fn try_put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.in_frame >= FRAME_BYTES
            && let Some(frame) = self.frame.take()
        {
            self.frame = Some(begin(frame.finish()?)?);
            self.in_frame = 0;
        }
        let frame = self.frame.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        frame.write_all(bytes)?;
        self.in_frame += bytes.len() as u64;
        self.total += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, length: u64) -> Result<(), ArchiveError> {
        self.put(&[0; BLOCK][..padding(length)])
    }

    fn member(
        &mut self,
        name: &str,
        kind: EntryType,
        mtime: u64,
        bytes: &[u8],
    ) -> Result<(), ArchiveError> {
        let length = bytes.len() as u64;
        self.put(header(name, length, kind, mtime)?.as_bytes())?;
        self.put(bytes)?;
        self.pad(length)
    }

    /// The end of the archive; its length and checksum.
    fn finish(mut self) -> Result<(u64, String), ArchiveError> {
        self.put(&[0; 2 * BLOCK])?;
        while !self.total.is_multiple_of(RECORD_BYTES) {
            self.put(&[0; BLOCK])?;
        }
        let frame = self.frame.take().ok_or(io::ErrorKind::BrokenPipe);
        let mut counted = frame
            .map_err(io::Error::from)
            .and_then(Encoder::finish)
            .map_err(ArchiveError::Write)?;
        counted.flush().map_err(ArchiveError::Write)?;
        Ok((counted.bytes, hex(&counted.hash.finalize())))
    }
}
