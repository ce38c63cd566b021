//! Compressed streams, recognised by how they begin.

use std::io::{self, BufRead, BufReader, Read};

use liblzma::stream::{CONCATENATED, Stream};

/// What an xz stream may ask for: its largest preset takes 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;
/// Window of a zstd stream, as a power of two: 128 MiB, what `zstd` itself takes without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

// === impl Compression ===

impl Compression {
    /// By its first bytes.
    pub(crate) fn of(beginning: &[u8]) -> Self {
        // RFC 1952, the .xz file format 2.1.1.1, RFC 8878 (a skippable frame may come first).
        const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
        match beginning {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ if beginning.starts_with(XZ) => Self::Xz,
            _ => Self::None,
        }
    }
}

/// The stream without its compression. Memory is bounded, whatever it asks for.
pub(crate) fn decompressed<'r>(reader: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut reader = BufReader::with_capacity(128 << 10, reader);
    Ok(match Compression::of(reader.fill_buf()?) {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY_BYTES, CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompressed(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_kind_is_recognised_and_read() {
        let text = b"some text ".repeat(1000);
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        let zstd = zstd::stream::encode_all(&text[..], 1).unwrap();
        for bytes in [text.clone(), gzip(&text), xz.finish().unwrap(), zstd] {
            assert_eq!(unpacked(&bytes).unwrap(), text);
        }
        assert!(unpacked(b"").unwrap().is_empty());
    }

    #[test]
    fn several_members_are_one_stream() {
        let both = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(unpacked(&both).unwrap(), b"one two");
    }

    #[test]
    fn a_damaged_or_short_stream_is_an_error() {
        let good = gzip(&b"some text ".repeat(1000));
        assert!(unpacked(&good[..good.len() - 3]).is_err());
        let mut bad = good;
        let middle = bad.len() / 2;
        bad[middle] ^= 0x55;
        assert!(unpacked(&bad).is_err());
    }
}
