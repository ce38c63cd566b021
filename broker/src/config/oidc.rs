//! A provider that people sign in with: OpenID Connect.

use std::path::PathBuf;

use super::{
    ldap::text,
    mapping,
    source::{Source, parse_list},
    store::{file, given},
};
use crate::{names::GroupName, state::Role};

/// How people are sent to a provider, and what becomes of what it says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// As the provider spells it; its discovery document is below it.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// The file whose first line is our secret; none: a public client.
    pub client_secret_file: Option<PathBuf>,
    /// Where browsers find the portal: "https://NAME:PORT", each. The first is for who
    /// came by another name.
    pub portal: Vec<String>,
    /// Asked for beside "openid".
    pub scopes: Vec<String>,
    /// The claim with the login name.
    pub name_claim: String,
    /// Taken from its end, where it has to be.
    pub name_suffix: String,
    /// The claim with the full name.
    pub full_name_claim: String,
    /// The claim with the groups.
    pub groups_claim: String,
    /// The provider's groups, and ours.
    pub groups: Vec<(String, GroupName)>,
    /// The provider's groups, and the roles of those who are in them.
    pub roles: Vec<(String, Role)>,
    /// PEM file of the authorities of its certificate.
    pub ca: PathBuf,
    /// What the button at the sign-in page says.
    pub title: String,
}

/// Debian's authorities of the Web.
const CA: &str = "/etc/ssl/certs/ca-certificates.crt";
const TITLE: &str = "single sign-on";
const MAX_TITLE: usize = 64;

// === impl Oidc ===

impl Oidc {
    /// None: there is no provider.
    pub(super) fn from_source(s: &mut Source) -> Option<Self> {
        let issuer = s.read("oidc.issuer", None, issuer);
        let client_id = s.read("oidc.client_id", None, text);
        let client_secret_file = s.read("oidc.client_secret_file", None, file);
        let portal = s.read("oidc.portal", Vec::new(), |text| parse_list(text, portal));
        let scopes = s.read("oidc.scopes", vec!["profile".to_owned()], |text| {
            parse_list(text, word("a scope"))
        });
        let name_claim = s.read("oidc.name_claim", "preferred_username".to_owned(), claim);
        let name_suffix = s.read("oidc.name_suffix", String::new(), |text| Ok(text.to_owned()));
        let full_name_claim = s.read("oidc.full_name_claim", "name".to_owned(), claim);
        let groups_claim = s.read("oidc.groups_claim", "groups".to_owned(), claim);
        let groups = s.read("oidc.groups", Vec::new(), mapping::groups);
        let roles = s.read("oidc.roles", Vec::new(), mapping::roles);
        let ca = s.read("oidc.ca", PathBuf::from(CA), |text| {
            file(text)?.ok_or_else(|| "not the path of a file".to_owned())
        });
        let title = s.read("oidc.title", TITLE.to_owned(), title);
        let Some(issuer) = issuer else {
            if client_id.is_some() && !s.is_faulty("oidc.issuer") {
                s.fault("oidc.issuer", "oidc.client_id is of no use without it");
            }
            return None;
        };
        if client_id.is_none() {
            s.fault("oidc.client_id", "oidc.issuer needs it");
        }
        if portal.is_empty() && !s.is_faulty("oidc.portal") {
            s.fault("oidc.portal", "oidc.issuer needs it: the provider sends browsers back there");
        }
        Some(Self {
            issuer,
            client_id: client_id?,
            client_secret_file,
            portal,
            scopes,
            name_claim,
            name_suffix,
            full_name_claim,
            groups_claim,
            groups,
            roles,
            ca,
            title,
        })
    }
}

/// Whether nothing is sent there in the clear, or it does not leave the machine.
pub(crate) fn is_private(url: &http::Uri) -> bool {
    match (url.scheme_str(), url.host()) {
        (Some("https"), Some(host)) => !host.is_empty(),
        (Some("http"), Some(host)) => matches!(host, "localhost" | "127.0.0.1" | "[::1]"),
        _ => false,
    }
}

fn issuer(text: &str) -> Result<Option<String>, String> {
    let Some(text) = given(text) else { return Ok(None) };
    let url: Option<http::Uri> = text.parse().ok();
    let fits = url.is_some_and(|url| {
        is_private(&url)
            && url.query().is_none()
            && !text.contains('#')
            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    });
    fits.then(|| Some(text.to_owned())).ok_or_else(|| {
        "not https://HOST/PATH, as the provider spells it (http:// on this machine alone)"
            .to_owned()
    })
}

fn portal(text: &str) -> Result<String, String> {
    let wanted = || format!("{text:?} is not https://NAME or https://NAME:PORT");
    let url: http::Uri = text.parse().map_err(|_| wanted())?;
    let plain = url.scheme_str() == Some("https")
        && url.host().is_some_and(|host| !host.is_empty())
        && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && url.path() == "/"
        && url.query().is_none()
        && !text.contains('#')
        && !text.ends_with('/');
    if plain { Ok(text.to_owned()) } else { Err(wanted()) }
}

/// As RFC 6749 has scopes.
fn word(what: &'static str) -> impl Fn(&str) -> Result<String, String> {
    move |text| {
        let fits = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
        fits.then(|| text.to_owned()).ok_or_else(|| format!("{text:?} is not {what}"))
    }
}

fn claim(text: &str) -> Result<String, String> {
    match text {
        "" => Err("not the name of a claim".to_owned()),
        text => word("the name of a claim")(text),
    }
}

fn title(text: &str) -> Result<String, String> {
    let fits =
        !text.trim().is_empty() && text.len() <= MAX_TITLE && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("not a few words, {MAX_TITLE} bytes at most"))
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn a_provider_is_whole_and_safe_or_not_at_all() {
        let read = |text: &str| Config::read(text, std::iter::empty());
        assert_eq!(read("").unwrap().oidc, None);
        let whole = "[oidc]\nissuer = \"https://id.example/realms/x\"\nclient_id = \"desks\"\n\
                     portal = [\"https://desks.example:8443\"]\n";
        let found = read(whole).unwrap().oidc.unwrap();
        assert_eq!(found.issuer, "https://id.example/realms/x");
        assert_eq!((found.name_claim.as_str(), found.scopes.len()), ("preferred_username", 1));
        for (more, key) in [
            ("groups = [\"a=B C\"]", "oidc.groups"),
            ("roles = [\"a=king\"]", "oidc.roles"),
            ("client_secret_file = \"secret\"", "oidc.client_secret_file"),
            ("ca = \"\"", "oidc.ca"),
            ("scopes = [\"a b\"]", "oidc.scopes"),
            ("name_claim = \"\"", "oidc.name_claim"),
            ("title = \" \"", "oidc.title"),
            ("secret = \"x\"", "oidc.secret"),
        ] {
            let faults = read(&format!("{whole}{more}\n")).unwrap_err();
            assert_eq!(faults.0[0].key, key, "{faults}");
        }
        let keys = |text: &str| {
            let faults = read(&format!("[oidc]\n{text}")).unwrap_err().0;
            faults.into_iter().map(|fault| fault.key).collect::<Vec<_>>()
        };
        assert_eq!(keys("issuer = \"https://id.example\""), ["oidc.client_id", "oidc.portal"]);
        assert_eq!(keys("client_id = \"x\""), ["oidc.issuer"]);
        for bad in
            ["http://id.example", "ftp://localhost", "https://", "https://a?b", "https://u@a"]
        {
            assert_eq!(keys(&format!("issuer = {bad:?}")), ["oidc.issuer"], "{bad}");
        }
        for bad in ["http://a", "https://a/", "https://a/x", "https://u@a", "a:1"] {
            let text =
                format!("issuer = \"http://localhost:1\"\nclient_id = \"x\"\nportal = [{bad:?}]");
            assert_eq!(keys(&text), ["oidc.portal"], "{bad}");
        }
    }
}
