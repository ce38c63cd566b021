//! Sizes and times as people say them.

use std::time::{Duration, SystemTime};

/// Bytes in the largest binary unit that leaves at least one: "1.5 GiB".
pub(crate) fn size_bytes(bytes: i64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // 1023.95 would be printed as "1024.0".
    while value.abs() >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A configured size: exact, in GiB where it is a whole number of them.
pub(crate) fn gib_or_mib(mib: i64) -> String {
    if mib != 0 && mib % 1024 == 0 { format!("{} GiB", mib / 1024) } else { format!("{mib} MiB") }
}

/// A rate as networks are sold: "50 Mbit/s", "1.5 Gbit/s".
pub(crate) fn rate_bits(bits: i64) -> String {
    const UNITS: [&str; 4] = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"];
    let mut value = bits as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}

/// A short time: "0.4 ms", "12.3 ms", "123 ms", "4.5 s", "2 min 5 s".
pub(crate) fn duration_ms(ms: f64) -> String {
    if ms < 99.95 {
        format!("{ms:.1} ms")
    } else if ms < 999.5 {
        format!("{ms:.0} ms")
    } else if ms < 59_950.0 {
        format!("{:.1} s", ms / 1000.0)
    } else {
        let seconds = (ms / 1000.0).round() as u64;
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

/// How long ago: "just now", "5 min ago", "3 h ago", "12 d ago".
pub(crate) fn age(then: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0..=59 => "just now".to_owned(),
        60..=3599 => format!("{} min ago", seconds / 60),
        3600..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_610_612_736, "1.5 GiB"),
            (i64::MAX, "8.0 EiB"),
            (-1, "-1 B"),
        ] {
            assert_eq!(size_bytes(bytes), text);
        }
        assert_eq!(gib_or_mib(2048), "2 GiB");
        assert_eq!(gib_or_mib(1500), "1500 MiB");
        assert_eq!(gib_or_mib(0), "0 MiB");
    }

    #[test]
    fn durations() {
        for (ms, text) in [
            (0.04, "0.0 ms"),
            (12.34, "12.3 ms"),
            (99.96, "100 ms"),
            (999.4, "999 ms"),
            (999.6, "1.0 s"),
            (59_949.0, "59.9 s"),
            (59_960.0, "1 min 0 s"),
            (125_000.0, "2 min 5 s"),
        ] {
            assert_eq!(duration_ms(ms), text, "{ms}");
        }
    }

    #[test]
    fn ages() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000);
        for (seconds, text) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 min ago"),
            (3600, "1 h ago"),
            (172_799, "47 h ago"),
            (172_800, "2 d ago"),
        ] {
            assert_eq!(age(now - Duration::from_secs(seconds), now), text);
        }
        assert_eq!(age(now + Duration::from_secs(5), now), "just now", "clocks differ");
    }
}
