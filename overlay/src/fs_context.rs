//! What the kernel wrote about a mount in the making.

use std::os::fd::OwnedFd;

/// Lines enough to explain a failure.
const MAX_LINES: usize = 4;

/// The messages waiting on a descriptor from `fsopen(2)`, joined, with ": " in
/// front; empty if there are none.
pub(crate) fn log(context: &OwnedFd) -> String {
    let mut text = String::new();
    for _ in 0..MAX_LINES {
        let mut line = [0_u8; 512];
        // One message per read; ENODATA after the last.
        let Ok(length) = rustix::io::read(context, &mut line) else {
            break;
        };
        let line = String::from_utf8_lossy(&line[..length]);
        // A letter for the severity and a space come first.
        let message = line.get(2..).unwrap_or(&line).trim_end();
        text.push_str(if text.is_empty() { ": " } else { "; " });
        text.push_str(message);
    }
    text
}
