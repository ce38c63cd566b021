//! Which limits a desktop can have: broker and agent check with the same table.

use crate::v1::Limits;

/// A limit that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// Its path in a pool, such as `pool.limits.disk_ops`.
    pub field: &'static str,
    /// As given.
    pub value: i64,
    /// The least there can be, other than 0 for none.
    pub least: i64,
    /// The most.
    pub most: i64,
}

/// The rates that are neither 0 nor in range.
pub fn bad_rates(limits: &Limits) -> impl Iterator<Item = OutOfRange> + use<> {
    /// Less than these starves what keeps a desktop going: a name server's
    /// answer, a page of a program.
    const LEAST_BITS: i64 = 64_000;
    const LEAST_BYTES: i64 = 65_536;
    const LEAST_OPS: i64 = 10;
    /// Beyond it nothing is a limit.
    const MOST: i64 = 1 << 40;
    /// The kernel's version 1 counts operations in 32 bits, and cuts off the rest.
    const MOST_OPS: i64 = u32::MAX as i64;
    let all = [
        ("pool.limits.network_down_bits", limits.network_down_bits, LEAST_BITS, MOST),
        ("pool.limits.network_up_bits", limits.network_up_bits, LEAST_BITS, MOST),
        ("pool.limits.disk_read_bytes", limits.disk_read_bytes, LEAST_BYTES, MOST),
        ("pool.limits.disk_write_bytes", limits.disk_write_bytes, LEAST_BYTES, MOST),
        ("pool.limits.disk_ops", limits.disk_ops, LEAST_OPS, MOST_OPS),
    ];
    all.into_iter()
        .filter(|(_, value, least, most)| *value != 0 && !(*least..=*most).contains(value))
        .map(|(field, value, least, most)| OutOfRange { field, value, least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_and_what_is_in_range_is_good() {
        let good = Limits { network_up_bits: 64_000, disk_ops: 1 << 31, ..Limits::default() };
        assert_eq!(bad_rates(&good).count(), 0);
        let bad = Limits {
            network_down_bits: 63_999,
            network_up_bits: -1,
            disk_read_bytes: 1,
            disk_write_bytes: i64::MIN,
            disk_ops: 1 << 32,
            ..Limits::default()
        };
        assert_eq!(bad_rates(&bad).count(), 5);
    }
}
