//! A failure on standard error: lines for a person, one document for a program.

use std::io::{self, Write};

use serde_json::json;

use super::{Failure, status::code_name};
use crate::output::{Format, clean};

impl Failure {
    /// Writes the failure in the wanted format.
    pub(crate) fn write(&self, to: &mut dyn Write, format: Format) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        match format {
            Format::Table => self.write_text(to),
            Format::Json => writeln!(to, "{}", self.json()),
        }
    }

    fn write_text(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut lines = self.message.lines();
        writeln!(to, "error: {}", clean(lines.next().unwrap_or_default()))?;
        // The last lines of a tool that failed.
        for line in lines {
            writeln!(to, "  {}", clean(line))?;
        }
        for violation in &self.field_violations {
            let (field, why) = (clean(&violation.field), clean(&violation.description));
            writeln!(to, "  {field}: {why}")?;
        }
        for line in &self.details {
            writeln!(to, "  {}", clean(line))?;
        }
        match &self.hint {
            Some(hint) => writeln!(to, "what to do: {}", clean(hint)),
            None => Ok(()),
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "error": {
                "code": code_name(self.code),
                "reason": self.reason,
                "message": self.message,
                "field_violations": self.field_violations,
                "details": self.details,
                "hint": self.hint,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::failure::FieldViolation;

    fn rendered(failure: &Failure, format: Format) -> String {
        let mut text = Vec::new();
        failure.write(&mut text, format).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn sample() -> Failure {
        let mut failure = Failure::new(Code::InvalidArgument, "BAD_NAME", "the name is not valid")
            .hint("choose another");
        failure.field_violations.push(FieldViolation {
            field: "name".into(),
            description: "\"a\x1b[31m/b\" has a '/'".into(),
        });
        failure
    }

    #[test]
    fn a_person_reads_message_field_and_advice() {
        assert_eq!(
            rendered(&sample(), Format::Table),
            "error: the name is not valid\n  \
             name: \"a\u{fffd}[31m/b\" has a '/'\n\
             what to do: choose another\n"
        );
    }

    #[test]
    fn a_program_reads_one_document() {
        let value: serde_json::Value =
            serde_json::from_str(&rendered(&sample(), Format::Json)).unwrap();
        assert_eq!(
            value,
            json!({"error": {
                "code": "INVALID_ARGUMENT",
                "reason": "BAD_NAME",
                "message": "the name is not valid",
                "field_violations": [
                    {"field": "name", "description": "\"a\u{1b}[31m/b\" has a '/'"}
                ],
                "details": [],
                "hint": "choose another",
            }})
        );
    }
}
