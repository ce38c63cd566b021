//! The files of `/proc/PID`, of which a process writes parts itself.

/// Words of a command line, at most.
const MAX_WORDS: usize = 256;

/// Of `stat` (`proc_pid_stat(5)`).
#[derive(Debug, PartialEq)]
pub(super) struct Stat {
    pub(super) name: String,
    pub(super) state: char,
    /// In the agent's eyes.
    pub(super) parent: i32,
    pub(super) cpu_ticks: u64,
    pub(super) threads: u32,
    pub(super) start_ticks: u64,
    pub(super) resident_pages: u64,
}

/// Of `status` (`proc_pid_status(5)`).
#[derive(Debug, PartialEq)]
pub(super) struct Status {
    /// Effective, in the host's eyes.
    pub(super) uid: u32,
    /// In the desktop's eyes, even if it made further pid namespaces.
    pub(super) inner_pid: i32,
}

/// A desktop's user ids: `uid_map`.
#[derive(Debug, Default)]
pub(super) struct Ids(Vec<(u32, u32, u32)>);

/// What the kernel shows where an id has no place.
const NOBODY: u32 = 65_534;

impl Stat {
    /// `None`: not as the kernel writes it.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        // The name may hold anything, parentheses and line breaks too: it ends
        // at the last one, since all that follows are letters and numbers.
        let begin = bytes.iter().position(|b| *b == b'(')?;
        let end = bytes.iter().rposition(|b| *b == b')')?;
        let name = String::from_utf8_lossy(bytes.get(begin + 1..end)?).into_owned();
        let rest = std::str::from_utf8(bytes.get(end + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Field 3 of the manual is the first of these.
        let field = |number: usize| fields.get(number - 3).copied();
        let count = |number: usize| field(number)?.parse::<u64>().ok();
        Some(Self {
            name,
            state: field(3)?.chars().next()?,
            parent: field(4)?.parse().ok()?,
            cpu_ticks: count(14)?.saturating_add(count(15)?),
            threads: u32::try_from(count(20)?).ok()?,
            start_ticks: count(22)?,
            resident_pages: count(24)?,
        })
    }
}

impl Status {
    /// `None`: not as the kernel writes it.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        // The kernel escapes line breaks in the name, which comes first.
        let text = String::from_utf8_lossy(bytes);
        let line = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            found.map(str::split_ascii_whitespace)
        };
        // From the agent's namespace inwards: the desktop's is the second.
        let mut pids = line("NSpid")?;
        let inner_pid = pids.clone().nth(1).or_else(|| pids.next())?.parse().ok()?;
        Some(Self { uid: line("Uid")?.nth(1)?.parse().ok()?, inner_pid })
    }
}

impl Ids {
    /// Lines of: first id inside, first id outside, how many.
    pub(super) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
            let mut next = || numbers.next()?.ok();
            Some((next()?, next()?, next()?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    pub(super) fn inside(&self, outside: u32) -> u32 {
        let of = |&(inner, outer, count): &(u32, u32, u32)| {
            let offset = outside.checked_sub(outer)?;
            (offset < count).then(|| inner.checked_add(offset))?
        };
        self.0.iter().find_map(of).unwrap_or(NOBODY)
    }
}

/// Words end with a NUL; the last may be cut off.
pub(super) fn command(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    let words = bytes.split(|b| *b == 0).take(MAX_WORDS);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAIL: &str =
        " S 10 7 7 0 -1 4194560 1 2 3 4 30 12 0 0 20 0 5 0 999 4096 77 18446744073709551615";

    #[test]
    fn a_name_cannot_pass_for_what_follows_it() {
        for name in ["sh", "a b", ") R 1 1", "((", "a\nUid:\t0", "\u{fffd}"] {
            let stat = Stat::parse(format!("42 ({name}){TAIL}").as_bytes()).unwrap();
            assert_eq!((stat.name.as_str(), stat.state, stat.parent), (name, 'S', 10));
            assert_eq!((stat.cpu_ticks, stat.threads), (42, 5));
            assert_eq!((stat.start_ticks, stat.resident_pages), (999, 77));
        }
        let invalid = [b"42 (\xff\xfe)".as_slice(), TAIL.as_bytes()].concat();
        assert_eq!(Stat::parse(&invalid).unwrap().name, "\u{fffd}\u{fffd}");
    }

    #[test]
    fn ids_are_those_inside() {
        let status = b"Name:\tsh\\nUid:\t0\nUid:\t131072\t133072\t0\t0\nNSpid:\t900\t7\t2\n";
        let status = Status::parse(status).unwrap();
        assert_eq!(status, Status { uid: 133_072, inner_pid: 7 });
        let ids = Ids::parse("         0     131072      65536\n");
        assert_eq!(ids.inside(status.uid), 2000);
        assert_eq!(ids.inside(0), NOBODY);
        assert_eq!(ids.inside(131_072 + 65_536), NOBODY);
        // The host's own pid namespace alone.
        let plain = b"Uid:\t0\t0\t0\t0\nNSpid:\t900\n";
        assert_eq!(Status::parse(plain).unwrap().inner_pid, 900);
    }

    #[test]
    fn command_lines_are_split_and_bounded() {
        assert_eq!(command(b""), Vec::<String>::new());
        assert_eq!(command(b"\0"), Vec::<String>::new());
        assert_eq!(command(b"sh\0-c\0\0"), ["sh", "-c", ""]);
        assert_eq!(command(b"no end"), ["no end"]);
        assert_eq!(command(&b"x\0".repeat(10_000)).len(), MAX_WORDS);
    }

    proptest! {
        #[test]
        fn nothing_a_process_writes_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let framed = [b"1 (".as_slice(), &bytes, b")", TAIL.as_bytes()].concat();
            prop_assert_eq!(Stat::parse(&framed).map(|stat| stat.start_ticks), Some(999));
            Stat::parse(&bytes);
            Status::parse(&bytes);
            command(&bytes);
            Ids::parse(&String::from_utf8_lossy(&bytes)).inside(7);
        }
    }
}
