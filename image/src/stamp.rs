//! Time stamps for version names.

const SECONDS_PER_DAY: u64 = 86_400;

/// `YYYYMMDD-HHMMSS` in UTC, so that names sort by age.
pub(crate) fn utc(unix_seconds: u64) -> String {
    let (year, month, day) = date(unix_seconds / SECONDS_PER_DAY);
    let second = unix_seconds % SECONDS_PER_DAY;
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// The date that lies so many days after 1970-01-01.
fn date(mut days: u64) -> (u64, usize, u64) {
    let mut year = 1970;
    loop {
        let length = 365 + u64::from(is_leap(year));
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "19700101-000000"),
            (951_782_399, "20000228-235959"),
            (951_782_400, "20000229-000000"),
            (1_795_383_326, "20261122-213526"),
            (4_107_542_400, "21000301-000000"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }
}
