//! Out: a root that is full of links to the host, for the agent to follow.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::MetadataExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use anyhow::{Context as _, ensure};
use rolltop_tests::{client, display};

use crate::stage::{Stage, attempt, exec, kept};

/// What a desktop's root can put a link in place of, so that the next start
/// meets it. Mount points cannot be replaced, but what they lie in can.
const PLACES: [&str; 9] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc",
    "/home",
    "/home/user",
    "/root",
    "/var",
    "/tmp/.X11-unix",
];

/// Mode, owner, contents.
type Entry = (u32, u32, Vec<u8>);

/// Everything there is below a directory.
fn contents(dir: &Path) -> anyhow::Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let status = path.symlink_metadata()?;
            let bytes = if status.is_file() { fs::read(&path)? } else { Vec::new() };
            if status.is_dir() {
                todo.push(path.clone());
            }
            found.insert(path.display().to_string(), (status.mode(), status.uid(), bytes));
        }
    }
    Ok(found)
}

pub(crate) async fn links_in_a_root_lead_nowhere(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    // Writable for all: nothing but the path would keep anyone out.
    let precious = stage.dir().join("precious");
    for dir in ["home/user", "etc", ".X11-unix"] {
        fs::create_dir_all(precious.join(dir))?;
    }
    for file in ["etc/passwd", "etc/group", "etc/shadow", "etc/hostname", "home/user/.profile"] {
        fs::write(precious.join(file), "precious\n")?;
    }
    let before = contents(stage.dir().join("precious").as_path())?;
    let (mut number, mut met) = (0, 0);
    for place in PLACES {
        let name = place.rsplit('/').next().unwrap_or_default();
        let target = match name {
            "passwd" | "group" | "shadow" => precious.join("etc").join(name),
            "user" => precious.join("home/user"),
            _ => precious.join(name),
        };
        number += 1;
        let overlay = format!("mallory{number}");
        client::start(&mut api, kept(number, 1, &overlay)).await?;
        let target = target.display();
        let plant = format!("mv {place} {place}.old; ln -s {target} {place} && readlink {place}");
        let (said, _code) = exec(&mut api, number, true, &plant).await?;
        // Where a link cannot even be made, that is a wall too.
        met += usize::from(said.contains("precious"));
        client::stop(&mut api, number, 1).await?;
        // Whether it comes up is the root's own affair.
        let again = attempt(&mut api, kept(number, 2, &overlay)).await?;
        if again.failure.is_none() {
            client::stop(&mut api, number, 2).await?;
        }
        let after = contents(&precious)?;
        ensure!(after == before, "{place}: something of the host was changed: {after:?}");
    }
    ensure!(met >= 6, "only {met} links could be planted");
    fs::remove_dir_all(&precious)?;
    agent.purge().await
}

/// The agent connects to the display: to no other socket of the host.
pub(crate) async fn a_display_that_is_a_link_is_not_followed(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, kept(1, 1, "mallory")).await?;
    let path = stage.dir().join("secret.sock");
    let secret = UnixListener::bind(&path)?;
    secret.set_nonblocking(true)?;
    let inside = "/run/rolltop/display";
    let link = path.display();
    let plant = format!("cd {inside} && mv vnc.sock old && ln -s {link} vnc.sock && ls -l");
    let (said, code) = exec(&mut api, 1, true, &plant).await?;
    ensure!(code == 0, "the link cannot be planted: {said}");
    // Followed from out here, it does lead to the socket.
    let outside = agent.settings().run_dir.join("agent/desktops/1/shared/display/vnc.sock");
    drop(UnixStream::connect(&outside).context("the link is not there")?);
    ensure!(secret.accept().is_ok(), "the link leads elsewhere");
    ensure!(display::connect(&mut api, 1, 1).await.is_err(), "the agent followed it");
    let came = secret.accept().err().map(|error| error.kind());
    ensure!(came == Some(std::io::ErrorKind::WouldBlock), "the agent knocked at the host's socket");
    client::stop(&mut api, 1, 1).await?;
    fs::remove_file(&path)?;
    agent.purge().await
}
