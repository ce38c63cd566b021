//! Pools.

use rolltop_proto::v1::{HostPolicy, Pool, Strategy, TimeLimits, home_policy::Kind};
use serde::Serialize;

use super::{desktop::LimitsView, or_empty, some};
use crate::output::{Column, Fields, Look, Table, Tone, View, gib_or_mib};

/// `{"pools": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct PoolList {
    pools: Vec<PoolView>,
}

/// One pool. `users` and `groups` empty: everyone who can sign in. `egress` empty: everything
/// outward may leave.
#[derive(Debug, Serialize)]
pub(crate) struct PoolView {
    name: String,
    title: Option<String>,
    description: Option<String>,
    image: String,
    persistent: bool,
    overlay_size_mib: i64,
    limits: Option<LimitsView>,
    runtime: Option<String>,
    users: Vec<String>,
    groups: Vec<String>,
    home: Option<HomeView>,
    egress: Vec<String>,
    hosts: HostPolicyView,
    time_limits: TimeLimitsView,
    max_desktops: Option<u32>,
    closed: Option<String>,
    warm: WarmView,
    running: u32,
    behind: u32,
}

/// Seconds; null: none.
#[derive(Debug, Default, Serialize)]
struct TimeLimitsView {
    idle_s: Option<i64>,
    disconnected_s: Option<i64>,
    total_s: Option<i64>,
    warning_s: Option<i64>,
}

/// Desktops made ahead of their users; `problem`: why fewer are ready than wanted.
#[derive(Debug, Serialize)]
struct WarmView {
    wanted: u32,
    ready: u32,
    problem: Option<String>,
}

/// How hosts are chosen; `strategy` null: as the broker's configuration says.
#[derive(Debug, Default, Serialize)]
struct HostPolicyView {
    strategy: Option<&'static str>,
    require: Vec<String>,
    forbid: Vec<String>,
    prefer: Vec<String>,
    avoid: Vec<String>,
}

/// `{"volume_mib": …}` or `{"directory": …}`; null: homes are in the overlay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum HomeView {
    VolumeMib(i64),
    Directory(String),
}

impl From<Pool> for PoolView {
    fn from(pool: Pool) -> Self {
        Self {
            title: some(&pool.title),
            description: some(&pool.description),
            runtime: some(&pool.runtime),
            name: pool.name,
            image: pool.image,
            persistent: pool.persistent,
            overlay_size_mib: pool.overlay_size_mib,
            limits: pool.limits.map(LimitsView::from),
            users: pool.users,
            groups: pool.groups,
            home: pool.home.and_then(|home| home.kind).map(|kind| match kind {
                Kind::VolumeMib(size_mib) => HomeView::VolumeMib(size_mib),
                Kind::Directory(path) => HomeView::Directory(path),
            }),
            egress: pool.network.map(|network| network.egress).unwrap_or_default(),
            hosts: pool.hosts.map(HostPolicyView::from).unwrap_or_default(),
            time_limits: pool.time_limits.map(TimeLimitsView::from).unwrap_or_default(),
            max_desktops: Some(pool.max_desktops).filter(|most| *most > 0),
            closed: some(&pool.closed),
            running: pool.running,
            behind: pool.behind,
            warm: WarmView {
                wanted: pool.warm,
                ready: pool.warm_ready,
                problem: some(&pool.warm_problem),
            },
        }
    }
}

impl From<TimeLimits> for TimeLimitsView {
    fn from(limits: TimeLimits) -> Self {
        let seconds = |span: Option<prost_types::Duration>| span.map(|span| span.seconds);
        Self {
            idle_s: seconds(limits.idle),
            disconnected_s: seconds(limits.disconnected),
            total_s: seconds(limits.total),
            warning_s: seconds(limits.warning),
        }
    }
}

impl TimeLimitsView {
    fn sentence(&self) -> String {
        let said = [
            (self.idle_s, "unused"),
            (self.disconnected_s, "disconnected"),
            (self.total_s, "from their start"),
        ];
        let said: Vec<String> = said
            .into_iter()
            .filter_map(|(seconds, how)| Some(format!("{} {how}", span(seconds?))))
            .collect();
        match (said.is_empty(), self.warning_s) {
            (true, _) => "none".to_owned(),
            (false, None) => said.join(", "),
            (false, Some(seconds)) => format!("{}; told {} before", said.join(", "), span(seconds)),
        }
    }
}

/// As it can be typed.
fn span(seconds: i64) -> String {
    match seconds {
        s if s >= 86_400 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s >= 3600 && s % 3600 == 0 => format!("{}h", s / 3600),
        s if s >= 60 && s % 60 == 0 => format!("{}min", s / 60),
        s => format!("{s}s"),
    }
}

impl From<HostPolicy> for HostPolicyView {
    fn from(policy: HostPolicy) -> Self {
        let strategy = match policy.strategy() {
            Strategy::Unspecified => None,
            Strategy::Spread => Some("spread"),
            Strategy::Pack => Some("pack"),
        };
        let HostPolicy { require, forbid, prefer, avoid, .. } = policy;
        Self { strategy, require, forbid, prefer, avoid }
    }
}

impl HostPolicyView {
    fn sentence(&self) -> String {
        let terms = [
            ("require", &self.require),
            ("forbid", &self.forbid),
            ("prefer", &self.prefer),
            ("avoid", &self.avoid),
        ];
        let said = terms.iter().filter(|(_, terms)| !terms.is_empty());
        let mut words: Vec<String> = self.strategy.iter().map(|&word| word.to_owned()).collect();
        words.extend(said.map(|(verb, terms)| format!("{verb} {}", terms.join(", "))));
        if words.is_empty() { "any".to_owned() } else { words.join("; ") }
    }
}

impl FromIterator<Pool> for PoolList {
    fn from_iter<I: IntoIterator<Item = Pool>>(pools: I) -> Self {
        Self { pools: pools.into_iter().map(PoolView::from).collect() }
    }
}

impl View for PoolList {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Left("POOL"),
                Column::Left("TITLE"),
                Column::Left("IMAGE"),
                Column::Left("DATA"),
                Column::Right("DISK"),
                Column::Left("WARM"),
                Column::Left("LIMITS"),
            ],
            "no pools",
        );
        for pool in &self.pools {
            let plain = |text| (Tone::Normal, text);
            table.row([
                plain(pool.name.clone()),
                plain(or_empty(pool.title.as_ref())),
                plain(pool.image.clone()),
                plain(pool.data().to_owned()),
                plain(gib_or_mib(pool.overlay_size_mib)),
                pool.warm.cell(),
                plain(pool.limits_sentence()),
            ]);
        }
        table.render(look.paint)
    }
}

impl View for PoolView {
    fn text(&self, look: Look) -> String {
        let users = match (self.users.as_slice(), self.groups.as_slice()) {
            ([], []) => "everyone who can sign in".to_owned(),
            (users, []) => users.join(", "),
            ([], groups) => format!("members of {}", groups.join(", ")),
            (users, groups) => format!("{}; members of {}", users.join(", "), groups.join(", ")),
        };
        let mut fields = Fields::default();
        fields
            .field("pool", &self.name)
            .field("title", or_empty(self.title.as_ref()))
            .field("description", or_empty(self.description.as_ref()))
            .field("image", &self.image)
            .field("data", self.data())
            .field("disk", gib_or_mib(self.overlay_size_mib))
            .field("homes", self.homes())
            .field("network", self.network())
            .field("hosts", self.hosts.sentence())
            .field("time limits", self.time_limits.sentence())
            .field(
                "most desktops",
                self.max_desktops
                    .map_or_else(|| "as many as fit".to_owned(), |most| most.to_string()),
            )
            .field("closed", or_empty(self.closed.as_ref()))
            .field("warm", self.warm.sentence())
            .field("running", self.running_sentence())
            .field("limits", self.limits_sentence())
            .field("runtime", or_empty(self.runtime.as_ref()))
            .field("users", users);
        fields.render(look.paint)
    }
}

impl WarmView {
    /// "2/3": ready and wanted.
    fn cell(&self) -> (Tone, String) {
        match (self.wanted, self.ready) {
            (0, 0) => (Tone::Faint, "-".to_owned()),
            (wanted, ready) => {
                let tone = match &self.problem {
                    _ if ready >= wanted => Tone::Normal,
                    None => Tone::Busy,
                    Some(_) => Tone::Bad,
                };
                (tone, format!("{ready}/{wanted}"))
            }
        }
    }

    fn sentence(&self) -> String {
        let Self { wanted, ready, problem } = self;
        match (wanted, problem) {
            (0, _) => "none".to_owned(),
            (_, None) => format!("{ready} of {wanted} ready"),
            (_, Some(problem)) => format!("{ready} of {wanted} ready: {problem}"),
        }
    }
}

impl PoolView {
    fn data(&self) -> &'static str {
        if self.persistent { "kept" } else { "volatile" }
    }

    fn homes(&self) -> String {
        match &self.home {
            None => "with the desktop".to_owned(),
            Some(HomeView::VolumeMib(size_mib)) => {
                format!("a volume of {} per user", gib_or_mib(*size_mib))
            }
            Some(HomeView::Directory(path)) => format!("directories in {path}"),
        }
    }

    fn network(&self) -> String {
        if self.egress.is_empty() { "open".to_owned() } else { self.egress.join(", ") }
    }

    fn running_sentence(&self) -> String {
        match self.behind {
            0 => self.running.to_string(),
            behind => format!("{}, {behind} of them behind", self.running),
        }
    }

    fn limits_sentence(&self) -> String {
        self.limits.as_ref().map_or_else(|| "none".to_owned(), LimitsView::sentence)
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::{Limits, NetworkPolicy};
    use serde_json::json;

    use super::*;
    use crate::view::testing::look;

    fn sample() -> Pool {
        Pool {
            name: "demo".into(),
            title: "Demo".into(),
            image: "demo:stable".into(),
            overlay_size_mib: 1024,
            limits: Some(Limits { memory_mib: 512, pids: 200, ..Limits::default() }),
            network: Some(NetworkPolicy {
                egress: vec!["allow 10.0.0.0/8 tcp 443".into(), "deny all".into()],
            }),
            time_limits: Some(TimeLimits {
                idle: Some(prost_types::Duration { seconds: 1800, nanos: 0 }),
                warning: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
                ..TimeLimits::default()
            }),
            warm: 3,
            warm_ready: 1,
            running: 4,
            behind: 3,
            ..Pool::default()
        }
    }

    #[test]
    fn json() {
        assert_eq!(
            serde_json::to_value(PoolView::from(sample())).unwrap(),
            json!({
                "name": "demo",
                "title": "Demo",
                "description": null,
                "image": "demo:stable",
                "persistent": false,
                "overlay_size_mib": 1024,
                "limits": {
                    "memory_mib": 512, "cpu_millis": null, "pids": 200,
                    "network_down_bits": null, "network_up_bits": null,
                    "disk_read_bytes": null, "disk_write_bytes": null, "disk_ops": null,
                },
                "runtime": null,
                "users": [],
                "groups": [],
                "home": null,
                "egress": ["allow 10.0.0.0/8 tcp 443", "deny all"],
                "hosts": {
                    "strategy": null, "require": [], "forbid": [], "prefer": [], "avoid": [],
                },
                "time_limits": {
                    "idle_s": 1800, "disconnected_s": null, "total_s": null, "warning_s": 300,
                },
                "max_desktops": null,
                "closed": null,
                "warm": {"wanted": 3, "ready": 1, "problem": null},
                "running": 4,
                "behind": 3,
            })
        );
    }

    #[test]
    fn text() {
        let list: PoolList = [sample()].into_iter().collect();
        assert_eq!(
            list.text(look()),
            "POOL  TITLE  IMAGE        DATA       DISK  WARM  LIMITS\n\
             demo  Demo   demo:stable  volatile  1 GiB  1/3   512 MiB memory, 200 processes\n"
        );
        let one = PoolView::from(sample()).text(look());
        assert!(one.contains("network        allow 10.0.0.0/8 tcp 443, deny all\n"), "{one}");
        assert!(one.contains("30min unused; told 5min before\n"), "{one}");
        assert!(one.contains("everyone who can sign in\n"), "{one}");
        assert!(one.contains("warm           1 of 3 ready\n"), "{one}");
        assert!(one.contains("running        4, 3 of them behind\n"), "{one}");
        let warm_problem = "no room".to_owned();
        let short = PoolView::from(Pool { warm_problem, ..sample() }).text(look());
        assert!(short.contains("1 of 3 ready: no room\n"), "{short}");
        let none = PoolView::from(Pool { warm: 0, warm_ready: 0, ..sample() }).text(look());
        assert!(none.contains("warm           none\n"), "{none}");
    }
}
