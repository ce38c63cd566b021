//! Which device nodes a container may use: files of version 1 hierarchies, a
//! program for version 2.

use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::{Cgroup, CgroupError, device_program, write};

/// What every container may use whatever its rules say: the nodes OCI promises
/// in `/dev`, and its terminals. Major and minor number; no minor: all.
const ALWAYS: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// A rule as both versions take it; the last one that fits decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    /// None: all of everything.
    pub(super) kind: Option<Kind>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) access: Access,
}

/// A kind of device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Block,
    Character,
}

/// What is done with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) make: bool,
}

pub(super) fn apply(cgroup: &Cgroup, rules: &[LinuxDeviceCgroup]) -> Result<(), CgroupError> {
    let rules = rules.iter().map(Rule::new).chain(ALWAYS.iter().copied().map(Rule::always));
    if let Some(directory) = cgroup.legacy_directory("devices") {
        return rules.into_iter().try_for_each(|rule| rule.write(directory));
    }
    let Some(directory) = &cgroup.unified else {
        return Err(CgroupError::Unsupported {
            field: "linux.resources.devices",
            reason: "neither version 2 nor a version 1 hierarchy with devices is mounted",
        });
    };
    device_program::attach(directory, &rules.collect::<Vec<_>>())
}

// === impl Rule ===

impl Rule {
    fn new(rule: &LinuxDeviceCgroup) -> Self {
        let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        let kind = match rule.typ().unwrap_or(LinuxDeviceType::A) {
            LinuxDeviceType::B => Kind::Block,
            LinuxDeviceType::C | LinuxDeviceType::U => Kind::Character,
            LinuxDeviceType::A | LinuxDeviceType::P => {
                return Self {
                    allow: rule.allow(),
                    kind: None,
                    major: None,
                    minor: None,
                    access: Access::ALL,
                };
            }
        };
        let access = rule.access().as_deref().filter(|access| !access.is_empty());
        Self {
            allow: rule.allow(),
            kind: Some(kind),
            major: number(rule.major()),
            minor: number(rule.minor()),
            access: access.map_or(Access::ALL, Access::new),
        }
    }

    fn always((major, minor): (u32, Option<u32>)) -> Self {
        let kind = Some(Kind::Character);
        Self { allow: true, kind, major: Some(major), minor, access: Access::ALL }
    }

    /// Whether it decides on every node and access that gets to it.
    pub(super) fn fits_everything(&self) -> bool {
        let Self { allow: _, kind, major, minor, access } = *self;
        kind.is_none() && major.is_none() && minor.is_none() && access == Access::ALL
    }

    fn write(self, directory: &Path) -> Result<(), CgroupError> {
        let file = if self.allow { "devices.allow" } else { "devices.deny" };
        write(&directory.join(file), &self.line())
    }

    /// The kernel knows "all of everything" by the letter alone.
    fn line(self) -> String {
        let letter = match self.kind {
            None => return "a".into(),
            Some(Kind::Block) => 'b',
            Some(Kind::Character) => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".into(), |number| number.to_string());
        let Access { read, write, make } = self.access;
        let access: String = [(read, 'r'), (write, 'w'), (make, 'm')]
            .into_iter()
            .filter_map(|(is, letter)| is.then_some(letter))
            .collect();
        format!("{letter} {}:{} {access}", number(self.major), number(self.minor))
    }
}

// === impl Access ===

impl Access {
    pub(super) const ALL: Self = Self { read: true, write: true, make: true };

    fn new(letters: &str) -> Self {
        let has = |letter| letters.contains(letter);
        Self { read: has('r'), write: has('w'), make: has('m') }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> String {
        Rule::new(&serde_json::from_str(text).unwrap()).line()
    }

    #[test]
    fn rules_read_as_the_kernel_wants_them() {
        assert_eq!(rule(r#"{"allow":false,"access":"rwm"}"#), "a");
        assert_eq!(rule(r#"{"allow":true,"type":"c","major":10,"minor":229}"#), "c 10:229 rwm");
        assert_eq!(rule(r#"{"allow":true,"type":"b","major":-1,"access":"r"}"#), "b *:* r");
        assert_eq!(Rule::always(ALWAYS[8]).line(), "c 136:* rwm");
    }
}
