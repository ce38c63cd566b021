//! Frames as an attacker would make them, sent from a desktop's own link.
//!
//! In a desktop even root may not open packet sockets or change the link, so
//! they are sent by the host's root from within the desktop's network namespace:
//! the packet filter must hold should those walls fall.

use std::{
    fs::File,
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    process::Command,
    thread,
};

use anyhow::{Context as _, ensure};
use nix::sched::{CloneFlags, setns};

pub(crate) type Mac = [u8; 6];

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const UDP: u8 = 17;

/// Opens a packet socket on `eth0` and sends what is given in hexadecimal.
const SEND: &str = r#"
    my ($index, $frame) = @ARGV;
    socket(my $socket, 17, 3, 0x0300) or die "socket: $!";
    my $address = pack("S n i S C C a8", 17, 0x0003, $index, 0, 0, 6, "");
    send($socket, pack("H*", $frame), 0, $address) or die "send: $!";
"#;
/// Index the agent gives `eth0`.
const ETH0: &str = "2";

pub(super) fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [to, from].concat();
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Ethernet, IPv4 and UDP with a few bytes.
pub(crate) fn udp(
    (to_mac, to, to_port): (Mac, Ipv4Addr, u16),
    (from_mac, from, from_port): (Mac, Ipv4Addr, u16),
) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 64, UDP, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    let checksum = checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(from_port.to_be_bytes());
    packet.extend(to_port.to_be_bytes());
    // Length; no checksum; four bytes.
    packet.extend([0, 12, 0, 0, b'h', b'i', b'!', b'\n']);
    ethernet(to_mac, from_mac, IPV4, &packet)
}

/// An ARP answer: `owner` is said to have `ip`.
pub(super) fn arp(to: Mac, from: Mac, (owner, ip): (Mac, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 2];
    packet.extend(owner);
    packet.extend(ip.octets());
    packet.extend(to);
    packet.extend(target.octets());
    ethernet(to, from, ARP, &packet)
}

/// Ethernet and IPv6, with the hop limit of neighbours. Checksums do not matter to
/// who only looks.
pub(super) fn ipv6(
    (to_mac, to): (Mac, Ipv6Addr),
    (from_mac, from): (Mac, Ipv6Addr),
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, protocol, 255];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    ethernet(to_mac, from_mac, 0x86dd, &packet)
}

/// A neighbour solicitation (135) or advertisement (136), with a hardware address
/// as its option.
pub(super) fn neighbour(
    kind: u8,
    to: (Mac, Ipv6Addr),
    from: (Mac, Ipv6Addr),
    target: Ipv6Addr,
    option: Option<Mac>,
) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend(target.octets());
    if let Some(mac) = option {
        message.extend([kind - 134, 1]);
        message.extend(mac);
    }
    ipv6(to, from, 58, &message)
}

/// Sends a frame from the network namespace of process `init`.
pub(crate) fn send(init: i32, frame: &[u8]) -> anyhow::Result<()> {
    let hexadecimal: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let output = Command::new("nsenter")
        .args(["--net", "--target", &init.to_string(), "--", "perl", "-e", SEND, ETH0])
        .arg(hexadecimal)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the frame cannot be sent: {said}");
    Ok(())
}

/// What `make` makes in the network namespace of process `init`, where it stays.
pub(crate) fn within<T: Send>(
    init: i32,
    make: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let namespace = File::open(format!("/proc/{init}/ns/net"))?;
    thread::scope(|scope| {
        let made = scope.spawn(|| {
            // The thread ends there: no other is moved.
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            make()
        });
        made.join().ok().context("the thread panicked")?
    })
}

/// A socket that never waits.
pub(crate) fn udp_socket(port: u16) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}
