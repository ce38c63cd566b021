//! The cookies of browsers.

use http::{HeaderMap, header};

use crate::{clock::Timestamp, secret::Secret};

/// The one that holds a session token. `Strict`: it does not come along when another
/// site sends a browser here.
pub const SESSION: &str = "rolltop_session";

/// Sets it.
pub fn session(token: &Secret, now: Timestamp, expires_at: Timestamp) -> String {
    let seconds = now.until(expires_at).as_secs();
    format!(
        "{SESSION}={}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Strict",
        token.expose()
    )
}

/// Removes it.
pub fn no_session() -> String {
    format!("{SESSION}=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict")
}

/// The value of a cookie.
pub fn find(headers: &HeaderMap, name: &str) -> Option<String> {
    let found = |header: &str| {
        let mut pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    };
    headers.get_all(header::COOKIE).iter().find_map(|header| found(header.to_str().ok()?))
}
