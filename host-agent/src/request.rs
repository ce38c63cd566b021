//! A start request, checked at the door: what comes out of here is safe to use
//! as a name, a size or a number.

mod assign;
mod home;

use rolltop_image::ImageRef;
use rolltop_overlay::{OverlayName, OverlaySize};
use rolltop_proto::{
    egress::Egress,
    limits::{OutOfRange, bad_rates},
    v1,
};
use serde::{Deserialize, Serialize};

pub use assign::Assignment;
pub use home::Home;

use crate::{address::Number, desktop::Seat, network::Rates};

/// User ids a person may have inside a desktop: above the system's, below
/// `nobody` and what systemd gives out by itself.
const UIDS: std::ops::RangeInclusive<u32> = 1_000..=59_999;
/// Screen edges an X server and a browser both accept, pixels.
const EDGES: std::ops::RangeInclusive<u32> = 64..=16_384;
const DEFAULT_UID: u32 = 1_000;
const DEFAULT_GEOMETRY: (u32, u32) = (1_280, 800);
const MAX_TEXT: usize = 256;

/// One field of a request that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// Dotted path of the field, as in the API.
    pub field: &'static str,
    /// The value, what is wrong with it, what would be right.
    pub reason: String,
}

/// A start request that makes sense in itself.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// Repeats of it join the first.
    pub request_id: String,
    /// The desktop's number.
    pub number: Number,
    /// The fence.
    pub epoch: u64,
    /// "pool/user".
    pub label: String,
    /// Whose it is; none: it is made ahead of its user.
    pub account: Option<Account>,
    /// Image and tag or version.
    pub image: ImageRef,
    /// Persistent overlay; none: volatile.
    pub persistent_overlay: Option<OverlayName>,
    /// Size of a new overlay.
    pub overlay_size: OverlaySize,
    /// A home beside the overlay.
    pub home: Option<Home>,
    /// What it may use.
    pub limits: Limits,
    /// Runtime by name; none: the host's default.
    pub runtime: Option<String>,
    /// First size of the screen, pixels.
    pub geometry: (u32, u32),
    /// Such as `Europe/Berlin`.
    pub time_zone: Option<String>,
    /// Where it may send.
    pub egress: Egress,
}

/// A person's account inside a desktop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User and group id.
    pub uid: u32,
    /// For people.
    pub full_name: String,
}

/// What a desktop may use; none: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// MiB of memory.
    pub memory_mib: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Its link. Records of before have none.
    #[serde(default)]
    pub network: Rates,
    /// Its own disks. Records of before have none.
    #[serde(default)]
    pub disk: DiskRates,
}

/// What a desktop's own disks may do in a second; none: what they can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRates {
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// Bytes written.
    pub write_bytes: Option<u64>,
    /// Reads, and as many writes.
    pub operations: Option<u64>,
}

impl StartRequest {
    /// Checks every field.
    ///
    /// # Errors
    /// All faults there are.
    pub fn parse(request: v1::StartHostDesktopRequest) -> Result<Self, Vec<FieldFault>> {
        let mut faults = Faults::default();
        let number = Number::new(request.number);
        if number.is_none() {
            faults.add("number", "0 is no desktop's number: use 1 and up".into());
        }
        let account = if request.warm {
            without_user(&request, &mut faults);
            None
        } else {
            account(request.account.unwrap_or_default(), &mut faults)
        };
        let image = faults.check("image", request.image.parse::<ImageRef>());
        let overlay = request.overlay.unwrap_or_default();
        let persistent_overlay = match overlay.persistent_name.as_str() {
            "" => None,
            name => faults.check("overlay.persistent_name", OverlayName::try_from(name)),
        };
        let overlay_size =
            faults.check("overlay.size_mib", OverlaySize::from_mib(overlay.size_mib));
        let home = request.home.and_then(|home| home::parse(home, &mut faults));
        let limits = limits(request.limits.unwrap_or_default(), &mut faults);
        let geometry = geometry(request.width, request.height, &mut faults);
        texts(&request.request_id, &request.label, &mut faults);
        let time_zone = time_zone(request.time_zone, &mut faults);
        let egress = egress(&request.network.unwrap_or_default(), &mut faults);
        match (number, image, overlay_size) {
            (Some(number), Some(image), Some(overlay_size)) if faults.0.is_empty() => Ok(Self {
                request_id: request.request_id,
                number,
                epoch: request.epoch,
                label: request.label,
                account,
                image,
                persistent_overlay,
                overlay_size,
                home,
                limits,
                runtime: Some(request.runtime).filter(|name| !name.is_empty()),
                geometry,
                time_zone,
                egress,
            }),
            _ => Err(faults.0),
        }
    }

    /// Whose session it is; none: it is made ahead of its user.
    pub(crate) fn seat(&self) -> Option<Seat> {
        self.account.clone().map(|account| Seat {
            label: self.label.clone(),
            account,
            geometry: self.geometry,
            time_zone: self.time_zone.clone(),
        })
    }
}

/// What comes with the user cannot come before.
fn without_user(request: &v1::StartHostDesktopRequest, faults: &mut Faults) {
    let later = "comes with the user of a warm desktop: leave it out, and say it in AssignDesktop";
    let too_early = [
        ("account", request.account.is_some()),
        ("home", request.home.is_some()),
        ("width", request.width != 0),
        ("height", request.height != 0),
        ("time_zone", !request.time_zone.is_empty()),
    ];
    for (field, _) in too_early.into_iter().filter(|(_, there)| *there) {
        faults.add(field, later.into());
    }
    if request.overlay.as_ref().is_some_and(|overlay| !overlay.persistent_name.is_empty()) {
        let reason = "a kept overlay is its user's, and a warm desktop has no user yet: leave it \
                      empty, or start the desktop when its user comes";
        faults.add("overlay.persistent_name", reason.into());
    }
}

fn texts(request_id: &str, label: &str, faults: &mut Faults) {
    for (field, text) in [("request_id", request_id), ("label", label)] {
        if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            let reason = format!("is longer than {MAX_TEXT} bytes or has control characters");
            faults.add(field, reason);
        }
    }
}

#[derive(Default)]
struct Faults(Vec<FieldFault>);

impl Faults {
    fn add(&mut self, field: &'static str, reason: String) {
        self.0.push(FieldFault { field, reason });
    }

    fn check<T, E: std::fmt::Display>(
        &mut self,
        field: &'static str,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.add(field, error.to_string())).ok()
    }
}

fn account(given: v1::Account, faults: &mut Faults) -> Option<Account> {
    if !is_login_name(&given.name) {
        faults.add(
            "account.name",
            format!(
                "`{}` is no login name: a lower-case letter or `_`, then letters, digits, `_` or \
                 `-`, 32 bytes at most",
                given.name.escape_debug()
            ),
        );
        return None;
    }
    let uid = if given.uid == 0 { DEFAULT_UID } else { given.uid };
    if !UIDS.contains(&uid) {
        faults.add(
            "account.uid",
            format!("{uid} is out of range: use {} to {}", UIDS.start(), UIDS.end()),
        );
        return None;
    }
    // Colons and line breaks would become fields and lines of /etc/passwd.
    let clean = |c: char| !c.is_control() && c != ':' && c != ',';
    let full_name = given.full_name.chars().filter(|c| clean(*c)).take(MAX_TEXT).collect();
    Some(Account { name: given.name, uid, full_name })
}

fn is_login_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    first
        && name.len() <= 32
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// Checks limits that come by themselves.
///
/// # Errors
/// All faults there are.
pub fn parse_limits(given: v1::Limits) -> Result<Limits, Vec<FieldFault>> {
    let mut faults = Faults::default();
    let limits = limits(given, &mut faults);
    if faults.0.is_empty() { Ok(limits) } else { Err(faults.0) }
}

fn limits(given: v1::Limits, faults: &mut Faults) -> Limits {
    let mut limit = |field, value: i64, least: i64| match value {
        0 => None,
        n if n >= least && n <= 1 << 40 => Some(n as u64),
        n => {
            faults.add(field, format!("{n} is out of range: 0 for no limit, or {least} and up"));
            None
        }
    };
    let parsed = Limits {
        memory_mib: limit("limits.memory_mib", given.memory_mib, 16),
        cpu_millis: limit("limits.cpu_millis", given.cpu_millis, 10),
        pids: limit("limits.pids", given.pids, 8),
        network: Rates {
            down_bits: rate(given.network_down_bits),
            up_bits: rate(given.network_up_bits),
        },
        disk: DiskRates {
            read_bytes: rate(given.disk_read_bytes),
            write_bytes: rate(given.disk_write_bytes),
            operations: rate(given.disk_ops),
        },
    };
    for OutOfRange { field, value, least, most } in bad_rates(&given) {
        let reason = format!("{value} is out of range: 0 for no limit, or {least} to {most}");
        faults.add(field.trim_start_matches("pool."), reason);
    }
    parsed
}

/// 0: none. What is out of range is a fault besides.
fn rate(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|rate| *rate > 0)
}

fn geometry(width: u32, height: u32, faults: &mut Faults) -> (u32, u32) {
    if (width, height) == (0, 0) {
        return DEFAULT_GEOMETRY;
    }
    for (field, edge) in [("width", width), ("height", height)] {
        if !EDGES.contains(&edge) {
            faults.add(
                field,
                format!("{edge} is out of range: use {} to {} pixels", EDGES.start(), EDGES.end()),
            );
        }
    }
    (width, height)
}

fn egress(given: &v1::NetworkPolicy, faults: &mut Faults) -> Egress {
    Egress::parse(&given.egress).unwrap_or_else(|errors| {
        for error in errors {
            faults.add("network.egress", error.to_string());
        }
        Egress::default()
    })
}

/// Names of the tz database: it becomes `TZ`, which may name files.
fn time_zone(given: String, faults: &mut Faults) -> Option<String> {
    if given.is_empty() {
        return None;
    }
    let fits = given.len() <= 64
        && given.split('/').all(|part| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
        });
    if fits {
        Some(given)
    } else {
        faults.add(
            "time_zone",
            format!("`{}` is no time zone such as Europe/Berlin", given.escape_debug()),
        );
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn good() -> v1::StartHostDesktopRequest {
        v1::StartHostDesktopRequest {
            request_id: "r1".into(),
            number: 1,
            epoch: 1,
            label: "demo/alice".into(),
            account: Some(v1::Account {
                name: "alice".into(),
                uid: 2000,
                full_name: "A: B\n".into(),
            }),
            image: "demo:stable".into(),
            overlay: Some(v1::OverlaySpec { persistent_name: String::new(), size_mib: 1024 }),
            time_zone: "America/Argentina/Buenos_Aires".into(),
            ..Default::default()
        }
    }

    fn faults(change: impl FnOnce(&mut v1::StartHostDesktopRequest)) -> Vec<&'static str> {
        let mut request = good();
        change(&mut request);
        match StartRequest::parse(request) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|fault| fault.field).collect(),
        }
    }

    #[test]
    fn a_good_request_passes_and_is_cleaned() {
        let request = StartRequest::parse(good()).unwrap();
        assert_eq!(request.seat().unwrap().account.full_name, "A B");
        assert_eq!(request.geometry, (1280, 800));
    }

    #[test]
    fn what_comes_with_the_user_is_refused_in_a_warm_desktop() {
        assert_eq!(faults(|request| request.warm = true), ["account", "time_zone"]);
        let bare = |request: &mut v1::StartHostDesktopRequest| {
            (request.warm, request.account) = (true, None);
            request.time_zone.clear();
        };
        assert!(faults(bare).is_empty());
        let mut request = good();
        bare(&mut request);
        assert!(StartRequest::parse(request).unwrap().seat().is_none());
        let kept = v1::OverlaySpec { persistent_name: "alice".into(), size_mib: 64 };
        let kept = faults(|request| {
            bare(request);
            request.overlay = Some(kept);
        });
        assert_eq!(kept, ["overlay.persistent_name"]);
    }

    #[test]
    fn bad_names_are_refused() {
        for name in
            ["", ".", "..", "a/b", "A", "a b", "a\0b", "-a", "1a", "a:b", "ä", &"a".repeat(300)]
        {
            let account = v1::Account { name: name.into(), ..Default::default() };
            assert_eq!(faults(|r| r.account = Some(account)), ["account.name"], "{name:?}");
        }
        for name in [".", "..", "a/b", "../x", "a b", "a\0b", ".x", &"a".repeat(300)] {
            let overlay = v1::OverlaySpec { persistent_name: name.into(), size_mib: 64 };
            assert_eq!(
                faults(|r| r.overlay = Some(overlay)),
                ["overlay.persistent_name"],
                "{name:?}"
            );
        }
        for image in [
            "",
            "demo",
            "demo:",
            ":x",
            "../demo:x",
            "demo:a/b",
            "demo@",
            "a b:c",
            "a\0:b",
            &"a".repeat(300),
        ] {
            assert_eq!(faults(|r| r.image = image.into()), ["image"], "{image:?}");
        }
        for zone in ["/etc/passwd", "../x", "a b", "a\0", &"a".repeat(300)] {
            assert_eq!(faults(|r| r.time_zone = zone.into()), ["time_zone"], "{zone:?}");
        }
    }

    #[test]
    fn bad_numbers_are_refused_together() {
        let found = faults(|r| {
            r.number = 0;
            r.account.as_mut().unwrap().uid = 12;
            r.overlay.as_mut().unwrap().size_mib = -1;
            r.limits = Some(v1::Limits {
                memory_mib: -5,
                cpu_millis: 1,
                pids: 1,
                network_up_bits: 1,
                disk_ops: -1,
                ..v1::Limits::default()
            });
            r.width = 1;
        });
        assert_eq!(
            found,
            [
                "number",
                "account.uid",
                "overlay.size_mib",
                "limits.memory_mib",
                "limits.cpu_millis",
                "limits.pids",
                "limits.network_up_bits",
                "limits.disk_ops",
                "width",
                "height"
            ]
        );
        for size in [0, 1, 63, i64::MIN, i64::MAX] {
            let overlay = v1::OverlaySpec { persistent_name: String::new(), size_mib: size };
            assert_eq!(faults(|r| r.overlay = Some(overlay)), ["overlay.size_mib"], "{size}");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_caller_sends_panics(
            number: u32, name: String, image: String, overlay: String, zone: String,
            size: i64, memory: i64, width: u32, uid: u32,
        ) {
            let _either = StartRequest::parse(v1::StartHostDesktopRequest {
                number, image, time_zone: zone, width,
                account: Some(v1::Account { name, uid, full_name: String::new() }),
                overlay: Some(v1::OverlaySpec { persistent_name: overlay, size_mib: size }),
                limits: Some(v1::Limits { memory_mib: memory, ..v1::Limits::default() }),
                ..Default::default()
            });
        }
    }
}
