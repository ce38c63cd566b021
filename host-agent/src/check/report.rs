//! What a check found, for a person and for a program.

use std::fmt;

use serde::Serialize;

/// How well a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Desktops run, but something is slower, weaker or missing.
    Weak,
    /// No desktop can run until it is mended.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub item: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it; empty when it is good.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// Everything that was looked at, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    pub(super) fn good(&mut self, item: impl Into<String>, found: impl Into<String>) {
        self.add(Verdict::Good, item, found, "");
    }

    pub(super) fn add(
        &mut self,
        verdict: Verdict,
        item: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (item, found, remedy) = (item.into(), found.into(), remedy.into());
        self.0.push(Finding { item, verdict, found, remedy });
    }

    /// The worst of them; good when there are none.
    #[must_use]
    pub fn worst(&self) -> Verdict {
        self.0.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|finding| finding.item.chars().count()).max().unwrap_or(0);
        for Finding { item, verdict, found, remedy } in &self.0 {
            let word = match verdict {
                Verdict::Good => "ok  ",
                Verdict::Weak => "weak",
                Verdict::Bad => "BAD ",
            };
            writeln!(f, "{word}  {item:width$}  {found}")?;
            if !remedy.is_empty() {
                writeln!(f, "      {:width$}  -> {remedy}", "")?;
            }
        }
        let count = |verdict| self.0.iter().filter(|finding| finding.verdict == verdict).count();
        match self.worst() {
            Verdict::Bad => write!(
                f,
                "{} of {} must be mended before a desktop can run here",
                count(Verdict::Bad),
                self.0.len()
            ),
            Verdict::Weak => write!(
                f,
                "desktops run here; {} of {} could be better",
                count(Verdict::Weak),
                self.0.len()
            ),
            Verdict::Good => write!(f, "all {} are well", self.0.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_remedies_are_shown() {
        let mut findings = Findings::default();
        assert_eq!(findings.worst(), Verdict::Good);
        findings.good("kernel", "6.12");
        assert!(findings.to_string().ends_with("all 1 are well"));
        findings.add(Verdict::Weak, "files", "1024", "raise it");
        findings.add(Verdict::Bad, "ext4", "missing", "modprobe ext4");
        findings.good("overlay", "there");
        let text = findings.to_string();
        assert_eq!(findings.worst(), Verdict::Bad);
        assert!(text.contains("BAD   ext4     missing\n"), "{text}");
        assert!(text.contains("-> modprobe ext4"), "{text}");
        assert!(text.ends_with("1 of 4 must be mended before a desktop can run here"), "{text}");
        let json = serde_json::to_value(&findings).unwrap();
        assert_eq!(json[2]["verdict"], "bad");
        assert!(json[0].get("remedy").is_none());
    }
}
