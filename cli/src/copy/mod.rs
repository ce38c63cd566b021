//! Trees of files as tar streams: packed here, and taken out of streams that
//! come from where nobody is trusted.

mod land;
mod pack;

pub(crate) use land::{LandError, Landed, Naming, land};
pub(crate) use pack::{pack, size_of};
