//! The address of a broker.

use std::{fmt, str::FromStr};

use http::Uri;
use serde::{Deserialize, Serialize};

/// Where a broker listens unless told otherwise.
const DEFAULT_PORT: u16 = 8443;

/// `https://host:port`, in one spelling, so that it can key what is known of
/// that server: its certificate and our token. A token never goes to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ServerUrl {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

/// Why a server address was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServerUrlError {
    #[error("{0:?} is not an address such as https://desks.example.org:8443")]
    Malformed(String),
    #[error("{0:?} does not begin with https://, and a broker speaks TLS only")]
    NotHttps(String),
    #[error("{0:?} has a path, a query or a user name; give the host and port only")]
    MoreThanAuthority(String),
}

impl ServerUrl {
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as in a URL.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Default for ServerUrl {
    fn default() -> Self {
        Self { host: "localhost".to_owned(), port: DEFAULT_PORT }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    /// `https://host[:port]`, or a bare `host[:port]`. The port is 8443 unless
    /// given, with or without the scheme: one rule, easy to remember.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ServerUrlError::Malformed(text.to_owned());
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
            Some(_) => return Err(ServerUrlError::NotHttps(text.to_owned())),
            None => text,
        };
        let uri: Uri = format!("https://{rest}").parse().map_err(|_| malformed())?;
        let authority = uri.authority().ok_or_else(malformed)?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !bare || authority.as_str().contains('@') {
            return Err(ServerUrlError::MoreThanAuthority(text.to_owned()));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        // `Uri` keeps "host:" and ports past 65535 as they are.
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().map_err(|_| malformed())?,
            _ => DEFAULT_PORT,
        };
        if host.is_empty() || port == 0 {
            return Err(malformed());
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = ServerUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ServerUrl> for String {
    fn from(server: ServerUrl) -> Self {
        server.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_server() {
        for text in [
            "https://desk.example.org:8443",
            "https://desk.example.org:8443/",
            "HTTPS://Desk.Example.org",
            "desk.example.org",
            "desk.example.org:8443",
        ] {
            let server: ServerUrl = text.parse().unwrap();
            assert_eq!(server.to_string(), "https://desk.example.org:8443", "{text}");
        }
    }

    #[test]
    fn addresses_of_both_kinds() {
        let six: ServerUrl = "https://[::1]:9000".parse().unwrap();
        assert_eq!((six.host(), six.port()), ("::1", 9000));
        assert_eq!(six.authority(), "[::1]:9000");
        assert_eq!("[::1]".parse::<ServerUrl>().unwrap().to_string(), "https://[::1]:8443");
        assert_eq!("10.0.0.1".parse::<ServerUrl>().unwrap().host(), "10.0.0.1");
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for text in [
            "",
            "https://",
            "https://:8443",
            "https://a b",
            "https://a:0",
            "https://a:99999",
            "https://a:",
            "http://a",
            "ftp://a",
            "https://a/portal",
            "https://a?x=1",
            "https://u:p@a",
            "a\0b",
            "https://[::1",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_default_is_this_machine() {
        assert_eq!(ServerUrl::default().to_string(), "https://localhost:8443");
    }
}
