//! Every alert has a section in the runbook, and every section an alert. That
//! the metrics they look at are there is seen where an agent runs: see
//! `agent/metrics.rs`.

#![forbid(unsafe_code)]

use std::{collections::BTreeSet, fs, path::Path};

use rolltop_tests::rules;

fn house() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Heading and text of each section.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("\n## ").skip(1);
    parts.map(|part| part.split_once('\n').unwrap_or((part, ""))).collect()
}

#[test]
fn every_alert_has_its_section_and_every_section_its_alert() {
    let alerts = rules::read(&house().join("deploy/prometheus/rolltop.rules.yml")).unwrap();
    let runbook = fs::read_to_string(house().join("docs/runbook.md")).unwrap();
    let sections = sections(&runbook);
    let told: Vec<&str> = sections.iter().map(|(heading, _)| *heading).collect();
    let named: Vec<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(told, named, "in the same order");
    for (heading, text) in sections {
        for part in ["**Means.** ", "**Look.** ", "**Do.** "] {
            assert!(text.contains(part), "{heading} does not say {part}");
        }
    }
}

#[test]
fn every_alert_says_what_where_and_how_bad() {
    let alerts = rules::read(&house().join("deploy/prometheus/rolltop.rules.yml")).unwrap();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let anchor = format!("docs/runbook.md#{}", alert.name.to_ascii_lowercase());
        assert_eq!(alert.annotations.runbook, anchor);
        assert!(!alert.annotations.summary.is_empty(), "{}", alert.name);
        let severity = alert.labels.severity.as_str();
        assert!(["warning", "critical"].contains(&severity), "{}: {severity}", alert.name);
        assert!(!alert.metrics().is_empty(), "{} looks at nothing", alert.name);
    }
}

#[test]
fn links_within_the_runbook_lead_somewhere() {
    let runbook = fs::read_to_string(house().join("docs/runbook.md")).unwrap();
    let there: BTreeSet<String> =
        sections(&runbook).iter().map(|(heading, _)| heading.to_ascii_lowercase()).collect();
    let links = runbook.split("](#").skip(1).filter_map(|rest| rest.split_once(')'));
    let mut count = 0;
    for (anchor, _) in links {
        assert!(there.contains(anchor), "#{anchor}");
        count += 1;
    }
    assert!(count > 0, "no links were found");
}
