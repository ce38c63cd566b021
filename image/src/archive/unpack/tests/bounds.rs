//! Too much, too little, and rubbish.

use super::*;

#[test]
fn bounds_are_kept() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let bytes = archive(&[file("a", "12345"), file("b", "12345")]);
    let limits = Limits { bytes: 9, members: 10 };
    let error = ground.plain(&bytes, limits).unwrap_err();
    assert!(matches!(error, ArchiveError::TooLarge { what: "bytes", limit: 9 }), "{error:?}");
    let error = ground.plain(&bytes, Limits { bytes: 10, members: 1 }).unwrap_err();
    assert!(matches!(error, ArchiveError::TooLarge { what: "members", limit: 1 }), "{error:?}");
    ground.plain(&bytes, Limits { bytes: 10, members: 2 }).unwrap();
}

#[test]
fn a_header_that_never_ends_is_not_taken_in() {
    let ground = Ground::new();
    // A "long name" of eight gigabytes, of which there is plenty.
    let mut long = header(EntryType::GNULongName, b"././@LongLink", b"", 0);
    long.set_size(8 << 30);
    long.set_cksum();
    let mut stream = long.as_bytes().chain(io::repeat(b'x'));
    let tree = Tree::open(&ground.root).unwrap();
    let mut unpacker = Unpacker::new(&tree, Limits::default());
    let error = unpacker.unpack(&mut stream, Whiteouts::Plain).unwrap_err();
    assert!(error.to_string().contains("headers of one member"), "{error}");
}

#[test]
fn a_cut_off_or_damaged_archive_is_an_error() {
    if !is_root() {
        return;
    }
    let bytes = archive(&[file("a", "some text"), file("b", "more text")]);
    for cut in [100, 700, 1100, 1600] {
        let ground = Ground::new();
        assert!(ground.plain(&bytes[..cut], Limits::default()).is_err(), "cut at {cut}");
    }
    let mut damaged = bytes;
    damaged[3] ^= 0xff;
    assert!(Ground::new().plain(&damaged, Limits::default()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the bytes, it is an answer or an error.
    #[test]
    fn rubbish_is_no_reason_to_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2048), sum: bool) {
        if sum && bytes.len() >= 512 {
            // With a right checksum more of it is looked at.
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes[..512]);
            header.set_cksum();
            bytes[..512].copy_from_slice(header.as_bytes());
        }
        let ground = Ground::new();
        drop(ground.plain(&bytes, Limits { bytes: 1 << 20, members: 100 }));
        ground.unharmed();
    }
}
