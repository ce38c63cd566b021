//! Building roots for real. What a whole build gives is seen by the end-to-end
//! tests, which run desktops from it; here it is made to fail.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rolltop_image::{BuildError, BuildEvent, Recipe, build};

fn recipe(dir: &Path, suite: &str) -> Recipe {
    let document = format!(
        "format = 1\nname = \"small\"\ndescription = \"\"\nsuite = \"{suite}\"\npackages = []\n\
         [init]\nkind = \"builtin\"\n[session]\ncommand = [\"/bin/sh\"]\n\
         [display]\nprotocol = \"vnc\"\nsocket = \"vnc.sock\"\n"
    );
    fs::write(dir.join("recipe.toml"), document).unwrap();
    Recipe::open(dir).unwrap()
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

#[test]
fn a_failed_build_leaves_nothing_and_says_why() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    // Fails with and without a mirror to ask.
    let recipe = recipe(dir.path(), "rolltop-no-such-suite");
    let before = mounts();
    let mut steps = Vec::new();
    let mut lines = 0;
    let result = build(&recipe, None, &work, &mut |event| match event {
        BuildEvent::Step(step) => steps.push(step.to_owned()),
        BuildEvent::Line(_) => lines += 1,
    });
    assert!(matches!(result, Err(BuildError::Packages { .. })), "{result:?}");
    assert_eq!(steps, ["installing packages"]);
    assert!(lines > 0, "no progress was shown");
    let left: Vec<_> = fs::read_dir(&work).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [".lock"]);
    let ours =
        |text: &str| text.lines().filter(|line| line.contains(&*work.to_string_lossy())).count();
    assert_eq!(ours(&mounts()), ours(&before));
}
