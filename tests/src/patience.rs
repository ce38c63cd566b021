//! How long tests wait for what must come. An emulated machine is slow, and
//! says how slow by `ROLLTOP_TEST_SLOWNESS`.

use std::time::Duration;

const SLOWNESS: &str = "ROLLTOP_TEST_SLOWNESS";

/// What `limit` is on this machine, for a limit that fits a real one.
pub fn on_this_machine(limit: Duration) -> Duration {
    limit * slowness()
}

/// How many times slower than a real machine this one is: 1, unless it was told.
pub fn slowness() -> u32 {
    factor(std::env::var(SLOWNESS).ok().as_deref())
}

fn factor(told: Option<&str>) -> u32 {
    told.and_then(|text| text.parse().ok())
        .filter(|factor| (1..=1000).contains(factor))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_has_bounds() {
        assert_eq!(factor(Some("10")), 10);
        for odd in [None, Some("0"), Some("-1"), Some("1001"), Some("slow")] {
            assert_eq!(factor(odd), 1, "{odd:?}");
        }
    }
}
