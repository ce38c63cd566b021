//! Account files: what a new account adds to them, as text.

/// Longest login name, bytes: what `utmp(5)` holds.
const MAX_NAME_BYTES: usize = 32;
/// Longest full name written, bytes.
const MAX_GECOS_BYTES: usize = 200;
/// Ids of people, as Debian counts them.
const IDS: std::ops::RangeInclusive<u32> = 1000..=59_999;
/// Groups that give a desktop its devices, where the image has them.
const DEVICE_GROUPS: [&str; 3] = ["audio", "video", "render"];

/// The person a desktop is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    name: String,
    id: u32,
    full_name: String,
    shell: String,
}

/// The account as the files have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Login name.
    pub(crate) name: String,
    /// User id.
    pub(crate) uid: u32,
    /// Primary group.
    pub(crate) gid: u32,
    /// Home directory.
    pub(crate) home: String,
    /// Login shell.
    pub(crate) shell: String,
}

/// The account files of a root. `None`: the root has no such file, and needs none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// `/etc/passwd`.
    pub(crate) passwd: String,
    /// `/etc/group`.
    pub(crate) group: String,
    /// `/etc/shadow`.
    pub(crate) shadow: Option<String>,
    /// `/etc/gshadow`.
    pub(crate) gshadow: Option<String>,
}

impl Person {
    /// Checks what was asked for; the error says what would be right.
    pub(crate) fn new(name: &str, id: u32, full_name: &str, shell: &str) -> Result<Self, String> {
        let head = |c: char| c.is_ascii_lowercase() || c == '_';
        let tail = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.len() > MAX_NAME_BYTES || !name.starts_with(head) || !name.chars().all(tail) {
            return Err(format!(
                "{name:?} is no login name: use a lower-case letter or '_', then letters, digits, '_' or '-', \
                 {MAX_NAME_BYTES} bytes at most"
            ));
        }
        if !IDS.contains(&id) {
            return Err(format!(
                "{id} is no user id for a person: use {} to {}",
                IDS.start(),
                IDS.end()
            ));
        }
        if !shell.starts_with('/') || shell.contains(|c: char| c == ':' || c.is_control()) {
            return Err(format!("{shell:?} is no shell: use an absolute path"));
        }
        Ok(Self { name: name.to_owned(), id, full_name: gecos(full_name), shell: shell.to_owned() })
    }

    /// The account, if the files have it already. Name and id must agree.
    pub(crate) fn find(&self, files: &Files) -> Result<Option<Account>, String> {
        for line in files.passwd.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, _, home, shell] = fields[..] else { continue };
            let uid = uid.parse::<u32>();
            match (name == self.name, uid == Ok(self.id)) {
                (false, false) => {}
                (true, true) => {
                    let gid = gid
                        .parse()
                        .map_err(|_| format!("{name} has the malformed group {gid:?} in passwd"))?;
                    let shell = if shell.is_empty() { "/bin/sh" } else { shell };
                    return Ok(Some(Account {
                        name: name.to_owned(),
                        uid: self.id,
                        gid,
                        home: home.to_owned(),
                        shell: shell.to_owned(),
                    }));
                }
                (true, false) => {
                    let other = fields[2];
                    return Err(format!(
                        "the image has an account {name} with id {other}, not {}",
                        self.id
                    ));
                }
                (false, true) => {
                    return Err(format!(
                        "user id {} belongs to the account {name} of the image",
                        self.id
                    ));
                }
            }
        }
        Ok(None)
    }

    /// The files with this account added, a locked password, and its own group.
    /// `day` counts from 1970. Only for an account that [`Person::find`] did not find.
    pub(crate) fn add(&self, files: &Files, day: u64) -> Result<(Files, Account), String> {
        let Self { name, id, full_name, shell } = self;
        let home = format!("/home/{name}");
        let group = self.add_group(&files.group)?;
        let added = Files {
            passwd: with_line(
                &files.passwd,
                &format!("{name}:x:{id}:{id}:{full_name}:{home}:{shell}"),
            ),
            group,
            shadow: files
                .shadow
                .as_ref()
                .map(|s| with_entry(s, name, &format!("{name}:!:{day}:0:99999:7:::"))),
            gshadow: files.gshadow.as_ref().map(|g| with_entry(g, name, &format!("{name}:!::"))),
        };
        let account =
            Account { name: name.clone(), uid: *id, gid: *id, home, shell: shell.clone() };
        Ok((added, account))
    }

    fn add_group(&self, groups: &str) -> Result<String, String> {
        let Self { name, id, .. } = self;
        let mut text = String::with_capacity(groups.len() + 64);
        let mut has_own = false;
        for line in groups.lines() {
            text.push_str(line);
            if let [group, _, gid, members] = line.split(':').collect::<Vec<_>>()[..] {
                match (group == name, gid.parse() == Ok(*id)) {
                    (true, true) => has_own = true,
                    (true, false) => {
                        return Err(format!(
                            "the image has a group {name} with id {gid}, not {id}"
                        ));
                    }
                    (false, true) => {
                        return Err(format!(
                            "group id {id} belongs to the group {group} of the image"
                        ));
                    }
                    (false, false) => {}
                }
                if DEVICE_GROUPS.contains(&group)
                    && !members.split(',').any(|member| member == name)
                {
                    text.push_str(if members.is_empty() { "" } else { "," });
                    text.push_str(name);
                }
            }
            text.push('\n');
        }
        Ok(if has_own { text } else { with_line(&text, &format!("{name}:x:{id}:")) })
    }
}

/// The groups an account is in besides its own, by `/etc/group`.
pub(crate) fn supplementary(groups: &str, account: &Account) -> Vec<u32> {
    let mut ids = vec![account.gid];
    for line in groups.lines() {
        let [_, _, gid, members] = line.split(':').collect::<Vec<_>>()[..] else { continue };
        let Ok(gid) = gid.parse() else { continue };
        if members.split(',').any(|member| member == account.name) && !ids.contains(&gid) {
            ids.push(gid);
        }
    }
    ids
}

/// A full name as the fifth field of passwd can hold it.
fn gecos(full_name: &str) -> String {
    let harmless = |c: char| if c.is_control() || matches!(c, ':' | ',' | '\\') { ' ' } else { c };
    let mut text: String = full_name.trim().chars().map(harmless).collect();
    while text.len() > MAX_GECOS_BYTES {
        text.pop();
    }
    text
}

/// The text with a line at its end, whether or not it ended with a newline.
fn with_line(text: &str, line: &str) -> String {
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{newline}{line}\n")
}

/// As [`with_line`], unless an interrupted call has left an entry of that name.
fn with_entry(text: &str, name: &str, line: &str) -> String {
    let has = text.lines().any(|l| l.split(':').next() == Some(name));
    if has { text.to_owned() } else { with_line(text, line) }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
