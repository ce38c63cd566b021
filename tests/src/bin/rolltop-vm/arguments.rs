//! The command line.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand};

/// Runs tests in virtual machines that tests/vm/prepare has made.
#[derive(Debug, Parser)]
#[command(name = "rolltop-vm", version)]
pub(crate) struct Arguments {
    /// Where tests/vm/prepare has put the machine
    #[arg(long, value_name = "DIR", default_value = "target/vm")]
    pub(crate) cache: PathBuf,
    /// Series of the kernel in it
    #[arg(long, value_name = "SERIES", default_value = "6.12")]
    pub(crate) kernel: String,
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Run tests
    Test(Tests),
    /// Measure storage, over NFS too, with rolltop-bench-storage in a guest
    Bench(Bench),
    /// Run one command in a guest; its status is the status
    Sh {
        /// How long it may take
        #[arg(long, default_value_t = 600)]
        seconds: u64,
        /// Words of a command for bash
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// What to test, and with what.
#[derive(Debug, Args)]
pub(crate) struct Tests {
    /// Directory with rolltop-agent, rolltop-launcher and the other programs
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: PathBuf,
    /// An image store with demo:stable
    #[arg(long, value_name = "DIR")]
    pub(crate) images: PathBuf,
    /// A program of privileged tests, and what to call it; may be repeated
    #[arg(long = "program", value_name = "NAME=FILE")]
    pub(crate) test_programs: Vec<TestProgram>,
    /// Directory on a real disk for what the guests get
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub(crate) work: PathBuf,
    /// Directory for what each test wrote
    #[arg(long, value_name = "DIR")]
    pub(crate) results: Option<PathBuf>,
    /// Tell which tests there are
    #[arg(long)]
    pub(crate) list: bool,
    /// Run the slow ones too
    #[arg(long)]
    all: bool,
    /// Tests at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) jobs: u8,
    /// Parts of names of tests to run, slow or not; none: those that are not slow
    filters: Vec<String>,
}

/// What to measure with.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Directory with rolltop-bench-storage, rolltop-agent and the others
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: PathBuf,
    /// An image store with demo:stable
    #[arg(long, value_name = "DIR")]
    pub(crate) images: PathBuf,
    /// Directory on a real disk for what the guest gets
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub(crate) work: PathBuf,
    /// Write the figures here too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// More for rolltop-bench-storage
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// A program of tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

impl Tests {
    pub(crate) fn wants(&self, name: &str, slow: bool) -> bool {
        match &*self.filters {
            [] => self.list || self.all || !slow,
            parts => parts.iter().any(|part| name.contains(part)),
        }
    }
}

impl FromStr for TestProgram {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && name.bytes().all(fits) => {
                Ok(Self { name: name.into(), file: file.into() })
            }
            _ => Err("a name of letters, digits, '-' and '_', then '=' and a file".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_has_a_name_that_is_no_path() {
        let program = "overlay-open=/deps/open=1".parse::<TestProgram>().unwrap();
        assert_eq!(program.name, "overlay-open");
        assert_eq!(program.file, PathBuf::from("/deps/open=1"));
        for bad in ["", "open", "=/deps/open", "../open=/deps/open", "a b=/c"] {
            bad.parse::<TestProgram>().unwrap_err();
        }
    }
}
