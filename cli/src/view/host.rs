//! Hosts.

use std::collections::BTreeMap;

use rolltop_proto::v1::{Host, HostInfo};
use serde::Serialize;

use super::{or_empty, some, time, words};
use crate::{
    output::{Column, Look, Table, Tone, View, size_bytes},
    watch::Change,
};

/// `{"hosts": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct HostList {
    hosts: Vec<HostView>,
}

/// One host.
#[derive(Debug, Serialize)]
pub(crate) struct HostView {
    name: String,
    endpoint: String,
    state: &'static str,
    problem: Option<String>,
    certificate_expires_at: Option<String>,
    revoked: bool,
    drain: Option<DrainView>,
    labels: BTreeMap<String, String>,
    info: Option<InfoView>,
    #[serde(skip)]
    tone: Tone,
}

/// A host that is to have no desktops.
#[derive(Debug, Serialize)]
struct DrainView {
    since: Option<String>,
    deadline: Option<String>,
    by: String,
    remaining: i64,
}

/// What the host's agent said of it last.
#[derive(Debug, Serialize)]
struct InfoView {
    agent_version: String,
    kernel: String,
    cpus: i64,
    memory_bytes: i64,
    memory_available_bytes: i64,
    overlay_free_bytes: i64,
    desktops: i64,
    max_desktops: i64,
    network: String,
    runtime: String,
    /// What has the kept data; hosts with the same reach the same.
    storage_id: String,
    storage_shared: bool,
}

impl From<Host> for HostView {
    fn from(host: Host) -> Self {
        let (state, tone) = words::host_state(host.state);
        Self {
            problem: some(&host.problem),
            name: host.name,
            endpoint: host.endpoint,
            state,
            certificate_expires_at: time(host.certificate_expires_at),
            revoked: host.revoked,
            drain: host.drain.map(|drain| DrainView {
                since: time(drain.since),
                deadline: time(drain.deadline),
                by: drain.by,
                remaining: drain.remaining,
            }),
            labels: host.labels.into_iter().collect(),
            info: host.info.map(InfoView::from),
            tone,
        }
    }
}

impl From<HostInfo> for InfoView {
    fn from(info: HostInfo) -> Self {
        Self {
            agent_version: info.agent_version,
            kernel: info.kernel,
            cpus: info.cpus,
            memory_bytes: info.memory_bytes,
            memory_available_bytes: info.memory_available_bytes,
            overlay_free_bytes: info.overlay_free_bytes,
            desktops: info.desktops,
            max_desktops: info.max_desktops,
            network: info.network,
            runtime: info.runtime,
            storage_id: info.storage_id,
            storage_shared: info.storage_shared,
        }
    }
}

impl HostView {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Desktops that are still there while it is drained.
    pub(crate) fn remaining(&self) -> i64 {
        self.drain.as_ref().map_or(0, |drain| drain.remaining)
    }

    /// "key=value key=value", or "none".
    pub(crate) fn labels(&self) -> String {
        let labels: Vec<String> =
            self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if labels.is_empty() { "none".to_owned() } else { labels.join(" ") }
    }

    pub(crate) fn state(&self) -> &'static str {
        self.state
    }
}

impl Change for HostView {
    fn sentence(&self) -> String {
        let desktops = self.info.as_ref().map_or(0, |info| info.desktops);
        let problem = self.problem.as_ref().map(|problem| format!(": {problem}"));
        let (name, state) = (&self.name, self.state);
        format!("{name}: {state}, {desktops} desktops{}", problem.unwrap_or_default())
    }
}

impl FromIterator<Host> for HostList {
    fn from_iter<I: IntoIterator<Item = Host>>(hosts: I) -> Self {
        Self { hosts: hosts.into_iter().map(HostView::from).collect() }
    }
}

impl View for HostList {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Left("HOST"),
                Column::Left("STATE"),
                Column::Right("DESKTOPS"),
                Column::Right("MEMORY FREE"),
                Column::Right("DISK FREE"),
                Column::Right("CPUS"),
                Column::Left("ENDPOINT"),
                Column::Left("PROBLEM"),
            ],
            "no hosts; add one with `rolltop host enrol-token NAME`",
        );
        for host in &self.hosts {
            let plain = |text| (Tone::Normal, text);
            let info = |tell: fn(&InfoView) -> String| {
                (Tone::Normal, host.info.as_ref().map(tell).unwrap_or_default())
            };
            table.row([
                plain(host.name.clone()),
                (host.tone, host.state.to_owned()),
                info(|i| format!("{}/{}", i.desktops, i.max_desktops)),
                info(|i| size_bytes(i.memory_available_bytes)),
                info(|i| size_bytes(i.overlay_free_bytes)),
                info(|i| i.cpus.to_string()),
                plain(host.endpoint.clone()),
                (Tone::Bad, or_empty(host.problem.as_ref())),
            ]);
        }
        table.render(look.paint)
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::HostState;
    use serde_json::json;

    use super::*;
    use crate::view::testing::look;

    fn hosts() -> [Host; 2] {
        let ready = Host {
            name: "host-1".into(),
            endpoint: "https://10.0.0.1:7443".into(),
            state: HostState::Ready.into(),
            info: Some(HostInfo {
                name: "host-1".into(),
                agent_version: "0.1.0".into(),
                kernel: "6.12".into(),
                cpus: 2,
                memory_bytes: 8 << 30,
                memory_available_bytes: 6 << 30,
                overlay_free_bytes: 100 << 30,
                desktops: 3,
                max_desktops: 50,
                network: "10.77.0.0/16".into(),
                runtime: "builtin".into(),
                storage_id: "6f1c".into(),
                storage_shared: true,
                ..HostInfo::default()
            }),
            ..Host::default()
        };
        let silent = Host {
            name: "host-2".into(),
            endpoint: "https://10.0.0.2:7443".into(),
            state: HostState::Suspect.into(),
            info: None,
            problem: "no answer".into(),
            ..Host::default()
        };
        [ready, silent]
    }

    #[test]
    fn json() {
        let list: HostList = hosts().into_iter().collect();
        let value = serde_json::to_value(list).unwrap();
        assert_eq!(
            value["hosts"][0],
            json!({
                "name": "host-1",
                "endpoint": "https://10.0.0.1:7443",
                "state": "ready",
                "problem": null,
                "certificate_expires_at": null,
                "revoked": false,
                "drain": null,
                "labels": {},
                "info": {
                    "agent_version": "0.1.0",
                    "kernel": "6.12",
                    "cpus": 2,
                    "memory_bytes": 8_589_934_592_i64,
                    "memory_available_bytes": 6_442_450_944_i64,
                    "overlay_free_bytes": 107_374_182_400_i64,
                    "desktops": 3,
                    "max_desktops": 50,
                    "network": "10.77.0.0/16",
                    "runtime": "builtin",
                    "storage_id": "6f1c",
                    "storage_shared": true,
                },
            })
        );
        assert_eq!(value["hosts"][1]["info"], json!(null));
        assert_eq!(value["hosts"][1]["problem"], "no answer");
    }

    #[test]
    fn text() {
        let list: HostList = hosts().into_iter().collect();
        assert_eq!(
            list.text(look()),
            "HOST    STATE    DESKTOPS  MEMORY FREE  DISK FREE  CPUS  ENDPOINT               PROBLEM\n\
             host-1  ready        3/50      6.0 GiB  100.0 GiB     2  https://10.0.0.1:7443  -\n\
             host-2  suspect         -            -          -     -  https://10.0.0.2:7443  no answer\n"
        );
    }
}
