//! What links have to do with IPv6: nothing, unless desktops have it, and then no
//! more than the agent gives them.
//!
//! The kernel gives a link an IPv6 address some time after it is set up. Each
//! such address makes browsers on that machine drop the requests they have
//! under way (Chromium: `ERR_NETWORK_CHANGED`).

use std::{fs, io, path::Path};

use nix::errno::Errno;
use rtnetlink::{
    Handle, LinkUnspec,
    packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute},
};

use super::{NetworkError, is_errno};

/// Keeps the kernel from giving link `index` an address of its own accord. To
/// be called before the link is set up; the message that makes a link cannot
/// say it, as the kernel reads this attribute of existing links only
/// (`do_setlink` in `net/core/rtnetlink.c`).
pub(super) async fn no_address(
    handle: &Handle,
    index: u32,
    name: &str,
) -> Result<(), NetworkError> {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let message = LinkUnspec::new_with_index(index)
        .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]))
        .build();
    match handle.link().set(message).execute().await {
        Ok(()) => Ok(()),
        // A host without IPv6.
        Err(error) if is_errno(&error, Errno::EAFNOSUPPORT) => Ok(()),
        Err(error) => Err(NetworkError::netlink("keep IPv6 addresses from", name)(error)),
    }
}

/// Makes the host ignore IPv6 that arrives over link `name`: a desktop could
/// otherwise announce itself as a router, and the host would believe it.
pub(super) fn deafen(name: &str) -> Result<(), NetworkError> {
    set(name, "disable_ipv6", "1").map_err(failed(name))
}

/// Lets the host have IPv6 on link `name`, but believe no router there.
pub(super) fn listen(name: &str) -> Result<(), NetworkError> {
    ignore_routers(name).and_then(|()| set(name, "disable_ipv6", "0")).map_err(failed(name))
}

/// Has routers on link `name` ignored, in the network namespace of the calling
/// thread. A link that is not there is success.
pub(super) fn ignore_routers(name: &str) -> io::Result<()> {
    set(name, "accept_ra", "0").and_then(|()| set(name, "accept_redirects", "0"))
}

fn set(name: &str, key: &str, value: &str) -> io::Result<()> {
    match fs::write(format!("/proc/sys/net/ipv6/conf/{name}/{key}"), value) {
        // A host without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn failed(name: &str) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::io("set how IPv6 is taken on", name, source)
}

/// Whether the kernel knows IPv6.
pub(super) fn is_here() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}
