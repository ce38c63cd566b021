//! What of the configuration can change while the agent runs, and which keys
//! have to wait for its next start.

use std::time::Duration;

use super::Config;

/// Values that are looked up each time they are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Most desktops at a time.
    pub max_desktops: u32,
    /// Starts that may be in their kernel-bound steps at a time.
    pub start_lanes: usize,
    /// Overlay bytes kept free on the host.
    pub reserve_bytes: u64,
    /// From a session's start to its display's answer.
    pub display: Duration,
    /// From asking a session to end to killing it.
    pub stop_grace: Duration,
    /// For an init of the image's own to start everything.
    pub boot: Duration,
    /// From asking such an init to end to killing it.
    pub init_grace: Duration,
    /// How long "only init is left" must hold before it counts as a logout.
    pub linger: Duration,
    /// What is logged.
    pub log_filter: String,
}

impl Config {
    /// What can change while the agent runs, as it stands here.
    pub fn live(&self) -> Live {
        Live {
            max_desktops: self.max_desktops,
            start_lanes: self.start_lanes,
            reserve_bytes: self.reserve_bytes,
            display: self.deadlines.display,
            stop_grace: self.deadlines.stop_grace,
            boot: self.deadlines.boot,
            init_grace: self.deadlines.init_grace,
            linger: self.deadlines.linger,
            log_filter: self.log_filter.clone(),
        }
    }
}

/// Names the fields that differ. Every field is in one list or the other: a new
/// one does not compile until it is known to which it belongs.
macro_rules! differing {
    ($old:expr, $new:expr, fixed { $($field:ident: $key:literal,)* } live { $($live:ident,)* }) => {{
        let Config { $($field,)* $($live: _,)* } = $old;
        let mut keys = Vec::new();
        $(
            // Not every value can be compared; all can be shown, in full.
            if format!("{:?}", $field) != format!("{:?}", $new.$field) {
                keys.push($key);
            }
        )*
        keys
    }};
}

/// Keys or sections that differ and are taken up by the next start only.
pub fn fixed_differences(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut keys = differing!(old, new,
        fixed {
            name: "name",
            state_dir: "state_dir",
            kept_dir: "kept_dir",
            kept_sharing: "kept_sharing",
            run_dir: "run_dir",
            images: "images",
            nfs: "[nfs]",
            identity_map: "identity_map",
            extra_dirs: "extra_dirs",
            listen: "[listen]",
            metrics: "metrics.listen",
            socket: "socket",
            launcher: "launcher",
            home_parents: "homes.parents",
            unmapped_homes: "homes.unmapped",
            network: "[network]",
            cgroup_parent: "cgroup_parent",
            runtimes: "[runtimes]",
            apparmor: "apparmor_profile",
            log_json: "log.json",
        }
        live {
            max_desktops,
            deadlines,
            start_lanes,
            reserve_bytes,
            log_filter,
        }
    );
    if old.deadlines.runtime != new.deadlines.runtime {
        keys.push("deadlines.runtime_ms");
    }
    keys
}

/// Keys that differ and can be taken up at once.
pub fn live_differences(old: &Live, new: &Live) -> Vec<&'static str> {
    let Live {
        max_desktops,
        start_lanes,
        reserve_bytes,
        display,
        stop_grace,
        boot,
        init_grace,
        linger,
        log_filter,
    } = old;
    [
        ("max_desktops", *max_desktops != new.max_desktops),
        ("start_lanes", *start_lanes != new.start_lanes),
        ("reserve_mib", *reserve_bytes != new.reserve_bytes),
        ("deadlines.display_ms", *display != new.display),
        ("deadlines.stop_grace_ms", *stop_grace != new.stop_grace),
        ("deadlines.boot_ms", *boot != new.boot),
        ("deadlines.init_grace_ms", *init_grace != new.init_grace),
        ("deadlines.linger_ms", *linger != new.linger),
        ("log.filter", *log_filter != new.log_filter),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        Config::read(text, &|_| None).unwrap()
    }

    #[test]
    fn every_key_of_the_example_belongs_somewhere() {
        // Each key alone, with a value that is not the default.
        let cases = [
            ("max_desktops = 7", "live"),
            ("start_lanes = 7", "live"),
            ("reserve_mib = 7", "live"),
            ("[deadlines]\ndisplay_ms = 7", "live"),
            ("[deadlines]\nstop_grace_ms = 7", "live"),
            ("[deadlines]\nlinger_ms = 7", "live"),
            ("[deadlines]\nboot_ms = 7", "live"),
            ("[deadlines]\ninit_grace_ms = 7", "live"),
            ("[log]\nfilter = 'debug'", "live"),
            ("[deadlines]\nruntime_ms = 7", "deadlines.runtime_ms"),
            ("name = 'other'", "name"),
            ("kept_dir = '/srv'", "kept_dir"),
            ("kept_sharing = 'shared'", "kept_sharing"),
            ("images = '/srv'", "images"),
            ("[network]\nmode = 'routed'", "[network]"),
            ("[metrics]\nlisten = '127.0.0.1:1'", "metrics.listen"),
            ("[log]\njson = true", "log.json"),
        ];
        let old = read("");
        for (text, wanted) in cases {
            let new = read(text);
            let live = live_differences(&old.live(), &new.live());
            let fixed = fixed_differences(&old, &new);
            if wanted == "live" {
                assert_eq!((live.len(), fixed.len()), (1, 0), "{text}: {live:?} {fixed:?}");
            } else {
                assert_eq!((live.len(), fixed), (0, vec![wanted]), "{text}: {live:?}");
            }
        }
        assert!(fixed_differences(&old, &read("")).is_empty());
    }
}
