//! Where the state is kept.

use std::{path::PathBuf, time::Duration};

use super::source::{Source, parse_list, parse_number};

/// Where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In a file in the state directory.
    Embedded,
    /// In an etcd cluster, which brokers may share.
    Etcd(Etcd),
}

/// How the etcd cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    /// Of the members.
    pub endpoints: Vec<String>,
    /// Below it everything is kept.
    pub prefix: String,
    /// PEM file of the authority of the members.
    pub ca: Option<PathBuf>,
    /// PEM files of our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Our name, and the file whose first line is the password.
    pub user: Option<(String, PathBuf)>,
    /// Of every call.
    pub deadline: Duration,
}

const PREFIX: &str = "/rolltop";
/// A cluster elects a new leader in a second or two, a slow one in a few.
const DEADLINE_S: u64 = 10;
/// Keys below the prefix must stay far below what stores take.
const MAX_PREFIX_BYTES: usize = 128;

// === impl Store ===

impl Store {
    pub(super) fn from_source(s: &mut Source) -> Self {
        let etcd = s.read("store.kind", false, |text| match text {
            "embedded" => Ok(false),
            "etcd" => Ok(true),
            _ => Err("not \"embedded\" or \"etcd\"".to_owned()),
        });
        let endpoints = s.read("store.endpoints", Vec::new(), |text| parse_list(text, endpoint));
        let prefix = s.read("store.prefix", PREFIX.to_owned(), prefix);
        let ca = s.read("store.ca", None, file);
        let certificate = s.read("store.certificate", None, file);
        let key = s.read("store.key", None, file);
        let user = s.read("store.user", None, |text| Ok(given(text).map(str::to_owned)));
        let password_file = s.read("store.password_file", None, file);
        let deadline =
            Duration::from_secs(s.read("store.deadline_s", DEADLINE_S, parse_number(1, 60)));
        let secure = endpoints.iter().filter(|url| url.starts_with("https://")).count();
        if !etcd {
            if !endpoints.is_empty() {
                s.fault("store.endpoints", "only for store.kind = \"etcd\"");
            }
            return Self::Embedded;
        }
        if endpoints.is_empty() && !s.is_faulty("store.endpoints") {
            s.fault("store.endpoints", "store.kind = \"etcd\" needs one at least");
        }
        if secure != 0 && secure != endpoints.len() {
            s.fault("store.endpoints", "some begin with https://, some with http://");
        }
        if secure != 0 && ca.is_none() {
            s.fault("store.ca", "endpoints with https:// need the certificate of their authority");
        }
        if secure == 0 && (ca.is_some() || certificate.is_some()) {
            s.fault("store.ca", "certificates are of no use without endpoints with https://");
        }
        Self::Etcd(Etcd {
            endpoints,
            prefix,
            ca,
            identity: pair(s, certificate, key, "store.certificate", "store.key"),
            user: pair(s, user, password_file, "store.user", "store.password_file"),
            deadline,
        })
    }
}

/// Both, or none.
pub(super) fn pair<A, B>(
    s: &mut Source,
    one: Option<A>,
    other: Option<B>,
    one_key: &'static str,
    other_key: &'static str,
) -> Option<(A, B)> {
    match (one, other) {
        (Some(one), Some(other)) => return Some((one, other)),
        (None, None) => {}
        (Some(_), None) => s.fault(other_key, &format!("{one_key} needs it")),
        (None, Some(_)) => s.fault(one_key, &format!("{other_key} needs it")),
    }
    None
}

pub(super) fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn file(text: &str) -> Result<Option<PathBuf>, String> {
    let path = given(text).map(PathBuf::from);
    match path {
        Some(path) if !path.is_absolute() => Err("not an absolute path".to_owned()),
        path => Ok(path),
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    let wanted = || format!("{text:?} is not http://HOST:PORT or https://HOST:PORT");
    let uri: http::Uri = text.parse().map_err(|_| wanted())?;
    let plain = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.port_u16().is_some_and(|port| port != 0)
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.path() == "/"
        && uri.query().is_none()
        && !text.ends_with('/');
    if plain { Ok(text.to_owned()) } else { Err(wanted()) }
}

fn prefix(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let fits = text.len() > 1
        && text.len() <= MAX_PREFIX_BYTES
        && text.starts_with('/')
        && !text.ends_with('/')
        && !text.contains("//")
        && text.chars().all(plain);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "not '/' and a name of letters, digits, '-', '_', '.', '/', at most {MAX_PREFIX_BYTES} bytes long, without '/' at its end"
        ))
    }
}
