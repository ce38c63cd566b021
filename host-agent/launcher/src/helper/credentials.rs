//! Who the process is and what it may do.

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities,
};

use crate::error::{AtStage, Failure, Stage};
use crate::plan::{CapabilityPlan, ProcessPlan};

/// Becomes root of the user namespace entered, with no groups of the host's.
pub(super) fn become_root() -> Result<(), Failure> {
    setgroups(&[]).at(Stage::SetUser, "groups of the container's root")?;
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(group, group, group).at(Stage::SetUser, "group of the container's root")?;
    setresuid(user, user, user).at(Stage::SetUser, "the container's root")
}

/// Takes away for good what is in no set of the plan. First of all, since it
/// takes a capability itself.
pub(super) fn limit_capabilities(plan: &CapabilityPlan) -> Result<(), Failure> {
    for number in 0..u64::BITS {
        let bit = 1 << number;
        let capability = CapabilitySet::from_bits_retain(bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if plan.bounding & bit == 0 => {
                remove_capability_from_bounding_set(capability)
                    .at(Stage::DropCapabilities, format!("bounding {number}"))?;
            }
            Ok(_) => {}
            // Past the last one this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error).at(Stage::DropCapabilities, "bounding"),
        }
    }
    Ok(())
}

/// Becomes the process's user, with the capabilities of the plan.
pub(super) fn become_user(process: &ProcessPlan) -> Result<(), Failure> {
    let CapabilityPlan { effective, permitted, inheritable, ambient, .. } = process.capabilities;
    // Else the kernel empties the permitted set with the change of user.
    set_keep_capabilities(true).at(Stage::SetUser, "keep capabilities")?;
    let groups: Vec<Gid> = process.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).at(Stage::SetUser, format!("groups {:?}", process.groups))?;
    let group = Gid::from_raw(process.gid);
    setresgid(group, group, group).at(Stage::SetUser, format!("group {}", process.gid))?;
    let user = Uid::from_raw(process.uid);
    setresuid(user, user, user).at(Stage::SetUser, process.uid)?;
    set_keep_capabilities(false).at(Stage::SetUser, "keep capabilities")?;
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::from_bits_retain(inheritable),
    };
    set_capabilities(None, sets).at(Stage::DropCapabilities, "sets")?;
    clear_ambient_capability_set().at(Stage::DropCapabilities, "ambient")?;
    for number in (0..u64::BITS).filter(|number| ambient & (1 << number) != 0) {
        configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << number), true)
            .at(Stage::DropCapabilities, format!("ambient {number}"))?;
    }
    Ok(())
}
