//! A viewer of RFB displays (RFC 6143): raw pixels, no password, and the times
//! a person would notice.

mod screen;
mod viewer;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

pub use screen::Screen;
pub use viewer::Viewer;

/// A screen with more colours than this in its sample shows a desktop, not a
/// background.
pub const COLOURS_OF_A_BACKGROUND: usize = 8;

/// When a viewer saw what, since the instant it was given.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The server's greeting.
    pub banner: Duration,
    /// The first picture, whatever it shows.
    pub first_frame: Duration,
    /// The first picture of a desktop; see [`COLOURS_OF_A_BACKGROUND`].
    pub drawn: Duration,
    /// Pictures until then.
    pub frames: u32,
}

/// Looks at the display at the other end of `stream` until it is drawn.
///
/// # Errors
/// It is no RFB server, or not drawn `limit` from now.
pub async fn watch<S>(stream: S, since: Instant, limit: Duration) -> anyhow::Result<Seen>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut frames = 0;
    let drawn = timeout(limit, see(stream, since, &mut frames)).await;
    drawn.with_context(|| format!("not drawn within {limit:?}, after {frames} pictures"))?
}

async fn see<S>(stream: S, since: Instant, frames: &mut u32) -> anyhow::Result<Seen>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeted = Viewer::greet(stream).await?;
    let banner = since.elapsed();
    let mut viewer = greeted.enter().await?;
    viewer.update(false).await?;
    *frames += 1;
    let first_frame = since.elapsed();
    while viewer.screen().sampled_colours() <= COLOURS_OF_A_BACKGROUND {
        viewer.update(true).await?;
        *frames += 1;
    }
    Ok(Seen { banner, first_frame, drawn: since.elapsed(), frames: *frames })
}

#[cfg(test)]
mod tests;
