//! Checksums of an archive's parts, so that damage is found where it is.
//!
//! One line each: SHA-256 in hexadecimal, a space, what it is of: `description`,
//! `map`, or the first byte of a window of the overlay's file. A window's is of
//! its data in order, without the holes.

use sha2::{Digest, Sha256};

/// Length of a window.
const WINDOW_BYTES: u64 = 16 << 20;

/// Checksums in the making, or complete.
pub(super) struct Sums {
    description: [u8; 32],
    map: [u8; 32],
    /// First byte and checksum.
    windows: Vec<(u64, [u8; 32])>,
    current: Option<(u64, Sha256)>,
}

// === impl Sums ===

impl Sums {
    pub(super) fn new(description: &[u8], map: &[u8]) -> Self {
        Self {
            description: Sha256::digest(description).into(),
            map: Sha256::digest(map).into(),
            windows: Vec::new(),
            current: None,
        }
    }

    /// Takes in what lies at `offset`; calls come in the order of offsets.
    pub(super) fn feed(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let window = offset - offset % WINDOW_BYTES;
            let left = usize::try_from(window + WINDOW_BYTES - offset).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            if self.current.as_ref().is_none_or(|(current, _)| *current != window) {
                self.close_window();
                self.current = Some((window, Sha256::new()));
            }
            if let Some((_, hash)) = &mut self.current {
                hash.update(now);
            }
            offset += now.len() as u64;
            bytes = later;
        }
    }

    fn close_window(&mut self) {
        if let Some((window, hash)) = self.current.take() {
            self.windows.push((window, hash.finalize().into()));
        }
    }

    /// The lines, with what each is of.
    pub(super) fn lines(&mut self) -> impl Iterator<Item = (String, String)> {
        self.close_window();
        let windows = self.windows.iter().map(|(window, sum)| {
            let last = window.saturating_add(WINDOW_BYTES - 1);
            (window.to_string(), sum, format!("bytes {window} to {last} of the file"))
        });
        [
            ("description".to_owned(), &self.description, "the description".to_owned()),
            ("map".to_owned(), &self.map, "the map of holes".to_owned()),
        ]
        .into_iter()
        .chain(windows)
        .map(|(of, sum, words)| (format!("{} {of}\n", hex(sum)), words))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(mut sums: Sums) -> String {
        sums.lines().map(|(line, _)| line).collect()
    }

    #[test]
    fn lines_name_their_window() {
        let mut sums = Sums::new(b"d", b"m");
        sums.feed(WINDOW_BYTES - 1, b"ab");
        sums.feed(1 << 44, b"c");
        let lines: Vec<_> = sums.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[3].0.ends_with(&format!(" {WINDOW_BYTES}\n")), "{lines:?}");
        assert!(lines[2].1.starts_with("bytes 0 to 16777215"), "{lines:?}");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            bytes in proptest::collection::vec(any::<u8>(), 1..200),
            cut in 0usize..200,
            before in 0u64..200,
        ) {
            let offset = WINDOW_BYTES - before;
            let mut whole = Sums::new(b"", b"");
            whole.feed(offset, &bytes);
            let mut parts = Sums::new(b"", b"");
            let cut = cut.min(bytes.len());
            parts.feed(offset, &bytes[..cut]);
            parts.feed(offset + cut as u64, &bytes[cut..]);
            prop_assert_eq!(text(whole), text(parts));
        }
    }
}
