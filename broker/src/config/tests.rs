use std::iter;

use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = include_str!("../../broker.example.toml");

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, Faults> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::read(text, environment.collect::<Vec<_>>().into_iter())
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let example = read(EXAMPLE, &[]).unwrap();
    let defaults = read("", &[]).unwrap();
    assert_eq!(example, defaults, "as shipped");

    // Every line that sets a key says why above it, and none is missing.
    let mut keys = std::collections::BTreeSet::new();
    let mut table = String::new();
    let mut commented = false;
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            assert!(commented, "{key} is not documented");
            keys.insert(format!("{table}{}", key.trim()));
        }
        commented = line.starts_with('#');
    }
    let mut source = Source::new("", iter::empty()).unwrap();
    Config::from_source(&mut source);
    assert_eq!(keys, source.known().map(str::to_owned).collect());
}

#[test]
fn all_faults_come_at_once_with_key_value_and_reason() {
    let text = "listen = \"nowhere\"\nstate_dir = \"here\"\nport = 1\n[sign_in]\nsession_hours = 0\n[nonsense]\nx = 1\n[log]\nformat = true\n";
    let Faults(faults) =
        read(text, &[("ROLLTOP_BROKER_GATEWAY_TICKET_S", "-1"), ("ROLLTOP_BROKER_PORT", "1")])
            .unwrap_err();
    let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "ROLLTOP_BROKER_GATEWAY_TICKET_S",
            "ROLLTOP_BROKER_PORT",
            "listen",
            "log.format",
            "nonsense.x",
            "port",
            "sign_in.session_hours",
            "state_dir"
        ]
    );
    let shown = Faults(faults).to_string();
    assert!(shown.starts_with("8 faults"), "{shown}");
    assert!(
        shown.contains("sign_in.session_hours = \"0\": not a whole number from 1 to 744"),
        "{shown}"
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = read(
        "listen = \"127.0.0.1:1\"\npublic_names = [\"a.example\"]",
        &[
            ("ROLLTOP_BROKER_LISTEN", "127.0.0.1:2"),
            ("ROLLTOP_BROKER_PUBLIC_NAMES", "b.example, 10.0.0.1"),
            ("ROLLTOP_BROKER_CONFIG", "/etc/x.toml"),
            ("OTHER", "x"),
        ],
    )
    .unwrap();
    assert_eq!(config.listen.port(), 2);
    assert_eq!(
        config.certificate_names(),
        ["b.example", "10.0.0.1", "localhost", "127.0.0.1", "::1"]
    );
}

#[test]
fn what_etcd_needs_is_told_at_once() {
    let faults = |text: &str| match read(&format!("[store]\n{text}"), &[]) {
        Ok(config) => panic!("{:?}", config.store),
        Err(Faults(faults)) => {
            faults.into_iter().map(|fault| fault.key).collect::<Vec<_>>().join(" ")
        }
    };
    assert_eq!(faults("kind = \"etcd\""), "store.endpoints");
    assert_eq!(faults("endpoints = [\"http://a:1\"]"), "store.endpoints");
    assert_eq!(
        faults(
            "kind = \"etcd\"\nendpoints = [\"https://a:1\", \"http://b:1\"]\nkey = \"/k\"\nuser = \"u\"\nprefix = \"x\"\nca = \"ca.pem\"\nmembers = 3"
        ),
        "store.ca store.ca store.certificate store.endpoints store.members store.password_file store.prefix"
    );
    for bad in [
        "a:1",
        "ftp://a:1",
        "http://a",
        "http://a:0",
        "http://a:1/",
        "http://u@a:1",
        "http://:1",
        "http://a:1/x",
        "http://a:1?x",
    ] {
        assert_eq!(
            faults(&format!("kind = \"etcd\"\nendpoints = [{bad:?}]")),
            "store.endpoints",
            "{bad}"
        );
    }
    let config = read(
        "[store]\nkind = \"etcd\"\nendpoints = [\"https://a:1\", \"https://[::1]:2\"]\nca = \"/ca\"",
        &[("ROLLTOP_BROKER_STORE_PREFIX", "/site-1/rolltop"), ("ROLLTOP_BROKER_STORE_DEADLINE_S", "5")],
    )
    .unwrap();
    let Store::Etcd(etcd) = config.store else { panic!("{:?}", config.store) };
    assert_eq!(etcd.endpoints.len(), 2);
    assert_eq!((etcd.prefix.as_str(), etcd.deadline), ("/site-1/rolltop", Duration::from_secs(5)));
    assert_eq!((etcd.identity, etcd.user), (None, None));
}

#[test]
fn a_file_that_is_not_toml_is_one_fault() {
    let Faults(faults) = read("listen = ", &[]).unwrap_err();
    assert_eq!(faults.len(), 1);
}

proptest! {
    #[test]
    fn nothing_a_user_writes_panics(key in "[a-z_.]{0,30}", value in "\\PC{0,40}") {
        if let Err(Faults(faults)) = read(&format!("{key} = {value}"), &[]) {
            prop_assert!(!faults.is_empty());
        }
    }
}
