//! Lengths of time, as people write them: "30s", "90min", "12h", "30d", "8w".

use std::time::Duration;

/// Reads one.
///
/// # Errors
/// A sentence that says what would be right.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a length of time such as 90min, 12h, 30d or 8w");
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(bad()),
    };
    let number: u32 = number.parse().map_err(|_| bad())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// Reads one, or "none".
///
/// # Errors
/// A sentence that says what would be right.
pub(crate) fn parse_or_none(text: &str) -> Result<OrNone, String> {
    match text {
        "none" => Ok(OrNone(None)),
        text => {
            parse(text).map(|span| OrNone(Some(span))).map_err(|bad| format!("{bad}, or \"none\""))
        }
    }
}

/// A length of time, or none on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrNone(pub(crate) Option<Duration>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_units() {
        assert_eq!(parse("2d").unwrap(), Duration::from_secs(172_800));
        assert_eq!(parse("90min").unwrap(), parse("5400s").unwrap());
        assert_eq!(parse_or_none("none").unwrap(), OrNone(None));
        assert!(parse_or_none("never").unwrap_err().ends_with(", or \"none\""));
        assert_eq!(parse("0s").unwrap(), Duration::ZERO);
        for bad in ["", "3", "d", "-1d", "1y", "99999999999d", "1.5h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
