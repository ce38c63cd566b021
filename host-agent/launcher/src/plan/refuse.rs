//! What OCI knows and this launcher does not do, each with the reason.

use oci_spec::runtime::{Linux, Spec};

use super::{PlanError, unsupported};

pub(super) fn whole(spec: &Spec) -> Result<(), PlanError> {
    let hooks = spec.hooks().as_ref().is_some_and(|hooks| {
        hooks.prestart().is_some()
            || hooks.create_runtime().is_some()
            || hooks.create_container().is_some()
            || hooks.start_container().is_some()
            || hooks.poststart().is_some()
            || hooks.poststop().is_some()
    });
    if hooks {
        return Err(unsupported("hooks", "set", "the caller acts between create and start itself"));
    }
    for (field, set) in [
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
    ] {
        if set {
            return Err(unsupported(field, "set", "this is Linux"));
        }
    }
    Ok(())
}

pub(super) fn linux(linux: &Linux) -> Result<(), PlanError> {
    if let Some(propagation) = linux.rootfs_propagation()
        && !matches!(propagation.as_str(), "" | "private" | "rprivate")
    {
        return Err(unsupported(
            "linux.rootfsPropagation",
            propagation,
            "no mount event may pass between container and host",
        ));
    }
    for (field, set, reason) in [
        ("linux.netDevices", linux.net_devices().is_some(), "the caller makes the network"),
        (
            "linux.mountLabel",
            linux.mount_label().as_ref().is_some_and(|label| !label.is_empty()),
            "no SELinux here",
        ),
        ("linux.intelRdt", linux.intel_rdt().is_some(), "no cache allocation here"),
        ("linux.memoryPolicy", linux.memory_policy().is_some(), "no NUMA placement here"),
        ("linux.personality", linux.personality().is_some(), "native programs only"),
        ("linux.timeOffsets", linux.time_offsets().is_some(), "no time namespaces here"),
    ] {
        if set {
            return Err(unsupported(field, "set", reason));
        }
    }
    Ok(())
}
