//! Which of several images is for this machine.

use oci_spec::image::{Arch, Os, Platform};

use super::OciError;

/// In the words of Go, which container images use.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Whether an image of this platform can run here.
pub(super) fn fits(platform: &Platform) -> bool {
    is_here(platform.os(), platform.architecture())
        && platform.variant().as_ref().is_none_or(|variant| is_plain(variant))
}

/// Variants that every machine of the architecture is.
fn is_plain(variant: &str) -> bool {
    matches!((architecture(), variant), ("amd64", "v1") | ("arm64", "v8") | (_, ""))
}

fn is_here(os: &Os, arch: &Arch) -> bool {
    os.to_string() == "linux" && arch.to_string() == architecture()
}

pub(super) fn check(os: &Os, arch: &Arch) -> Result<(), OciError> {
    if is_here(os, arch) {
        return Ok(());
    }
    Err(OciError::Platform { wanted: here(), found: format!("{os}/{arch}") })
}

pub(super) fn here() -> String {
    format!("linux/{}", architecture())
}
