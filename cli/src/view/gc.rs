//! What `image gc` did or would do.

use rolltop_image::{Judged, Verdict};
use serde::Serialize;

use super::ago;
use crate::output::{Column, Look, Table, Tone, View, size_bytes};

/// `{"dry_run", "versions": […], "drafts": […], "busy": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct GcView {
    pub(crate) dry_run: bool,
    pub(crate) versions: Vec<GcVersion>,
    /// Remains of interrupted calls.
    pub(crate) drafts: Vec<String>,
    /// Images in which something is being published now.
    pub(crate) busy: Vec<String>,
}

/// What becomes of one version.
#[derive(Debug, Serialize)]
pub(crate) struct GcVersion {
    image: String,
    version: String,
    size_bytes: i64,
    published_at: Option<String>,
    removed: bool,
    /// `tagged`, `in_use`, `new`, `recent`, `retired`, `old` or `surplus`.
    reason: &'static str,
    /// Tags, or who uses it, or what came in between.
    by: Vec<String>,
    pub(crate) failure: Option<String>,
}

impl GcVersion {
    pub(crate) fn new(judged: &Judged) -> Self {
        let manifest = &judged.published.manifest;
        let (reason, by) = match &judged.verdict {
            Verdict::Tagged(tags) => ("tagged", tags.iter().map(ToString::to_string).collect()),
            Verdict::InUse(users) => ("in_use", users.clone()),
            Verdict::New => ("new", Vec::new()),
            Verdict::Recent => ("recent", Vec::new()),
            Verdict::Retired => ("retired", Vec::new()),
            Verdict::Old => ("old", Vec::new()),
            Verdict::Surplus => ("surplus", Vec::new()),
        };
        Self {
            image: judged.published.name.to_string(),
            version: judged.published.version.to_string(),
            size_bytes: i64::try_from(manifest.size_bytes).unwrap_or(i64::MAX),
            published_at: Some(prost_types::Timestamp::from(manifest.published_at).to_string()),
            removed: judged.verdict.goes(),
            reason,
            by,
            failure: None,
        }
    }

    fn why(&self) -> String {
        if let Some(failure) = &self.failure {
            return failure.clone();
        }
        match self.reason {
            "tagged" => format!("tagged {}", self.by.join(", ")),
            "in_use" => format!("in use: {}", self.by.join(", ")),
            "new" => "published within the hour".to_owned(),
            "recent" => "one of the newest".to_owned(),
            "retired" => "retired".to_owned(),
            "old" => "untagged, and too old".to_owned(),
            _ => "untagged, and newer ones are kept".to_owned(),
        }
    }
}

impl GcView {
    /// Somebody came in between.
    pub(crate) fn stays_after_all(&mut self, at: usize, why: &str) {
        if let Some(version) = self.versions.get_mut(at) {
            (version.removed, version.reason, version.by) = (false, "in_use", vec![why.to_owned()]);
        }
    }

    pub(crate) fn failed(&mut self, at: usize, why: &str) {
        if let Some(version) = self.versions.get_mut(at) {
            (version.removed, version.failure) = (false, Some(why.to_owned()));
        }
    }
}

impl View for GcView {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Left("IMAGE"),
                Column::Left("VERSION"),
                Column::Right("SIZE"),
                Column::Left("PUBLISHED"),
                Column::Left("WHAT"),
                Column::Left("WHY"),
            ],
            "no versions",
        );
        let goes = if self.dry_run { "would go" } else { "removed" };
        for version in &self.versions {
            let plain = |text| (Tone::Normal, text);
            let (tone, what) = match (&version.failure, version.removed) {
                (Some(_), _) => (Tone::Bad, "failed"),
                (None, true) => (Tone::Normal, goes),
                (None, false) => (Tone::Faint, "stays"),
            };
            table.row([
                plain(version.image.clone()),
                plain(version.version.clone()),
                plain(size_bytes(version.size_bytes)),
                plain(ago(version.published_at.as_ref(), look)),
                (tone, what.to_owned()),
                plain(version.why()),
            ]);
        }
        let mut text = table.render(look.paint);
        for draft in &self.drafts {
            text +=
                &format!("{goes}: {}, left by an interrupted call\n", crate::output::clean(draft));
        }
        for image in &self.busy {
            text += &format!("{image}: something is being published, remains are left alone\n");
        }
        if self.dry_run && (self.versions.iter().any(|v| v.removed) || !self.drafts.is_empty()) {
            text += "nothing was removed; --yes does it\n";
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::view::testing::look;

    fn version(version: &str, removed: bool, reason: &'static str, by: &[&str]) -> GcVersion {
        GcVersion {
            image: "demo".into(),
            version: version.into(),
            size_bytes: 1 << 20,
            published_at: Some("2026-01-01T03:04:05Z".into()),
            removed,
            reason,
            by: by.iter().map(|text| (*text).to_owned()).collect(),
            failure: None,
        }
    }

    #[test]
    fn text_and_json() {
        let mut view = GcView {
            dry_run: true,
            versions: vec![
                version("v1", true, "old", &[]),
                version("v2", true, "surplus", &[]),
                version("v3", false, "tagged", &["stable"]),
            ],
            drafts: vec!["/images/demo/versions/.new-x".into()],
            busy: vec![],
        };
        assert_eq!(
            view.text(look()),
            "IMAGE  VERSION     SIZE  PUBLISHED  WHAT      WHY\n\
             demo   v1       1.0 MiB  24 h ago   would go  untagged, and too old\n\
             demo   v2       1.0 MiB  24 h ago   would go  untagged, and newer ones are kept\n\
             demo   v3       1.0 MiB  24 h ago   stays     tagged stable\n\
             would go: /images/demo/versions/.new-x, left by an interrupted call\n\
             nothing was removed; --yes does it\n"
        );
        view.stays_after_all(0, "desktop p/ada");
        view.failed(1, "no way");
        let value = serde_json::to_value(&view).unwrap();
        assert_eq!(value["versions"][0]["removed"], json!(false));
        assert_eq!(value["versions"][0]["by"], json!(["desktop p/ada"]));
        assert_eq!(value["versions"][1]["failure"], "no way");
        assert_eq!(value["versions"][2]["reason"], "tagged");
    }
}
