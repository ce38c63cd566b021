//! Changes of nftables sets, as one transaction over a netlink socket. Starting
//! `nft` for it would take a desktop's start several milliseconds.
//!
//! Numbers and layouts are those of `linux/netfilter/nf_tables.h` and
//! `linux/netfilter/nfnetlink.h`.

use std::{io, net::IpAddr};

use netlink_packet_core::{
    ErrorBuffer, NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::libc::{
    NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, NFT_JUMP, NFT_MSG_DELCHAIN,
    NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM,
};

use super::TABLE;
use crate::address::Mac;

/// Length of a link's name in a key (`IFNAMSIZ`).
const LINK_NAME: usize = 16;

const NESTED: u16 = 1 << 15;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;

/// Which of the tables (`NFPROTO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Family {
    Ipv4 = 2,
    Bridge = 7,
    Ipv6 = 10,
}

/// What is looked up in a set: its fields, each filled up to whole words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(Vec<u8>);

/// Changes that happen all at once or not at all.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
}

/// A socket to the packet filter of the network namespace it was made in.
#[derive(Debug)]
pub(super) struct Filter(Socket);

// === impl Family ===

impl Family {
    /// Of the table that has to do with this address.
    pub(super) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv6() { Self::Ipv6 } else { Self::Ipv4 }
    }

    /// As `nft` has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ip",
            Self::Bridge => "bridge",
            Self::Ipv6 => "ip6",
        }
    }

    /// Of its addresses.
    pub(super) fn address_type(self) -> &'static str {
        if self == Self::Ipv6 { "ipv6_addr" } else { "ipv4_addr" }
    }

    /// The name of its set in the table of the bridge, where both have one.
    pub(super) fn of_bridge(self, set: &str) -> String {
        if self == Self::Ipv6 { format!("{set}6") } else { set.into() }
    }
}

// === impl Key ===

impl Key {
    pub(super) fn link(name: &str) -> Self {
        let mut field = [0; LINK_NAME];
        for (to, from) in field.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Self(field.into())
    }

    pub(super) fn ip(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self(ip.octets().into()),
            IpAddr::V6(ip) => Self(ip.octets().into()),
        }
    }

    pub(super) fn owner(link: &str, mac: Mac, ip: IpAddr) -> Self {
        let Self(mut key) = Self::link(link);
        key.extend(mac.0);
        key.extend([0, 0]);
        key.extend(Self::ip(ip).0);
        Self(key)
    }
}

// === impl Batch ===

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self { bytes: Vec::with_capacity(512), sequence: 0 };
        batch.message(NFNL_MSG_BATCH_BEGIN as u16, 0, 0, NFNL_SUBSYS_NFTABLES as u16, |_| {});
        batch
    }

    /// Adds an element; with `jump`, to a map that leads to that chain. One that
    /// is there already is fine.
    pub(super) fn add(&mut self, family: Family, set: &str, key: &Key, jump: Option<&str>) {
        let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
        self.change(NFT_MSG_NEWSETELEM, flags, family, |bytes| element(bytes, set, key, jump));
    }

    pub(super) fn remove(&mut self, family: Family, set: &str, key: &Key) {
        let flags = NLM_F_REQUEST | NLM_F_ACK;
        self.change(NFT_MSG_DELSETELEM, flags, family, |bytes| element(bytes, set, key, None));
    }

    /// Removes a chain, with its rules; nothing may lead there any more.
    pub(super) fn remove_chain(&mut self, family: Family, chain: &str) {
        self.change(NFT_MSG_DELCHAIN, NLM_F_REQUEST | NLM_F_ACK, family, |bytes| {
            attribute(bytes, CHAIN_TABLE, |bytes| text(bytes, TABLE));
            attribute(bytes, CHAIN_NAME, |bytes| text(bytes, chain));
        });
    }

    fn change(
        &mut self,
        message: i32,
        flags: u16,
        family: Family,
        payload: impl FnOnce(&mut Vec<u8>),
    ) {
        let kind = (NFNL_SUBSYS_NFTABLES as u16) << 8 | message as u16;
        self.message(kind, flags, family as u8, 0, payload);
    }

    /// A netlink header, then that of nfnetlink: family, version 0, resource.
    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        payload: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        payload(&mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.sequence += 1;
    }

    /// The bytes, and how many answers they will have.
    fn finish(mut self) -> (Vec<u8>, u32) {
        // Without the beginning, which is not answered.
        let answers = self.sequence - 1;
        self.message(NFNL_MSG_BATCH_END as u16, 0, 0, NFNL_SUBSYS_NFTABLES as u16, |_| {});
        (self.bytes, answers)
    }
}

fn element(bytes: &mut Vec<u8>, set: &str, key: &Key, jump: Option<&str>) {
    attribute(bytes, SET_TABLE, |bytes| text(bytes, TABLE));
    attribute(bytes, SET_NAME, |bytes| text(bytes, set));
    attribute(bytes, SET_ELEMENTS | NESTED, |bytes| {
        attribute(bytes, LIST_ELEMENT | NESTED, |bytes| {
            attribute(bytes, ELEMENT_KEY | NESTED, |bytes| {
                attribute(bytes, DATA_VALUE, |bytes| bytes.extend(&key.0));
            });
            let Some(chain) = jump else { return };
            attribute(bytes, ELEMENT_DATA | NESTED, |bytes| {
                attribute(bytes, DATA_VERDICT | NESTED, |bytes| {
                    attribute(bytes, VERDICT_CODE, |bytes| bytes.extend(NFT_JUMP.to_be_bytes()));
                    attribute(bytes, VERDICT_CHAIN, |bytes| text(bytes, chain));
                });
            });
        });
    });
}

/// Length and kind, then the value, filled up to whole words.
fn attribute(bytes: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend([0; 2]);
    bytes.extend(kind.to_ne_bytes());
    value(bytes);
    let length = (bytes.len() - start) as u16;
    bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.bytes());
    bytes.push(0);
}

// === impl Filter ===

impl Filter {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Makes all changes, or none of them.
    ///
    /// # Errors
    /// The first error the kernel had with any of them: `ENOENT`, of a table,
    /// set, element or chain that is not there; `EEXIST`, of an element that is
    /// there with another verdict.
    pub(super) fn commit(&self, batch: Batch) -> io::Result<()> {
        let (bytes, answers) = batch.finish();
        self.0.send(&bytes, 0)?;
        // The kernel works on the batch while it is being sent: all answers are
        // there by now.
        let (mut fault, mut heard) = (None, 0);
        while heard < answers {
            let (packet, _from) = match self.0.recv_from_full() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                other => other?,
            };
            for code in codes(&packet)? {
                heard += 1;
                fault = fault.or((code != 0).then(|| io::Error::from_raw_os_error(-code)));
            }
        }
        match fault {
            Some(fault) => Err(fault),
            None if heard == answers => Ok(()),
            None => Err(io::Error::other("the packet filter did not answer")),
        }
    }
}

/// Error numbers of the answers in a packet, negated; 0 for success.
fn codes(mut packet: &[u8]) -> io::Result<Vec<i32>> {
    let mut codes = Vec::new();
    while !packet.is_empty() {
        let message = NetlinkBuffer::new_checked(packet).map_err(io::Error::other)?;
        if message.message_type() == NLMSG_ERROR {
            let error = ErrorBuffer::new_checked(message.payload()).map_err(io::Error::other)?;
            codes.push(error.code().map_or(0, i32::from));
        }
        let length = (message.length() as usize).next_multiple_of(4);
        packet = packet.get(length..).unwrap_or_default();
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// As `nft --debug=mnl add element bridge rolltop owners { "rt18" .
    /// 54:52:00:00:00:12 . 10.77.0.18 }` shows it, on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn an_element_is_what_nft_makes_of_it() {
        let mut bytes: Vec<u8> = Vec::new();
        let ip = Ipv4Addr::new(10, 77, 0, 18).into();
        let key = Key::owner("rt18", Mac([0x54, 0x52, 0, 0, 0, 0x12]), ip);
        element(&mut bytes, "owners", &key, None);
        let mut expected: Vec<u8> = Vec::new();
        expected.extend(b"\x0c\0\x01\0rolltop\0\x0b\0\x02\0owners\0\0");
        expected.extend(b"\x2c\0\x03\x80\x28\0\x01\x80\x24\0\x01\x80\x20\0\x01\0");
        expected.extend(b"rt18\0\0\0\0\0\0\0\0\0\0\0\0\x54\x52\0\0\0\x12\0\0\x0a\x4d\0\x12");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_batch_is_framed_and_counted() {
        let mut batch = Batch::new();
        batch.add(Family::Ipv4, "policies", &Key::ip(Ipv4Addr::LOCALHOST.into()), Some("policy_1"));
        batch.remove(Family::Bridge, "policies", &Key::link("rt1"));
        batch.remove_chain(Family::Bridge, "policy_1");
        let (bytes, answers) = batch.finish();
        assert_eq!(answers, 3);
        let mut rest = bytes.as_slice();
        let mut kinds = Vec::new();
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).unwrap();
            assert_eq!(message.length() % 4, 0);
            assert_eq!(message.sequence_number() as usize, kinds.len());
            kinds.push(message.message_type());
            rest = &rest[message.length() as usize..];
        }
        assert_eq!(kinds, [0x10, 0xa0c, 0xa0e, 0xa05, 0x11]);
    }

    #[test]
    fn answers_are_read_one_after_another() {
        let answer = |code: i32| {
            let mut bytes: Vec<u8> = Vec::new();
            bytes.extend(36_u32.to_ne_bytes());
            bytes.extend(NLMSG_ERROR.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(code.to_ne_bytes());
            bytes.extend([0; 16]);
            bytes
        };
        let packet = [answer(0), answer(-2), answer(0)].concat();
        assert_eq!(codes(&packet).unwrap(), [0, -2, 0]);
        assert!(codes(&packet[..40]).is_err(), "half of an answer");
    }
}
