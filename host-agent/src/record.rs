//! What the agent keeps of a desktop on disk: written before the kernel
//! objects it names are made, so that the next agent can adopt the living and
//! take away the half-made.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rolltop_fail_points as fail_points;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    address::Number,
    lifecycle::State,
    process::ProcessId,
    request::{Account, Home, Limits},
};

/// Version of the record's form. A record of another version is not read; its
/// desktop is taken down from what its number tells.
pub const FORMAT: u32 = 1;

/// Largest record that is read, bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// A desktop, as far as it must outlive the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// Its number.
    pub number: Number,
    /// Epoch of the start that made it.
    pub epoch: u64,
    /// Request that made it.
    pub request_id: String,
    /// "pool/user", for people.
    pub label: String,
    /// Whose it is; none: it was made ahead of its user.
    pub account: Option<Account>,
    /// Image as asked for.
    pub image: String,
    /// Version that was resolved.
    pub version: String,
    /// Name of its persistent overlay; none: volatile.
    pub persistent_overlay: Option<String>,
    /// A home beside the overlay. Records of before have none.
    #[serde(default)]
    pub home: Option<Home>,
    /// Rules for what it sends. Records of before have none.
    #[serde(default)]
    pub egress: Vec<String>,
    /// Limits it was started with.
    pub limits: Limits,
    /// Runtime that made its container.
    pub runtime: String,
    /// File name of the display's socket.
    pub display_socket: String,
    /// Of an image's own init: the signal that asks it to end. None: Rolltop's.
    /// Records of before have none.
    #[serde(default)]
    pub init_stop_signal: Option<i32>,
    /// Where it is in its life. Only what was up is adopted: see `recovery`.
    pub state: State,
    /// Its init, once there is one.
    pub init: Option<ProcessId>,
    /// Seconds since 1970.
    pub started_at: u64,
}

/// A record that cannot be used.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is too large, or not a record.
    #[error("{path} is no record of this version: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Record {
    /// Reads a record back.
    ///
    /// # Errors
    /// No file, no permission, or no record of this version.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let record: Self = read_json(path)?;
        if record.format == FORMAT {
            Ok(record)
        } else {
            Err(RecordError::Damaged {
                path: path.into(),
                reason: format!("format {}, this agent reads {FORMAT}", record.format),
            })
        }
    }

    /// Writes the record in one step.
    ///
    /// # Errors
    /// The disk is full, or the directory is gone.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_json(path, self)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, RecordError> {
    let read = || {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, MAX_BYTES), &mut bytes)?;
        Ok((length, bytes))
    };
    let (length, bytes) =
        read().map_err(|source| RecordError::Read { path: path.into(), source })?;
    let damaged = |reason| RecordError::Damaged { path: path.into(), reason };
    if length > MAX_BYTES {
        return Err(damaged(format!("{length} bytes, {MAX_BYTES} at most")));
    }
    serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))
}

/// Replaces `path` by `value` as JSON: whoever reads it, also after a crash,
/// finds the old text or the new one, never half of either.
///
/// # Errors
/// Any step of writing, syncing or renaming.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&bytes)?;
    fail_points::pass("write record");
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fail_points::pass("rename record");
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            format: FORMAT,
            number: Number::new(7).unwrap(),
            epoch: 3,
            request_id: "r".into(),
            label: "demo/alice".into(),
            account: Some(Account { name: "alice".into(), uid: 2000, full_name: String::new() }),
            image: "demo:stable".into(),
            version: "1".into(),
            persistent_overlay: None,
            home: None,
            egress: vec!["deny all".into()],
            limits: Limits::default(),
            runtime: "builtin".into(),
            display_socket: "vnc.sock".into(),
            init_stop_signal: None,
            state: State::Planned,
            init: None,
            started_at: 1,
        }
    }

    #[test]
    fn comes_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        let mut written = record();
        written.write(&path).unwrap();
        written.state = State::Running;
        written.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), written);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn damaged_records_are_told_apart_from_missing_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        assert!(matches!(Record::read(&path), Err(RecordError::Read { .. })));
        let whole = serde_json::to_string(&record()).unwrap();
        let half = &whole[..whole.len() / 2];
        let newer = whole.replace("\"format\":1", "\"format\":2");
        let long = " ".repeat(MAX_BYTES as usize + 1);
        for text in ["", "{}", half, &newer, &long, &whole.replace("\"number\":7", "\"number\":0")]
        {
            fs::write(&path, text).unwrap();
            assert!(matches!(Record::read(&path), Err(RecordError::Damaged { .. })), "{text:.40}");
        }
    }
}
