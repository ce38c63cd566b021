//! The little of tar that an archive uses: plain members, and one sparse file
//! in GNU tar's format 1.0 ("Storing Sparse Files" in its manual), for which a
//! PAX header gives name and size, and the data begins with a map in decimal.

use tar::{EntryType, Header};

use super::error::ArchiveError;

pub(super) const BLOCK: usize = 512;

pub(super) const DESCRIPTION: &str = "rolltop-overlay.json";
pub(super) const DISK: &str = "overlay.ext4";
pub(super) const SUMS: &str = "rolltop-overlay.sha256";

/// A file of 16 TiB with more pieces than that would be odd; the map of so many
/// has 40 MiB at most.
pub(super) const MAX_EXTENTS: usize = 1 << 20;

/// Bounds the text of a map: two numbers per extent, and their count.
pub(super) const MAX_MAP_BYTES: u64 = (MAX_EXTENTS as u64 + 2) * 42;

/// A PAX header has some lines.
pub(super) const MAX_PAX_BYTES: u64 = 16 * 1024;

/// A range of the file that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) length: u64,
}

/// How many bytes fill up the last block of `length` bytes.
pub(super) fn padding(length: u64) -> usize {
    let over = usize::try_from(length % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

pub(super) fn header(
    name: &str,
    size: u64,
    kind: EntryType,
    mtime: u64,
) -> Result<Header, ArchiveError> {
    let mut header = Header::new_ustar();
    header.set_path(name).map_err(ArchiveError::Write)?;
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(mtime);
    header.set_entry_type(kind);
    header.set_cksum();
    Ok(header)
}

/// What a PAX header says of the sparse file.
pub(super) fn sparse_records(real_size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in [
        ("GNU.sparse.major", "1".to_owned()),
        ("GNU.sparse.minor", "0".to_owned()),
        ("GNU.sparse.name", DISK.to_owned()),
        ("GNU.sparse.realsize", real_size.to_string()),
    ] {
        out.extend(pax_record(key, &value).into_bytes());
    }
    out
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn pax_record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

/// The value of `key` in the text of a PAX header.
pub(super) fn pax_value(mut text: &[u8], key: &str) -> Option<String> {
    let mut found = None;
    while let Some(space) = text.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&text[..space]).ok()?.parse().ok()?;
        let record = text.get(space + 1..length)?.strip_suffix(b"\n")?;
        let record = std::str::from_utf8(record).ok()?;
        if let Some((name, value)) = record.split_once('=')
            && name == key
        {
            found = Some(value.to_owned());
        }
        text = &text[length..];
    }
    found
}

/// The map as text, filled up to whole blocks. It ends with an empty extent at
/// the end of the file, as GNU tar's does.
pub(super) fn map_text(extents: &[Extent], real_size: u64) -> Vec<u8> {
    let mut text = format!("{}\n", extents.len() + 1);
    for extent in extents {
        text.push_str(&format!("{}\n{}\n", extent.start, extent.length));
    }
    text.push_str(&format!("{real_size}\n0\n"));
    let mut text = text.into_bytes();
    text.resize(text.len() + padding(text.len() as u64), 0);
    text
}

/// Extents of a map that comes number by number. They are in order, apart, and
/// within the file, and none is empty.
#[derive(Debug)]
pub(super) struct MapParser {
    real_size: u64,
    /// How many numbers are still to come, once that is known.
    missing: Option<u64>,
    start: Option<u64>,
    end: u64,
    number: Option<u64>,
    extents: Vec<Extent>,
}

// === impl MapParser ===

impl MapParser {
    pub(super) fn new(real_size: u64) -> Self {
        let (missing, start, number) = (None, None, None);
        Self { real_size, missing, start, end: 0, number, extents: Vec::new() }
    }

    /// Takes the next byte; whether the map is complete with it.
    pub(super) fn byte(&mut self, byte: u8) -> Result<bool, ArchiveError> {
        match (byte, self.number) {
            (b'0'..=b'9', number) => {
                let digit = u64::from(byte - b'0');
                let next = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit));
                self.number = Some(next.ok_or(wrong("a number of the map is too large"))?);
                Ok(false)
            }
            (b'\n', Some(number)) => {
                self.number = None;
                self.take(number)?;
                Ok(self.missing == Some(0))
            }
            _ => Err(wrong("the map is not made of numbers")),
        }
    }

    fn take(&mut self, number: u64) -> Result<(), ArchiveError> {
        let Some(missing) = &mut self.missing else {
            if number > MAX_EXTENTS as u64 + 1 {
                return Err(wrong("the map has too many entries"));
            }
            self.missing = Some(number * 2);
            return Ok(());
        };
        *missing -= 1;
        let Some(start) = self.start.take() else {
            self.start = Some(number);
            return Ok(());
        };
        let end = start.checked_add(number).filter(|end| *end <= self.real_size);
        let end = end.ok_or(wrong("the map goes beyond the end of the file"))?;
        if start < self.end {
            return Err(wrong("entries of the map overlap or are out of order"));
        }
        self.end = end;
        if number > 0 {
            self.extents.push(Extent { start, length: number });
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<Extent> {
        self.extents
    }
}

pub(super) fn wrong(problem: &'static str) -> ArchiveError {
    ArchiveError::Malformed { member: DISK, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &[u8], real_size: u64) -> Result<Option<Vec<Extent>>, ArchiveError> {
        let mut parser = MapParser::new(real_size);
        for byte in text {
            if parser.byte(*byte)? {
                return Ok(Some(parser.finish()));
            }
        }
        Ok(None)
    }

    #[test]
    fn maps_that_lie_are_refused() {
        for (bad, problem) in [
            ("2\n0\n10\n5\n10\n", "overlap"),
            ("2\n50\n10\n0\n10\n", "overlap"),
            ("1\n95\n6\n", "beyond"),
            ("1\n18446744073709551615\n2\n", "beyond"),
            ("1\n18446744073709551616\n2\n", "too large"),
            ("99999999\n", "too many"),
            ("1\n-1\n2\n", "numbers"),
            ("\n", "numbers"),
            ("1 2", "numbers"),
        ] {
            let error = parse(bad.as_bytes(), 100).unwrap_err();
            assert!(error.to_string().contains(problem), "{bad:?}: {error}");
        }
        assert_eq!(parse(b"2\n0\n10\n", 100).unwrap(), None);
    }

    #[test]
    fn pax_records_count_themselves() {
        for length in [1, 80, 84, 85, 86, 90, 98, 99, 980, 985, 990, 999] {
            let value = "x".repeat(length);
            let record = pax_record("key", &value);
            let counted: usize = record.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(counted, record.len());
            assert_eq!(pax_value(record.as_bytes(), "key"), Some(value));
        }
        let text = sparse_records(1 << 40);
        assert_eq!(pax_value(&text, "GNU.sparse.realsize").unwrap(), (1_u64 << 40).to_string());
        assert_eq!(pax_value(&text, "GNU.sparse.minor").unwrap(), "0");
        assert_eq!(pax_value(&text, "size"), None);
    }

    proptest! {
        #[test]
        fn maps_survive(gaps in proptest::collection::vec((1u64..1 << 40, 1u64..1 << 40), 0..40)) {
            let mut end = 0;
            let mut extents = Vec::new();
            for (gap, length) in gaps {
                extents.push(Extent { start: end + gap, length });
                end += gap + length;
            }
            let text = map_text(&extents, end);
            prop_assert_eq!(text.len() % BLOCK, 0);
            prop_assert_eq!(parse(&text, end).unwrap(), Some(extents));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), size: u64) {
            // Any answer is fine; a panic fails the test.
            drop(parse(&bytes, size));
            drop(pax_value(&bytes, "GNU.sparse.name"));
        }
    }
}
