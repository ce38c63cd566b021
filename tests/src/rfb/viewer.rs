//! The viewer's half of the protocol.

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::screen::{Area, PIXEL_BYTES, Screen};

const VERSION: &[u8; 12] = b"RFB 003.008\n";
const SECURITY_NONE: u8 = 1;
const RAW: i32 = 0;

/// What clients send (RFC 6143, 7.5) and servers send (7.6).
mod message {
    pub(super) const SET_ENCODINGS: u8 = 2;
    pub(super) const UPDATE_REQUEST: u8 = 3;
    pub(super) const UPDATE: u8 = 0;
    pub(super) const COLOUR_MAP: u8 = 1;
    pub(super) const BELL: u8 = 2;
    pub(super) const CUT_TEXT: u8 = 3;
}

/// A viewer of a display.
#[derive(Debug)]
pub struct Viewer<S> {
    stream: S,
    screen: Screen,
    /// Of the rectangle being read; kept, because a screenful is large.
    pixels: Vec<u8>,
}

/// A server that has said what it is.
#[derive(Debug)]
pub struct Greeted<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Viewer<S> {
    /// Waits for the server's greeting.
    ///
    /// # Errors
    /// No RFB server, or an older one than 3.8.
    pub async fn greet(mut stream: S) -> anyhow::Result<Greeted<S>> {
        let mut version = [0; VERSION.len()];
        stream.read_exact(&mut version).await.context("no greeting")?;
        ensure!(
            &version == VERSION,
            "not an RFB 3.8 server: {:?}",
            String::from_utf8_lossy(&version)
        );
        Ok(Greeted(stream))
    }

    /// The picture so far.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Asks for a picture, or for what has changed, and waits for it.
    ///
    /// # Errors
    /// The server ends, or says what was not asked for.
    pub async fn update(&mut self, incremental: bool) -> anyhow::Result<()> {
        let (width, height) = self.screen.size();
        let mut request = vec![message::UPDATE_REQUEST, u8::from(incremental), 0, 0, 0, 0];
        request.extend(u16::try_from(width)?.to_be_bytes());
        request.extend(u16::try_from(height)?.to_be_bytes());
        self.stream.write_all(&request).await.context("cannot ask for a picture")?;
        loop {
            match self.stream.read_u8().await.context("no picture")? {
                message::UPDATE => return self.rectangles().await,
                message::COLOUR_MAP => {
                    self.skip(3).await?;
                    let colours = self.stream.read_u16().await?;
                    self.skip(6 * u64::from(colours)).await?;
                }
                message::BELL => {}
                message::CUT_TEXT => {
                    self.skip(3).await?;
                    let length = self.stream.read_u32().await?;
                    self.skip(length.into()).await?;
                }
                other => bail!("message {other} from the server, which nobody asked for"),
            }
        }
    }

    async fn rectangles(&mut self) -> anyhow::Result<()> {
        self.skip(1).await?;
        for _ in 0..self.stream.read_u16().await? {
            let mut edges = [0_usize; 4];
            for edge in &mut edges {
                *edge = self.stream.read_u16().await?.into();
            }
            let [x, y, width, height] = edges;
            let encoding = self.stream.read_i32().await?;
            ensure!(encoding == RAW, "encoding {encoding}, which nobody asked for");
            self.pixels.resize(width * height * PIXEL_BYTES, 0);
            self.stream.read_exact(&mut self.pixels).await.context("half a picture")?;
            self.screen.put(Area { x, y, width, height }, &self.pixels)?;
        }
        Ok(())
    }

    async fn skip(&mut self, bytes: u64) -> anyhow::Result<()> {
        let skipped =
            tokio::io::copy(&mut (&mut self.stream).take(bytes), &mut tokio::io::sink()).await?;
        ensure!(skipped == bytes, "the server ended in the middle of a message");
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Greeted<S> {
    /// Goes in without a password, beside other viewers.
    ///
    /// # Errors
    /// The server wants a password, or pixels of another size than 32 bits.
    pub async fn enter(self) -> anyhow::Result<Viewer<S>> {
        let Self(mut stream) = self;
        stream.write_all(VERSION).await?;
        let count = stream.read_u8().await?;
        let mut offered = vec![0; count.into()];
        stream.read_exact(&mut offered).await?;
        ensure!(
            offered.contains(&SECURITY_NONE),
            "the server offers security {offered:?}: it wants a password"
        );
        stream.write_all(&[SECURITY_NONE]).await?;
        let refused = stream.read_u32().await?;
        ensure!(refused == 0, "the server refuses viewers");

        const SHARED: u8 = 1;
        stream.write_all(&[SHARED]).await?;
        let (width, height) = (stream.read_u16().await?, stream.read_u16().await?);
        let mut format = [0; 16];
        stream.read_exact(&mut format).await?;
        ensure!(format[0] == 32, "pixels of {} bits", format[0]);
        let name = stream.read_u32().await?;
        let mut viewer = Viewer { stream, screen: Screen::new(width, height), pixels: Vec::new() };
        viewer.skip(name.into()).await?;

        let mut encodings = vec![message::SET_ENCODINGS, 0];
        encodings.extend(1_u16.to_be_bytes());
        encodings.extend(RAW.to_be_bytes());
        viewer.stream.write_all(&encodings).await?;
        Ok(viewer)
    }
}
