//! How many tests there were, and how they ended.

use std::{fmt, ops::AddAssign};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Counts {
    /// One test that went well.
    pub(crate) fn success() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One that did not.
    pub(crate) fn failure() -> Self {
        Self { failed: 1, ..Self::default() }
    }

    /// What a program of tests says: the sum of its `test result:` lines, and its
    /// `skipped: ` lines. None if it has not come to its end.
    pub(crate) fn told_by(output: &str) -> Option<Self> {
        let mut counts = None;
        let mut skipped = 0;
        for line in output.lines() {
            if line.starts_with("skipped: ") {
                skipped += 1;
            }
            let Some(result) = line.strip_prefix("test result: ") else { continue };
            let told: &mut Self = counts.get_or_insert_default();
            let numbers = result.split_once(". ")?.1;
            for part in numbers.split("; ") {
                let (number, what) = part.split_once(' ')?;
                let counted = match what {
                    "passed" => &mut told.passed,
                    "failed" => &mut told.failed,
                    "ignored" => &mut told.skipped,
                    _ => continue,
                };
                *counted += number.parse::<u32>().ok()?;
            }
        }
        counts.map(|counts| Self { skipped: counts.skipped + skipped, ..counts })
    }

    /// As the last line of a program of tests has it.
    pub(crate) fn as_cargo_tells(self) -> String {
        let Self { passed, failed, skipped } = self;
        format!("{passed} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out")
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargos_harness_says() {
        let said = "running 2 tests\nskipped: needs FUSE\ntest a ... ok\n\n\
            test result: ok. 21 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.5s\n";
        let counts = Counts { passed: 21, failed: 0, skipped: 2 };
        assert_eq!(Counts::told_by(said), Some(counts));
        assert_eq!(
            Counts::told_by(&format!("test result: ok. {}", counts.as_cargo_tells())),
            Some(counts)
        );
    }

    #[test]
    fn a_program_that_ended_early_has_told_nothing() {
        assert_eq!(Counts::told_by("running 2 tests\ntest a ... ok\n"), None);
        assert_eq!(Counts::told_by("test result: nonsense"), None);
    }
}
