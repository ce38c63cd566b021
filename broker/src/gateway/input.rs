//! Whether what a client sends is its user's doing. A page that merely shows a
//! desktop asks for pictures all the time; a key, a movement of the pointer and
//! a pasted text are use (RFC 6143 section 7.5, and what noVNC adds to it).
//! Nothing else is looked at, nothing is kept but where the next message begins.

/// Longest head that tells how long a message is.
const HEAD: usize = 8;

/// Follows one client's bytes.
#[derive(Debug, Default)]
pub(super) struct InputScanner {
    stage: Stage,
    /// Bytes that belong to a message that is known already.
    skip: u64,
    /// The beginning of one that is not.
    head: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Version,
    Security,
    ClientInit,
    Messages,
    /// Somewhere there was a message or a way of authentication that is not known.
    /// Each frame is taken for the begin of a message: clients send them so.
    Adrift,
}

// === impl InputScanner ===

impl InputScanner {
    /// Takes the next frame; whether its user did something.
    pub(super) fn feed(&mut self, frame: &[u8]) -> bool {
        let mut used = false;
        let mut rest = frame;
        if self.stage == Stage::Adrift {
            return frame.first().is_some_and(|kind| is_use(*kind));
        }
        while !rest.is_empty() {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(rest.len());
            self.skip -= skipped as u64;
            rest = rest.get(skipped..).unwrap_or_default();
            let Some((byte, after)) = rest.split_first() else { break };
            rest = after;
            self.head.push(*byte);
            match self.measure() {
                Measure::More => {}
                Measure::Whole(length) => {
                    let kind = self.head.first().copied().unwrap_or_default();
                    used |= self.stage == Stage::Messages && is_use(kind);
                    self.skip = length.saturating_sub(self.head.len() as u64);
                    self.next_stage();
                    self.head.clear();
                }
                Measure::Unknown => {
                    self.stage = Stage::Adrift;
                    self.head.clear();
                    // Rather used once too often than a user thrown out.
                    return true;
                }
            }
        }
        used
    }

    fn next_stage(&mut self) {
        self.stage = match self.stage {
            Stage::Version => Stage::Security,
            Stage::Security => Stage::ClientInit,
            Stage::ClientInit | Stage::Messages => Stage::Messages,
            Stage::Adrift => Stage::Adrift,
        };
    }

    /// How long the message is of which `head` is the beginning.
    fn measure(&self) -> Measure {
        use Measure::{More, Unknown, Whole};
        match (self.stage, self.head.as_slice()) {
            (Stage::Version, [b'R', ..]) => Whole(12),
            // No authentication. Any other takes an exchange of its own.
            (Stage::Security, [1]) | (Stage::ClientInit, [_]) => Whole(1),
            (Stage::Version | Stage::Security | Stage::ClientInit | Stage::Adrift, _) => Unknown,
            (Stage::Messages, head) => match head {
                [0, ..] => Whole(20),
                [2, _, high, low] => Whole(4 + 4 * u64::from(u16::from_be_bytes([*high, *low]))),
                [3 | 150, ..] => Whole(10),
                [4, ..] => Whole(8),
                // With a ninth button and more, noVNC adds a byte.
                [5, mask, ..] => Whole(if mask & 0x80 == 0 { 6 } else { 7 }),
                [6, _, _, _, a, b, c, d] => {
                    // Negative: the same length of another form.
                    let length = i32::from_be_bytes([*a, *b, *c, *d]).unsigned_abs();
                    Whole(8 + u64::from(length))
                }
                [248, _, _, _, _, _, _, _] => More,
                [248, _, _, _, _, _, _, _, length] => Whole(9 + u64::from(*length)),
                [250, ..] => Whole(4),
                [251, _, _, _, _, _, screens] => Whole(8 + 16 * u64::from(*screens)),
                [255, 0, ..] => Whole(12),
                [2 | 5 | 6 | 251 | 255 | 248, ..] if head.len() < HEAD => More,
                _ => Unknown,
            },
        }
    }
}

enum Measure {
    /// Not to be told yet.
    More,
    /// So many bytes, those that are there included.
    Whole(u64),
    Unknown,
}

/// Key, pointer, text, and a key in the form of QEMU.
fn is_use(kind: u8) -> bool {
    matches!(kind, 4 | 5 | 6 | 255)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Vec<u8> {
        [&b"RFB 003.008\n"[..], &[1, 1]].concat()
    }

    /// Messages with whether they are use.
    fn message() -> impl Strategy<Value = (Vec<u8>, bool)> {
        let filled = |kind: u8, length: usize| {
            let mut bytes = vec![5; length];
            bytes[0] = kind;
            bytes
        };
        prop_oneof![
            Just((filled(0, 20), false)),
            (0..6_u8).prop_map(move |count| {
                let mut bytes = filled(2, 4 + 4 * usize::from(count));
                bytes[2..4].copy_from_slice(&[0, count]);
                (bytes, false)
            }),
            Just((filled(3, 10), false)),
            Just((filled(150, 10), false)),
            Just((filled(250, 4), false)),
            (0..9_u8).prop_map(move |length| {
                let mut bytes = filled(248, 9 + usize::from(length));
                bytes[8] = length;
                (bytes, false)
            }),
            (0..3_u8).prop_map(move |screens| {
                let mut bytes = filled(251, 8 + 16 * usize::from(screens));
                bytes[6] = screens;
                (bytes, false)
            }),
            Just((filled(4, 8), true)),
            Just((filled(5, 6), true)),
            Just((vec![5, 0x80, 4, 4, 4, 4, 4], true)),
            (any::<bool>(), 0..40_i32).prop_map(move |(extended, length)| {
                let mut bytes = filled(6, 8 + length as usize);
                let told = if extended { -length } else { length };
                bytes[4..8].copy_from_slice(&told.to_be_bytes());
                (bytes, true)
            }),
            Just((vec![255, 0, 0, 1, 4, 4, 4, 4, 4, 4, 4, 4], true)),
        ]
    }

    proptest! {
        #[test]
        fn use_is_seen_however_the_bytes_are_cut(
            messages in prop::collection::vec(message(), 0..12),
            cuts in prop::collection::vec(1..30_usize, 1..20),
        ) {
            let mut bytes = hello();
            messages.iter().for_each(|(message, _)| bytes.extend(message));
            let (mut scanner, mut used, mut rest) = (InputScanner::default(), false, bytes.as_slice());
            for cut in cuts.iter().cycle() {
                let (frame, after) = rest.split_at(rest.len().min(*cut));
                used |= scanner.feed(frame);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(used, messages.iter().any(|(_, is_use)| *is_use));
            prop_assert_ne!(scanner.stage, Stage::Adrift);
        }

        #[test]
        fn rubbish_is_survived(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..32)) {
            let mut scanner = InputScanner::default();
            for frame in frames {
                scanner.feed(&frame);
                prop_assert!(scanner.head.len() <= HEAD + 1);
            }
        }
    }

    #[test]
    fn what_is_not_understood_counts_once_and_frames_are_looked_at_from_then_on() {
        let mut scanner = InputScanner::default();
        assert!(!scanner.feed(b"RFB 003.008\n"));
        assert!(scanner.feed(&[19]), "some other way of authentication");
        assert!(!scanner.feed(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(scanner.feed(&[4, 1, 0, 0, 0, 0, 0, 65]));
    }
}
