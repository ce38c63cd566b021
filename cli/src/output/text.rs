//! Text that is safe on a terminal, and its few colours.

/// Text from outside with control characters replaced. A desktop's user writes
/// some of what an operator reads; escape sequences must not reach the
/// operator's terminal, nor marks that turn the reading order around.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                char::REPLACEMENT_CHARACTER
            }
            c => c,
        })
        .collect()
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Colour,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Normal,
    Heading,
    Good,
    Busy,
    Bad,
    Faint,
}

impl Paint {
    /// The text in the colour of its meaning.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) | (Self::Colour, Tone::Normal) => return text.to_owned(),
            (Self::Colour, Tone::Heading) => "1",
            (Self::Colour, Tone::Good) => "32",
            (Self::Colour, Tone::Busy) => "33",
            (Self::Colour, Tone::Bad) => "31",
            (Self::Colour, Tone::Faint) => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        assert_eq!(
            clean("a\x1b[2Jb\r\nc\u{9b}d\u{202e}e\0"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}"
        );
        assert_eq!(clean("Grüße, 世界\t!"), "Grüße, 世界 !");
    }

    #[test]
    fn plain_is_plain() {
        for tone in [Tone::Normal, Tone::Heading, Tone::Good, Tone::Busy, Tone::Bad, Tone::Faint] {
            assert_eq!(Paint::Plain.tone(tone, "x"), "x");
        }
        assert_eq!(Paint::Colour.tone(Tone::Good, "x"), "\x1b[32mx\x1b[0m");
    }
}
