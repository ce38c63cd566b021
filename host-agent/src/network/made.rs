//! What the agent has changed on the host, so that `purge` can put it back.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{NetworkError, uplink::Taken};
use crate::record;

/// Its file in the run directory.
const FILE: &str = "network.json";

/// What was not there before the agent. Written before it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Made {
    /// Bridges, in the order they were made.
    pub(super) bridges: Vec<String>,
    /// A port of the bridge that is none of ours.
    pub(super) uplink: Option<Taken>,
    /// Whether the host did not forward IPv4.
    pub(super) forwarding_was_off: bool,
    /// Whether it did not forward IPv6.
    pub(super) forwarding6_was_off: bool,
    /// As agents wrote it that knew one bridge: the configured one is theirs.
    #[serde(skip_serializing)]
    bridge: bool,
}

impl Made {
    /// What an earlier agent has written. `bridge` is the configured one.
    pub(super) fn read(run_dir: &Path, bridge: &str) -> Self {
        // Missing or damaged: then nothing is known to be ours, and nothing is
        // taken away.
        let mut made: Self = fs::read(run_dir.join(FILE))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        if std::mem::take(&mut made.bridge) {
            made.add_bridge(bridge);
        }
        made
    }

    pub(super) fn write(&self, run_dir: &Path) -> Result<(), NetworkError> {
        let path = run_dir.join(FILE);
        record::write_json(&path, self)
            .map_err(|source| NetworkError::io("write", path.display().to_string(), source))
    }

    pub(super) fn has_bridge(&self, name: &str) -> bool {
        self.bridges.iter().any(|made| made == name)
    }

    pub(super) fn add_bridge(&mut self, name: &str) {
        if !self.has_bridge(name) {
            self.bridges.push(name.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_agents_wrote_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        fs::write(&file, r#"{"bridge": true, "forwarding_was_off": true}"#).unwrap();
        let made = Made::read(dir.path(), "br0");
        assert_eq!((made.bridges.as_slice(), made.forwarding_was_off), (&["br0".into()][..], true));
        made.write(dir.path()).unwrap();
        // By its name from then on, whatever the configuration says.
        assert_eq!(Made::read(dir.path(), "br1"), made);
        fs::write(&file, "{").unwrap();
        assert_eq!(Made::read(dir.path(), "br0"), Made::default());
    }
}
