//! A cluster whose parts fail: three brokers, an etcd of three members and
//! hosts, simulated or real, in namespaces of their own. A schedule, made from a seed,
//! says what fails when; meanwhile people ask for desktops, look at them and
//! leave; and afterwards, and all the while, [`invariants`] must hold.
//!
//! The same seed gives the same faults and the same wishes at the same moments.
//! How the processes' steps interleave is up to the machine.

pub mod answers;
pub mod clients;
pub mod clocks;
pub mod cluster;
pub mod etcd;
pub mod hosts;
pub mod house;
pub mod invariants;
pub mod kept;
pub mod lan;
pub mod links;
pub mod namespaces;
pub mod random;
pub mod real;
pub mod run;
pub mod schedule;
pub mod sightings;
pub mod snapshot;
pub mod strikes;
pub mod truth;
pub mod witness;

/// Brokers of the cluster.
pub const BROKERS: usize = 3;
/// Members of its etcd.
pub const MEMBERS: usize = 3;
/// Its hosts.
pub const HOSTS: usize = 4;
/// Pools that people use: of the first nothing is kept.
pub const POOLS: [&str; 2] = ["demo", "demo-keep"];
