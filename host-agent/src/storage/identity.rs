//! Whose ids a desktop's files and processes have on the host: a pure decision.

use std::fmt;

use rolltop_overlay::IdMap;
use thiserror::Error;

use crate::address::IDS_PER_DESKTOP;

/// What an operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityMaps {
    /// Where nothing better is possible, root in a desktop has the id of root
    /// on the host, though none of its power.
    Allow,
    /// Never: such a desktop does not start.
    Refuse,
}

/// Whether homes may lie where ids cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnmappedHomes {
    /// The user's id is the same in such a desktop and on the host.
    Allow,
    /// Never: such a desktop does not start.
    Refuse,
}

/// The ids of a desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The host's id of the desktop's root.
    pub first: u32,
    /// How they come about.
    pub kind: IdsKind,
    /// The id of the user, if it is the same in the desktop and on the host.
    pub kept: Option<u32>,
}

/// How the ids of a desktop come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdsKind {
    /// Nobody else's: its base root is ID-mapped.
    Own,
    /// Of all desktops on this base root, which was published with them.
    Shared,
    /// The host's own.
    Identity,
}

/// What is known about a base root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseFacts {
    /// Who owns its topmost directory.
    pub owner: u32,
    /// Whether its mount can be ID-mapped.
    pub can_be_mapped: bool,
}

/// There are no ids the desktop may have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The base root would need the identity map.
    #[error(
        "the root of this image cannot be ID-mapped, as no directory on NFS can: publish it as \
         EROFS, or with shifted ids, or allow identity_map in the agent's configuration"
    )]
    Refused,
    /// A shifted root that collides.
    #[error(
        "the root of this image is published with the ids from {owner} on, which must lie from \
         65536 up to below network.first_id ({first_free}): publish it with other ids, or set \
         network.first_id to {owner} + 65536 or more while no desktop runs"
    )]
    Shift {
        /// The root's owner.
        owner: u32,
        /// Where the ids of desktops begin.
        first_free: u32,
    },
}

/// The ids of a desktop whose own would begin at `own`, on a host where those
/// of all desktops begin at `first_of_desktops`.
///
/// # Errors
/// There are none.
pub fn choose(
    base: BaseFacts,
    own: u32,
    first_of_desktops: u32,
    allowed: IdentityMaps,
) -> Result<Ids, IdentityError> {
    if base.owner != 0 {
        let end = base.owner.checked_add(IDS_PER_DESKTOP);
        let fits = base.owner >= IDS_PER_DESKTOP && end.is_some_and(|end| end <= first_of_desktops);
        return if fits {
            Ok(Ids { first: base.owner, kind: IdsKind::Shared, kept: None })
        } else {
            Err(IdentityError::Shift { owner: base.owner, first_free: first_of_desktops })
        };
    }
    match (base.can_be_mapped, allowed) {
        (true, _) => Ok(Ids { first: own, kind: IdsKind::Own, kept: None }),
        (false, IdentityMaps::Allow) => Ok(Ids { first: 0, kind: IdsKind::Identity, kept: None }),
        (false, IdentityMaps::Refuse) => Err(IdentityError::Refused),
    }
}

// === impl Ids ===

impl Ids {
    /// Of a desktop that is there, whose ids begin at `first`.
    pub fn of_a_desktop(first: u32) -> Self {
        let kind = if first == 0 { IdsKind::Identity } else { IdsKind::Own };
        Self { first, kind, kept: None }
    }

    /// The same, but for `uid`, which stays as it is on the host; unless all
    /// do.
    ///
    /// # Errors
    /// Why not, for a sentence.
    pub fn keep(self, uid: u32, allowed: UnmappedHomes) -> Result<Self, &'static str> {
        match (self.kind, allowed) {
            // Allowed with the root.
            (IdsKind::Identity, _) => Ok(self),
            (_, UnmappedHomes::Refuse) => {
                Err("homes.unmapped of this host's agent refuses such homes")
            }
            // The root's files have other ids already.
            (IdsKind::Shared, _) => Err("the root of this image is published with shifted ids"),
            (IdsKind::Own, UnmappedHomes::Allow) => Ok(Self { kept: Some(uid), ..self }),
        }
    }

    /// For mounts; `None` where there is nothing to map.
    pub fn map(&self) -> Option<IdMap> {
        (self.kind != IdsKind::Identity).then_some(self.container_map())
    }

    /// For the desktop's user namespace.
    pub fn container_map(&self) -> IdMap {
        IdMap { first: self.first, count: IDS_PER_DESKTOP, kept: self.kept }
    }
}

impl fmt::Display for IdsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "own",
            Self::Shared => "shared by the desktops on this root",
            Self::Identity => "identity",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: u32 = 262_144;

    fn base(owner: u32, can_be_mapped: bool) -> BaseFacts {
        BaseFacts { owner, can_be_mapped }
    }

    #[test]
    fn the_strongest_that_is_possible() {
        let choose = |base, allowed| choose(base, 327_680, FIRST, allowed);
        let (own, identity) = (Ok(327_680), Ok(0));
        let first = |ids: Result<Ids, IdentityError>| ids.map(|ids| ids.first);
        assert_eq!(first(choose(base(0, true), IdentityMaps::Allow)), own);
        assert_eq!(first(choose(base(0, true), IdentityMaps::Refuse)), own);
        assert_eq!(first(choose(base(0, false), IdentityMaps::Allow)), identity);
        assert_eq!(choose(base(0, false), IdentityMaps::Refuse), Err(IdentityError::Refused));
        for mappable in [true, false] {
            let shifted = choose(base(131_072, mappable), IdentityMaps::Refuse).unwrap();
            assert_eq!(shifted, Ids { first: 131_072, kind: IdsKind::Shared, kept: None });
        }
    }

    #[test]
    fn a_shift_into_others_ids_is_refused() {
        for owner in [1, 1000, 65_535, 196_609, FIRST, u32::MAX - 1] {
            let refused = choose(base(owner, false), 327_680, FIRST, IdentityMaps::Allow);
            assert_eq!(refused, Err(IdentityError::Shift { owner, first_free: FIRST }));
        }
    }

    proptest! {
        #[test]
        fn no_desktop_gets_ids_of_another(owner in any::<u32>(), mapped: bool, n in 0u32..1000) {
            let own = FIRST + n * IDS_PER_DESKTOP;
            if let Ok(ids) = choose(base(owner, mapped), own, FIRST, IdentityMaps::Refuse) {
                prop_assert!(ids.first == own || ids.first + IDS_PER_DESKTOP <= FIRST);
                prop_assert!(ids.first >= IDS_PER_DESKTOP, "not the host's own users");
            }
        }
    }
}
