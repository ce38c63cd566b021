//! The PROXY protocol, by which a load balancer that only passes bytes on tells
//! whom it serves (HAProxy's `proxy-protocol.txt`, versions 1 and 2). Without it
//! every client would have the balancer's address: one who guesses passwords would
//! lock all others out, and the audit log would name nobody.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use ppp::{HeaderResult, PartialResult as _, v1, v2};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What version 2 begins with; version 1 begins with "PROXY ", and is at least
/// this long too.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, and the length of the rest.
const FIXED_BYTES: usize = 16;
/// Of version 2; balancers send some dozens.
const MAX_BYTES: usize = 2048;
/// Of version 1, its line's end included.
const MAX_LINE_BYTES: usize = 107;

/// A connection that does not begin as it should.
#[derive(Debug, Error)]
pub(crate) enum ProxyError {
    /// It broke.
    #[error("it broke before it said whom it is from")]
    Read(#[from] io::Error),
    /// The balancer does not speak the protocol, or someone else has its address.
    #[error("it does not begin with a PROXY header")]
    NoHeader,
    /// A header that is none.
    #[error("its PROXY header cannot be read")]
    Damaged,
}

/// Load balancers that are believed what they say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

// === impl Proxies ===

impl Proxies {
    /// Those with addresses in one of `networks`.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Reads one network, or one address.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse_one(text: &str) -> Result<IpNet, String> {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| format!("{text:?} is no address and no network, such as 10.0.0.0/24"))
    }

    /// Who is at the other end: the peer, or whom it names if it is one of these.
    /// Reads the header and not a byte more.
    ///
    /// # Errors
    /// One of these did not begin with a header.
    pub(crate) async fn client_of(
        &self,
        peer: SocketAddr,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<SocketAddr, ProxyError> {
        let address = peer.ip().to_canonical();
        if !self.0.iter().any(|network| network.contains(&address)) {
            return Ok(peer);
        }
        let header = read(stream).await?;
        // Balancers name nobody when they look whether the broker is there.
        Ok(named(&header)?.unwrap_or(peer))
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ProxyError> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(FIXED_BYTES, 0);
        stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > MAX_BYTES {
            return Err(ProxyError::Damaged);
        }
        header.resize(FIXED_BYTES + rest, 0);
        stream.read_exact(&mut header[FIXED_BYTES..]).await?;
        return Ok(header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(ProxyError::NoHeader);
    }
    // What follows the line is for TLS, so no byte of it may be taken.
    while !header.ends_with(b"\r\n") {
        if header.len() == MAX_LINE_BYTES {
            return Err(ProxyError::Damaged);
        }
        header.push(stream.read_u8().await?);
    }
    Ok(header)
}

/// The client a header names, if it names one.
fn named(header: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let parsed = HeaderResult::parse(header);
    if !parsed.is_complete() {
        return Err(ProxyError::Damaged);
    }
    let at = |address: IpAddr, port| Some(SocketAddr::new(address, port));
    match parsed {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(from) => at(from.source_address.into(), from.source_port),
            v1::Addresses::Tcp6(from) => at(from.source_address.into(), from.source_port),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (v2::Command::Local, _) => None,
            (v2::Command::Proxy, v2::Addresses::IPv4(from)) => {
                at(from.source_address.into(), from.source_port)
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(from)) => {
                at(from.source_address.into(), from.source_port)
            }
            (v2::Command::Proxy, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(ProxyError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BALANCER: &str = "10.0.0.1:5000";

    fn proxies() -> Proxies {
        Proxies::new(vec![Proxies::parse_one("10.0.0.0/24").unwrap()])
    }

    fn from(peer: &str, bytes: &[u8]) -> (Result<String, ProxyError>, Vec<u8>) {
        let mut stream = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let proxies = proxies();
        let client = proxies.client_of(peer.parse().unwrap(), &mut stream);
        let client = runtime.block_on(client).map(|client| client.to_string());
        (client, stream.to_vec())
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
    }

    #[test]
    fn the_client_is_whom_the_balancer_names() {
        let cases: [(Vec<u8>, &str); 6] = [
            (b"PROXY TCP4 192.0.2.7 10.0.0.2 4711 8443\r\n".to_vec(), "192.0.2.7:4711"),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 8443\r\n".to_vec(), "[2001:db8::7]:4711"),
            (b"PROXY UNKNOWN\r\n".to_vec(), BALANCER),
            (
                version_2(1, 0x11, &[192, 0, 2, 7, 10, 0, 0, 2, 0x12, 0x67, 0x20, 0xfb]),
                "192.0.2.7:4711",
            ),
            (version_2(0, 0, &[]), BALANCER),
            (
                version_2(
                    1,
                    0x11,
                    &[192, 0, 2, 7, 10, 0, 0, 2, 0x12, 0x67, 0x20, 0xfb, 4, 0, 1, 0],
                ),
                "192.0.2.7:4711",
            ),
        ];
        for (header, client) in cases {
            let (named, rest) = from(BALANCER, &[header.as_slice(), b"\x16\x03\x01"].concat());
            assert_eq!(named.unwrap(), client);
            assert_eq!(rest, b"\x16\x03\x01", "what is TLS's is left to it");
        }
    }

    #[test]
    fn nobody_else_is_believed() {
        let header = b"PROXY TCP4 192.0.2.7 10.0.0.2 4711 8443\r\n";
        let (client, rest) = from("192.0.2.99:5000", header);
        assert_eq!(client.unwrap(), "192.0.2.99:5000");
        assert_eq!(rest, header, "not even read");
        let (mapped, _) = from("[::ffff:10.0.0.1]:5000", header);
        assert_eq!(mapped.unwrap(), "192.0.2.7:4711", "as a socket for both kinds tells it");
    }

    #[test]
    fn a_balancer_that_tells_nothing_is_refused() {
        assert!(matches!(from(BALANCER, &[0x16; 300]).0, Err(ProxyError::NoHeader)));
        assert!(matches!(from(BALANCER, b"PROXY").0, Err(ProxyError::Read(_))));
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 300]].concat();
        assert!(matches!(from(BALANCER, &endless).0, Err(ProxyError::Damaged)));
        let nonsense = b"PROXY TCP4 here there 1 2\r\n";
        assert!(matches!(from(BALANCER, nonsense).0, Err(ProxyError::Damaged)));
        let long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        assert!(matches!(from(BALANCER, &long).0, Err(ProxyError::Damaged)));
    }

    proptest! {
        #[test]
        fn no_header_harms(bytes in prop::collection::vec(any::<u8>(), 0..200), version_2: bool) {
            let start: &[u8] = if version_2 { SIGNATURE } else { b"PROXY " };
            let (client, _) = from(BALANCER, &[start, &bytes].concat());
            if let Ok(client) = client {
                prop_assert!(client.parse::<SocketAddr>().is_ok());
            }
        }
    }
}
