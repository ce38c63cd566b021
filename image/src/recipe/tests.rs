use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const GOOD: &str = r#"
format = 1
name = "demo"
description = "A light desktop"
suite = "bookworm"
packages = ["xterm", "libstdc++6"]
dpkg_options = ["path-exclude=/usr/share/info/*"]
commands = ["fc-cache"]
[init]
kind = "builtin"
[session]
command = ["/usr/local/bin/rolltop-session"]
[display]
protocol = "vnc"
socket = "vnc.sock"
"#;

fn recipe_with_files() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(RECIPE), GOOD).unwrap();
    fs::create_dir_all(dir.path().join("files/etc")).unwrap();
    fs::write(dir.path().join("files/etc/a"), "a").unwrap();
    symlink("a", dir.path().join("files/etc/b")).unwrap();
    dir
}

fn digest(dir: &TempDir) -> Digest {
    Recipe::open(dir.path()).unwrap().digest(None).unwrap()
}

#[test]
fn a_good_recipe_is_read() {
    let dir = recipe_with_files();
    let recipe = Recipe::open(dir.path()).unwrap();
    assert_eq!(recipe.packages, ["xterm", "libstdc++6"]);
    assert_eq!(recipe.commands, ["fc-cache"]);
    assert!(recipe.apt_options.is_empty());
    let paths: Vec<_> = recipe.extras().unwrap().into_iter().map(|e| e.path).collect();
    assert_eq!(paths, ["etc", "etc/a", "etc/b"].map(PathBuf::from));
}

#[test]
fn every_fault_is_reported() {
    let bad = r#"
        format = 1
        name = "a/b"
        suite = "../sid"
        packages = ["x term", "-o", "a"]
        apt_options = ["a\nb"]
        commands = [""]
        stray = 1
    "#;
    let Err(DocumentError::Faults(faults)) = Recipe::parse(PathBuf::new(), bad) else {
        panic!("accepted")
    };
    let keys: Vec<&str> = faults.iter().map(|f| f.key.as_str()).collect();
    for key in [
        "name",
        "description",
        "suite",
        "packages",
        "apt_options",
        "commands",
        "init",
        "session",
        "display",
        "stray",
    ] {
        assert!(keys.contains(&key), "{key} not in {keys:?}");
    }
}

#[test]
fn the_digest_follows_what_matters() {
    let dir = recipe_with_files();
    let before = digest(&dir);
    let same = recipe_with_files();
    assert_eq!(digest(&same), before);

    let file = dir.path().join("files/etc/a");
    let changes: [&dyn Fn(); 5] = [
        &|| fs::write(&file, "b").unwrap(),
        &|| fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap(),
        &|| fs::create_dir(dir.path().join("files/empty")).unwrap(),
        &|| symlink("b", dir.path().join("files/c")).unwrap(),
        &|| fs::write(dir.path().join(RECIPE), GOOD.replace("fc-cache", "true")).unwrap(),
    ];
    let mut seen = vec![before];
    for change in changes {
        change();
        let digest = digest(&dir);
        assert!(!seen.contains(&digest));
        seen.push(digest);
    }
}

#[test]
fn the_digest_ignores_umask_and_times() {
    let dir = recipe_with_files();
    let before = digest(&dir);
    let file = dir.path().join("files/etc/a");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(digest(&dir), before);
}

#[test]
fn special_files_are_refused() {
    let dir = recipe_with_files();
    let socket = dir.path().join("files/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let recipe = Recipe::open(dir.path()).unwrap();
    assert!(matches!(recipe.digest(None), Err(RecipeError::Special(path)) if path == socket));
}
