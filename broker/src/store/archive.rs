//! A whole store in one file, to move it or to keep it: lines of JSON, of which
//! the first says what follows, the last how much it was and what it hashes to.
//! Keys under a lease are left out: they say who is there now, and are made
//! anew by those who are.

use std::io::{self, BufRead, Read as _, Write};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{
    Commit, Entry, MAX_OPERATIONS, MAX_TRANSACTION_BYTES, Revision, Store, StoreError, Transaction,
};

const FORMAT: &str = "rolltop-store";
const VERSION: u32 = 1;
/// Above the longest that an export writes: the largest value in base64.
const MAX_LINE_BYTES: u64 = 512 * 1024;
/// Left for the keys.
const BATCH_BYTES: usize = MAX_TRANSACTION_BYTES / 2;

/// An export or import did not succeed.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file failed.
    #[error("cannot {verb} the file")]
    Io {
        /// What was being done.
        verb: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not a whole export.
    #[error("line {line} of the file: {reason}")]
    Format {
        /// From 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// There is something to be lost.
    #[error(
        "the store is not empty (there is {key}): an import wants an empty one, or to be told to replace everything ('--replace')"
    )]
    NotEmpty {
        /// The first key.
        key: String,
    },
    /// Someone else wrote meanwhile, or the store is at fault.
    #[error("the store does not hold what was imported: {key} differs (is a broker running?)")]
    Differs {
        /// The first key.
        key: String,
    },
}

/// What was written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many keys.
    pub entries: u64,
    /// As of which revision of the store it came from.
    pub revision: Revision,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    entries: u64,
    sha256: String,
}

/// Writes all of the store as it is at one moment.
///
/// # Errors
/// Of the store and of `out`.
pub async fn export(
    store: &dyn Store,
    out: &mut (dyn Write + Send),
) -> Result<Summary, ArchiveError> {
    let mut scan = store.scan("").await?;
    let mut hash = Sha256::new();
    let revision = scan.revision;
    let mut entries = 0;
    let header = Header { format: FORMAT.to_owned(), version: VERSION, revision: revision.0 };
    write_line(out, &mut hash, &header)?;
    while let Some(page) = scan.pages.try_next().await? {
        for Entry { key, value, .. } in page.into_iter().filter(|entry| !entry.leased) {
            write_line(out, &mut hash, &Line { key, value: BASE64_STANDARD.encode(value) })?;
            entries += 1;
        }
    }
    let trailer = Trailer { entries, sha256: hex(hash.clone()) };
    write_line(out, &mut hash, &trailer)?;
    out.flush().map_err(io_fault("write"))?;
    Ok(Summary { entries, revision })
}

/// Reads a file to its end without using it.
///
/// # Errors
/// [`ArchiveError::Format`] unless it is whole.
pub fn check(file: &mut dyn BufRead) -> Result<Summary, ArchiveError> {
    let mut reader = Reader::begin(file)?;
    while reader.next()?.is_some() {}
    Ok(Summary { entries: reader.entries, revision: reader.revision })
}

/// Puts everything of a file into the store. `marker`: a key that is there
/// while it goes on, so that nobody takes a part for the whole; if the import
/// is interrupted, it stays.
///
/// # Errors
/// [`ArchiveError::NotEmpty`] unless `replace`, which deletes what is there.
/// [`ArchiveError::Format`] comes too late here: [`check`] the file first.
pub async fn import(
    store: &dyn Store,
    file: &mut (dyn BufRead + Send),
    marker: &str,
    replace: bool,
) -> Result<Summary, ArchiveError> {
    let mut reader = Reader::begin(file)?;
    let claim = Transaction::new().put(marker, Vec::new());
    if replace {
        store.commit(claim).await?;
        clear(store, marker).await?;
    } else {
        if let Some(entry) =
            store.scan("").await?.pages.try_next().await?.and_then(|page| page.into_iter().next())
        {
            return Err(ArchiveError::NotEmpty { key: entry.key });
        }
        applied(store, claim.absent(marker)).await?;
    }
    let mut batch = Transaction::new();
    let mut bytes = 0;
    while let Some((key, value)) = reader.next()? {
        if batch.writes.len() == MAX_OPERATIONS || bytes + value.len() > BATCH_BYTES {
            applied(store, std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
        bytes += value.len();
        // Who else writes here now is found out.
        batch = batch.absent(key.as_str()).put(key, value);
    }
    applied(store, batch).await?;
    Ok(Summary { entries: reader.entries, revision: reader.revision })
}

/// Compares the store with a file, then takes the marker of [`import`] away, in
/// one transaction with `last`.
///
/// # Errors
/// [`ArchiveError::Differs`].
pub async fn verify(
    store: &dyn Store,
    file: &mut (dyn BufRead + Send),
    marker: &str,
    last: Transaction,
) -> Result<(), ArchiveError> {
    let mut reader = Reader::begin(file)?;
    let mut pages = store.scan("").await?.pages;
    while let Some(page) = pages.try_next().await? {
        for entry in page.into_iter().filter(|entry| entry.key != marker) {
            if reader.next()? != Some((entry.key.clone(), entry.value)) {
                return Err(ArchiveError::Differs { key: entry.key });
            }
        }
    }
    if let Some((key, _)) = reader.next()? {
        return Err(ArchiveError::Differs { key });
    }
    applied(store, last.delete(marker)).await
}

async fn clear(store: &dyn Store, marker: &str) -> Result<(), ArchiveError> {
    let mut pages = store.scan("").await?.pages;
    while let Some(page) = pages.try_next().await? {
        let keys: Vec<String> =
            page.into_iter().map(|entry| entry.key).filter(|key| key != marker).collect();
        for some in keys.chunks(MAX_OPERATIONS) {
            let batch =
                some.iter().fold(Transaction::new(), |batch, key| batch.delete(key.as_str()));
            store.commit(batch).await?;
        }
    }
    Ok(())
}

async fn applied(store: &dyn Store, transaction: Transaction) -> Result<(), ArchiveError> {
    if transaction.writes.is_empty() {
        return Ok(());
    }
    match store.commit(transaction).await? {
        Commit::Applied(_) => Ok(()),
        Commit::Conflict { key } => Err(ArchiveError::Differs { key }),
    }
}

/// A file, line by line. Keys must come in their order, which also means: once.
struct Reader<'a> {
    file: &'a mut dyn BufRead,
    hash: Sha256,
    line: u64,
    entries: u64,
    revision: Revision,
    last_key: Option<String>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn begin(file: &'a mut dyn BufRead) -> Result<Self, ArchiveError> {
        let revision = Revision(0);
        let mut reader =
            Self { file, hash: Sha256::new(), line: 0, entries: 0, revision, last_key: None };
        let text = reader.line()?;
        let header: Header = reader.parse(&text)?;
        if header.format != FORMAT || header.version != VERSION {
            let Header { format, version, .. } = header;
            return Err(reader.fault(format!(
                "it is {format:?} version {version}; this broker reads {FORMAT:?} version {VERSION}"
            )));
        }
        reader.revision = Revision(header.revision);
        reader.hash.update(&text);
        Ok(reader)
    }

    /// The next key and value; `None` once the trailer proved the file whole.
    fn next(&mut self) -> Result<Option<(String, Vec<u8>)>, ArchiveError> {
        let text = self.line()?;
        let Ok(Line { key, value }) = serde_json::from_slice(&text) else {
            let trailer = self.parse(&text)?;
            return self.end(&trailer).map(|()| None);
        };
        let value = BASE64_STANDARD
            .decode(value)
            .map_err(|error| self.fault(format!("the value of {key} is not base64: {error}")))?;
        if self.last_key.as_ref().is_some_and(|last| *last >= key) {
            return Err(self.fault(format!("{key} is out of order")));
        }
        self.hash.update(&text);
        self.entries += 1;
        self.last_key = Some(key.clone());
        Ok(Some((key, value)))
    }

    fn end(&mut self, trailer: &Trailer) -> Result<(), ArchiveError> {
        if trailer.entries != self.entries {
            let (told, read) = (trailer.entries, self.entries);
            return Err(self.fault(format!("there were {told} entries once, now {read}")));
        }
        if trailer.sha256 != hex(self.hash.clone()) {
            return Err(self.fault("the checksum differs: the file was changed".to_owned()));
        }
        let rest = self.file.fill_buf().map_err(io_fault("read"))?;
        if rest.is_empty() {
            Ok(())
        } else {
            Err(self.fault("something follows the end".to_owned()))
        }
    }

    /// With its end of line.
    fn line(&mut self) -> Result<Vec<u8>, ArchiveError> {
        self.line += 1;
        let mut text = Vec::new();
        (&mut *self.file)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut text)
            .map_err(io_fault("read"))?;
        if text.ends_with(b"\n") {
            Ok(text)
        } else if text.len() as u64 == MAX_LINE_BYTES {
            Err(self.fault(format!("it is longer than {MAX_LINE_BYTES} bytes")))
        } else {
            Err(self.fault("the file ends before its end: a part is missing".to_owned()))
        }
    }

    fn parse<'t, T: Deserialize<'t>>(&self, text: &'t [u8]) -> Result<T, ArchiveError> {
        serde_json::from_slice(text).map_err(|error| self.fault(error.to_string()))
    }

    fn fault(&self, reason: String) -> ArchiveError {
        ArchiveError::Format { line: self.line, reason }
    }
}

fn write_line(
    out: &mut (dyn Write + Send),
    hash: &mut Sha256,
    line: &impl Serialize,
) -> Result<(), ArchiveError> {
    let mut text = serde_json::to_vec(line).map_err(|error| io_fault("write")(error.into()))?;
    text.push(b'\n');
    hash.update(&text);
    out.write_all(&text).map_err(io_fault("write"))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io_fault(verb: &'static str) -> impl FnOnce(io::Error) -> ArchiveError {
    move |source| ArchiveError::Io { verb, source }
}
