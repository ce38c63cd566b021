//! Reading and replacing account files, and making a home.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown, lchown, symlink,
};
use std::path::{Path, PathBuf};

use crate::account::{Account, Files};
use crate::failure::{ACCOUNT, Failure};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const SHADOW: &str = "/etc/shadow";
const GSHADOW: &str = "/etc/gshadow";
const SKELETON: &str = "/etc/skel";

/// Keeps other calls of this program away from the account files while it lives.
pub(crate) fn lock() -> Result<File, Failure> {
    let etc = Path::new("/etc");
    let dir = File::open(etc).map_err(Failure::file("open", etc))?;
    dir.lock().map_err(Failure::file("lock", etc))?;
    Ok(dir)
}

/// Reads the account files of this root.
pub(crate) fn read() -> Result<Files, Failure> {
    let required = |path: &'static str| {
        fs::read_to_string(path).map_err(Failure::file("read", Path::new(path)))
    };
    let optional = |path: &'static str| match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::file("read", Path::new(path))(e)),
    };
    Ok(Files {
        passwd: required(PASSWD)?,
        group: required(GROUP)?,
        shadow: optional(SHADOW)?,
        gshadow: optional(GSHADOW)?,
    })
}

/// Replaces the account files. `passwd` last: with it the account is there.
pub(crate) fn write(files: &Files) -> Result<(), Failure> {
    let pairs = [
        (GROUP, Some(&files.group)),
        (GSHADOW, files.gshadow.as_ref()),
        (SHADOW, files.shadow.as_ref()),
        (PASSWD, Some(&files.passwd)),
    ];
    for (path, text) in pairs {
        if let Some(text) = text {
            let path = Path::new(path);
            replace(path, text).map_err(Failure::file("replace", path))?;
        }
    }
    Ok(())
}

/// Readers see the old file or the new one, with the old one's owner and mode.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let old = fs::metadata(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".rolltop");
    let half_made = PathBuf::from(name);
    remove_if_there(&half_made)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half_made)?;
    fchown(&file, Some(old.uid()), Some(old.gid()))?;
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
    file.write_all(text.as_bytes())?;
    fs::rename(&half_made, path)
}

/// Makes the home if it is missing, as a copy of the skeleton. One that is there stays as it is,
/// but for a new volume, which belongs to root until it has been filled and given to the user.
pub(crate) fn make_home(account: &Account) -> Result<(), Failure> {
    let home = Path::new(&account.home);
    match fs::symlink_metadata(home) {
        Ok(meta) => {
            let unused = meta.is_dir() && meta.uid() == 0 && account.uid != 0;
            if unused && is_new(home, &meta).map_err(Failure::file("examine", home))? {
                give_home(home, account).map_err(Failure::file("fill", home))?;
            }
            return Ok(());
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(Failure::file("examine", home)(e)),
    }
    let (Some(parent), Some(name)) = (home.parent(), home.file_name()) else {
        return Err(Failure::new(
            ACCOUNT,
            format!("the account's home {} is no directory name", home.display()),
        ));
    };
    fs::create_dir_all(parent).map_err(Failure::file("make", parent))?;
    // Filled under another name first, so that a home that is there is whole.
    let mut half_made = std::ffi::OsString::from(".new-");
    half_made.push(name);
    let half_made = parent.join(half_made);
    match fs::remove_dir_all(&half_made) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(Failure::file("remove", &half_made)(e));
        }
        _ => {}
    }
    fill_home(&half_made, account).map_err(Failure::file("fill", &half_made))?;
    fs::rename(&half_made, home).map_err(Failure::file("make", home))
}

/// Root's home for a user: a volume of its own, or an empty place for one.
fn is_new(home: &Path, meta: &fs::Metadata) -> io::Result<bool> {
    let parent = home.parent().unwrap_or(home);
    let mounted = fs::metadata(parent)?.dev() != meta.dev();
    Ok(mounted || fs::read_dir(home)?.next().is_none())
}

/// The owner last: cut off before, it is done again.
fn give_home(home: &Path, account: &Account) -> io::Result<()> {
    if Path::new(SKELETON).is_dir() {
        copy_tree(Path::new(SKELETON), home, account)?;
    }
    fs::set_permissions(home, Permissions::from_mode(0o700))?;
    chown(home, Some(account.uid), Some(account.gid))
}

fn fill_home(home: &Path, account: &Account) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(home)?;
    if Path::new(SKELETON).is_dir() {
        copy_tree(Path::new(SKELETON), home, account)?;
    }
    chown(home, Some(account.uid), Some(account.gid))
}

fn copy_tree(from: &Path, to: &Path, account: &Account) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata()?;
        let own = |target: &Path| lchown(target, Some(account.uid), Some(account.gid));
        if meta.is_dir() {
            unless_there(DirBuilder::new().mode(meta.mode() & 0o777).create(&target))?;
            copy_tree(&source, &target, account)?;
            own(&target)?;
        } else if meta.is_symlink() {
            unless_there(symlink(fs::read_link(&source)?, &target))?;
            own(&target)?;
        } else if meta.is_file() && !target.exists() {
            // Under another name first: what has the name is whole.
            let half_made = to.join(".rolltop-new");
            fs::copy(&source, &half_made)?;
            own(&half_made)?;
            fs::rename(&half_made, &target)?;
        }
    }
    Ok(())
}

fn unless_there(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Makes the user's runtime directory (XDG Base Directory: owned by the user, mode 0700).
pub(crate) fn make_runtime_dir(account: &Account) -> Result<PathBuf, Failure> {
    let parent = Path::new("/run/user");
    fs::create_dir_all(parent).map_err(Failure::file("make", parent))?;
    let path = parent.join(account.uid.to_string());
    own_dir(&path, 0o700, account.uid, account.gid).map_err(Failure::file("make", &path))?;
    Ok(path)
}

/// Makes the directories in which display servers keep their sockets. They
/// belong to root: a server that runs as the user would make them its own.
pub(crate) fn make_socket_dirs() -> Result<(), Failure> {
    for path in [Path::new("/tmp/.X11-unix"), Path::new("/tmp/.ICE-unix")] {
        own_dir(path, 0o1777, 0, 0).map_err(Failure::file("make", path))?;
    }
    Ok(())
}

fn own_dir(path: &Path, mode: u32, uid: u32, gid: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // Through a descriptor: /tmp is open to all, and a link there must not lead away.
    const O_NOFOLLOW_DIRECTORY: i32 = if cfg!(any(target_arch = "aarch64", target_arch = "arm")) {
        0o100000 | 0o40000
    } else {
        0o400000 | 0o200000
    };
    let dir = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW_DIRECTORY).open(path)?;
    fchown(&dir, Some(uid), Some(gid))?;
    dir.set_permissions(Permissions::from_mode(mode))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
