//! Compiles `rolltop/v1/*.proto` without a `protoc` on the machine.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTOS: [&str; 11] = [
    "rolltop/v1/common.proto",
    "rolltop/v1/host_agent.proto",
    "rolltop/v1/broker.proto",
    "rolltop/v1/stats.proto",
    "rolltop/v1/storage.proto",
    "rolltop/v1/hosts.proto",
    "rolltop/v1/audit.proto",
    "rolltop/v1/people.proto",
    "rolltop/v1/sessions.proto",
    "rolltop/v1/sign_in.proto",
    "rolltop/v1/rollouts.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(PROTOS, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
