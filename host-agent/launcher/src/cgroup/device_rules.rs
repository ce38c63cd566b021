//! Device rules of version 1 hierarchies.

use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::{CgroupError, write};

/// What every container may use whatever its rules say: the nodes OCI promises
/// in `/dev`, and its terminals.
const ALWAYS: [&str; 9] = [
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

pub(super) fn apply(
    directory: Option<&Path>,
    rules: &[LinuxDeviceCgroup],
) -> Result<(), CgroupError> {
    let Some(directory) = directory else {
        return Err(CgroupError::Unsupported {
            field: "linux.resources.devices",
            reason: "no version 1 hierarchy with devices is mounted",
        });
    };
    for rule in rules {
        let file = if rule.allow() { "devices.allow" } else { "devices.deny" };
        write(&directory.join(file), &line(rule))?;
    }
    ALWAYS.iter().try_for_each(|line| write(&directory.join("devices.allow"), line))
}

/// The kernel knows "all of everything" by the letter alone.
fn line(rule: &LinuxDeviceCgroup) -> String {
    let number = |number: Option<i64>| match number {
        Some(number) if number >= 0 => number.to_string(),
        _ => "*".into(),
    };
    match rule.typ().unwrap_or(LinuxDeviceType::A) {
        LinuxDeviceType::A => "a".into(),
        kind => {
            let letter = if kind == LinuxDeviceType::B { "b" } else { "c" };
            let access = rule.access().as_deref().filter(|access| !access.is_empty());
            let (major, minor) = (number(rule.major()), number(rule.minor()));
            format!("{letter} {major}:{minor} {}", access.unwrap_or("rwm"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> String {
        line(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn rules_read_as_the_kernel_wants_them() {
        assert_eq!(rule(r#"{"allow":false,"access":"rwm"}"#), "a");
        assert_eq!(rule(r#"{"allow":true,"type":"c","major":10,"minor":229}"#), "c 10:229 rwm");
        assert_eq!(rule(r#"{"allow":true,"type":"b","major":-1,"access":"r"}"#), "b *:* r");
    }
}
