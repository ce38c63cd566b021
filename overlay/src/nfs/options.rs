//! Options of an NFS mount: those an operator may set, and what is made of
//! them. Their meaning is that of nfs(5).

use std::fmt;
use std::net::SocketAddr;

use thiserror::Error;

use super::NfsUse;

/// As many as the kernel takes (`NFS_MAX_CONNECTIONS`).
const MAX_CONNECTIONS: u32 = 16;
/// A day. Published versions never change; what bounds it is how long a host
/// may go on with a version somebody replaced against the rules.
const VERSIONS_CACHE_S: u32 = 86_400;
const MAX_CACHE_S: u32 = 31_536_000;

const KNOWN: &str = "nconnect, actimeo, rsize, timeo, retrans, sec, vers, softreval, noresvport";

/// How an export is mounted. Not to be had otherwise: hard, read-only, TCP,
/// without devices and set-uid programs for the host's own users.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NfsOptions {
    minor_version: u8,
    connections: u32,
    cache_s: u32,
    read_bytes: Option<u32>,
    timeout_ds: Option<u32>,
    retries: Option<u32>,
    security: NfsSecurity,
    stale_attributes: bool,
    any_port: bool,
}

/// How server and client trust each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NfsSecurity {
    /// By address and numeric ids.
    Sys,
    /// Kerberos: who it is.
    Krb5,
    /// And that nothing was changed.
    Krb5i,
    /// And that nobody else could read it.
    Krb5p,
}

/// An option that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{option:?} {reason}")]
pub struct OptionFault {
    /// As it was given.
    pub option: String,
    /// Why not, and what would be right.
    pub reason: String,
}

impl Default for NfsOptions {
    fn default() -> Self {
        Self {
            minor_version: 2,
            connections: 4,
            cache_s: VERSIONS_CACHE_S,
            read_bytes: None,
            timeout_ds: None,
            retries: None,
            security: NfsSecurity::Sys,
            stale_attributes: false,
            any_port: false,
        }
    }
}

// === impl NfsOptions ===

impl NfsOptions {
    /// From options such as `nconnect=8`; what is not named keeps its default.
    ///
    /// # Errors
    /// Every option that is unknown, forbidden, out of range or named twice.
    pub fn parse<S: AsRef<str>>(given: &[S]) -> Result<Self, Vec<OptionFault>> {
        let mut options = Self::default();
        let mut faults = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for text in given.iter().map(AsRef::as_ref) {
            let name = text.split('=').next().unwrap_or(text);
            let taken = if seen.insert(name) {
                options.take(text)
            } else {
                Err("is there twice; give it once".to_owned())
            };
            faults
                .extend(taken.err().map(|reason| OptionFault { option: text.to_owned(), reason }));
        }
        if faults.is_empty() { Ok(options) } else { Err(faults) }
    }

    fn take(&mut self, text: &str) -> Result<(), String> {
        match text.split_once('=') {
            Some(("nconnect", value)) => self.connections = number(value, 1, MAX_CONNECTIONS)?,
            Some(("actimeo", value)) => self.cache_s = number(value, 1, MAX_CACHE_S)?,
            Some(("rsize", value)) => self.read_bytes = Some(number(value, 4096, 1 << 20)?),
            Some(("timeo", value)) => self.timeout_ds = Some(number(value, 1, 6000)?),
            Some(("retrans", value)) => self.retries = Some(number(value, 0, 100)?),
            Some(("sec", value)) => self.security = security(value)?,
            Some(("vers" | "nfsvers", "4.2")) => self.minor_version = 2,
            Some(("vers" | "nfsvers", "4.1")) => self.minor_version = 1,
            Some(("vers" | "nfsvers", _)) => return Err("must be 4.2 or 4.1".to_owned()),
            None if text == "softreval" => self.stale_attributes = true,
            None if text == "noresvport" => self.any_port = true,
            // What is always so may be said.
            None if matches!(text, "hard" | "ro" | "nodev" | "nosuid" | "nocto") => {}
            None if matches!(text, "soft" | "softerr") => {
                return Err("would give programs errors while a server reboots, \
                            instead of letting them wait; leave it out"
                    .to_owned());
            }
            None if text == "rw" => return Err("base roots are read-only; leave it out".to_owned()),
            Some(("addr" | "clientaddr" | "port" | "proto", _)) => {
                return Err("follows from the URL; leave it out".to_owned());
            }
            _ => return Err(format!("is no option this version knows, which are: {KNOWN}")),
        }
        Ok(())
    }

    /// The option string of mount(2). Nothing in it comes from outside as text.
    pub(crate) fn data(&self, server: SocketAddr, purpose: NfsUse) -> String {
        let mut data = format!(
            "vers=4.{},addr={},port={},proto={},hard,nconnect={},sec={}",
            self.minor_version,
            server.ip(),
            server.port(),
            if server.is_ipv6() { "tcp6" } else { "tcp" },
            self.connections,
            self.security,
        );
        match purpose {
            // Open files are not asked about again: versions never change.
            NfsUse::Versions => data.push_str(&format!(",actimeo={},nocto", self.cache_s)),
            NfsUse::Names => data.push_str(",actimeo=0,lookupcache=none"),
        }
        let mut add = |name: &str, value: Option<u32>| {
            data.extend(value.map(|value| format!(",{name}={value}")));
        };
        add("rsize", self.read_bytes);
        add("timeo", self.timeout_ds);
        add("retrans", self.retries);
        if self.stale_attributes && purpose == NfsUse::Versions {
            data.push_str(",softreval");
        }
        if self.any_port {
            data.push_str(",noresvport");
        }
        data
    }
}

fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("must be a number from {least} to {most}")),
    }
}

fn security(text: &str) -> Result<NfsSecurity, String> {
    use NfsSecurity::{Krb5, Krb5i, Krb5p, Sys};
    [Sys, Krb5, Krb5i, Krb5p]
        .into_iter()
        .find(|known| known.to_string() == text)
        .ok_or_else(|| "must be sys, krb5, krb5i or krb5p".to_owned())
}

impl fmt::Display for NfsSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sys => "sys",
            Self::Krb5 => "krb5",
            Self::Krb5i => "krb5i",
            Self::Krb5p => "krb5p",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4() -> SocketAddr {
        "10.0.0.1:2049".parse().unwrap()
    }

    #[test]
    fn defaults_are_told_to_the_kernel() {
        let options = NfsOptions::default();
        assert_eq!(
            options.data(v4(), NfsUse::Versions),
            "vers=4.2,addr=10.0.0.1,port=2049,proto=tcp,hard,nconnect=4,sec=sys,actimeo=86400,nocto"
        );
        assert_eq!(
            options.data("[::1]:2050".parse().unwrap(), NfsUse::Names),
            "vers=4.2,addr=::1,port=2050,proto=tcp6,hard,nconnect=4,sec=sys,actimeo=0,lookupcache=none"
        );
    }

    #[test]
    fn options_are_taken() {
        let given = [
            "nconnect=1",
            "actimeo=60",
            "rsize=65536",
            "timeo=50",
            "retrans=2",
            "sec=krb5p",
            "vers=4.1",
            "softreval",
            "noresvport",
            "hard",
            "ro",
            "nodev",
            "nosuid",
            "nocto",
        ];
        assert_eq!(
            NfsOptions::parse(&given).unwrap().data(v4(), NfsUse::Versions),
            "vers=4.1,addr=10.0.0.1,port=2049,proto=tcp,hard,nconnect=1,sec=krb5p,actimeo=60,nocto,\
             rsize=65536,timeo=50,retrans=2,softreval,noresvport"
        );
    }

    #[test]
    fn every_fault_is_told() {
        let given = [
            "nconnect=17",
            "nconnect=2",
            "actimeo=0",
            "rsize=+5000",
            "sec=none",
            "vers=3",
            "soft",
            "rw",
            "addr=1.2.3.4",
            "lock",
            "nconnect",
            "timeo=",
            "",
            "sec=sys,rw",
        ];
        let faults = NfsOptions::parse(&given).unwrap_err();
        let named: Vec<_> = faults.iter().map(|fault| fault.option.as_str()).collect();
        assert_eq!(named, given);
        assert!(faults[1].reason.contains("twice"), "{}", faults[1]);
        assert!(faults[9].to_string().contains("which are: nconnect"), "{}", faults[9]);
    }

    proptest! {
        #[test]
        fn nothing_given_reaches_the_kernel_but_numbers_and_words(
            given in proptest::collection::vec("[a-z]{0,9}=?[a-z0-9.,=\\-]{0,9}", 0..6)
        ) {
            if let Ok(options) = NfsOptions::parse(&given) {
                let data = options.data(v4(), NfsUse::Versions);
                prop_assert!(data.starts_with("vers=4."));
                prop_assert!(!data.split(',').any(|part| part == "rw" || part == "soft"));
                prop_assert_eq!(data.matches("addr=").count(), 1);
            }
        }
    }
}
