//! Reading an archive that may be damaged, or made to do harm.
//!
//! Nothing is believed before it is checked, and memory stays bounded: only the
//! map of holes grows with the overlay, to a limit.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use tar::{EntryType, Header as TarHeader};
use zstd::stream::read::Decoder;

use super::error::ArchiveError;
use super::header::{self, Header};
use super::sums::Sums;
use super::tar_format::{
    BLOCK, DESCRIPTION, DISK, Extent, MAX_MAP_BYTES, MAX_PAX_BYTES, MapParser, SUMS, padding,
    pax_value, wrong,
};
use crate::step::Step;

/// The most memory that decompressing may ask for: 2^24 bytes. What zstd(1)
/// makes at its usual levels needs 2^21 to 2^23.
const WINDOW_LOG_MAX: u32 = 24;

const BUFFER_BYTES: usize = 256 * 1024;

/// What is all zero stays a hole, in pieces of this size.
const ZERO_BYTES: usize = 4096;

/// GNU tar fills up its last record.
const MAX_END_BYTES: u64 = 1 << 20;

/// An archive that is read, member by member, in order.
pub(super) struct Reader<'a> {
    from: Decoder<'static, BufReader<&'a mut dyn Read>>,
    at: u64,
    description: Vec<u8>,
    /// Of the sparse member.
    stored: u64,
    sums: Option<Sums>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(from: &'a mut dyn Read) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Read { at: 0, source };
        let mut from =
            Decoder::with_buffer(BufReader::with_capacity(BUFFER_BYTES, from)).map_err(failed)?;
        from.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
        Ok(Self { from, at: 0, description: Vec::new(), stored: 0, sums: None })
    }

    /// The description, which comes first.
    pub(super) fn header(&mut self) -> Result<Header, ArchiveError> {
        let member = self.member(DESCRIPTION)?;
        if member.entry_type() != EntryType::Regular
            || member.path_bytes() != DESCRIPTION.as_bytes()
        {
            return Err(malformed(DESCRIPTION, "is not the first member"));
        }
        self.description = self.small(DESCRIPTION, &member, header::MAX_BYTES)?;
        Header::parse(&self.description)
    }

    /// What is not a hole in the file of `size_bytes` bytes, which comes next.
    pub(super) fn extents(&mut self, size_bytes: u64) -> Result<Vec<Extent>, ArchiveError> {
        let extra = self.member(DISK)?;
        if extra.entry_type() != EntryType::XHeader {
            return Err(wrong("is not a sparse file in GNU tar's format 1.0"));
        }
        let records = self.small(DISK, &extra, MAX_PAX_BYTES)?;
        let value = |key| pax_value(&records, key).unwrap_or_default();
        if value("GNU.sparse.major") != "1" || value("GNU.sparse.minor") != "0" {
            return Err(wrong("is not a sparse file in GNU tar's format 1.0"));
        }
        if value("GNU.sparse.name") != DISK {
            return Err(wrong("is not the second member"));
        }
        if value("GNU.sparse.realsize") != size_bytes.to_string() {
            return Err(wrong("has another size than the description says"));
        }
        let member = self.member(DISK)?;
        self.stored = match pax_value(&records, "size") {
            Some(size) => size.parse().map_err(|_| wrong("has no size"))?,
            None => member.entry_size().map_err(|_| wrong("has no size"))?,
        };
        let (map, extents) = self.map(size_bytes)?;
        let data: u64 = extents.iter().map(|extent| extent.length).sum();
        if self.stored != map.len() as u64 + data {
            return Err(wrong("has another length than its map"));
        }
        self.sums = Some(Sums::new(&self.description, &map));
        Ok(extents)
    }

    fn map(&mut self, size_bytes: u64) -> Result<(Vec<u8>, Vec<Extent>), ArchiveError> {
        let mut parser = MapParser::new(size_bytes);
        let mut text = Vec::new();
        loop {
            let mut block = [0; BLOCK];
            self.read(&mut block)?;
            text.extend(block);
            if text.len() as u64 > MAX_MAP_BYTES {
                return Err(wrong("the map is too long"));
            }
            for byte in block {
                // What fills up the last block is of no interest.
                if parser.byte(byte)? {
                    return Ok((text, parser.finish()));
                }
            }
        }
    }

    /// Writes the data to `to`, an empty file of the right size. What is all
    /// zero stays a hole.
    pub(super) fn contents(
        &mut self,
        extents: &[Extent],
        to: &File,
        path: &Path,
    ) -> Result<(), ArchiveError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        for extent in extents {
            let mut done = 0;
            while done < extent.length {
                let wanted = usize::try_from(extent.length - done)
                    .map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
                self.read(&mut buffer[..wanted])?;
                let offset = extent.start + done;
                if let Some(sums) = &mut self.sums {
                    sums.feed(offset, &buffer[..wanted]);
                }
                write_sparse(to, &buffer[..wanted], offset).step("write", path)?;
                done += wanted as u64;
            }
        }
        self.skip(padding(self.stored))
    }

    /// The checksums, which come last, and the end of the archive.
    pub(super) fn sums(&mut self) -> Result<(), ArchiveError> {
        let member = self.member(SUMS)?;
        if member.path_bytes() != SUMS.as_bytes() {
            return Err(malformed(SUMS, "is not the third member"));
        }
        let Some(mut sums) = self.sums.take() else {
            return Err(malformed(SUMS, "comes too early"));
        };
        let length = member.entry_size().map_err(|_| malformed(SUMS, "has no size"))?;
        let mut left = length;
        for (line, of) in sums.lines() {
            let mut found = vec![0; line.len()];
            left = left
                .checked_sub(line.len() as u64)
                .ok_or_else(|| malformed(SUMS, "is too short"))?;
            self.read(&mut found)?;
            if found != line.as_bytes() {
                return Err(ArchiveError::Checksum { part: of });
            }
        }
        if left > 0 {
            return Err(malformed(SUMS, "is too long"));
        }
        self.skip(padding(length))?;
        self.end()
    }

    /// Nothing but zeros is left.
    fn end(&mut self) -> Result<(), ArchiveError> {
        let mut end = [0; 2 * BLOCK];
        self.read(&mut end)?;
        let limit = self.at + MAX_END_BYTES;
        let mut filled = end.len();
        while filled > 0 {
            if end[..filled].iter().any(|byte| *byte != 0) || self.at > limit {
                return Err(malformed("the end", "something comes after it"));
            }
            filled = match self.from.read(&mut end) {
                Ok(filled) => filled,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(source) => return Err(ArchiveError::Read { at: self.at, source }),
            };
            self.at += filled as u64;
        }
        Ok(())
    }

    /// The header of the next member, whose checksum is right.
    fn member(&mut self, name: &'static str) -> Result<TarHeader, ArchiveError> {
        let mut block = [0; BLOCK];
        self.read(&mut block)?;
        let header = TarHeader::from_byte_slice(&block).clone();
        // A sum of bytes, the field itself counting as spaces.
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
        if header.cksum().ok() != Some(sum + 8 * u32::from(b' ')) {
            return Err(malformed(name, "there is no tar header"));
        }
        Ok(header)
    }

    /// A member that is read as a whole.
    fn small(
        &mut self,
        name: &'static str,
        member: &TarHeader,
        limit: u64,
    ) -> Result<Vec<u8>, ArchiveError> {
        let length = member.entry_size().map_err(|_| malformed(name, "has no size"))?;
        if length > limit {
            return Err(malformed(name, "is too long"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.read(&mut bytes)?;
        self.skip(padding(length))?;
        Ok(bytes)
    }

    fn skip(&mut self, length: usize) -> Result<(), ArchiveError> {
        self.read(&mut [0; BLOCK][..length])
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        self.from
            .read_exact(buffer)
            .map_err(|source| ArchiveError::Read { at: self.at, source })?;
        self.at += buffer.len() as u64;
        Ok(())
    }
}

fn malformed(member: &'static str, problem: &'static str) -> ArchiveError {
    ArchiveError::Malformed { member, problem }
}

fn write_sparse(to: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    let zero = |piece: &[u8]| piece.iter().all(|byte| *byte == 0);
    let mut position = offset;
    let pieces: Vec<&[u8]> = bytes.chunks(ZERO_BYTES).collect();
    for run in pieces.chunk_by(|a, b| zero(a) == zero(b)) {
        let length: usize = run.iter().map(|piece| piece.len()).sum();
        if !run.first().is_some_and(|piece| zero(piece)) {
            let start = usize::try_from(position - offset).unwrap_or(usize::MAX);
            to.write_all_at(&bytes[start..start + length], position)?;
        }
        position += length as u64;
    }
    Ok(())
}
