//! What a session wrote, for the person who wonders why it ended.

use std::{
    fs::OpenOptions,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::libc::O_NOFOLLOW;

/// Of the session's output, shown to a person when it fails.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 8 * 1024;

/// The last lines in the session's log, made fit for a terminal.
pub(super) fn output_tail(log: &Path) -> Vec<String> {
    let read = || {
        let mut file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    // No log: the session was never begun.
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> =
        text.lines().map(|line| line.chars().filter(|c| !c.is_control()).collect()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_short_and_clean() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert!(output_tail(&log).is_empty());
        let mut text: String = (0..5_000).map(|n| format!("line {n}\n")).collect();
        text.push_str("\x1b[31mred\x07\n");
        std::fs::write(&log, text).unwrap();
        let tail = output_tail(&log);
        assert_eq!(tail.len(), TAIL_LINES);
        assert_eq!(tail[TAIL_LINES - 1], "[31mred");
        assert_eq!(tail[TAIL_LINES - 2], "line 4999");
    }

    #[test]
    fn a_link_in_the_place_of_the_log_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::os::unix::fs::symlink("/etc/passwd", &log).unwrap();
        assert!(output_tail(&log).is_empty());
    }
}
