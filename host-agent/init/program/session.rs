//! From the desktop's root to a command of its user.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::account::{Account, Person, supplementary};
use crate::failure::{ACCOUNT, Failure, NOT_EXECUTABLE, NOT_FOUND, USAGE};
use crate::{files, kernel};

const SECONDS_PER_DAY: u64 = 86_400;

/// What to become.
#[derive(Debug)]
pub(crate) struct Request {
    person: Person,
    allow_new_privileges: bool,
    command: Vec<OsString>,
}

impl Request {
    /// Reads the arguments after `session`.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, Failure> {
        let usage = |message: String| Failure::new(USAGE, message);
        let (mut user, mut uid, mut full_name, mut shell) =
            (None, None, String::new(), "/bin/sh".to_owned());
        let mut allow_new_privileges = false;
        while let Some(option) = arguments.next() {
            if option == "--" {
                break;
            }
            if option == "--allow-new-privileges" {
                allow_new_privileges = true;
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| usage(format!("{} needs a value", option.display())))?;
            let value =
                value.into_string().map_err(|v| usage(format!("{} is not UTF-8", v.display())))?;
            match option.to_str() {
                Some("--user") => user = Some(value),
                Some("--uid") => {
                    uid = Some(
                        value
                            .parse()
                            .map_err(|_| usage(format!("--uid {value:?} is no number")))?,
                    );
                }
                Some("--full-name") => full_name = value,
                Some("--shell") => shell = value,
                _ => return Err(usage(format!("there is no option {}", option.display()))),
            }
        }
        let user = user.ok_or_else(|| usage("--user is missing".to_owned()))?;
        let uid = uid.ok_or_else(|| usage("--uid is missing".to_owned()))?;
        let command: Vec<OsString> = arguments.collect();
        if command.is_empty() {
            return Err(usage("the command is missing; it stands after --".to_owned()));
        }
        let person = Person::new(&user, uid, &full_name, &shell).map_err(usage)?;
        Ok(Self { person, allow_new_privileges, command })
    }
}

/// Makes what is missing, gives up root, and becomes the command. Returns only on failure.
pub(crate) fn run(request: Request) -> Result<(), Failure> {
    let (account, groups) = prepare(&request.person)?;
    let runtime_dir = files::make_runtime_dir(&account)?;
    files::make_socket_dirs()?;

    kernel::new_session().map_err(|e| Failure::system("begin a session", e))?;
    kernel::set_umask(0o022);
    kernel::become_user(account.uid, account.gid, &groups)
        .map_err(|e| Failure::system("become the user", e))?;
    if !request.allow_new_privileges {
        kernel::forbid_new_privileges().map_err(|e| Failure::system("forbid new privileges", e))?;
    }
    // As the user: a home that is not to be entered must not be entered as root.
    if std::env::set_current_dir(&account.home).is_err() {
        std::env::set_current_dir("/").map_err(|e| Failure::system("enter /", e))?;
    }
    kernel::close_others().map_err(|e| Failure::system("close files", e))?;
    Err(become_command(&request.command, &account, &runtime_dir))
}

fn prepare(person: &Person) -> Result<(Account, Vec<u32>), Failure> {
    let conflict = |message: String| Failure::new(ACCOUNT, message);
    let _lock = files::lock()?;
    let mut known = files::read()?;
    let account = match person.find(&known).map_err(conflict)? {
        Some(account) => account,
        None => {
            // A clock before 1970 only makes the date of the password wrong.
            let seconds =
                SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let (added, account) =
                person.add(&known, seconds / SECONDS_PER_DAY).map_err(conflict)?;
            files::write(&added)?;
            known = added;
            account
        }
    };
    files::make_home(&account)?;
    let groups = supplementary(&known.group, &account);
    Ok((account, groups))
}

fn become_command(command: &[OsString], account: &Account, runtime_dir: &Path) -> Failure {
    let Some((program, arguments)) = command.split_first() else {
        return Failure::new(USAGE, "the command is missing");
    };
    let error = Command::new(program)
        .args(arguments)
        .envs([
            ("HOME", OsStr::new(&account.home)),
            ("USER", OsStr::new(&account.name)),
            ("LOGNAME", OsStr::new(&account.name)),
            ("SHELL", OsStr::new(&account.shell)),
            ("XDG_RUNTIME_DIR", runtime_dir.as_os_str()),
        ])
        .exec();
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    Failure::new(code, format!("cannot run {}: {error}", program.display()))
}
