//! The only API contract of Rolltop: `rolltop.v1`, compiled from the files in
//! `proto/rolltop/v1`. What each message and call means is said there.

pub mod egress;
pub mod limits;

/// Version 1 of the API.
pub mod v1 {
    #![allow(
        missing_docs,
        clippy::clone_on_ref_ptr,
        clippy::large_enum_variant,
        reason = "generated code; the .proto files carry the documentation"
    )]
    tonic::include_proto!("rolltop.v1");

    /// Encoded descriptors of every file, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
