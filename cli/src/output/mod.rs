//! How results leave the program: tables for a person, JSON for a program.

mod human;
mod table;
mod text;

use std::{
    io::{self, IsTerminal as _, Write},
    time::SystemTime,
};

use serde::Serialize;

pub(crate) use human::{age, duration_ms, gib_or_mib, rate_bits, size_bytes};
pub(crate) use table::{Column, Fields, Table};
pub(crate) use text::{Paint, Tone, clean};

use crate::failure::Failure;

/// The format of everything that is printed, errors included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned text for people
    Table,
    /// One JSON document; streams as one JSON object per line
    Json,
}

/// What a view may use to draw itself for a person.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) paint: Paint,
    /// "Now", for "3 min ago".
    pub(crate) now: SystemTime,
}

/// A result: its serialisation is the documented JSON, its text is for people.
pub(crate) trait View: Serialize {
    fn text(&self, look: Look) -> String;
}

/// Tells a person something on the way, on standard error.
pub(crate) fn notice(text: &str) {
    // If nobody can read it, it is no reason to stop.
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Standard output in the chosen format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
    look: Look,
}

impl Output {
    /// Colours only on a terminal, and only where `NO_COLOR` does not forbid.
    pub(crate) fn new(format: Format, no_color: bool) -> Self {
        let colour = !no_color && io::stdout().is_terminal();
        let paint = if colour { Paint::Colour } else { Paint::Plain };
        Self { format, look: Look { paint, now: SystemTime::now() } }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn look(&self) -> Look {
        self.look
    }

    /// Prints one result.
    pub(crate) fn show(&self, view: &impl View) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(&view.text(self.look)),
            Format::Json => self.json_line(view),
        }
    }

    /// Prints what was done: a sentence, or a document.
    pub(crate) fn done(&self, sentence: &str, document: &impl Serialize) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(&format!("{}\n", clean(sentence))),
            Format::Json => self.json_line(document),
        }
    }

    /// Prints one JSON object on a line, whatever the format.
    pub(crate) fn json_line(&self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(document).map_err(io::Error::from);
        self.write(&(text.map_err(|error| Failure::output(&error))? + "\n"))
    }

    /// Prints text as it is. It must be clean already.
    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::output(&error))
    }
}
