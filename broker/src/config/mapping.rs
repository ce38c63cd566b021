//! What becomes of the groups that others put people into.

use super::source::parse_list;
use crate::{names::GroupName, state::Role};

/// "THEIR GROUP=ours", each.
pub(super) fn groups(text: &str) -> Result<Vec<(String, GroupName)>, String> {
    pairs(text, |ours| ours.parse::<GroupName>().map_err(|error| error.to_string()))
}

/// "THEIR GROUP=role", each.
pub(super) fn roles(text: &str) -> Result<Vec<(String, Role)>, String> {
    pairs(text, str::parse)
}

fn pairs<T>(
    text: &str,
    ours: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<(String, T)>, String> {
    // Theirs may hold a '=' of its own, as names of entries do; ours never.
    parse_list(text, |item| match item.rsplit_once('=') {
        Some((theirs, name)) if !theirs.is_empty() => Ok((theirs.to_owned(), ours(name)?)),
        Some(_) | None => Err(format!("{item:?} is not \"THEIR GROUP=ours\"")),
    })
}
