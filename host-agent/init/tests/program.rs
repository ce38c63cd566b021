//! The program at work: in namespaces and a root of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod scratch;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Output, Stdio};

use rolltop_init::exit_code;
use scratch::{Scratch, is_root};

fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_program_is_a_static_executable() {
    assert_eq!(&rolltop_init::PROGRAM[..4], b"\x7fELF");
    // PT_INTERP (3) would name a dynamic linker: 64-bit ELF, program headers of 56 bytes at e_phoff.
    let number = |at: usize, bytes: usize| {
        rolltop_init::PROGRAM[at..at + bytes]
            .iter()
            .rev()
            .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (table, count) = (number(32, 8), number(56, 2));
    assert!(
        count > 0 && (0..count).all(|i| number(table + 56 * i, 4) != 3),
        "needs a dynamic linker"
    );
    assert!(rolltop_init::PROGRAM.len() < 2 << 20, "{} bytes", rolltop_init::PROGRAM.len());
}

#[test]
fn a_session_runs_as_its_user() {
    if !is_root() {
        return;
    }
    let root = Scratch::new();
    let script = "id -u; id -g; id -G; pwd; umask; echo $HOME $USER $LOGNAME $SHELL $XDG_RUNTIME_DIR; \
                  grep -E '^(NoNewPrivs|CapEff|CapPrm)' /proc/self/status | tr -s '\\t\\n' ' '; echo; \
                  cut -d' ' -f6 /proc/$$/stat; [ -e /proc/$$/fd/9 ] && echo leaked || echo closed";
    let output = root.session(&["--shell", "/bin/bash"], script);
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "1000",
            "1000",
            "1000 44",
            "/home/anna",
            "0022",
            "/home/anna anna anna /bin/bash /run/user/1000",
            "CapPrm: 0000000000000000 CapEff: 0000000000000000 NoNewPrivs: 1 ",
            "1",
            "closed",
        ]
    );
    assert!(
        root.text("etc/passwd").ends_with("anna:x:1000:1000:Anna  Muster:/home/anna:/bin/bash\n")
    );
    assert_eq!(root.owner("home/anna"), (1000, 1000, 0o700));
    assert_eq!(root.owner("home/anna/.config/setting"), (1000, 1000, 0o600));
    assert_eq!(root.owner("etc/shadow"), (0, 0, 0o640));
    assert_eq!(root.owner("run/user/1000"), (1000, 1000, 0o700));
    assert_eq!(root.owner("tmp/.X11-unix"), (0, 0, 0o1777));
}

#[test]
fn the_next_session_keeps_everything() {
    if !is_root() {
        return;
    }
    let root = Scratch::new();
    stdout(&root.session(&[], "echo mine > .profile; rm -r .config; chmod 755 ."));
    let files = ["etc/passwd", "etc/group", "etc/shadow"].map(|name| root.text(name));
    assert_eq!(
        stdout(&root.session(&["--shell", "/bin/other"], "cat .profile; ls -A; echo $SHELL")),
        "mine\n.profile\n/bin/sh\n"
    );
    assert_eq!(["etc/passwd", "etc/group", "etc/shadow"].map(|name| root.text(name)), files);
    assert_eq!(root.owner("home/anna"), (1000, 1000, 0o755));
}

#[test]
fn an_interrupted_start_is_completed() {
    if !is_root() {
        return;
    }
    let root = Scratch::new();
    std::fs::create_dir(root.path("home/.new-anna")).unwrap();
    std::fs::write(root.path("home/.new-anna/half"), "").unwrap();
    std::fs::write(root.path("etc/passwd.rolltop"), "half").unwrap();
    assert_eq!(stdout(&root.session(&[], "ls -A")), ".config\n.profile\n");
    assert!(!root.path("home/.new-anna").exists());
    assert!(!root.path("etc/passwd.rolltop").exists());
}

#[test]
fn links_in_tmp_do_not_lead_root_away() {
    if !is_root() {
        return;
    }
    let root = Scratch::new();
    std::os::unix::fs::symlink("/etc", root.path("tmp/.X11-unix")).unwrap();
    let output = root.session(&[], "true");
    assert_eq!(output.status.code(), Some(exit_code::SYSTEM.into()), "{}", stderr(&output));
    assert_eq!(root.owner("etc"), (0, 0, 0o755));
}

#[test]
fn refusals_have_a_code_and_one_line() {
    if !is_root() {
        return;
    }
    let root = Scratch::new();
    let session = ["session", "--user", "anna", "--uid", "1000"];
    let cases: [(&[&str], u8, &str); 9] = [
        (&[], exit_code::USAGE, "use: init reap"),
        (&["session"], exit_code::USAGE, "--user is missing"),
        (&["session", "--user", "anna", "--", "sh"], exit_code::USAGE, "--uid is missing"),
        (
            &["session", "--user", "a/b", "--uid", "1000", "--", "sh"],
            exit_code::USAGE,
            "is no login name",
        ),
        (
            &["session", "--user", "anna", "--uid", "0", "--", "sh"],
            exit_code::USAGE,
            "is no user id for a person",
        ),
        (
            &["session", "--user", "anna", "--uid", "x", "--", "sh"],
            exit_code::USAGE,
            "is no number",
        ),
        (
            &["session", "--user", "games", "--uid", "1000", "--", "sh"],
            exit_code::ACCOUNT,
            "account games with id 5",
        ),
        (&[&session[..], &["--"]].concat(), exit_code::USAGE, "the command is missing"),
        (&[&session[..], &["--", "/none"]].concat(), exit_code::NOT_FOUND, "cannot run /none"),
    ];
    for (arguments, code, reason) in cases {
        let output = root.run(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code.into()), "{arguments:?}: {text}");
        assert!(
            text.starts_with("rolltop-init: ") && text.contains(reason),
            "{arguments:?}: {text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let output = root.run(&[&session[..], &["--", "/etc/passwd"]].concat());
    assert_eq!(output.status.code(), Some(exit_code::NOT_EXECUTABLE.into()));
}

#[test]
fn privileges_can_be_left_open() {
    if !is_root() {
        return;
    }
    let root = Scratch::new();
    let output = root.session(&["--allow-new-privileges"], "grep NoNewPrivs /proc/self/status");
    assert_eq!(stdout(&output), "NoNewPrivs:\t0\n");
}

#[test]
fn orphans_are_reaped() {
    if !is_root() {
        return;
    }
    let root = Scratch::new();
    let reaper = root.reaper();
    // The orphan's entry goes away only when init has reaped it.
    let script =
        "orphan=$(sh -c 'true & echo $!'); while [ -d /proc/$orphan ]; do :; done; echo reaped";
    assert_eq!(stdout(&reaper.enter(script).output().unwrap()), "reaped\n");
    assert!(reaper.end().success());
}

#[test]
fn sigterm_ends_everything_politely() {
    if !is_root() {
        return;
    }
    let root = Scratch::new();
    let reaper = root.reaper();
    // One orphan, and one that entered from outside and tidies up when told to end.
    let script = "sh -c 'sleep 1000 & echo $!' >/dev/null; trap 'echo tidied; exit 7' TERM; echo ready; while :; do read -r _ </proc/self/stat; done";
    let mut entered = reaper.enter(script).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(entered.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    assert!(reaper.end().success());
    assert_eq!(lines.next().unwrap().unwrap(), "tidied");
    let status = entered.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(7), None));
}
