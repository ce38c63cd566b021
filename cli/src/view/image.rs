//! Image versions: as hosts see them, and as a local store has them.

use rolltop_proto::v1::{ClusterImage, ImageVersion};
use serde::Serialize;

use super::{ago, or_empty, some, time, words};
use crate::output::{Column, Fields, Look, Table, Tone, View, size_bytes};

/// `{"images": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct ImageList {
    pub(crate) images: Vec<ImageView>,
}

/// One version of an image; `host` is null for one in a local store.
#[derive(Debug, Serialize)]
pub(crate) struct ImageView {
    pub(crate) host: Option<String>,
    pub(crate) image: String,
    pub(crate) version: String,
    pub(crate) digest: Option<String>,
    pub(crate) size_bytes: i64,
    pub(crate) published_at: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) display: &'static str,
    pub(crate) description: Option<String>,
    /// The id that root has in it, where its owners were moved; known of local stores.
    pub(crate) first_id: Option<u32>,
    /// Why nothing new starts from it; known of local stores.
    pub(crate) retired: Option<RetiredView>,
}

/// That a version is retired.
#[derive(Debug, Serialize)]
pub(crate) struct RetiredView {
    pub(crate) at: String,
    pub(crate) reason: Option<String>,
}

impl ImageView {
    pub(crate) fn new(host: Option<String>, version: ImageVersion) -> Self {
        Self {
            host,
            digest: some(&version.digest),
            description: some(&version.description),
            image: version.image,
            version: version.version,
            size_bytes: version.size_bytes,
            published_at: time(version.published_at),
            tags: version.tags,
            display: words::display(version.display),
            first_id: None,
            retired: None,
        }
    }
}

impl ImageView {
    /// Its tags, or that it has none any more.
    fn state(&self) -> (Tone, String) {
        match &self.retired {
            None => (Tone::Normal, self.tags.join(", ")),
            Some(_) => (Tone::Faint, "(retired)".to_owned()),
        }
    }
}

impl FromIterator<ClusterImage> for ImageList {
    fn from_iter<I: IntoIterator<Item = ClusterImage>>(images: I) -> Self {
        let images = images
            .into_iter()
            .filter_map(|image| Some(ImageView::new(some(&image.host), image.version?)));
        Self { images: images.collect() }
    }
}

impl View for ImageList {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Left("IMAGE"),
                Column::Left("VERSION"),
                Column::Left("TAGS"),
                Column::Right("SIZE"),
                Column::Left("PUBLISHED"),
                Column::Left("HOST"),
            ],
            "no images",
        );
        for image in &self.images {
            let plain = |text| (Tone::Normal, text);
            table.row([
                plain(image.image.clone()),
                plain(image.version.clone()),
                image.state(),
                plain(size_bytes(image.size_bytes)),
                plain(ago(image.published_at.as_ref(), look)),
                plain(or_empty(image.host.as_ref())),
            ]);
        }
        table.render(look.paint)
    }
}

impl View for ImageView {
    fn text(&self, look: Look) -> String {
        let mut fields = Fields::default();
        fields
            .field("image", &self.image)
            .field("version", &self.version)
            .field("tags", self.tags.join(", "))
            .field("description", or_empty(self.description.as_ref()))
            .field("digest", or_empty(self.digest.as_ref()))
            .field("size", size_bytes(self.size_bytes))
            .field("display", self.display);
        if let Some(published) = &self.published_at {
            fields.field("published", format!("{published} ({})", ago(Some(published), look)));
        }
        if let Some(first) = self.first_id {
            fields.field("root's id", first.to_string());
        }
        if let Some(retired) = &self.retired {
            let reason = retired.reason.as_ref().map(|text| format!(": {text}"));
            fields.field("retired", retired.at.clone() + &reason.unwrap_or_default());
        }
        if let Some(host) = &self.host {
            fields.field("host", host);
        }
        fields.render(look.paint)
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::DisplayProtocol;
    use serde_json::json;

    use super::*;
    use crate::view::testing::{earlier, look};

    fn sample() -> ClusterImage {
        ClusterImage {
            host: "host-1".into(),
            version: Some(ImageVersion {
                image: "demo".into(),
                version: "20260102-1".into(),
                digest: "sha256:ab".into(),
                size_bytes: 300 << 20,
                published_at: earlier(7200),
                tags: vec!["next".into(), "stable".into()],
                display: DisplayProtocol::Vnc.into(),
                description: String::new(),
            }),
        }
    }

    #[test]
    fn json() {
        let list: ImageList = [sample(), ClusterImage::default()].into_iter().collect();
        assert_eq!(
            serde_json::to_value(list).unwrap(),
            json!({"images": [{
                "host": "host-1",
                "image": "demo",
                "version": "20260102-1",
                "digest": "sha256:ab",
                "size_bytes": 314_572_800,
                "published_at": "2026-01-02T01:04:05Z",
                "tags": ["next", "stable"],
                "display": "vnc",
                "description": null,
                "first_id": null,
                "retired": null,
            }]})
        );
    }

    #[test]
    fn text() {
        let list: ImageList = [sample()].into_iter().collect();
        assert_eq!(
            list.text(look()),
            "IMAGE  VERSION     TAGS               SIZE  PUBLISHED  HOST\n\
             demo   20260102-1  next, stable  300.0 MiB  2 h ago    host-1\n"
        );
    }
}
