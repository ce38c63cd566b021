//! How fast a desktop's link is, in each direction.
//!
//! A token bucket (`tbf`) stands at the end that sends: the host's for what goes
//! to the desktop, the desktop's own for what comes from it. What is too fast
//! waits, and is dropped when too much waits; a policer at the host's end would
//! only drop, and needs modules (`act_police`, `cls_matchall`) that fewer kernels
//! have. The desktop's root can neither change nor go round its own end's bucket:
//! that takes `NET_ADMIN` and `NET_RAW` in the desktop's network namespace, which
//! are in no desktop's bounding set.
//!
//! Buckets end with their link: an agent that finds a living desktop finds them.

use std::io;

use futures_util::StreamExt as _;
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use nix::errno::Errno;
use rtnetlink::{
    Handle,
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcAttribute, TcHandle, TcMessage, TcOption},
    },
};
use serde::{Deserialize, Serialize};

use super::{NetworkError, is_errno, link};

/// Bits a second over a desktop's link; none: as many as go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// To the desktop.
    pub down_bits: Option<u64>,
    /// From it.
    pub up_bits: Option<u64>,
}

/// Numbers of `linux/pkt_sched.h`.
const PARAMETERS: u16 = 1;
const RATE_64: u16 = 4;
const BURST: u16 = 6;
/// The kernel counts lengths itself then, and wants no table of them.
const ETHERNET: u8 = 1;
const KIND: &str = "tbf";

/// Least size of a bucket, and least that may wait, bytes: the longest frame
/// there can be (`network.mtu`) has to fit, or none of its length ever passes.
const LEAST: u64 = 66 * 1024;

// === impl Rates ===

impl Rates {
    /// Whether there is anything to set at a link that has just been made.
    pub fn is_limited(self) -> bool {
        self != Self::default()
    }
}

/// Sets the rates of desktop link `name`, whose inner end is in the network
/// namespace of process `init`; takes away those it does not have any more.
pub(super) async fn set(
    outside: &Handle,
    name: &str,
    init: i32,
    rates: Rates,
) -> Result<(), NetworkError> {
    let index = link::index_of(outside, name).await?;
    set_at(outside, index, rates.down_bits, name).await?;
    let namespace = link::namespace_of(init)?;
    let (inside, driver) = link::netlink_in(&namespace)
        .map_err(|source| NetworkError::io("enter the network of", name, source))?;
    let set = set_at(&inside, link::ETH0, rates.up_bits, name).await;
    driver.abort();
    set
}

/// Sets a rate that stops nothing at the loopback, and takes it away.
pub(super) async fn attempt(handle: &Handle) -> Result<(), NetworkError> {
    const FAST: u64 = 1 << 40;
    set_at(handle, link::LOOPBACK, Some(FAST), "lo").await?;
    set_at(handle, link::LOOPBACK, None, "lo").await
}

async fn set_at(
    handle: &Handle,
    index: u32,
    bits: Option<u64>,
    name: &str,
) -> Result<(), NetworkError> {
    let index = i32::try_from(index)
        .map_err(|_| NetworkError::io("limit", name, io::ErrorKind::InvalidInput.into()))?;
    let mut message = TcMessage::with_index(index);
    message.header.parent = TcHandle::ROOT;
    let (payload, flags) = match bits {
        Some(bits) => {
            message.attributes =
                vec![TcAttribute::Kind(KIND.into()), TcAttribute::Options(options(bits))];
            (RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_REPLACE)
        }
        None => (RouteNetlinkMessage::DelQueueDiscipline(message), 0),
    };
    match ask(handle, payload, flags).await {
        Ok(()) => Ok(()),
        // Nothing was limited.
        Err(error) if bits.is_none() && is_errno(&error, Errno::ENOENT) => Ok(()),
        Err(error) => Err(NetworkError::netlink("limit the rate (with tbf) of", name)(error)),
    }
}

async fn ask(
    handle: &Handle,
    payload: RouteNetlinkMessage,
    flags: u16,
) -> Result<(), rtnetlink::Error> {
    let mut request = NetlinkMessage::from(payload);
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut handle = handle.clone();
    let mut answers = handle.request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(rtnetlink::Error::NetlinkError(error));
        }
    }
    Ok(())
}

/// What a bucket is like: bytes a second, bytes at once, bytes that may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    rate: u64,
    burst: u32,
    queue: u32,
}

impl Bucket {
    /// Holds 10 ms, and lets 100 ms wait.
    fn of(bits: u64) -> Self {
        let rate = (bits / 8).max(1);
        let fit = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { rate, burst: fit((rate / 100).max(LEAST)), queue: fit((rate / 10).max(LEAST)) }
    }
}

/// `struct tc_tbf_qopt` and what does not fit in it.
fn options(bits: u64) -> Vec<TcOption> {
    let Bucket { rate, burst, queue } = Bucket::of(bits);
    let mut parameters = Vec::with_capacity(36);
    // struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate.
    parameters.extend([0, ETHERNET, 0, 0, 0, 0, 0, 0]);
    parameters.extend(u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    // No rate of peaks.
    parameters.extend([0; 12]);
    parameters.extend(queue.to_ne_bytes());
    // The burst in units of time, and the length of what passes at the peak's
    // rate: said in bytes below, and not needed.
    parameters.extend([0; 8]);
    let option = |kind, value: Vec<u8>| TcOption::Other(DefaultNla::new(kind, value));
    let mut options = vec![option(PARAMETERS, parameters)];
    if u32::try_from(rate).is_err() {
        options.push(option(RATE_64, rate.to_ne_bytes().into()));
    }
    options.push(option(BURST, burst.to_ne_bytes().into()));
    options
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Nla as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_holds_a_moment() {
        let mbit = |mbit: u64| Bucket::of(mbit * 1_000_000);
        assert_eq!(mbit(80), Bucket { rate: 10_000_000, burst: 100_000, queue: 1_000_000 });
        assert_eq!(mbit(1), Bucket { rate: 125_000, burst: 67_584, queue: 67_584 });
        assert_eq!(mbit(1 << 40).burst, u32::MAX);
    }

    #[test]
    fn parameters_are_as_long_as_the_kernel_wants_them() {
        let lengths = |bits| options(bits).iter().map(|it| (it.kind(), it.value_len())).collect();
        let slow: Vec<_> = lengths(1_000_000);
        assert_eq!(slow, [(PARAMETERS, 36), (BURST, 4)]);
        let fast: Vec<_> = lengths(100_000_000_000);
        assert_eq!(fast, [(PARAMETERS, 36), (RATE_64, 8), (BURST, 4)]);
    }

    proptest! {
        #[test]
        fn no_rate_stops_a_link(bits: u64) {
            let Bucket { rate, burst, queue } = Bucket::of(bits);
            prop_assert!(rate >= 1 && u64::from(burst) >= LEAST && queue >= burst);
        }
    }
}
