//! A directory that knows people.

use std::path::PathBuf;

use super::{
    mapping,
    source::Source,
    store::{file, given, pair},
};
use crate::{names::GroupName, state::Role};

/// How people are found in a directory, and what becomes of its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ldap {
    /// "ldap://HOST:PORT", with StartTLS, or "ldaps://HOST:PORT".
    pub url: String,
    /// PEM file of the authority of its certificate.
    pub ca: PathBuf,
    /// Who searches, and the file whose first line is the password; none:
    /// nobody in particular.
    pub bind: Option<(String, PathBuf)>,
    /// Where people are.
    pub user_base: String,
    /// Who of them is it; "{name}" stands for the login name.
    pub user_filter: String,
    /// The attribute with the full name.
    pub full_name: String,
    /// Where groups are; none: groups do not matter.
    pub group_base: Option<String>,
    /// Which of them somebody is in; "{dn}" stands for their entry's name,
    /// "{name}" for the login name.
    pub group_filter: String,
    /// The attribute with a group's name.
    pub group_name: String,
    /// The directory's groups, and ours.
    pub groups: Vec<(String, GroupName)>,
    /// The directory's groups, and the roles of those who are in them.
    pub roles: Vec<(String, Role)>,
}

// === impl Ldap ===

impl Ldap {
    /// None: there is no directory.
    pub(super) fn from_source(s: &mut Source) -> Option<Self> {
        let url = s.read("ldap.url", None, url);
        let ca = s.read("ldap.ca", None, file);
        let bind_dn = s.read("ldap.bind_dn", None, text);
        let password = s.read("ldap.bind_password_file", None, file);
        let bind = pair(s, bind_dn, password, "ldap.bind_dn", "ldap.bind_password_file");
        let user_base = s.read("ldap.user_base", None, text);
        let user_filter =
            s.read("ldap.user_filter", "(uid={name})".to_owned(), |text| filter(text, &["{name}"]));
        let full_name = s.read("ldap.full_name", "cn".to_owned(), attribute);
        let group_base = s.read("ldap.group_base", None, text);
        let group_filter = s.read("ldap.group_filter", "(member={dn})".to_owned(), |text| {
            filter(text, &["{dn}", "{name}"])
        });
        let group_name = s.read("ldap.group_name", "cn".to_owned(), attribute);
        let groups = s.read("ldap.groups", Vec::new(), mapping::groups);
        let roles = s.read("ldap.roles", Vec::new(), mapping::roles);
        let url = match url {
            Some(url) => url,
            None => {
                if user_base.is_some() {
                    s.fault("ldap.url", "ldap.user_base is of no use without it");
                }
                return None;
            }
        };
        if group_base.is_none() && !(groups.is_empty() && roles.is_empty()) {
            s.fault("ldap.group_base", "ldap.groups and ldap.roles need it");
        }
        let mut needed = |key, value: Option<_>| {
            if value.is_none() {
                s.fault(key, "ldap.url needs it");
            }
            value
        };
        let ca = needed("ldap.ca", ca.map(|path: PathBuf| path.into_os_string()));
        let user_base = needed("ldap.user_base", user_base.map(Into::into));
        Some(Self {
            url,
            ca: PathBuf::from(ca?),
            bind,
            user_base: user_base?.into_string().ok()?,
            user_filter,
            full_name,
            group_base,
            group_filter,
            group_name,
            groups,
            roles,
        })
    }
}

pub(super) fn text(text: &str) -> Result<Option<String>, String> {
    Ok(given(text).map(str::to_owned))
}

fn url(text: &str) -> Result<Option<String>, String> {
    let Some(text) = given(text) else { return Ok(None) };
    let wanted = || format!("{text:?} is not ldap://HOST:PORT or ldaps://HOST:PORT");
    let uri: http::Uri = text.parse().map_err(|_| wanted())?;
    let plain = matches!(uri.scheme_str(), Some("ldap" | "ldaps"))
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && matches!(uri.path(), "" | "/")
        && uri.query().is_none();
    if plain { Ok(Some(text.to_owned())) } else { Err(wanted()) }
}

/// With one of these in it, or everybody would be found.
fn filter(text: &str, words: &[&str]) -> Result<String, String> {
    let fits = text.starts_with('(')
        && text.ends_with(')')
        && words.iter().any(|word| text.contains(word));
    let wanted = words.join(" or ");
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("not a filter in parentheses with {wanted}"))
}

fn attribute(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    fits.then(|| text.to_owned()).ok_or_else(|| "not the name of an attribute".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn a_directory_is_whole_and_safe_or_not_at_all() {
        let read = |text: &str| Config::read(text, std::iter::empty());
        assert_eq!(read("").unwrap().ldap, None);
        let whole = "[ldap]\nurl = \"ldaps://h:636\"\nca = \"/ca\"\nuser_base = \"dc=x\"\n";
        assert!(read(whole).unwrap().ldap.is_some());
        for (more, key) in [
            ("user_filter = \"(uid=*)\"", "ldap.user_filter"),
            ("groups = [\"a=b\"]", "ldap.group_base"),
            ("group_base = \"dc=x\"\ngroups = [\"a=B C\"]", "ldap.groups"),
            ("group_base = \"dc=x\"\nroles = [\"a=king\"]", "ldap.roles"),
            ("bind_dn = \"cn=x\"", "ldap.bind_password_file"),
        ] {
            let faults = read(&format!("{whole}{more}\n")).unwrap_err();
            assert_eq!(faults.0[0].key, key, "{faults}");
        }
        let faults = read("[ldap]\nurl = \"ldap://h\"\n").unwrap_err();
        let keys: Vec<_> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["ldap.ca", "ldap.user_base"]);
        assert!(read("[ldap]\nurl = \"http://h\"\n").is_err());
    }
}
