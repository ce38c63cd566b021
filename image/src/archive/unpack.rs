//! Putting the members of a tar file into a tree.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec};
use rustix::io::Errno;

use super::member::{Kind, Member};
use super::whiteout::Meaning;
use super::write::{dress_unopened, fill, set_times, write_with_holes};
use super::{ArchiveError, Guarded, Limits, Unpacked, xattr};
use crate::tree::{InnerPath, Place, Tree};

/// Reads are of this size.
const CHUNK: usize = 64 << 10;

/// Whether `.wh.` names take something away, or are names like others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whiteouts {
    Honoured,
    Plain,
}

/// Unpacks one archive after another into a tree.
#[derive(Debug)]
pub(crate) struct Unpacker<'t> {
    tree: &'t Tree,
    limits: Limits,
    done: Unpacked,
    /// Times of directories, set last: what is put into one changes them.
    times: HashMap<InnerPath, Timespec>,
    /// What the present layer has put there, and the directories it lies in.
    fresh: HashSet<InnerPath>,
    buffer: Vec<u8>,
}

// === impl Unpacker ===

impl<'t> Unpacker<'t> {
    pub(crate) fn new(tree: &'t Tree, limits: Limits) -> Self {
        let (times, fresh) = Default::default();
        Self { tree, limits, done: Unpacked::default(), times, fresh, buffer: vec![0; CHUNK] }
    }

    /// Unpacks one archive over what is there. It is read to its very end, so
    /// that who digests the stream has seen all of it.
    pub(crate) fn unpack(
        &mut self,
        reader: &mut dyn Read,
        whiteouts: Whiteouts,
    ) -> Result<(), ArchiveError> {
        self.fresh.clear();
        let (guarded, allowance) = Guarded::new(&mut *reader);
        let mut archive = tar::Archive::new(guarded);
        let mut entries = archive.entries().map_err(ArchiveError::Read)?;
        loop {
            allowance.headers();
            let Some(entry) = entries.next() else { break };
            let mut entry = entry.map_err(ArchiveError::Read)?;
            let member = Member::read(&mut entry)?;
            allowance.data();
            self.count(1, 0)?;
            self.done.attributes_skipped += member.attributes_skipped;
            match whiteouts {
                Whiteouts::Plain => self.put(&member, &mut entry)?,
                Whiteouts::Honoured => self.put_or_take(&member, &mut entry)?,
            }
            io::copy(&mut entry, &mut io::sink()).map_err(ArchiveError::Read)?;
        }
        drop(archive);
        io::copy(reader, &mut io::sink()).map_err(ArchiveError::Read)?;
        Ok(())
    }

    /// After the last archive.
    pub(crate) fn finish(self) -> Result<Unpacked, ArchiveError> {
        for (path, time) in &self.times {
            let set = || {
                let dir = match path.split() {
                    None => return Ok(set_times(self.tree.root(), *time)?),
                    Some(_) => self.tree.place(path)?.open(OFlags::RDONLY | OFlags::DIRECTORY),
                };
                match dir {
                    Ok(dir) => Ok(set_times(&dir, *time)?),
                    // A later member is in its place.
                    Err(e) if crate::inside::is_absent(&e) => Ok(()),
                    Err(e) => Err(e),
                }
            };
            match set() {
                Err(e) if !crate::inside::is_absent(&e) => {
                    return Err(failed("set the time of", path)(e));
                }
                _ => {}
            }
        }
        Ok(self.done)
    }

    fn count(&mut self, members: u64, bytes: u64) -> Result<(), ArchiveError> {
        self.done.members += members;
        self.done.bytes = self.done.bytes.saturating_add(bytes);
        if self.done.members > self.limits.members {
            return Err(ArchiveError::TooLarge { what: "members", limit: self.limits.members });
        }
        if self.done.bytes > self.limits.bytes {
            return Err(ArchiveError::TooLarge { what: "bytes", limit: self.limits.bytes });
        }
        Ok(())
    }

    fn put_or_take(&mut self, member: &Member, data: &mut dyn Read) -> Result<(), ArchiveError> {
        match Meaning::of(&member.path) {
            Meaning::Nothing => Ok(()),
            Meaning::Gone(path) if self.fresh.contains(&path) => Ok(()),
            Meaning::Gone(path) => {
                let gone = self.tree.remove(&path).map_err(failed("white out", &path))?;
                self.done.whited_out += u64::from(gone);
                Ok(())
            }
            Meaning::Opaque(dir) => self.take_lower(&dir),
            Meaning::Plain => {
                self.put(member, data)?;
                let mut path = Some(member.path.clone());
                while let Some(fresh) = path {
                    path = fresh.parent();
                    if !self.fresh.insert(fresh) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// Removes what lower layers have in a directory, and leaves what this one has put there.
    fn take_lower(&mut self, dir: &InnerPath) -> Result<(), ArchiveError> {
        let names = match dir.is_root() {
            true => self.tree.root_names(),
            false => self.tree.names(dir),
        };
        for name in names.map_err(failed("list", dir))? {
            let path = dir.join(name);
            if self.fresh.contains(&path) {
                self.take_lower(&path)?;
            } else {
                let gone = self.tree.remove(&path).map_err(failed("white out", &path))?;
                self.done.whited_out += u64::from(gone);
            }
        }
        Ok(())
    }

    fn put(&mut self, member: &Member, data: &mut dyn Read) -> Result<(), ArchiveError> {
        let path = &member.path;
        match &member.kind {
            Kind::Remark => return Ok(()),
            Kind::Device => {
                self.done.devices_skipped += 1;
                return Ok(());
            }
            Kind::Directory => return self.put_directory(member),
            _ => {}
        }
        let place = self.tree.place_made(path).map_err(failed("find the place of", path))?;
        match &member.kind {
            Kind::File => {
                place.remove().map_err(failed("replace", path))?;
                self.put_file(member, &place, data)
            }
            Kind::SymbolicLink(target) => {
                place.remove().map_err(failed("replace", path))?;
                rustix::fs::symlinkat(target, &place.dir, place.name)
                    .and_then(|()| dress_unopened(&place, member, false))
                    .map_err(|e| failed("make the link", path)(e.into()))
            }
            Kind::Fifo => {
                place.remove().map_err(failed("replace", path))?;
                let mode = Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(&place.dir, place.name, FileType::Fifo, mode, 0)
                    .and_then(|()| dress_unopened(&place, member, true))
                    .map_err(|e| failed("make the FIFO", path)(e.into()))
            }
            Kind::HardLink(target) => self.put_hard_link(member, &place, target),
            Kind::Directory | Kind::Device | Kind::Remark => Ok(()), // dealt with above
        }
    }

    fn put_directory(&mut self, member: &Member) -> Result<(), ArchiveError> {
        let path = &member.path;
        let made = || {
            if path.is_root() {
                return self.tree.root().try_clone_to_owned();
            }
            let place = self.tree.place_made(path)?;
            if place.file_type()? != Some(FileType::Directory) {
                place.remove()?;
                rustix::fs::mkdirat(&place.dir, place.name, Mode::RWXU)?;
            }
            place.open(OFlags::RDONLY | OFlags::DIRECTORY)
        };
        let dir = made().map_err(failed("make the directory", path))?;
        self.dress(&dir, member)?;
        self.times.insert(path.clone(), member.modified);
        Ok(())
    }

    fn put_file(
        &mut self,
        member: &Member,
        place: &Place<'_>,
        mut data: &mut dyn Read,
    ) -> Result<(), ArchiveError> {
        let path = &member.path;
        let file = place.create(0o600).map_err(failed("make", path))?;
        let map = member.sparse.map(&path.to_string(), &mut data)?;
        match map {
            None => self.write(path, &file, 0, data, u64::MAX)?,
            Some(map) => {
                self.count(0, map.size)?;
                for piece in map.pieces {
                    let counted = self.done.bytes;
                    let mut part = data.take(piece.length);
                    self.write(path, &file, piece.offset, &mut part, piece.length)?;
                    // The file's size was counted as a whole.
                    self.done.bytes = counted;
                    data = part.into_inner();
                }
                file.set_len(map.size).map_err(failed("write", path))?;
            }
        }
        self.dress(&file, member)?;
        set_times(&file, member.modified).map_err(|e| failed("set the time of", path)(e.into()))
    }

    /// Writes data from `offset` on; blocks of zeros become holes. `least` bytes
    /// must come, unless there is no telling.
    fn write(
        &mut self,
        path: &InnerPath,
        mut file: &File,
        offset: u64,
        data: &mut dyn Read,
        least: u64,
    ) -> Result<(), ArchiveError> {
        let write = failed("write", path);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut end = offset;
        let result = loop {
            let count = match fill(data, &mut buffer) {
                Ok(0) => break Ok(()),
                Ok(count) => count,
                Err(e) => break Err(ArchiveError::Read(e)),
            };
            if let Err(e) = self.count(0, count as u64) {
                break Err(e);
            }
            let chunk = buffer.get(..count).unwrap_or_default();
            if let Err(e) = write_with_holes(&mut file, end, chunk) {
                break Err(failed("write", path)(e));
            }
            end += count as u64;
        };
        self.buffer = buffer;
        result?;
        if least != u64::MAX && end - offset < least {
            return Err(ArchiveError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let long = file.metadata().map(|meta| meta.len() < end);
        if long.as_ref().is_ok_and(|&short| short) {
            file.set_len(end).map_err(write)?;
        }
        Ok(())
    }

    fn put_hard_link(
        &self,
        member: &Member,
        place: &Place<'_>,
        target: &InnerPath,
    ) -> Result<(), ArchiveError> {
        let path = &member.path;
        if target == path {
            return Ok(());
        }
        let dangling = || ArchiveError::DanglingHardLink {
            path: path.to_string(),
            target: target.to_string(),
        };
        let from = match self.tree.place(target) {
            Ok(from) => from,
            Err(e) if crate::inside::is_absent(&e) => return Err(dangling()),
            Err(e) => return Err(failed("find the target of", path)(e)),
        };
        let link =
            || rustix::fs::linkat(&from.dir, from.name, &place.dir, place.name, AtFlags::empty());
        let linked = match link() {
            Err(Errno::EXIST) => {
                place.remove().map_err(failed("replace", path))?;
                link()
            }
            other => other,
        };
        match linked {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => Err(dangling()),
            Err(e) => Err(failed("link", path)(e.into())),
        }
    }

    /// Owner, mode and attributes, in this order: a change of owner takes
    /// set-id bits and capabilities away.
    fn dress(&mut self, file: impl AsFd, member: &Member) -> Result<(), ArchiveError> {
        let owner = member.owner;
        rustix::fs::fchown(&file, Some(owner.user), Some(owner.group))
            .map_err(|e| failed("set the owner of", &member.path)(e.into()))?;
        rustix::fs::fchmod(&file, member.mode)
            .map_err(|e| failed("set the mode of", &member.path)(e.into()))?;
        for (name, value) in &member.attributes {
            let set = xattr::set(&file, name, value)
                .map_err(failed("set an attribute of", &member.path))?;
            self.done.attributes_skipped += u64::from(!set);
        }
        Ok(())
    }
}

fn failed(verb: &'static str, path: &InnerPath) -> impl Fn(io::Error) -> ArchiveError + use<> {
    let path = path.to_string();
    move |source| ArchiveError::Member { verb, path: path.clone(), source }
}

#[cfg(test)]
mod tests;
