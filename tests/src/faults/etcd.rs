//! The members of the etcd, each a user of its own.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{
    MEMBERS,
    cluster::{client_port, member_uid, peer_port},
    kept::Recipe,
};

/// Where brokers reach a member.
pub fn endpoint(member: usize) -> String {
    format!("http://127.0.0.1:{}", client_port(member))
}

/// How to run a member that keeps its data in `dir`.
///
/// # Errors
/// The directory cannot be made.
pub fn recipe(dir: &Path, member: usize) -> anyhow::Result<Recipe> {
    let data = dir.join(format!("member-{member}"));
    let uid = member_uid(member);
    fs::create_dir(&data).with_context(|| format!("cannot make {}", data.display()))?;
    chown(&data, Some(uid), Some(uid))?;
    let peer = |member| format!("http://127.0.0.1:{}", peer_port(member));
    let all: Vec<String> =
        (0..MEMBERS).map(|member| format!("m{member}={}", peer(member))).collect();
    let options = [
        ("--name", format!("m{member}")),
        ("--data-dir", data.display().to_string()),
        ("--listen-client-urls", endpoint(member)),
        ("--advertise-client-urls", endpoint(member)),
        ("--listen-peer-urls", peer(member)),
        ("--initial-advertise-peer-urls", peer(member)),
        ("--initial-cluster", all.join(",")),
        ("--initial-cluster-state", "new".to_owned()),
        ("--logger", "zap".to_owned()),
        ("--log-level", "warn".to_owned()),
    ];
    Ok(Recipe {
        program: PathBuf::from("etcd"),
        arguments: options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect(),
        environment: Vec::new(),
        uid,
        log: dir.join(format!("member-{member}.log")),
    })
}
