//! What crosses crates: end to end, faults, load, benchmarks.
