//! How far brokers carry: real ones, on their own store or on an etcd of three
//! members, with simulated hosts, in namespaces of their own.

mod enrol;
mod figures;
mod house;

pub use figures::{Figures, Row};
pub use house::{House, Kind, Size};
