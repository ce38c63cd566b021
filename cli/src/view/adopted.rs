//! What `data adopt` found on a host.

use rolltop_proto::v1::{AdoptDataResponse, LeftVolume, VolumeKind};
use serde::Serialize;

use super::data::{DataView, table};
use crate::output::{Look, View, clean};

/// `{"adopted": […], "left": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct AdoptedView {
    adopted: Vec<DataView>,
    left: Vec<LeftView>,
}

/// A volume that is nobody's here.
#[derive(Debug, Serialize)]
struct LeftView {
    kind: &'static str,
    volume: String,
    reason: String,
}

impl From<AdoptDataResponse> for AdoptedView {
    fn from(found: AdoptDataResponse) -> Self {
        Self {
            adopted: found.adopted.into_iter().map(DataView::from).collect(),
            left: found.left.into_iter().map(LeftView::from).collect(),
        }
    }
}

impl From<LeftVolume> for LeftView {
    fn from(LeftVolume { volume, reason }: LeftVolume) -> Self {
        let volume = volume.unwrap_or_default();
        let kind = match volume.kind() {
            VolumeKind::Home => "home",
            VolumeKind::Overlay | VolumeKind::Unspecified => "desktop",
        };
        Self { kind, volume: volume.name, reason }
    }
}

impl View for AdoptedView {
    fn text(&self, look: Look) -> String {
        let mut text = table(&self.adopted, "nothing is new", look);
        for LeftView { kind, volume, reason } in &self.left {
            text += &format!("left alone: {kind} {}: {}\n", clean(volume), clean(reason));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::{Data, VolumeId};
    use serde_json::json;

    use super::*;
    use crate::view::testing::look;

    #[test]
    fn what_is_new_and_what_is_left() {
        let data = Data { id: "demo-keep/anna".into(), host: "h1".into(), ..Data::default() };
        let volume = VolumeId { kind: VolumeKind::Home.into(), name: "ben.7".into() };
        let reason = "there is no user ben".to_owned();
        let left = LeftVolume { volume: Some(volume), reason };
        let view = AdoptedView::from(AdoptDataResponse { adopted: vec![data], left: vec![left] });
        let value = serde_json::to_value(&view).unwrap();
        assert_eq!(value["adopted"][0]["id"], "demo-keep/anna");
        assert_eq!(
            value["left"],
            json!([{ "kind": "home", "volume": "ben.7", "reason": "there is no user ben" }])
        );
        let text = view.text(look());
        assert!(text.contains("demo-keep/anna"), "{text}");
        assert!(text.ends_with("left alone: home ben.7: there is no user ben\n"), "{text}");
        let none = AdoptedView::from(AdoptDataResponse::default());
        assert_eq!(none.text(look()), "nothing is new\n");
    }
}
