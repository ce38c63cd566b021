//! What has gone over a desktop's link.

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle,
    packet_route::link::{LinkAttribute, Stats64},
};

use super::{NetworkError, is_errno};

/// Bytes over one link so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Received by the desktop.
    pub to_desktop_bytes: u64,
    /// Sent by it.
    pub from_desktop_bytes: u64,
}

/// `None`: there is no such link.
pub(super) async fn of(handle: &Handle, link: &str) -> Result<Option<Traffic>, NetworkError> {
    let mut found = handle.link().get().match_name(link.to_owned()).execute();
    let message = match found.try_next().await {
        Err(error) if is_errno(&error, nix::errno::Errno::ENODEV) => return Ok(None),
        other => other.map_err(NetworkError::netlink("count at link", link))?,
    };
    let Some(message) = message else { return Ok(None) };
    let stats = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(traffic(stats)),
        _ => None,
    });
    Ok(stats)
}

/// The host's end receives what the desktop sends.
fn traffic(stats: &Stats64) -> Traffic {
    Traffic { to_desktop_bytes: stats.tx_bytes, from_desktop_bytes: stats.rx_bytes }
}
