//! Why a desktop would be placed where.

use std::collections::BTreeMap;

use rolltop_proto::v1::{ExplainPlacementResponse, HostVerdict};
use serde::Serialize;

use super::some;
use crate::output::{Column, Look, Table, Tone, View};

/// `{"chosen", "hosts": […]}`, the best first.
#[derive(Debug, Serialize)]
pub(crate) struct PlacementView {
    chosen: Option<String>,
    hosts: Vec<VerdictView>,
}

#[derive(Debug, Serialize)]
struct VerdictView {
    host: String,
    fits: bool,
    score: Option<i64>,
    parts: BTreeMap<String, i64>,
    reasons: Vec<String>,
}

impl From<ExplainPlacementResponse> for PlacementView {
    fn from(told: ExplainPlacementResponse) -> Self {
        Self {
            chosen: some(&told.chosen),
            hosts: told.hosts.into_iter().map(VerdictView::from).collect(),
        }
    }
}

impl From<HostVerdict> for VerdictView {
    fn from(told: HostVerdict) -> Self {
        let fits = told.reasons.is_empty();
        Self {
            host: told.host,
            fits,
            score: fits.then_some(told.score),
            parts: told.parts.into_iter().map(|part| (part.name, part.points)).collect(),
            reasons: told.reasons,
        }
    }
}

impl View for PlacementView {
    fn text(&self, look: Look) -> String {
        let columns = [Column::Left("HOST"), Column::Right("SCORE"), Column::Left("WHY")];
        let mut table = Table::new(columns, "there is no host yet");
        for host in &self.hosts {
            let tone = if host.fits { Tone::Normal } else { Tone::Bad };
            let parts = host.parts.iter().filter(|(_, points)| **points != 0);
            let parts: Vec<String> =
                parts.map(|(name, points)| format!("{name} {points}")).collect();
            let chosen = (self.chosen.as_ref() == Some(&host.host)).then_some("chosen: ");
            let why = format!("{}{}", chosen.unwrap_or_default(), parts.join(", "));
            table.row([
                (Tone::Normal, host.host.clone()),
                (Tone::Normal, host.score.map(|score| score.to_string()).unwrap_or_default()),
                (tone, if host.fits { why } else { host.reasons.join("; ") }),
            ]);
        }
        table.render(look.paint)
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::ScorePart;
    use serde_json::json;

    use super::*;
    use crate::view::testing::look;

    #[test]
    fn hosts_are_told_with_their_points_or_reasons() {
        let part = |name: &str, points| ScorePart { name: name.into(), points };
        let told = ExplainPlacementResponse {
            chosen: "h2".into(),
            hosts: vec![
                HostVerdict {
                    host: "h2".into(),
                    score: 900,
                    parts: vec![part("room", 800), part("image", 100), part("labels", 0)],
                    reasons: vec![],
                },
                HostVerdict {
                    host: "h1".into(),
                    reasons: vec!["it is being drained".into(), "it has no image a:b".into()],
                    ..HostVerdict::default()
                },
            ],
        };
        let view = PlacementView::from(told);
        assert_eq!(
            view.text(look()),
            "HOST  SCORE  WHY\n\
             h2      900  chosen: image 100, room 800\n\
             h1        -  it is being drained; it has no image a:b\n"
        );
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(json["hosts"][0]["parts"], json!({"image": 100, "labels": 0, "room": 800}));
        assert_eq!((&json["hosts"][1]["score"], &json["chosen"]), (&json!(null), &json!("h2")));
    }
}
