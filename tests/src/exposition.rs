//! Reads what a daemon tells a Prometheus server, and is strict about it:
//! OpenMetrics text 1.0, as far as counters, gauges, histograms and infos go.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};

/// Every family by name, with its samples.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// Families by name.
    pub families: BTreeMap<String, Family>,
}

/// Metrics of one name.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// For people.
    pub help: String,
    /// In the order they came.
    pub samples: Vec<Sample>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// With the suffix its kind has: `_total`, `_bucket`, ...
    pub name: String,
    /// By name.
    pub labels: BTreeMap<String, String>,
    /// Never NaN.
    pub value: f64,
}

impl Exposition {
    /// Reads a whole text.
    ///
    /// # Errors
    /// It is no valid text; the first line that is not.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let body = text.strip_suffix("# EOF\n").context("it does not end with `# EOF`")?;
        let mut all = Self::default();
        let mut open: Option<String> = None;
        let mut seen = BTreeSet::new();
        for line in body.lines() {
            all.line(line, &mut open, &mut seen).with_context(|| format!("in line `{line}`"))?;
        }
        for (name, family) in &all.families {
            ensure!(!family.kind.is_empty(), "{name} has no type");
            ensure!(!family.help.is_empty(), "{name} has no help");
            if family.kind == "histogram" {
                family.is_histogram().with_context(|| format!("in histogram {name}"))?;
            }
        }
        Ok(all)
    }

    fn line(
        &mut self,
        line: &str,
        open: &mut Option<String>,
        seen: &mut BTreeSet<String>,
    ) -> anyhow::Result<()> {
        if let Some(comment) = line.strip_prefix("# ") {
            let (word, rest) = comment.split_once(' ').context("half a comment")?;
            let (name, value) = rest.split_once(' ').context("half a description")?;
            is_name(name)?;
            if open.as_deref() != Some(name) {
                ensure!(!self.families.contains_key(name), "{name} comes twice");
                *open = Some(name.to_owned());
            }
            let family = self.families.entry(name.to_owned()).or_default();
            ensure!(family.samples.is_empty(), "a description after samples");
            match word {
                "HELP" => value.clone_into(&mut family.help),
                "TYPE" => value.clone_into(&mut family.kind),
                "UNIT" => {}
                other => bail!("no such description: {other}"),
            }
            return Ok(());
        }
        let sample = Sample::parse(line)?;
        let name = open.as_ref().context("a sample before any description")?;
        let family = self.families.entry(name.clone()).or_default();
        let suffix = sample.name.strip_prefix(name.as_str()).context("not of this family")?;
        let fits = match family.kind.as_str() {
            "counter" => suffix == "_total" && sample.value >= 0.0,
            "gauge" => suffix.is_empty(),
            "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count"),
            "info" => suffix == "_info" && sample.value == 1.0,
            other => bail!("no such type: {other}"),
        };
        ensure!(fits, "suffix `{suffix}` or its value does not fit a {}", family.kind);
        ensure!(
            seen.insert(format!("{}{:?}", sample.name, sample.labels)),
            "the same series twice"
        );
        family.samples.push(sample);
        Ok(())
    }

    /// Names that queries may use: those of samples.
    pub fn sample_names(&self) -> BTreeSet<String> {
        let of = |(name, family): (&String, &Family)| match family.kind.as_str() {
            "counter" => vec![format!("{name}_total")],
            "info" => vec![format!("{name}_info")],
            "histogram" => ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")).into(),
            _ => vec![name.clone()],
        };
        self.families.iter().flat_map(of).collect()
    }

    /// The one value of `name` with these labels.
    ///
    /// # Errors
    /// There is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<f64> {
        let fits = |sample: &&Sample| {
            sample.name == name
                && sample.labels.len() == labels.len()
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|it| it == value))
        };
        let mut samples = self.families.values().flat_map(|family| &family.samples);
        let found = samples.find(fits);
        Ok(found.with_context(|| format!("there is no {name} with {labels:?}"))?.value)
    }
}

impl Family {
    /// Buckets grow up to `+Inf`, which has what is counted.
    fn is_histogram(&self) -> anyhow::Result<()> {
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        let mut counts = BTreeMap::new();
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            let edge = labels.remove("le");
            let key = format!("{labels:?}");
            if sample.name.ends_with("_bucket") {
                let edge = edge.context("a bucket without an edge")?;
                let edge = if edge == "+Inf" { f64::INFINITY } else { edge.parse()? };
                series.entry(key).or_default().push((edge, sample.value));
            } else if sample.name.ends_with("_count") {
                counts.insert(key, sample.value);
            }
        }
        ensure!(series.len() == counts.len(), "buckets and counts do not belong together");
        for (key, buckets) in series {
            let grow =
                buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
            ensure!(grow, "the buckets of {key} do not grow");
            let last = buckets.last().context("no buckets")?;
            ensure!(last.0.is_infinite(), "{key} has no last bucket");
            ensure!(counts.get(&key) == Some(&last.1), "{key} is miscounted");
        }
        Ok(())
    }
}

impl Sample {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let end = line.find(['{', ' ']).context("no value")?;
        let (name, rest) = line.split_at(end);
        is_name(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (BTreeMap::new(), rest),
        };
        let value = value.strip_prefix(' ').context("no space before the value")?;
        let value: f64 = value.parse().context("no number")?;
        ensure!(!value.is_nan(), "NaN");
        Ok(Self { name: name.into(), labels, value })
    }
}

/// Up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> anyhow::Result<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (key, quoted) = rest.split_once("=\"").context("half a label")?;
        is_name(key)?;
        let (value, after) = unquoted(quoted)?;
        ensure!(labels.insert(key.to_owned(), value).is_none(), "label {key} twice");
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

fn unquoted(text: &str) -> anyhow::Result<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match letters.next().context("half an escape")?.1 {
                'n' => value.push('\n'),
                letter @ ('\\' | '"') => value.push(letter),
                other => bail!("no such escape: \\{other}"),
            },
            letter => value.push(letter),
        }
    }
    bail!("a label's value has no end")
}

fn is_name(name: &str) -> anyhow::Result<()> {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let fits = name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || b.is_ascii_digit() || b == b':');
    ensure!(fits, "`{name}` is no name");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# HELP a_seconds Time.
# TYPE a_seconds histogram
a_seconds_sum{k=\"v\"} 3.5
a_seconds_count{k=\"v\"} 2
a_seconds_bucket{le=\"0.5\",k=\"v\"} 1
a_seconds_bucket{le=\"+Inf\",k=\"v\"} 2
# HELP b Things.
# TYPE b counter
b_total{x=\"say \\\"hi\\\", {you}\"} 7
# EOF
";

    #[test]
    fn a_good_text_is_read() {
        let all = Exposition::parse(GOOD).unwrap();
        assert_eq!(all.value("b_total", &[("x", "say \"hi\", {you}")]).unwrap(), 7.0);
        assert!(all.value("b_total", &[]).is_err());
        let names = all.sample_names();
        assert!(names.contains("a_seconds_bucket") && names.contains("b_total"), "{names:?}");
        assert!(!names.contains("b"));
    }

    #[test]
    fn bad_texts_are_refused() {
        for (part, instead) in [
            ("# EOF\n", ""),
            ("b_total{x=", "b{x="),
            ("# TYPE b counter\n", ""),
            ("# TYPE b counter", "# TYPE b flag"),
            ("# HELP b Things.\n", ""),
            ("} 7\n", "} seven\n"),
            ("} 7\n", "} NaN\n"),
            ("} 7\n", "} -1\n"),
            ("le=\"+Inf\",k=\"v\"} 2", "le=\"+Inf\",k=\"v\"} 3"),
            ("le=\"0.5\",k=\"v\"} 1", "le=\"0.5\",k=\"v\"} 9"),
            ("le=\"+Inf\",", ""),
            ("# HELP b Things.", "# HELP a_seconds Again."),
            ("b_total{x=", "b_total{1x="),
        ] {
            assert!(GOOD.contains(part), "{part}");
            let bad = GOOD.replacen(part, instead, 1);
            assert!(Exposition::parse(&bad).is_err(), "{part} -> {instead}");
        }
        let line = "b_total{x=\"say \\\"hi\\\", {you}\"} 7\n";
        assert!(Exposition::parse(&GOOD.replacen(line, &line.repeat(2), 1)).is_err(), "twice");
    }
}
