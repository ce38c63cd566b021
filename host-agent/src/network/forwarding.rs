//! Whether the host passes packets on between its links.

use std::fs;

use super::NetworkError;

const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";

pub(super) fn is_on() -> Result<bool, NetworkError> {
    let text =
        fs::read_to_string(SETTING).map_err(|source| NetworkError::io("read", SETTING, source))?;
    Ok(text.trim() != "0")
}

pub(super) fn set(on: bool) -> Result<(), NetworkError> {
    fs::write(SETTING, if on { "1" } else { "0" })
        .map_err(|source| NetworkError::io("write", SETTING, source))
}
