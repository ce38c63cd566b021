//! OCI image layouts, version 1.0.0 (image-layout.md of the specification).

use oci_spec::image::{
    Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, OciLayout,
};

use super::blob::{self, Blob};
use super::{ContainerImage, OciError, assemble, platform};
use crate::tree::Tree;

/// Indexes that name indexes: a real one has one level or two.
const MAX_DEPTH: usize = 4;
/// By which an entry of the index tells its name.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];
/// What BuildKit notes about an image, beside it.
const ATTESTATION: &str = "vnd.docker.reference.type";

pub(super) fn find(tree: &Tree, reference: Option<&str>) -> Result<ContainerImage, OciError> {
    let layout: OciLayout = parse("oci-layout", &blob::document(tree, "oci-layout")?)?;
    if layout.image_layout_version() != "1.0.0" {
        return Err(OciError::Document {
            path: "oci-layout".to_owned(),
            why: format!("version {} is not known, 1.0.0 is", layout.image_layout_version()),
        });
    }
    let mut path = "index.json".to_owned();
    let mut text = blob::document(tree, &path)?;
    let mut reference = reference;
    for _ in 0..MAX_DEPTH {
        let index: ImageIndex = parse(&path, &text)?;
        let chosen = choose(&path, index.manifests(), reference.take())?;
        let found = Blob::described(chosen.digest().as_ref(), chosen.size())?;
        text = found.document(tree)?;
        path = found.path;
        if !is_index(chosen) {
            return image(tree, &path, &text);
        }
    }
    Err(OciError::Document { path, why: "too many indexes within each other".to_owned() })
}

fn image(tree: &Tree, path: &str, text: &str) -> Result<ContainerImage, OciError> {
    let manifest: ImageManifest = parse(path, text)?;
    let config = manifest.config();
    let kind = config.media_type().to_string();
    if !matches!(config.media_type(), MediaType::ImageConfig)
        && kind != "application/vnd.docker.container.image.v1+json"
    {
        let why = format!("it is no container image but {kind}");
        return Err(OciError::Document { path: path.to_owned(), why });
    }
    let config = Blob::described(config.digest().as_ref(), config.size())?;
    let document: ImageConfiguration = parse(&config.path, &config.document(tree)?)?;
    let layers = manifest
        .layers()
        .iter()
        .map(|layer| Blob::described(layer.digest().as_ref(), layer.size()))
        .collect::<Result<_, _>>()?;
    assemble(&document, layers)
}

/// The entry that is asked for, or the only one for this machine.
fn choose<'d>(
    path: &str,
    all: &'d [Descriptor],
    reference: Option<&str>,
) -> Result<&'d Descriptor, OciError> {
    let images: Vec<&Descriptor> = all.iter().filter(|d| !is_attestation(d)).collect();
    let named: Vec<&Descriptor> = match reference {
        None => images.clone(),
        Some(wanted) => {
            images.iter().filter(|d| names(d).any(|name| name == wanted)).copied().collect()
        }
    };
    if let (true, Some(wanted)) = (named.is_empty(), reference) {
        let found = images.iter().flat_map(|d| names(d)).map(str::to_owned).collect();
        return Err(OciError::NoReference { wanted: wanted.to_owned(), found });
    }
    let fits = |d: &&Descriptor| d.platform().as_ref().is_some_and(platform::fits);
    let mut fitting: Vec<&Descriptor> = named.iter().filter(|d| fits(d)).copied().collect();
    if fitting.is_empty() {
        // Who does not tell its platform tells it in its configuration.
        fitting = named.iter().filter(|d| d.platform().is_none()).copied().collect();
    }
    // One image may have several names.
    fitting.dedup_by(|a, b| a.digest() == b.digest());
    match fitting.as_slice() {
        [one] => Ok(one),
        [] if named.is_empty() => {
            Err(OciError::Document { path: path.to_owned(), why: "it names no image".to_owned() })
        }
        [] => Err(OciError::Platform {
            wanted: platform::here(),
            found: named.iter().map(|d| platform_of(d)).collect::<Vec<_>>().join(", "),
        }),
        several => Err(OciError::Several(
            several
                .iter()
                .map(|d| names(d).next().unwrap_or_else(|| d.digest().as_ref()).to_owned())
                .collect(),
        )),
    }
}

fn platform_of(descriptor: &Descriptor) -> String {
    match descriptor.platform() {
        Some(p) => {
            let variant = p.variant().as_ref().map(|v| format!("/{v}")).unwrap_or_default();
            format!("{}/{}{variant}", p.os(), p.architecture())
        }
        None => "an unknown platform".to_owned(),
    }
}

fn names(descriptor: &Descriptor) -> impl Iterator<Item = &str> {
    let notes = descriptor.annotations().as_ref();
    NAMES.iter().filter_map(move |key| notes?.get(*key)).map(String::as_str)
}

fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.annotations().as_ref().is_some_and(|notes| notes.contains_key(ATTESTATION))
}

fn is_index(descriptor: &Descriptor) -> bool {
    matches!(descriptor.media_type(), MediaType::ImageIndex)
        || descriptor.media_type().to_string()
            == "application/vnd.docker.distribution.manifest.list.v2+json"
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(path: &str, text: &str) -> Result<T, OciError> {
    serde_json::from_str(text)
        .map_err(|error| OciError::Document { path: path.to_owned(), why: error.to_string() })
}
