//! What each case plays on: guests, what they see, and what is told of them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rolltop_tests::vm::{DataDisk, Guest, Payload, Rig, Spec};

use crate::arguments::{TestProgram, Tests};

/// Programs that must have been built; every guest has them, and all others of
/// ours, in `/payload/bin`.
const PROGRAMS: [&str; 4] = ["rolltop-agent", "rolltop-launcher", "rolltop-broker", "rolltop"];
/// The units as an operator installs them.
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd");
/// Lines of output that are shown of a case that failed.
const SHOWN_LINES: usize = 80;

/// What an ordinary command may take in a guest on a busy machine.
pub(crate) const SHORT: Duration = Duration::from_secs(120);

/// One case and its guests.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    name: String,
    rig: &'a Rig,
    payload: &'a Payload,
    work: &'a Path,
    programs: &'a Path,
    log: Option<PathBuf>,
    /// What was done, and what came of it.
    said: String,
    /// What guests know of a failure.
    words: String,
}

/// The files all guests see.
pub(crate) fn payload(
    work: &Path,
    programs: &Path,
    images: &Path,
    test_programs: &[TestProgram],
) -> anyhow::Result<Payload> {
    let mut files = Vec::new();
    for program in PROGRAMS {
        let file = programs.join(program);
        ensure!(file.is_file(), "{} is missing: build the programs first", file.display());
    }
    for entry in fs::read_dir(programs)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("rolltop") && !name.contains('.') && entry.file_type()?.is_file() {
            files.push((format!("bin/{name}"), entry.path()));
        }
    }
    for program in test_programs {
        files.push((format!("tests/{}", program.name), program.file.clone()));
    }
    files.push(("images".into(), images.to_owned()));
    files.push(("systemd".into(), Path::new(UNITS).to_owned()));
    Payload::create(work, files.iter().map(|(name, file)| (name.as_str(), file.as_path())))
}

impl<'a> Stage<'a> {
    pub(crate) fn set(
        rig: &'a Rig,
        payload: &'a Payload,
        work: &'a Path,
        tests: &'a Tests,
        name: &str,
    ) -> anyhow::Result<Self> {
        let results = tests.results.as_deref();
        if let Some(results) = results {
            fs::create_dir_all(results)
                .with_context(|| format!("cannot make {}", results.display()))?;
        }
        let name = name.replace("::", "-");
        let log = results.map(|dir| dir.join(format!("{name}.log")));
        let programs = &tests.programs;
        let said = String::new();
        let words = String::new();
        Ok(Self { name, rig, payload, work, programs, log, said, words })
    }

    pub(crate) fn rig(&self) -> &'a Rig {
        self.rig
    }

    /// A guest with the payload; change it as needed.
    pub(crate) fn spec(&self, name: &str) -> Spec<'a> {
        Spec::named(name).payload(self.payload)
    }

    /// Where the programs were built; tests know it as the place to find them.
    pub(crate) fn programs(&self) -> &'a Path {
        self.programs
    }

    /// A new disk of this case, which ends with the run.
    pub(crate) fn disk(&self, name: &str) -> anyhow::Result<DataDisk> {
        DataDisk::create(&self.work.join(format!("{}-{name}", self.name)))
    }

    /// Runs a command, keeps what it says for the story, and returns its status
    /// and that.
    pub(crate) fn tell(
        &mut self,
        guest: &mut Guest,
        command: &str,
        limit: Duration,
    ) -> anyhow::Result<(i32, String)> {
        let mut said = Vec::new();
        let outcome = guest.run_to(command, limit, &mut said);
        self.said += &format!("{}# {command}\n{}", guest.name(), String::from_utf8_lossy(&said));
        let output = outcome?;
        self.said += &format!("(status {})\n", output.status);
        Ok((output.status, output.text()))
    }

    /// Like [`Stage::tell`], for a command that must succeed; what it wrote.
    pub(crate) fn must(
        &mut self,
        guest: &mut Guest,
        command: &str,
        limit: Duration,
    ) -> anyhow::Result<String> {
        let (status, text) = self.tell(guest, command, limit)?;
        let name = guest.name();
        ensure!(status == 0, "on {name} `{command}` ended with {status}: {text}");
        Ok(text)
    }

    /// Adds what guests know, if a case failed.
    pub(crate) fn with_last_words<T>(
        &mut self,
        guests: &mut [&mut Guest],
        outcome: anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        if outcome.is_err() {
            for guest in guests {
                self.add_last_words(guest);
            }
        }
        outcome
    }

    /// Adds what a guest knows of a failure.
    pub(crate) fn add_last_words(&mut self, guest: &mut Guest) {
        self.words += &guest.last_words();
        self.words.push('\n');
    }

    /// The end of what was said, indented, for a failure.
    pub(crate) fn story(&self) -> String {
        let mut story = String::new();
        for part in [&self.said, &self.words] {
            let lines: Vec<&str> = part.lines().collect();
            for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
                story += &format!("    | {line}\n");
            }
        }
        if let Some(log) = &self.log {
            story += &format!("    all of it: {}\n", log.display());
        }
        story
    }

    /// Writes down what was said.
    pub(crate) fn clear(self) -> anyhow::Result<()> {
        if let Some(log) = &self.log {
            fs::write(log, format!("{}{}", self.said, self.words))
                .with_context(|| format!("cannot write {}", log.display()))?;
        }
        Ok(())
    }
}
