//! What `docker save` wrote before it wrote OCI layouts: `manifest.json`, one
//! configuration and one `layer.tar` per layer.

use serde::Deserialize;

use super::blob::{self, Blob};
use super::layout::parse;
use super::{ContainerImage, OciError, assemble};
use crate::tree::Tree;

const MANIFEST: &str = "manifest.json";

/// One image of the archive.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(super) fn find(tree: &Tree, reference: Option<&str>) -> Result<ContainerImage, OciError> {
    let saved: Vec<Saved> = parse(MANIFEST, &blob::document(tree, MANIFEST)?)?;
    let chosen = choose(&saved, reference)?;
    // Its name is its digest; the configuration has those of the layers' contents.
    let text = Blob::named(&chosen.config).document(tree)?;
    let config = parse(&chosen.config, &text)?;
    assemble(&config, chosen.layers.iter().map(|path| Blob::named(path)).collect())
}

fn choose<'s>(saved: &'s [Saved], reference: Option<&str>) -> Result<&'s Saved, OciError> {
    let tags = |saved: &Saved| saved.repo_tags.clone().unwrap_or_default();
    let all = || saved.iter().flat_map(tags).collect();
    match (reference, saved) {
        (Some(wanted), _) => saved
            .iter()
            .find(|saved| tags(saved).iter().any(|tag| tag == wanted))
            .ok_or_else(|| OciError::NoReference { wanted: wanted.to_owned(), found: all() }),
        (None, [one]) => Ok(one),
        (None, []) => {
            let why = "it names no image".to_owned();
            Err(OciError::Document { path: MANIFEST.to_owned(), why })
        }
        (None, _) => Err(OciError::Several(all())),
    }
}
