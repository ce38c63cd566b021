//! A way to one member on which answers get lost, or requests are held up.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
};

/// What passes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    All,
    /// Requests reach the member, its answers are lost.
    Requests,
    /// What is asked now reaches the member when this is over; that the client
    /// has given it up never does.
    Later,
}

pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    /// Bytes of answers.
    pub(crate) answered: Arc<AtomicUsize>,
    pass: Arc<watch::Sender<Pass>>,
}

impl Proxy {
    pub(crate) async fn to(member: &str) -> Self {
        let member = member.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let pass = Arc::new(watch::Sender::new(Pass::All));
        let told = pass.subscribe();
        let answered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&answered);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&member).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(relay(
                    from_client,
                    to_server,
                    told.clone(),
                    Pass::Later,
                    Arc::default(),
                ));
                tokio::spawn(relay(
                    from_server,
                    to_client,
                    told.clone(),
                    Pass::Requests,
                    Arc::clone(&count),
                ));
            }
        });
        Self { endpoint, answered, pass }
    }

    pub(crate) fn let_pass(&self, pass: Pass) {
        self.pass.send_replace(pass);
    }
}

/// Until either side ends. What it has when `not` holds is lost, or kept.
async fn relay(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut pass: watch::Receiver<Pass>,
    not: Pass,
    count: Arc<AtomicUsize>,
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(length, Ordering::Relaxed);
        let blocked = *pass.borrow() == not;
        if blocked && not == Pass::Requests {
            continue;
        }
        if blocked {
            let held = hold(&mut from, &mut pass, buffer[..length].to_vec()).await;
            // An error: the member has gone meanwhile.
            to.write_all(&without_resets(&held)).await.unwrap_or_default();
            // Not even that the connection ended.
            return std::future::pending().await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// All that comes until it may pass.
async fn hold(
    from: &mut OwnedReadHalf,
    pass: &mut watch::Receiver<Pass>,
    mut held: Vec<u8>,
) -> Vec<u8> {
    let mut open = true;
    loop {
        tokio::select! {
            read = from.read_buf(&mut held), if open => open = matches!(read, Ok(1..)),
            _ = pass.wait_for(|pass| *pass != Pass::Later) => return held,
        }
    }
}

/// The frames of HTTP/2 but RST_STREAM and GOAWAY, by which a client takes back
/// what it asked.
fn without_resets(mut bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    while let [a, b, c, kind, ..] = *bytes {
        let length = 9 + usize::from(a) * 65_536 + usize::from(b) * 256 + usize::from(c);
        let (frame, rest) = bytes.split_at(length.min(bytes.len()));
        if !matches!(kind, 3 | 7) {
            kept.extend_from_slice(frame);
        }
        bytes = rest;
    }
    kept
}
