//! A network between guests: a hub in this process.
//!
//! QEMU passes each frame over a Unix socket, with its length before it (four
//! bytes, big-endian). It does not depend on any guest, so that each may be
//! killed and started again, and a link can be cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use anyhow::Context as _;

use super::scratch::Scratch;

/// Frames that wait for one guest; more are dropped, as any switch does.
const QUEUE: usize = 1024;
/// The largest a virtio link sends, offloading included.
const LARGEST_FRAME: usize = 80 << 10;

type Frame = Arc<[u8]>;

/// A network of guests; see [`super::Spec::on`].
#[derive(Debug)]
pub struct Lan {
    dir: Scratch,
    ports: Arc<Mutex<Ports>>,
}

#[derive(Debug, Default)]
struct Ports {
    /// Connections, by port and by a count of connections.
    open: BTreeMap<(u8, u64), mpsc::SyncSender<Frame>>,
    connections: u64,
    cut: BTreeSet<u8>,
}

impl Lan {
    /// A network nobody is in.
    ///
    /// # Errors
    /// There is no room for its sockets.
    pub fn new() -> anyhow::Result<Self> {
        let dir = Scratch::create(&std::env::temp_dir(), "rolltop-lan-")?;
        Ok(Self { dir, ports: Arc::default() })
    }

    /// Cuts the link of guest `number`: frames to it and from it are dropped.
    pub fn cut(&self, number: u8) {
        lock(&self.ports).cut.insert(number);
    }

    /// Undoes [`Lan::cut`].
    pub fn mend(&self, number: u8) {
        lock(&self.ports).cut.remove(&number);
    }

    /// Where QEMU connects for guest `number`; again for each start of it.
    pub(super) fn port(&self, number: u8) -> anyhow::Result<PathBuf> {
        let path = self.dir.path().join(number.to_string());
        if !path.exists() {
            self.listen(&path, number)?;
        }
        Ok(path)
    }

    fn listen(&self, path: &Path, number: u8) -> anyhow::Result<()> {
        let listener = UnixListener::bind(path).context("cannot listen for a guest")?;
        let ports = Arc::downgrade(&self.ports);
        thread::spawn(move || {
            // Ends with the first connection after the network is gone.
            while let Ok((stream, _)) = listener.accept() {
                let Some(ports) = ports.upgrade() else { return };
                if let Ok(reader) = stream.try_clone() {
                    plug_in(&ports, number, stream, reader);
                }
            }
        });
        Ok(())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // Senders go, and with them the threads that write; guests that still
        // run lose their link.
        lock(&self.ports).open.clear();
    }
}

/// One thread for each direction of a connection.
fn plug_in(ports: &Arc<Mutex<Ports>>, number: u8, mut writer: UnixStream, mut reader: UnixStream) {
    let (sender, frames) = mpsc::sync_channel::<Frame>(QUEUE);
    let key = {
        let mut ports = lock(ports);
        ports.connections += 1;
        let key = (number, ports.connections);
        ports.open.insert(key, sender);
        key
    };
    thread::spawn(move || {
        while let Ok(frame) = frames.recv() {
            if write_frame(&mut writer, &frame).is_err() {
                // Its guest has ended; the reader sees that too.
                return;
            }
        }
    });
    let ports = Arc::downgrade(ports);
    thread::spawn(move || {
        while let Ok(frame) = read_frame(&mut reader) {
            let Some(ports) = ports.upgrade() else { return };
            lock(&ports).spread(key, &frame);
        }
        if let Some(ports) = ports.upgrade() {
            lock(&ports).open.remove(&key);
        }
    });
}

impl Ports {
    /// To everybody but its sender.
    fn spread(&self, from: (u8, u64), frame: &Frame) {
        if self.cut.contains(&from.0) {
            return;
        }
        for (to, sender) in &self.open {
            if *to != from && !self.cut.contains(&to.0) {
                // A full queue, or a guest that just ends: the frame is lost, as it may be.
                drop(sender.try_send(Arc::clone(frame)));
            }
        }
    }
}

fn lock(ports: &Mutex<Ports>) -> MutexGuard<'_, Ports> {
    ports.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_frame(stream: &mut UnixStream) -> io::Result<Frame> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LARGEST_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes"),
        ));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}

fn write_frame(stream: &mut UnixStream, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    let mut whole = Vec::with_capacity(frame.len() + 4);
    whole.extend(length.to_be_bytes());
    whole.extend(frame);
    stream.write_all(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(lan: &Lan, number: u8) -> UnixStream {
        let stream = UnixStream::connect(lan.port(number).unwrap()).unwrap();
        // Plugged in by another thread.
        while !lock(&lan.ports).open.keys().any(|key| key.0 == number) {
            thread::yield_now();
        }
        stream
    }

    #[test]
    fn frames_reach_everybody_else() {
        let lan = Lan::new().unwrap();
        let [mut one, mut two, mut three] = [1, 2, 3].map(|number| guest(&lan, number));
        write_frame(&mut one, b"to all").unwrap();
        assert_eq!(&*read_frame(&mut two).unwrap(), b"to all");
        assert_eq!(&*read_frame(&mut three).unwrap(), b"to all");
        write_frame(&mut two, b"answer").unwrap();
        // Not its own frame.
        assert_eq!(&*read_frame(&mut one).unwrap(), b"answer");
    }

    #[test]
    fn a_cut_link_passes_nothing_until_it_is_mended() {
        let lan = Lan::new().unwrap();
        let [mut one, mut two, mut three] = [1, 2, 3].map(|number| guest(&lan, number));
        lan.cut(2);
        write_frame(&mut one, b"lost on two").unwrap();
        // Once it has reached another, it has been dropped for two.
        assert_eq!(&*read_frame(&mut three).unwrap(), b"lost on two");
        lan.mend(2);
        write_frame(&mut one, b"passes").unwrap();
        assert_eq!(&*read_frame(&mut two).unwrap(), b"passes");
    }

    #[test]
    fn a_guest_may_come_again() {
        let lan = Lan::new().unwrap();
        let mut one = guest(&lan, 1);
        drop(guest(&lan, 2));
        while lock(&lan.ports).open.len() > 1 {
            thread::yield_now();
        }
        let mut two = guest(&lan, 2);
        write_frame(&mut one, b"again").unwrap();
        assert_eq!(&*read_frame(&mut two).unwrap(), b"again");
    }
}
