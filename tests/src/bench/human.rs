//! The report for people.

use std::fmt::Write as _;

use super::{
    aim,
    report::{Figure, Report, Unit, machine},
};

/// Figures, aims, and what went wrong.
pub(super) fn tables(report: &Report) -> String {
    let mut text = String::new();
    // Writing into a text cannot fail.
    let _infallible = write(report, &mut text);
    text
}

fn write(report: &Report, out: &mut String) -> std::fmt::Result {
    let machine = machine();
    let about = |key: &str| machine[key].as_str().unwrap_or("?").to_owned();
    writeln!(
        out,
        "{} processors, Linux {}, load {}\n",
        machine["processors"],
        about("kernel"),
        about("load")
    )?;
    let width = report.figures.iter().map(|figure| figure.name.len()).max().unwrap_or_default();
    writeln!(
        out,
        "{:<width$} {:>4} {:>9} {:>9} {:>9} {:>9}",
        "", "n", "median", "p95", "least", "most"
    )?;
    for figure in &report.figures {
        write_figure(report, figure, width, out)?;
    }
    writeln!(out)?;
    for verdict in aim::verdicts(report) {
        let word = if verdict.is_met() { "met" } else { "MISSED" };
        writeln!(
            out,
            "aim {word}: {} ({:.1}, aim {:.1})",
            verdict.text, verdict.value, verdict.most
        )?;
    }
    for failure in &report.failures {
        writeln!(out, "failed: {failure}")?;
    }
    for left in &report.left {
        writeln!(out, "not as before: {left}")?;
    }
    if report.left.is_empty() {
        writeln!(out, "nothing was left behind")?;
    }
    Ok(())
}

fn write_figure(
    report: &Report,
    figure: &Figure,
    width: usize,
    out: &mut String,
) -> std::fmt::Result {
    let sample = &figure.sample;
    let (least, most) = sample.range().unzip();
    write!(out, "{:<width$} {:>4}", figure.name, sample.len())?;
    for value in [sample.median(), sample.percentile(95), least, most] {
        let digits = match figure.unit {
            Unit::Count => 0,
            Unit::Percent => 2,
            Unit::Millis | Unit::Kib => 1,
        };
        write!(out, " {:>9.digits$}", value.unwrap_or(f64::NAN))?;
    }
    write!(out, " {:<3}", figure.unit.as_str())?;
    if let (Some(reference), Some(ratio)) = (&figure.reference, report.ratio(figure)) {
        write!(out, "  {ratio:.2} x {reference}")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::{
        super::aim::{Aim, Most},
        *,
    };

    #[test]
    fn a_line_for_each_figure_and_a_word_for_each_aim() {
        let aim = Aim { text: "released soon", figure: "released", most: Most::Value(100.0) };
        let mut report = Report { aims: vec![aim], ..Report::default() };
        report.add("released", Unit::Millis, [150.0]);
        report.add("there", Unit::Millis, [300.0]);
        report.compare("released", "there");
        let text = tables(&report);
        assert!(text.contains("0.50 x there"), "{text}");
        assert!(text.contains("aim MISSED: released"), "{text}");
        assert!(text.ends_with("nothing was left behind\n"), "{text}");
    }
}
