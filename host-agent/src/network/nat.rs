//! Masquerading: one nftables table, owned by the agent, replaced as a whole.

use std::fs;

use nftables::helper::{DEFAULT_ARGS, apply_ruleset_raw};
use serde_json::json;

use super::NetworkError;
use crate::address::Network;

const TABLE: &str = "rolltop";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Lets desktops reach what the host reaches.
pub(super) fn enable(bridge: &str, network: Network) -> Result<(), NetworkError> {
    let (base, prefix) = (network.base().to_string(), network.prefix());
    // Only packets that leave by another link than the bridge: with
    // br_netfilter on, a rule by source address alone would also rewrite
    // packets between bridge ports.
    let rules = json!({"nftables": [
        {"add": {"table": {"family": "ip", "name": TABLE}}},
        {"flush": {"table": {"family": "ip", "name": TABLE}}},
        {"add": {"chain": {
            "family": "ip", "table": TABLE, "name": "postrouting",
            "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept",
        }}},
        {"add": {"rule": {
            "family": "ip", "table": TABLE, "chain": "postrouting",
            "expr": [
                {"match": {
                    "op": "==",
                    "left": {"payload": {"protocol": "ip", "field": "saddr"}},
                    "right": {"prefix": {"addr": base, "len": prefix}},
                }},
                {"match": {
                    "op": "!=", "left": {"meta": {"key": "oifname"}}, "right": bridge,
                }},
                {"masquerade": null},
            ],
        }}},
    ]});
    apply("replace", &rules)?;
    set_forwarding(true)
}

/// Takes the table away; one that is not there is success.
pub(super) fn disable() -> Result<(), NetworkError> {
    // Adding first makes the delete succeed on a host without the table.
    apply(
        "delete",
        &json!({"nftables": [
            {"add": {"table": {"family": "ip", "name": TABLE}}},
            {"delete": {"table": {"family": "ip", "name": TABLE}}},
        ]}),
    )
}

pub(super) fn is_forwarding() -> Result<bool, NetworkError> {
    let text = fs::read_to_string(FORWARDING)
        .map_err(|source| NetworkError::io("read", FORWARDING, source))?;
    Ok(text.trim() != "0")
}

pub(super) fn set_forwarding(on: bool) -> Result<(), NetworkError> {
    fs::write(FORWARDING, if on { "1" } else { "0" })
        .map_err(|source| NetworkError::io("write", FORWARDING, source))
}

fn apply(verb: &'static str, rules: &serde_json::Value) -> Result<(), NetworkError> {
    apply_ruleset_raw(&rules.to_string(), None::<&str>, DEFAULT_ARGS)
        .map(|_echo| ())
        .map_err(|source| NetworkError::Filter { verb, source: Box::new(source) })
}
