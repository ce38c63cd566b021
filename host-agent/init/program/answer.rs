//! The smallest session there is: it answers once, as a display server would,
//! and logs out. With it a host can rehearse a whole desktop without an image.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use crate::failure::{Failure, USAGE};

/// What an RFB server says first (RFC 6143, 7.1.1).
const BANNER: &[u8] = b"RFB 003.008\n";

/// Greets the first caller at `socket`, and ends when the caller does.
pub(crate) fn run(socket: Option<&OsStr>) -> Result<(), Failure> {
    let socket = socket
        .ok_or_else(|| Failure::new(USAGE, "ROLLTOP_DISPLAY_SOCKET names no socket".to_owned()))?;
    let listener =
        UnixListener::bind(socket).map_err(|e| Failure::system("listen at the display's socket", e))?;
    let (mut caller, _) = listener.accept().map_err(|e| Failure::system("accept a caller", e))?;
    caller.write_all(BANNER).map_err(|e| Failure::system("greet the caller", e))?;
    let mut rest = Vec::new();
    caller.take(4096).read_to_end(&mut rest).map_err(|e| Failure::system("hear the caller", e))?;
    Ok(())
}
