//! Where packages come from: the machine's own apt configuration.
//!
//! A machine that reaches its packages through a local mirror or a proxy
//! builds through these too; nothing is named here.

use std::path::Path;
use std::process::Command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Pockets that belong to a suite.
const POCKETS: [&str; 3] = ["", "-updates", "-security"];
/// Settings of apt that tell how to reach a mirror, by their beginning.
const REACHING: [&str; 6] = [
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::Retries ",
    "Acquire::Check-Valid-Until ",
    "Acquire::Check-Date ",
    "Acquire::ForceIPv4 ",
];

/// How to reach the packages of a suite.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// Lines for `sources.list`; none: the builder's default.
    pub(crate) sources: Vec<String>,
    /// Lines for `apt.conf` while building.
    pub(crate) options: Vec<String>,
}

impl Mirror {
    /// Sources that somebody named, reached as this machine reaches its own.
    pub(crate) fn of_sources(sources: &[String]) -> Self {
        let config = output("apt-config", &["dump"]);
        Self { sources: sources.to_vec(), options: options(&config) }
    }

    /// What this machine's apt would use. Nothing where there is no apt, or
    /// where it is set up for other suites.
    pub(crate) fn of_this_machine(suite: &str) -> Self {
        let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
        let targets =
            output("apt-get", &["indextargets", "--format", format, "Created-By: Packages"]);
        let config = output("apt-config", &["dump"]);
        let keyring = Path::new(KEYRING).exists().then_some(KEYRING);
        Self { sources: sources(&targets, suite, keyring), options: options(&config) }
    }
}

/// What a program printed; nothing where it cannot be run.
fn output(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        _ => String::new(),
    }
}

fn sources(targets: &str, suite: &str, keyring: Option<&str>) -> Vec<String> {
    let signed_by = keyring.map(|path| format!("[signed-by={path}] ")).unwrap_or_default();
    let mut sources = Vec::new();
    let mut has_suite = false;
    for target in targets.lines() {
        let [uri, release, "main"] = target.split(' ').collect::<Vec<_>>()[..] else { continue };
        let belongs = release.strip_prefix(suite).is_some_and(|pocket| POCKETS.contains(&pocket));
        // A mirror on this machine's disk would not be seen from inside the root.
        let reachable = uri.starts_with("http://") || uri.starts_with("https://");
        let source = format!("deb {signed_by}{uri} {release} main");
        if belongs && reachable && !sources.contains(&source) {
            has_suite |= release == suite;
            sources.push(source);
        }
    }
    // Updates alone make no system.
    if has_suite { sources } else { Vec::new() }
}

fn options(config: &str) -> Vec<String> {
    let reaching = |line: &&str| REACHING.iter().any(|beginning| line.starts_with(beginning));
    config
        .lines()
        .filter(reaching)
        .filter(|line| !line.ends_with("\"\";"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "http://mirror.example/debian/ bookworm main\n\
                           http://mirror.example/debian/ bookworm contrib\n\
                           http://mirror.example/debian/ bookworm main\n\
                           http://mirror.example/security/ bookworm-security main\n\
                           http://mirror.example/debian/ bookworm-backports main\n\
                           https://vendor.example/apt/ nodistro main\n\
                           file:/media/cdrom/ bookworm main\n";

    #[test]
    fn the_suite_and_its_pockets_are_taken_once_each() {
        assert_eq!(
            sources(TARGETS, "bookworm", Some("/k.gpg")),
            [
                "deb [signed-by=/k.gpg] http://mirror.example/debian/ bookworm main",
                "deb [signed-by=/k.gpg] http://mirror.example/security/ bookworm-security main",
            ]
        );
    }

    #[test]
    fn another_suite_has_no_sources() {
        assert!(sources(TARGETS, "trixie", None).is_empty());
        assert!(
            sources("http://mirror.example/s/ trixie-security main\n", "trixie", None).is_empty()
        );
    }

    #[test]
    fn proxies_are_taken_and_the_rest_is_not() {
        let config = "APT::Architecture \"amd64\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://p.example:3142\";\n\
                      Acquire::http::Timeout \"\";\nAcquire::Retries \"3\";\nDPkg::Post-Invoke:: \"x\";\n";
        assert_eq!(
            options(config),
            ["Acquire::http::Proxy \"http://p.example:3142\";", "Acquire::Retries \"3\";"]
        );
    }
}
