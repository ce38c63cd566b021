//! Figures of a benchmark: added up, set beside references and aims, printed
//! for people and for programs.

mod aim;
mod human;
mod report;

use std::{fs, path::Path};

use anyhow::{Context as _, bail};

pub use self::{
    aim::{Aim, Most, Verdict},
    report::{Figure, Name, Report, Unit},
};

impl Report {
    /// Prints it, and writes it as JSON to `json`.
    ///
    /// # Errors
    /// The file cannot be written, or the run left something behind.
    pub fn publish(&self, json: Option<&Path>) -> anyhow::Result<()> {
        print!("{}", human::tables(self));
        if let Some(file) = json {
            let text = serde_json::to_string_pretty(&self.to_json())?;
            fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if !self.left.is_empty() {
            bail!("the machine is not as it was");
        }
        Ok(())
    }
}
