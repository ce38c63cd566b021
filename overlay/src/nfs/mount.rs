//! The mount itself.

use std::ffi::CString;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use thiserror::Error;

use super::{NfsHost, NfsOptions, NfsUrl, NfsUse};
use crate::mountinfo::Mount;

/// With its own name for version 4, the kernel wants no options that a mount
/// program would have to find out.
const FILE_SYSTEM: &str = "nfs4";

/// For one address of a server to take a connection. A name may have several.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// An export and how to mount it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NfsTarget {
    /// Where it is.
    pub url: NfsUrl,
    /// What an operator decides.
    pub options: NfsOptions,
    /// What it is mounted for.
    pub purpose: NfsUse,
}

/// Why an export could not be mounted.
#[derive(Debug, Error)]
pub enum NfsError {
    /// The name service knows no such server, or does not answer.
    #[error("the name of NFS server {host} cannot be resolved")]
    Resolve {
        /// The server.
        host: NfsHost,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// The name has no address.
    #[error("the name of NFS server {0} has no address")]
    NoAddress(NfsHost),
    /// It takes no connection.
    #[error("NFS server {host} cannot be reached at {address}")]
    Connect {
        /// The server.
        host: NfsHost,
        /// The last of its addresses that was tried.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel, or the server through it, refused.
    #[error("cannot mount {url}{hint}")]
    Mount {
        /// The export.
        url: NfsUrl,
        /// What it usually means, with ": " in front; may be empty.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Mounts `target` at `point`: read-only, no devices; no set-uid programs for
/// the host's users either, because inside of a desktop the flags of its
/// overlay mount count, not these.
pub(crate) fn mount_nfs(target: &NfsTarget, point: &Path) -> Result<(), NfsError> {
    let refused = |error: Errno| NfsError::Mount {
        url: target.url.clone(),
        hint: hint(error),
        source: error.into(),
    };
    let server = reachable(&target.url)?;
    // Digits and words of ours only, so never a NUL.
    let data = CString::new(target.options.data(server, target.purpose))
        .map_err(|_| refused(Errno::INVAL))?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    // mount(2), not fsconfig(2), whose strings end at 255 bytes.
    mount(target.url.source().as_str(), point, FILE_SYSTEM, flags, data.as_c_str())
        .map_err(refused)?;
    mount_change(point, MountPropagationFlags::PRIVATE).map_err(refused)
}

/// An address of the server that takes connections. The kernel would try one
/// address, for minutes, and hold up all other NFS mounts meanwhile.
fn reachable(url: &NfsUrl) -> Result<SocketAddr, NfsError> {
    let host = url.host();
    let addresses: Vec<SocketAddr> = match host {
        NfsHost::Address(address) => vec![(*address, url.port()).into()],
        NfsHost::Name(name) => (name.as_str(), url.port())
            .to_socket_addrs()
            .map_err(|source| NfsError::Resolve { host: host.clone(), source })?
            .collect(),
    };
    let mut last = Err(NfsError::NoAddress(host.clone()));
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(_connection) => return Ok(address),
            Err(source) => {
                last = Err(NfsError::Connect { host: host.clone(), address, source });
            }
        }
    }
    last
}

fn hint(error: Errno) -> &'static str {
    match error {
        Errno::NOENT => ": the server has no such export, or not for this host",
        Errno::ACCESS | Errno::PERM => ": the server does not allow this host to",
        Errno::NODEV => ": this kernel has no NFS 4 client",
        Errno::PROTONOSUPPORT | Errno::PFNOSUPPORT => ": the server does not speak this version",
        Errno::BUSY => ": it is mounted already, with options that contradict these",
        _ => "",
    }
}

/// Whether `mount` can be one of an export, asking nobody but the mount table.
/// From which one does not stand there: the kernel knows one server under all
/// of its names, and tells the one it was first mounted by.
pub(crate) fn is_nfs(mount: &Mount) -> bool {
    mount.file_system == FILE_SYSTEM
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> NfsTarget {
        NfsTarget {
            url: url.parse().unwrap(),
            options: NfsOptions::default(),
            purpose: NfsUse::Versions,
        }
    }

    #[test]
    fn a_port_nobody_listens_on_is_told_at_once() {
        // Bound, never listening: nobody else can have it meanwhile.
        let holder = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        rustix::net::bind(&holder, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        let bound: SocketAddr = rustix::net::getsockname(&holder).unwrap().try_into().unwrap();
        let url = format!("nfs://127.0.0.1:{}/export", bound.port());
        let error = mount_nfs(&target(&url), Path::new("/nowhere")).unwrap_err();
        assert!(matches!(error, NfsError::Connect { .. }), "{error:?}");
    }
}
