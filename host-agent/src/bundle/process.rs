//! Processes that a desktop gets from outside: its session, and commands.

use std::collections::{BTreeMap, HashSet};

use oci_spec::{
    OciSpecError,
    runtime::{Process, ProcessBuilder, UserBuilder},
};
use rolltop_launcher::profile;

use super::PATH;
use crate::{
    paths::{DISPLAY_DIR_INSIDE, INIT_INSIDE},
    request::Account,
};

/// What a session needs to be started.
#[derive(Debug)]
pub struct SessionIngredients<'a> {
    /// Whose session.
    pub account: &'a Account,
    /// The image's session command.
    pub command: &'a [String],
    /// The image's additions to the environment.
    pub environment: &'a BTreeMap<String, String>,
    /// File name of the display's socket.
    pub display_socket: &'a str,
    /// First size of the screen.
    pub geometry: (u32, u32),
    /// Title for people.
    pub label: &'a str,
    /// Such as `Europe/Berlin`.
    pub time_zone: Option<&'a str>,
}

/// The process that writes the user's account, becomes that user and runs the
/// session command. It begins as the container's root.
///
/// # Errors
/// A value the OCI types refuse; the agent's own fault.
pub fn session(from: &SessionIngredients<'_>) -> Result<Process, OciSpecError> {
    let account = from.account;
    let mut args: Vec<String> = [
        INIT_INSIDE,
        "session",
        "--user",
        &account.name,
        "--uid",
        &account.uid.to_string(),
        "--full-name",
        &account.full_name,
        "--shell",
        "/bin/bash",
        "--",
    ]
    .map(str::to_owned)
    .into();
    args.extend_from_slice(from.command);
    let (width, height) = from.geometry;
    let mut environment = user_environment(account, from.time_zone);
    environment.extend([
        ("ROLLTOP_DISPLAY_SOCKET".into(), format!("{DISPLAY_DIR_INSIDE}/{}", from.display_socket)),
        ("ROLLTOP_GEOMETRY".into(), format!("{width}x{height}")),
        ("ROLLTOP_DESKTOP_NAME".into(), from.label.to_owned()),
    ]);
    environment.extend(from.environment.clone());
    process(0, args, environment, "/", false)
}

/// A command run in a desktop by `Exec`; an empty one is a login shell.
///
/// # Errors
/// A value the OCI types refuse, such as a NUL in an argument.
pub fn exec(
    account: &Account,
    as_root: bool,
    command: Vec<String>,
    extra: impl IntoIterator<Item = (String, String)>,
    terminal: bool,
) -> Result<Process, OciSpecError> {
    let args = if command.is_empty() {
        // The image decides which shells there are.
        let login = "for s in /bin/bash /bin/sh; do [ -x $s ] && exec $s -l; done";
        vec!["/bin/sh".into(), "-c".into(), login.into()]
    } else {
        command
    };
    let mut environment = if as_root {
        BTreeMap::from([
            ("HOME".to_owned(), "/root".to_owned()),
            ("USER".to_owned(), "root".to_owned()),
            ("PATH".to_owned(), PATH.to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ])
    } else {
        user_environment(account, None)
    };
    environment.insert("DISPLAY".into(), ":1".into());
    if terminal {
        environment.insert("TERM".into(), "xterm-256color".into());
    }
    environment.extend(extra);
    let (uid, home) = if as_root {
        (0, "/".to_owned())
    } else {
        (account.uid, format!("/home/{}", account.name))
    };
    process(uid, args, environment, &home, terminal)
}

fn user_environment(account: &Account, time_zone: Option<&str>) -> BTreeMap<String, String> {
    let name = &account.name;
    let mut environment = BTreeMap::from([
        ("HOME".to_owned(), format!("/home/{name}")),
        ("USER".to_owned(), name.clone()),
        ("LOGNAME".to_owned(), name.clone()),
        ("SHELL".to_owned(), "/bin/bash".to_owned()),
        ("PATH".to_owned(), PATH.to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("XDG_RUNTIME_DIR".to_owned(), format!("/run/user/{}", account.uid)),
    ]);
    environment.extend(time_zone.map(|zone| ("TZ".to_owned(), zone.to_owned())));
    environment
}

fn process(
    uid: u32,
    args: Vec<String>,
    environment: BTreeMap<String, String>,
    cwd: &str,
    terminal: bool,
) -> Result<Process, OciSpecError> {
    let env: Vec<_> =
        environment.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut process = ProcessBuilder::default()
        .terminal(terminal)
        .user(UserBuilder::default().uid(uid).gid(uid).build()?)
        .args(args)
        .env(env)
        .cwd(cwd)
        .rlimits(Vec::new())
        .no_new_privileges(true);
    // A user's command starts with no capability; the bounding set alone stays.
    let mut kept = profile::default_capabilities();
    if uid != 0 {
        kept.set_effective(Some(HashSet::new())).set_permitted(Some(HashSet::new()));
    }
    process = process.capabilities(kept);
    process.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account { name: "alice".into(), uid: 2000, full_name: "Alice".into() }
    }

    #[test]
    fn the_session_is_told_what_the_image_expects() {
        let process = session(&SessionIngredients {
            account: &account(),
            command: &["/usr/local/bin/rolltop-session".into()],
            environment: &BTreeMap::from([("GTK_THEME".into(), "x".into())]),
            display_socket: "vnc.sock",
            geometry: (800, 600),
            label: "demo/alice",
            time_zone: Some("Europe/Berlin"),
        })
        .unwrap();
        let env = process.env().as_ref().unwrap();
        for expected in [
            "HOME=/home/alice",
            "XDG_RUNTIME_DIR=/run/user/2000",
            "TZ=Europe/Berlin",
            "ROLLTOP_DISPLAY_SOCKET=/run/rolltop/display/vnc.sock",
            "ROLLTOP_GEOMETRY=800x600",
            "GTK_THEME=x",
        ] {
            assert!(env.iter().any(|entry| entry == expected), "{expected} in {env:?}");
        }
        let args = process.args().as_ref().unwrap();
        assert_eq!(args.last().unwrap(), "/usr/local/bin/rolltop-session");
    }

    #[test]
    fn a_users_command_has_no_capability() {
        let process = exec(&account(), false, vec!["id".into()], [], false).unwrap();
        let capabilities = process.capabilities().as_ref().unwrap();
        assert!(capabilities.effective().as_ref().unwrap().is_empty());
        assert_eq!(process.user().uid(), 2000);
        let shell = exec(&account(), true, Vec::new(), [], true).unwrap();
        assert_eq!(shell.user().uid(), 0);
        assert_eq!(shell.terminal(), Some(true));
    }
}
