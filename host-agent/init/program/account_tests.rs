use proptest::prelude::*;

use super::*;

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/bash\ngames:x:5:60:games:/usr/games:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\naudio:x:29:\nvideo:x:44:mia\ngames:x:60:\n";

fn files() -> Files {
    Files {
        passwd: PASSWD.to_owned(),
        group: GROUP.to_owned(),
        shadow: Some("root:*:1:0:99999:7:::\n".to_owned()),
        gshadow: Some("root:*::\n".to_owned()),
    }
}

fn anna() -> Person {
    Person::new("anna", 1000, "Anna Muster", "/bin/bash").unwrap()
}

#[test]
fn a_new_account_is_added_to_every_file() {
    let (added, account) = anna().add(&files(), 20_000).unwrap();
    assert_eq!(
        added.passwd,
        format!("{PASSWD}anna:x:1000:1000:Anna Muster:/home/anna:/bin/bash\n")
    );
    assert_eq!(
        added.group,
        "root:x:0:\naudio:x:29:anna\nvideo:x:44:mia,anna\ngames:x:60:\nanna:x:1000:\n"
    );
    assert_eq!(added.shadow.unwrap(), "root:*:1:0:99999:7:::\nanna:!:20000:0:99999:7:::\n");
    assert_eq!(added.gshadow.unwrap(), "root:*::\nanna:!::\n");
    assert_eq!((account.uid, account.gid, account.home.as_str()), (1000, 1000, "/home/anna"));
}

#[test]
fn an_added_account_is_found_with_its_groups() {
    let (added, account) = anna().add(&files(), 1).unwrap();
    assert_eq!(anna().find(&added).unwrap(), Some(account.clone()));
    assert_eq!(supplementary(&added.group, &account), [1000, 29, 44]);
}

#[test]
fn what_the_account_became_is_kept() {
    let mut known = files();
    known.passwd.push_str("anna:x:1000:1000:Other Name:/srv/anna:/bin/zsh\n");
    let account = anna().find(&known).unwrap().unwrap();
    assert_eq!((account.home.as_str(), account.shell.as_str()), ("/srv/anna", "/bin/zsh"));
}

#[test]
fn an_interrupted_call_is_completed_without_doubles() {
    let (half, _) = anna().add(&files(), 1).unwrap();
    let interrupted = Files { passwd: PASSWD.to_owned(), ..half.clone() };
    assert_eq!(anna().find(&interrupted).unwrap(), None);
    assert_eq!(anna().add(&interrupted, 1).unwrap().0, half);
}

#[test]
fn conflicts_name_both_sides() {
    let games = Person::new("games", 1000, "", "/bin/sh").unwrap();
    assert_eq!(
        games.find(&files()).unwrap_err(),
        "the image has an account games with id 5, not 1000"
    );
    let mut known = files();
    known.passwd.push_str("operator:x:1000:1000::/home/operator:/bin/sh\n");
    assert_eq!(
        anna().find(&known).unwrap_err(),
        "user id 1000 belongs to the account operator of the image"
    );

    let audio = Person::new("audio", 1000, "", "/bin/sh").unwrap();
    assert_eq!(
        audio.add(&files(), 1).unwrap_err(),
        "the image has a group audio with id 29, not 1000"
    );
    let mut known = files();
    known.group.push_str("staff2:x:1000:\n");
    assert_eq!(
        anna().add(&known, 1).unwrap_err(),
        "group id 1000 belongs to the group staff2 of the image"
    );
}

#[test]
fn files_without_a_last_newline_and_malformed_lines_survive() {
    let mut known = files();
    known.passwd =
        "root:x:0:0:root:/root:/bin/bash\nodd line\n::::\nlast:x:7:7::/:/bin/sh".to_owned();
    known.shadow = None;
    known.gshadow = None;
    let (added, _) = anna().add(&known, 1).unwrap();
    assert!(added.passwd.starts_with(&format!("{}\nanna:", known.passwd)));
    assert_eq!((added.shadow, added.gshadow), (None, None));
}

#[test]
fn bad_requests_are_refused() {
    let long = "a".repeat(33);
    for name in ["", ".", "..", "a/b", "a b", "a:b", "a\nb", "a\0", "Anna", "1a", "-a", "ä", &long]
    {
        assert!(Person::new(name, 1000, "", "/bin/sh").is_err(), "{name:?}");
    }
    for id in [0, 999, 60_000, 65_534, u32::MAX] {
        assert!(Person::new("anna", id, "", "/bin/sh").is_err(), "{id}");
    }
    for shell in ["", "bash", "/bin/a:b", "/bin/sh\nroot::0:0:::"] {
        assert!(Person::new("anna", 1000, "", shell).is_err(), "{shell:?}");
    }
}

proptest! {
    #[test]
    fn no_full_name_breaks_the_line(full_name in ".{0,400}") {
        let person = Person::new("anna", 1000, &full_name, "/bin/sh").unwrap();
        let (added, account) = person.add(&files(), 1).unwrap();
        prop_assert_eq!(added.passwd.lines().count(), PASSWD.lines().count() + 1);
        prop_assert_eq!(person.find(&added).unwrap(), Some(account));
    }

    #[test]
    fn no_file_makes_the_reader_panic(passwd in "(?s).{0,200}", group in "(?s).{0,200}") {
        let known = Files { passwd, group, shadow: None, gshadow: None };
        if let (Ok(None), Ok((added, account))) = (anna().find(&known), anna().add(&known, 1)) {
            prop_assert_eq!(anna().find(&added).unwrap(), Some(account));
        }
    }
}
