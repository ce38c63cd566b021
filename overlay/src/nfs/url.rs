//! `nfs://server[:port]/export/path`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// The port of NFS 4.
const DEFAULT_PORT: u16 = 2049;
/// `NFS4_MAXPATHLEN` of the kernel, without its NUL.
const MAX_PATH_BYTES: usize = 1023;
const MAX_COMPONENT_BYTES: usize = 255;
/// RFC 1035.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Where an export is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NfsUrl {
    host: NfsHost,
    port: u16,
    path: String,
}

/// A server, as it was named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NfsHost {
    /// By name: looked up each time it is mounted.
    Name(String),
    /// By address.
    Address(IpAddr),
}

/// Text that names no export.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NfsUrlError {
    /// No `nfs://` in front.
    #[error("does not begin with nfs://, as in nfs://server/export/path")]
    Scheme,
    /// Nothing after the server.
    #[error("names no path on the server, as in nfs://server/export/path")]
    NoPath,
    /// The server is neither name nor address.
    #[error("{0:?} is no server: a name, an IPv4 address, or an IPv6 address in [ ]")]
    Host(String),
    /// The port is no port.
    #[error("{0:?} is no port: a number from 1 to 65535")]
    Port(String),
    /// The path is longer than the protocol allows.
    #[error("the path has more than 1023 bytes, or a name in it more than 255")]
    Length,
    /// Something in the path that must not be there.
    #[error(
        "the path has {0:?} in it: write it as it is on the server, without `.`, `..`, `//`, `%`, `?`, `#`"
    )]
    Path(String),
}

// === impl NfsUrl ===

impl NfsUrl {
    /// The server.
    #[must_use]
    pub fn host(&self) -> &NfsHost {
        &self.host
    }

    /// Its port, 2049 if none was given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The absolute path on the server.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What the kernel takes as the device: `server:/path`.
    pub(crate) fn source(&self) -> String {
        format!("{}:{}", self.host, self.path)
    }
}

impl FromStr for NfsUrl {
    type Err = NfsUrlError;

    fn from_str(text: &str) -> Result<Self, NfsUrlError> {
        let rest = text.strip_prefix("nfs://").ok_or(NfsUrlError::Scheme)?;
        let slash = rest.find('/').ok_or(NfsUrlError::NoPath)?;
        let (authority, path) = rest.split_at(slash);
        let (host, port) = split_port(authority)?;
        Ok(Self { host: parse_host(host)?, port, path: parse_path(path)? })
    }
}

/// A port follows the last colon, unless that is within the brackets.
fn split_port(authority: &str) -> Result<(&str, u16), NfsUrlError> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => return Ok((authority, DEFAULT_PORT)),
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(number) if digits && number != 0 => Ok((host, number)),
        _ => Err(NfsUrlError::Port(port.to_owned())),
    }
}

fn parse_host(text: &str) -> Result<NfsHost, NfsUrlError> {
    let bad = || NfsUrlError::Host(text.to_owned());
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']').ok_or_else(bad)?;
        return address.parse().map(|v6: Ipv6Addr| NfsHost::Address(v6.into())).map_err(|_| bad());
    }
    if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
        return Ok(NfsHost::Address(address.into()));
    }
    let label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // The last label of a name has a letter: 10.0.0.256 is a mistyped address.
    let last_is_name = |text: &str| {
        text.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| !b.is_ascii_digit()))
    };
    let is_name = text.len() <= MAX_NAME_BYTES && text.split('.').all(label) && last_is_name(text);
    if is_name { Ok(NfsHost::Name(text.to_ascii_lowercase())) } else { Err(bad()) }
}

/// Checks a path that begins with `/`; one more at its end means nothing.
fn parse_path(text: &str) -> Result<String, NfsUrlError> {
    let path = text.strip_suffix('/').unwrap_or(text);
    if path.is_empty() {
        return Ok("/".to_owned());
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(NfsUrlError::Length);
    }
    for name in path.split('/').skip(1) {
        if name.len() > MAX_COMPONENT_BYTES {
            return Err(NfsUrlError::Length);
        }
        let special = |c: char| c.is_control() || matches!(c, '%' | '?' | '#');
        if let Some(character) = name.chars().find(|&c| special(c)) {
            return Err(NfsUrlError::Path(character.to_string()));
        }
        match name {
            "" => return Err(NfsUrlError::Path("//".to_owned())),
            "." | ".." => return Err(NfsUrlError::Path(name.to_owned())),
            _ => {}
        }
    }
    Ok(path.to_owned())
}

impl fmt::Display for NfsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nfs://{}", self.host)?;
        if self.port != DEFAULT_PORT {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

impl fmt::Display for NfsHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(text: &str) -> Result<NfsUrl, NfsUrlError> {
        text.parse()
    }

    #[test]
    fn names_and_addresses() {
        for (text, source, port) in [
            ("nfs://filer/export/images", "filer:/export/images", 2049),
            ("nfs://Filer.Example.ORG/e", "filer.example.org:/e", 2049),
            ("nfs://10.77.0.1:20490/e/", "10.77.0.1:/e", 20490),
            ("nfs://[::1]/srv/rootfs", "[::1]:/srv/rootfs", 2049),
            ("nfs://[2001:db8::7]:1/", "[2001:db8::7]:/", 1),
            ("nfs://a_b-c/with space/ä:,\\", "a_b-c:/with space/ä:,\\", 2049),
        ] {
            let url = url(text).unwrap();
            assert_eq!(url.source(), source, "{text}");
            assert_eq!(url.port(), port, "{text}");
        }
    }

    #[test]
    fn bad_ones_say_what_is_wrong() {
        let host = |text: &str| NfsUrlError::Host(text.to_owned());
        let port = |text: &str| NfsUrlError::Port(text.to_owned());
        let path = |text: &str| NfsUrlError::Path(text.to_owned());
        for (text, expected) in [
            ("", NfsUrlError::Scheme),
            ("/srv/images", NfsUrlError::Scheme),
            ("filer:/export", NfsUrlError::Scheme),
            ("nfs://filer", NfsUrlError::NoPath),
            ("nfs:///export", host("")),
            ("nfs://10.0.0.256/e", host("10.0.0.256")),
            ("nfs://-a/e", host("-a")),
            ("nfs://a..b/e", host("a..b")),
            ("nfs://a,b=c/e", host("a,b=c")),
            ("nfs://user@filer/e", host("user@filer")),
            ("nfs://::1/e", host(":")),
            ("nfs://[::1/e", host("[:")),
            ("nfs://[fe80::1%eth0]/e", host("[fe80::1%eth0]")),
            ("nfs://[filer]/e", host("[filer]")),
            ("nfs://filer:/e", port("")),
            ("nfs://filer:0/e", port("0")),
            ("nfs://filer:+1/e", port("+1")),
            ("nfs://filer:65536/e", port("65536")),
            ("nfs://filer/a/../b", path("..")),
            ("nfs://filer/./b", path(".")),
            ("nfs://filer//b", path("//")),
            ("nfs://filer/a%20b", path("%")),
            ("nfs://filer/a?ro", path("?")),
            ("nfs://filer/a\nb", path("\n")),
        ] {
            assert_eq!(url(text).unwrap_err(), expected, "{text:?}");
        }
        let long = format!("nfs://filer/{}", "x".repeat(256));
        assert_eq!(url(&long).unwrap_err(), NfsUrlError::Length);
        let deep = format!("nfs://filer{}", "/abc".repeat(256));
        assert_eq!(url(&deep).unwrap_err(), NfsUrlError::Length);
    }

    proptest! {
        #[test]
        fn what_parses_is_printed_and_read_back(text in "nfs://[a-z0-9.:\\[\\]_-]{1,20}(/[a-zA-Z0-9 .,:é-]{0,6}){0,5}") {
            if let Ok(url) = url(&text) {
                prop_assert_eq!(url.to_string().parse::<NfsUrl>().unwrap(), url.clone());
                prop_assert!(url.path().starts_with('/'));
                prop_assert!(!url.path().split('/').any(|name| name == ".."));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}", tail in "\\PC{0,40}") {
            drop(url(&text));
            drop(url(&format!("nfs://{text}/{tail}")));
        }
    }
}
