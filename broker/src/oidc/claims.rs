//! What a provider says of somebody, read as this cluster understands it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{
    auth::{Known, Person},
    config,
    names::{BadField, UserName},
    state::Identity,
};

/// What a provider vouches for: checked, and not yet understood.
#[derive(Debug)]
pub(super) struct Vouched {
    /// Who it is.
    pub(super) identity: Identity,
    /// All there is about them.
    pub(super) claims: Map<String, Value>,
}

// === impl Vouched ===

impl Vouched {
    /// Whether something is missing that we look for, so that it is worth asking on.
    pub(super) fn lacks(&self, config: &config::Oidc) -> bool {
        let wanted = [&config.name_claim, &config.full_name_claim];
        let groups = (maps(config)).then_some(&config.groups_claim);
        wanted.into_iter().chain(groups).any(|claim| !self.claims.contains_key(claim))
    }

    /// Whom it means here.
    pub(super) fn person(self, config: &config::Oidc) -> Person {
        let text = |claim: &str| self.claims.get(claim).and_then(Value::as_str);
        let name = name(config, text(&config.name_claim));
        let full_name = text(&config.full_name_claim).unwrap_or_default().trim().to_owned();
        let groups = self.claims.get(&config.groups_claim);
        if groups.is_none() && maps(config) {
            tracing::warn!(
                claim = config.groups_claim,
                subject = self.identity.subject,
                "the provider does not say which groups somebody is in"
            );
        }
        let theirs = groups.map(texts).unwrap_or_default();
        let known = Known::new(full_name, &theirs, &config.groups, &config.roles);
        Person { identity: self.identity, name, known }
    }
}

fn maps(config: &config::Oidc) -> bool {
    !(config.groups.is_empty() && config.roles.is_empty())
}

/// Providers keep names as people write them; ours are in lower case.
fn name(config: &config::Oidc, claim: Option<&str>) -> Result<UserName, BadField> {
    let wanted = |wanted: String| BadField::new("name", claim.unwrap_or_default(), wanted);
    let text = claim.map(str::to_ascii_lowercase).ok_or_else(|| {
        wanted(format!("the provider has to say it, in the claim {:?}", config.name_claim))
    })?;
    let suffix = config.name_suffix.to_ascii_lowercase();
    let name = text.strip_suffix(suffix.as_str()).ok_or_else(|| {
        wanted(format!("a name that ends in {:?} (oidc.name_suffix)", config.name_suffix))
    })?;
    UserName::parse("name", name)
}

/// One, or a list of them.
fn texts(value: &Value) -> BTreeSet<String> {
    let all = match value {
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{config::Config, state::Role};

    fn config(more: &str) -> config::Oidc {
        let text = format!(
            "[oidc]\nissuer = \"https://id\"\nclient_id = \"x\"\nportal = [\"https://desks\"]\n{more}"
        );
        Config::read(&text, std::iter::empty()).unwrap().oidc.unwrap()
    }

    fn vouched(claims: Value) -> Vouched {
        let Value::Object(claims) = claims else { panic!("{claims}") };
        let identity = Identity { issuer: "https://id".into(), subject: "1".into() };
        Vouched { identity, claims }
    }

    #[test]
    fn groups_and_the_greatest_role_are_mapped() {
        let config = config(
            "groups = [\"/teachers=teachers\", \"b0c1=pupils\"]\nroles = [\"/teachers=auditor\", \"it=admin\"]",
        );
        for (groups, ours, role) in [
            (json!(["/teachers", "it", 7, "unknown"]), vec!["teachers"], Some(Role::Admin)),
            (json!(["/teachers", "b0c1"]), vec!["pupils", "teachers"], Some(Role::Auditor)),
            (json!("b0c1"), vec!["pupils"], None),
            (json!("b0c1 it"), vec![], None),
            (json!([]), vec![], None),
            (json!({"it": true}), vec![], None),
            (Value::Null, vec![], None),
        ] {
            let said = json!({"preferred_username": "Ada", "name": "Ada L", "groups": groups});
            let person = vouched(said).person(&config);
            assert_eq!(person.name.unwrap().as_str(), "ada");
            let Known { full_name, groups, role: given, gives_roles } = person.known;
            let groups: Vec<_> = groups.iter().map(|group| group.as_str()).collect();
            assert_eq!(
                (full_name.as_str(), groups, given, gives_roles),
                ("Ada L", ours, role, true)
            );
        }
    }

    #[test]
    fn names_are_ours_or_refused_with_what_would_be_right() {
        let plain = config("");
        let upn = config("name_claim = \"upn\"\nname_suffix = \"@School.example\"");
        for (config, claims, wanted) in [
            (&plain, json!({"preferred_username": "ada"}), Ok("ada")),
            (&plain, json!({"preferred_username": "ada@school.example"}), Err("lower-case letter")),
            (&plain, json!({"preferred_username": "../etc"}), Err("lower-case letter")),
            (&plain, json!({"preferred_username": ""}), Err("lower-case letter")),
            (&plain, json!({"preferred_username": ["ada"]}), Err("preferred_username")),
            (&plain, json!({"upn": "ada"}), Err("preferred_username")),
            (&upn, json!({"upn": "Ada@school.EXAMPLE"}), Ok("ada")),
            (&upn, json!({"upn": "ada@evil.example"}), Err("oidc.name_suffix")),
            (&upn, json!({"upn": "@school.example"}), Err("lower-case letter")),
        ] {
            let name = vouched(claims.clone()).person(config).name;
            match (name, wanted) {
                (Ok(name), Ok(wanted)) => assert_eq!(name.as_str(), wanted, "{claims}"),
                (Err(error), Err(wanted)) => {
                    assert!(error.to_string().contains(wanted), "{claims}: {error}");
                }
                (name, _) => panic!("{claims}: {name:?}"),
            }
        }
    }

    #[test]
    fn what_is_missing_is_worth_asking_for() {
        let all = json!({"preferred_username": "ada", "name": "Ada"});
        assert!(!vouched(all.clone()).lacks(&config("")));
        assert!(vouched(all).lacks(&config("groups = [\"a=b\"]")));
        assert!(vouched(json!({"name": "Ada"})).lacks(&config("")));
    }

    proptest! {
        #[test]
        fn nothing_a_provider_says_panics(name in "\\PC{0,60}", group in "\\PC{0,60}") {
            let config = config("groups = [\"a=b\"]\nname_suffix = \"é\"");
            let said = json!({"preferred_username": name, "groups": [group, null]});
            drop(vouched(said).person(&config));
        }
    }
}
