//! What is known about a kept overlay besides its file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::draft::{Draft, DraftError};
use crate::options::OverlayOptions;
use crate::step::{Step, StepError};

pub(crate) const FORMAT: u32 = 1;

/// A record is some hundred bytes; whatever is larger is none.
const MAX_BYTES: u64 = 16 * 1024;

/// Why a record could not be read or written.
#[derive(Debug, Error)]
pub enum RecordError {
    /// There is none.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// It is not as expected.
    #[error("{} is not a record of an overlay", path.display())]
    Malformed {
        /// The record.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// It is of a later version of this program.
    #[error("{} has format {found}, known is {FORMAT}", path.display())]
    Format {
        /// The record.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It was not published.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// Any other call.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// The record of a kept overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    format: u32,
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    pub(crate) uuid: Uuid,
    pub(crate) options: OverlayOptions,
    /// Milliseconds since 1970.
    pub(crate) created_at_ms: u64,
}

/// All that is sure of a record of any format.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

// === impl Record ===

impl Record {
    pub(crate) fn new(
        name: &str,
        size_bytes: u64,
        uuid: Uuid,
        options: OverlayOptions,
        created_at_ms: u64,
    ) -> Self {
        Self { format: FORMAT, name: name.to_owned(), size_bytes, uuid, options, created_at_ms }
    }

    pub(crate) fn read(path: &Path) -> Result<Self, RecordError> {
        read(path)
    }

    /// Writes it durably, in place of an older one.
    pub(crate) fn write(&self, path: &Path) -> Result<(), RecordError> {
        write(path, self)
    }
}

/// Reads a record of any kind that has this program's format.
pub(crate) fn read<R: DeserializeOwned>(path: &Path) -> Result<R, RecordError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(RecordError::Missing(path.to_owned()));
        }
        other => other.step("open", path)?,
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).step("read", path)?;
    parse(path, &text)
}

pub(crate) fn parse<R: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<R, RecordError> {
    let malformed = |source| RecordError::Malformed { path: path.to_owned(), source };
    let AnyFormat { format } = serde_json::from_slice(text).map_err(malformed)?;
    if format != FORMAT {
        return Err(RecordError::Format { path: path.to_owned(), found: format });
    }
    serde_json::from_slice(text).map_err(malformed)
}

/// Writes a record of any kind durably, in place of an older one.
pub(crate) fn write<R: Serialize>(path: &Path, record: &R) -> Result<(), RecordError> {
    let mut text = serde_json::to_vec_pretty(record)
        .map_err(|source| RecordError::Malformed { path: path.to_owned(), source })?;
    text.push(b'\n');
    let draft = Draft::create(path)?;
    draft.file().write_all(&text).step("write", draft.path())?;
    draft.file().sync_all().step("sync", draft.path())?;
    Ok(draft.replace()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::new("desk", 64 << 20, Uuid::from_u128(7), OverlayOptions::kept(), 1_700_000_000_000)
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("desk.json");
        assert!(matches!(Record::read(&path), Err(RecordError::Missing(_))));
        record().write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), record());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_formats_and_other_things_are_refused() {
        let path = Path::new("x.json");
        let text = serde_json::to_string(&record()).unwrap();
        assert!(parse::<Record>(path, text.as_bytes()).is_ok());
        let newer = r#"{"format":2,"shape":"unknown"}"#;
        assert!(matches!(
            parse::<Record>(path, newer.as_bytes()),
            Err(RecordError::Format { found: 2, .. })
        ));
        let extra = text.replacen('{', r#"{"more":1,"#, 1);
        for bad in ["", "{", "[]", "null", "{}", extra.as_str(), &text[..text.len() / 2]] {
            assert!(
                matches!(parse::<Record>(path, bad.as_bytes()), Err(RecordError::Malformed { .. })),
                "{bad}"
            );
        }
    }
}
