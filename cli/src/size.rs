//! Sizes and amounts as people type them.

/// "512MiB", "2GiB", "1.5 GiB" or plain MiB, as a whole number of MiB above 0.
pub(crate) fn mib(text: &str) -> Result<i64, String> {
    let bad = || format!("{text:?} is not a size such as 512MiB or 2GiB, above zero");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "m" | "mib" => 1.0,
        "g" | "gib" => 1024.0,
        "t" | "tib" => 1024.0 * 1024.0,
        _ => return Err(bad()),
    };
    let mib = number.parse::<f64>().map_err(|_| bad())? * scale;
    // Beyond 2^40 MiB nothing is a typing of a person.
    let whole = mib.fract() == 0.0 && (1.0..=(1_u64 << 40) as f64).contains(&mib);
    if whole { Ok(mib as i64) } else { Err(bad()) }
}

/// A size in MiB, or "none" for no limit, which the contract spells 0.
pub(crate) fn mib_or_none(text: &str) -> Result<i64, String> {
    if text == "none" { Ok(0) } else { mib(text).map_err(|error| error + ", or \"none\"") }
}

/// Processors, such as "1.5", in thousandths; "none" is 0.
pub(crate) fn cpu_millis(text: &str) -> Result<i64, String> {
    if text == "none" {
        return Ok(0);
    }
    let cpus: f64 = text.parse().unwrap_or(f64::NAN);
    let millis = (cpus * 1000.0).round();
    if (1.0..=100_000_000.0).contains(&millis) {
        Ok(millis as i64)
    } else {
        Err(format!("{text:?} is not a number of CPUs such as 1.5, or \"none\""))
    }
}

/// A count above zero; "none" is 0.
pub(crate) fn count_or_none(text: &str) -> Result<i64, String> {
    match text.parse() {
        _ if text == "none" => Ok(0),
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{text:?} is not a number above zero, or \"none\"")),
    }
}

/// "50Mbit", "1.5 Gbit/s": bits a second, counted in thousands; "none" is 0.
pub(crate) fn bits_or_none(text: &str) -> Result<i64, String> {
    let scales = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];
    rate(text, &scales)
        .ok_or_else(|| format!("{text:?} is not a rate such as 50Mbit or 1Gbit, or \"none\""))
}

/// "100MiB/s", "512KiB": bytes a second; "none" is 0.
pub(crate) fn bytes_or_none(text: &str) -> Result<i64, String> {
    let [kib, mib, gib] = [1, 2, 3].map(|power| f64::from(1024_i32.pow(power)));
    rate(text, &[("kib", kib), ("mib", mib), ("gib", gib)])
        .ok_or_else(|| format!("{text:?} is not a rate such as 100MiB/s or 1GiB, or \"none\""))
}

fn rate(text: &str, scales: &[(&str, f64)]) -> Option<i64> {
    if text == "none" {
        return Some(0);
    }
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix("/s").unwrap_or(&text);
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let (_, scale) = scales.iter().find(|(name, _)| *name == unit.trim())?;
    let rate = (number.parse::<f64>().ok()? * scale).round();
    (1.0..=(1_u64 << 40) as f64).contains(&rate).then_some(rate as i64)
}

/// A screen, such as "1280x800": width and height in pixels.
pub(crate) fn screen(text: &str) -> Result<(u32, u32), String> {
    let parse = |side: &str| side.parse().ok().filter(|pixels| (1..=16_384).contains(pixels));
    text.split_once('x')
        .and_then(|(width, height)| Some((parse(width)?, parse(height)?)))
        .ok_or_else(|| format!("{text:?} is not a screen size such as 1280x800"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_in_mib() {
        for (text, value) in [
            ("1", 1),
            ("512MiB", 512),
            ("512 m", 512),
            ("2GiB", 2048),
            ("1.5G", 1536),
            ("1TiB", 1 << 20),
        ] {
            assert_eq!(mib(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "0",
            "-1",
            "1.2",
            "1.2.3",
            "GiB",
            "1KiB",
            "1e3",
            "inf",
            "NaN",
            "99999999999999999999T",
        ] {
            assert!(mib(text).is_err(), "{text}");
        }
        assert_eq!(mib_or_none("none"), Ok(0));
    }

    #[test]
    fn amounts() {
        assert_eq!(cpu_millis("1.5"), Ok(1500));
        assert_eq!(cpu_millis("none"), Ok(0));
        for text in ["0", "-1", "x", "", "NaN", "inf", "1e30"] {
            assert!(cpu_millis(text).is_err(), "{text}");
        }
        assert_eq!(count_or_none("300"), Ok(300));
        assert_eq!(count_or_none("none"), Ok(0));
        assert_eq!(bits_or_none("50Mbit"), Ok(50_000_000));
        assert_eq!(bits_or_none("1.5 gbit/s"), Ok(1_500_000_000));
        assert_eq!(bits_or_none("none"), Ok(0));
        assert_eq!(bytes_or_none("100MiB/s"), Ok(100 << 20));
        assert_eq!(bytes_or_none("64 KiB"), Ok(65_536));
        for text in ["", "5", "0Mbit", "-1Mbit", "1MiB", "1Mbit/h", "9e9Gbit", "99999999Gbit"] {
            assert!(bits_or_none(text).is_err(), "{text}");
        }
        for text in ["", "5", "0MiB", "1Mbit", "1MB", "NaNMiB", "."] {
            assert!(bytes_or_none(text).is_err(), "{text}");
        }
        assert!(count_or_none("0").is_err() && count_or_none("-3").is_err());
        assert_eq!(screen("1280x800"), Ok((1280, 800)));
        for text in ["", "x", "1280", "0x800", "1280x800x3", "99999x10", "-1x5"] {
            assert!(screen(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_size_out_of_range(text in ".*|[0-9.]{1,30} ?[mgtMGT]?") {
            if let Ok(value) = mib(&text) {
                prop_assert!((1..=1_i64 << 40).contains(&value));
            }
        }
    }
}
