//! Sparse files as GNU tar writes them into PAX archives (formats 0.0 to 1.0).
//! The older kind, without PAX, is read by the tar crate.

use std::io::{self, Read};

use super::ArchiveError;

/// Most pieces of data in a sparse file.
const MAX_PIECES: usize = 1 << 20;
const BLOCK: u64 = 512;

/// What the PAX header of a sparse file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    major: Option<String>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    map: Option<String>,
    /// 0.0 repeats a pair of keys for each piece.
    pairs: Vec<u64>,
}

/// One piece of data: where it lies in the file, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A sparse file, as opened up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) size: u64,
    pub(crate) pieces: Vec<Piece>,
}

// === impl Header ===

impl Header {
    /// Takes a PAX record in, if it is about this.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) {
        let text = || std::str::from_utf8(value).ok().map(str::to_owned);
        let number = || text().and_then(|text| text.parse().ok());
        match key {
            b"GNU.sparse.major" => self.major = text(),
            b"GNU.sparse.name" => self.name = Some(value.to_vec()),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.size = number(),
            b"GNU.sparse.map" => self.map = text(),
            // A number that is none makes an odd list, which is refused.
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.pairs.extend(number()),
            _ => {}
        }
    }

    /// The file's own name; the member's is made up.
    pub(crate) fn name(&self) -> Option<&[u8]> {
        self.name.as_deref()
    }

    /// The map, where the file is sparse. Format 1.0 has it before the data.
    pub(crate) fn map(
        &self,
        path: &str,
        data: &mut impl Read,
    ) -> Result<Option<Map>, ArchiveError> {
        let refuse = |why| ArchiveError::Sparse { path: path.to_owned(), why };
        let Some(size) = self.size else { return Ok(None) };
        let numbers = match (self.major.as_deref(), &self.map) {
            (Some("1"), _) => leading_map(data)
                .map_err(ArchiveError::Read)?
                .ok_or_else(|| refuse("its map has no end"))?,
            (None | Some("0"), Some(map)) => map
                .split(',')
                .map(|n| n.parse().ok())
                .collect::<Option<Vec<u64>>>()
                .ok_or_else(|| refuse("its map has something else than numbers"))?,
            (None | Some("0"), None) => self.pairs.clone(),
            (Some(_), _) => return Err(refuse("its format is unknown")),
        };
        pieces(&numbers, size).map(|pieces| Some(Map { size, pieces })).ok_or_else(|| {
            refuse("its pieces overlap, are out of order, too many or beyond its end")
        })
    }
}

fn pieces(numbers: &[u64], size: u64) -> Option<Vec<Piece>> {
    let (pairs, []) = numbers.as_chunks::<2>() else { return None };
    if pairs.len() > MAX_PIECES {
        return None;
    }
    let mut end = 0_u64;
    let mut pieces = Vec::with_capacity(pairs.len());
    for &[offset, length] in pairs {
        if offset < end {
            return None;
        }
        end = offset.checked_add(length)?;
        pieces.push(Piece { offset, length });
    }
    (end <= size).then_some(pieces)
}

/// Decimal numbers on lines of their own, the first being how many pairs
/// follow; filled up to whole blocks.
fn leading_map(data: &mut impl Read) -> io::Result<Option<Vec<u64>>> {
    let mut numbers = Vec::new();
    let mut number: Option<u64> = None;
    let mut wanted = None;
    let mut block = [0; BLOCK as usize];
    loop {
        if let Err(e) = data.read_exact(&mut block) {
            return if e.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(e) };
        }
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    let shifted = number.unwrap_or(0).checked_mul(10);
                    let Some(next) = shifted.and_then(|n| n.checked_add(digit)) else {
                        return Ok(None);
                    };
                    number = Some(next);
                }
                b'\n' => {
                    let Some(read) = number.take() else { return Ok(None) };
                    match wanted {
                        None if read > MAX_PIECES as u64 => return Ok(None),
                        None => wanted = Some(read * 2),
                        Some(_) => numbers.push(read),
                    }
                    if wanted == Some(numbers.len() as u64) {
                        return Ok(Some(numbers));
                    }
                }
                _ => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(records: &[(&str, &str)]) -> Header {
        let mut header = Header::default();
        for (key, value) in records {
            header.take(key.as_bytes(), value.as_bytes());
        }
        header
    }

    fn block(text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    const PIECES: [Piece; 2] = [Piece { offset: 0, length: 3 }, Piece { offset: 100, length: 5 }];

    #[test]
    fn every_format_is_read() {
        let newest = header(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "200")]);
        let mut data = &[block("2\n0\n3\n100\n5\n"), b"data".to_vec()].concat()[..];
        let map = newest.map("f", &mut data).unwrap().unwrap();
        assert_eq!((map.size, &map.pieces[..], data), (200, &PIECES[..], &b"data"[..]));

        let middle = header(&[("GNU.sparse.map", "0,3,100,5"), ("GNU.sparse.size", "200")]);
        assert_eq!(middle.map("f", &mut io::empty()).unwrap().unwrap().pieces, PIECES);

        let oldest = header(&[
            ("GNU.sparse.size", "200"),
            ("GNU.sparse.offset", "0"),
            ("GNU.sparse.numbytes", "3"),
            ("GNU.sparse.offset", "100"),
            ("GNU.sparse.numbytes", "5"),
        ]);
        assert_eq!(oldest.map("f", &mut io::empty()).unwrap().unwrap().pieces, PIECES);
        assert_eq!(header(&[("path", "x")]).map("f", &mut io::empty()).unwrap(), None);
    }

    #[test]
    fn maps_that_make_no_sense_are_refused() {
        for map in ["0,3,2,5", "0,201", "0", "x,1", "18446744073709551615,2", "5,0,0,1"] {
            let header = header(&[("GNU.sparse.map", map), ("GNU.sparse.size", "200")]);
            assert!(header.map("f", &mut io::empty()).is_err(), "{map}");
        }
        for map in ["", "1\n", "x\n", "9999999999\n", "99999999999999999999999\n", "\n"] {
            let header = header(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "200")]);
            assert!(header.map("f", &mut &block(map)[..]).is_err(), "{map:?}");
        }
        let future = header(&[("GNU.sparse.major", "2"), ("GNU.sparse.realsize", "1")]);
        assert!(future.map("f", &mut io::empty()).is_err());
    }

    proptest! {
        #[test]
        fn no_map_makes_it_panic_or_reach_beyond_the_file(
            numbers in prop::collection::vec(any::<u64>(), 0..8), size: u64) {
            if let Some(pieces) = pieces(&numbers, size) {
                for piece in pieces {
                    prop_assert!(piece.offset + piece.length <= size);
                }
            }
        }
    }
}
