//! The configuration: a pure function of one TOML text and the environment.
//! Every fault is reported, not only the first.

mod ldap;
mod mapping;
mod oidc;
mod source;
mod store;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use ldap::Ldap;
pub use oidc::Oidc;
pub(crate) use oidc::is_private;
pub use source::{BadKey, Faults};
use source::{Source, parse_list, parse_number};
pub use store::{Etcd, Store};

use crate::{proxy::Proxies, state::Strategy};

/// Everything that can be set, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where browsers, programs and operators connect.
    pub listen: SocketAddr,
    /// Names and addresses people use for this broker; in its certificate.
    pub public_names: Vec<String>,
    /// The embedded store, and what goes with any.
    pub state_dir: PathBuf,
    /// Where the state is kept.
    pub store: Store,
    /// Signing in.
    pub sign_in: SignIn,
    /// A directory that knows people; none: accounts of this cluster alone.
    pub ldap: Option<Ldap>,
    /// A provider that people sign in with; none: passwords alone.
    pub oidc: Option<Oidc>,
    /// What is kept of who did what.
    pub audit: Audit,
    /// Choosing hosts.
    pub placement: Placement,
    /// Hosts and their certificates.
    pub hosts: Hosts,
    /// Starting and stopping desktops.
    pub desktops: Desktops,
    /// Connections to desktops.
    pub gateway: Gateway,
    /// The port itself.
    pub server: Server,
    /// Load balancers that tell whom they serve.
    pub proxies: Proxies,
    /// Where the metrics can be read; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// What is written to standard error.
    pub log: Log,
}

/// Signing in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// How long one lasts.
    pub session: Duration,
    /// Wrong passwords for one account before it is locked.
    pub account_attempts: u32,
    /// Wrong passwords from one address before it is locked out.
    pub address_attempts: u32,
    /// How long a lock lasts.
    pub lockout: Duration,
}

/// What is kept of who did what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audit {
    /// How long an entry is kept.
    pub keep: Duration,
    /// Most entries kept; the oldest make room.
    pub keep_entries: u64,
}

/// Choosing hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// How far memory limits may add up, in percent of a host's memory.
    pub memory_overcommit_percent: i64,
    /// How far processor limits may add up, in percent of a host's processors.
    pub cpu_overcommit_percent: i64,
    /// Memory that must be free on a host, MiB.
    pub memory_reserve_mib: i64,
    /// Disk that must be left free on a host by a new overlay, MiB.
    pub overlay_reserve_mib: i64,
    /// Side by side or apart, where a pool does not say.
    pub strategy: Strategy,
    /// How much room counts, in percent.
    pub weight_room: i64,
    /// How much a version that is in use there counts, in percent.
    pub weight_image: i64,
    /// How much each label a pool prefers or avoids counts, in percent.
    pub weight_labels: i64,
}

/// Hosts and their certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hosts {
    /// A host that is silent for so long is suspected.
    pub suspect: Duration,
    /// One that is silent for so long is lost: its volatile desktops are given
    /// out elsewhere.
    pub lost: Duration,
    /// How long a host's certificate is good; renewed after two thirds of that.
    pub certificate_days: u32,
}

/// Starting and stopping desktops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Desktops {
    /// A start that takes longer has failed.
    pub start_deadline: Duration,
    /// A stop that takes longer is reported as such.
    pub stop_deadline: Duration,
}

/// Connections to desktops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    /// How long a ticket is good.
    pub ticket: Duration,
    /// Most connections relayed at once.
    pub max_connections: usize,
    /// How often a silent client is asked whether it is there.
    pub ping: Duration,
}

/// The port itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Most clients at once.
    pub max_connections: usize,
    /// For TLS, and again for the headers of a request.
    pub handshake: Duration,
    /// For calls under way when the broker is told to end.
    pub drain: Duration,
}

/// What is written to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// As `tracing_subscriber::EnvFilter` reads it.
    pub filter: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Enough for a day's work without signing in again.
const SESSION_HOURS: u64 = 12;
/// Ten guesses a quarter of an hour: a thousand a day, against 30 bits at least.
const ACCOUNT_ATTEMPTS: u32 = 10;
/// A classroom behind one address may mistype for a while.
const ADDRESS_ATTEMPTS: u32 = 50;
const LOCKOUT_MINUTES: u64 = 15;
const AUDIT_DAYS: u64 = 90;
/// Some 150 MiB; a thousand people make so many in a season.
const AUDIT_ENTRIES: u64 = 500_000;
/// Desktops seldom use their limit: the demo desktop a twentieth of it.
const MEMORY_OVERCOMMIT_PERCENT: i64 = 400;
const CPU_OVERCOMMIT_PERCENT: i64 = 800;
const MEMORY_RESERVE_MIB: i64 = 256;
const OVERLAY_RESERVE_MIB: i64 = 512;
const SUSPECT_S: u64 = 8;
/// Longer than an agent takes to be upgraded, or a switch to find its way.
const LOST_S: u64 = 45;
const CERTIFICATE_DAYS: u32 = 90;
/// A cold image over a slow network, and a session that boots.
const START_DEADLINE_S: u64 = 120;
const STOP_DEADLINE_S: u64 = 60;
/// A page opens its connection at once.
const TICKET_S: u64 = 30;
const GATEWAY_CONNECTIONS: usize = 1000;
/// Below the minute after which middleboxes forget a silent connection.
const PING_S: u64 = 20;
const SERVER_CONNECTIONS: usize = 4096;
const HANDSHAKE_S: u64 = 10;
const DRAIN_S: u64 = 10;

impl Config {
    /// Reads the text of a file, overridden by `environment`.
    ///
    /// # Errors
    /// All faults there are, each with key, value and reason.
    pub fn read(
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Faults> {
        let mut source = Source::new(text, environment)?;
        let config = Self::from_source(&mut source);
        source.finish().map(|()| config)
    }

    /// The names of the server certificate.
    pub fn certificate_names(&self) -> Vec<String> {
        let mut names = self.public_names.clone();
        for name in ["localhost", "127.0.0.1", "::1"] {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    fn from_source(s: &mut Source) -> Self {
        Self {
            listen: s.read("listen", SocketAddr::from(([0, 0, 0, 0], 8443)), |text| {
                text.parse().map_err(|_| "not ADDRESS:PORT, such as 0.0.0.0:8443".to_owned())
            }),
            public_names: s.read("public_names", Vec::new(), |text| parse_list(text, public_name)),
            state_dir: s.read("state_dir", PathBuf::from("/var/lib/rolltop-broker"), |text| {
                let path = PathBuf::from(text);
                if path.is_absolute() { Ok(path) } else { Err("not an absolute path".to_owned()) }
            }),
            store: Store::from_source(s),
            sign_in: SignIn {
                session: hours(s.read(
                    "sign_in.session_hours",
                    SESSION_HOURS,
                    parse_number(1, 24 * 31),
                )),
                account_attempts: s.read(
                    "sign_in.account_attempts",
                    ACCOUNT_ATTEMPTS,
                    parse_number(3, 1000),
                ),
                address_attempts: s.read(
                    "sign_in.address_attempts",
                    ADDRESS_ATTEMPTS,
                    parse_number(3, 100_000),
                ),
                lockout: minutes(s.read(
                    "sign_in.lockout_minutes",
                    LOCKOUT_MINUTES,
                    parse_number(1, 24 * 60),
                )),
            },
            ldap: Ldap::from_source(s),
            oidc: Oidc::from_source(s),
            audit: Audit {
                keep: hours(
                    s.read("audit.keep_days", AUDIT_DAYS, parse_number(1, 3650)).saturating_mul(24),
                ),
                keep_entries: s.read(
                    "audit.keep_entries",
                    AUDIT_ENTRIES,
                    parse_number(1000, 10_000_000),
                ),
            },
            placement: Placement {
                memory_overcommit_percent: s.read(
                    "placement.memory_overcommit_percent",
                    MEMORY_OVERCOMMIT_PERCENT,
                    parse_number(10, 10_000),
                ),
                cpu_overcommit_percent: s.read(
                    "placement.cpu_overcommit_percent",
                    CPU_OVERCOMMIT_PERCENT,
                    parse_number(10, 100_000),
                ),
                memory_reserve_mib: s.read(
                    "placement.memory_reserve_mib",
                    MEMORY_RESERVE_MIB,
                    parse_number(0, 1 << 30),
                ),
                overlay_reserve_mib: s.read(
                    "placement.overlay_reserve_mib",
                    OVERLAY_RESERVE_MIB,
                    parse_number(0, 1 << 40),
                ),
                strategy: s.read("placement.strategy", Strategy::Spread, |text| match text {
                    "spread" => Ok(Strategy::Spread),
                    "pack" => Ok(Strategy::Pack),
                    _ => Err("not \"spread\" or \"pack\"".to_owned()),
                }),
                weight_room: s.read("placement.weight_room", 100, parse_number(0, 1000)),
                weight_image: s.read("placement.weight_image", 10, parse_number(0, 1000)),
                weight_labels: s.read("placement.weight_labels", 50, parse_number(0, 1000)),
            },
            hosts: Hosts::from_source(s),
            desktops: Desktops {
                start_deadline: seconds(s.read(
                    "desktops.start_deadline_s",
                    START_DEADLINE_S,
                    parse_number(1, 3600),
                )),
                stop_deadline: seconds(s.read(
                    "desktops.stop_deadline_s",
                    STOP_DEADLINE_S,
                    parse_number(1, 3600),
                )),
            },
            gateway: Gateway {
                ticket: seconds(s.read("gateway.ticket_s", TICKET_S, parse_number(1, 600))),
                max_connections: s.read(
                    "gateway.max_connections",
                    GATEWAY_CONNECTIONS,
                    parse_number(1, 1_000_000),
                ),
                ping: seconds(s.read("gateway.ping_s", PING_S, parse_number(1, 3600))),
            },
            server: Server {
                max_connections: s.read(
                    "server.max_connections",
                    SERVER_CONNECTIONS,
                    parse_number(1, 1_000_000),
                ),
                handshake: seconds(s.read("server.handshake_s", HANDSHAKE_S, parse_number(1, 600))),
                drain: seconds(s.read("server.drain_s", DRAIN_S, parse_number(1, 600))),
            },
            proxies: s.read("server.proxies", Proxies::default(), |text| {
                parse_list(text, Proxies::parse_one).map(Proxies::new)
            }),
            metrics: s.read("metrics.listen", None, |text| match text {
                "" => Ok(None),
                text => text
                    .parse()
                    .map(Some)
                    .map_err(|_| "not ADDRESS:PORT, such as 10.0.0.10:9744".to_owned()),
            }),
            log: Log {
                format: s.read("log.format", LogFormat::Text, |text| match text {
                    "text" => Ok(LogFormat::Text),
                    "json" => Ok(LogFormat::Json),
                    _ => Err("not \"text\" or \"json\"".to_owned()),
                }),
                filter: s.read("log.filter", "info".to_owned(), |text| {
                    tracing_subscriber::EnvFilter::try_new(text)
                        .map(|_| text.to_owned())
                        .map_err(|error| format!("not a filter: {error}"))
                }),
            },
        }
    }
}

impl Hosts {
    fn from_source(s: &mut Source) -> Self {
        let suspect = s.read("hosts.suspect_s", SUSPECT_S, parse_number(1, 600));
        Self {
            suspect: seconds(suspect),
            lost: seconds(s.read("hosts.lost_s", LOST_S.max(suspect), |text| {
                parse_number(1, 7 * 24 * 3600)(text).and_then(|lost: u64| {
                    let fits = lost >= suspect;
                    fits.then_some(lost)
                        .ok_or_else(|| format!("less than hosts.suspect_s, which is {suspect}"))
                })
            })),
            certificate_days: s.read(
                "hosts.certificate_days",
                CERTIFICATE_DAYS,
                parse_number(1, 3650),
            ),
        }
    }
}

/// A DNS name or an address: it goes into a certificate.
fn public_name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let fits = text.parse::<std::net::IpAddr>().is_ok()
        || (text.len() <= 253 && text.split('.').all(label));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is neither a host name nor an address"))
    }
}

fn hours(count: u64) -> Duration {
    minutes(count.saturating_mul(60))
}

fn minutes(count: u64) -> Duration {
    seconds(count.saturating_mul(60))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[cfg(test)]
mod tests;
