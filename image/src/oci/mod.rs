//! Container images: OCI layouts and what `docker save` writes.
//!
//! Everything is read from a directory that is not trusted: paths stay within
//! it, documents are bounded, and every blob is compared with its digest.

mod blob;
mod docker;
mod layout;
mod platform;

use std::io;
use std::path::Path;

use oci_spec::image::ImageConfiguration;
use thiserror::Error;

use crate::archive::{ArchiveError, Unpacker, Whiteouts, decompressed};
use crate::digest::{Digest, DigestError};
use crate::tree::Tree;

use blob::{Blob, Digesting};

/// Most layers of an image; container tools stop at 127.
const MAX_LAYERS: usize = 512;
/// The label by which an image says what it is.
const DESCRIPTION: &str = "org.opencontainers.image.description";

/// Why a container image was refused.
#[derive(Debug, Error)]
pub enum OciError {
    /// A file of it cannot be read.
    #[error("{path} of the container image cannot be read")]
    Read {
        /// Inside the image.
        path: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A document in it is not what it should be.
    #[error("{path} of the container image is not valid: {why}")]
    Document {
        /// Inside the image.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A digest of another kind.
    #[error("{path} of the container image: {source}")]
    Digest {
        /// Where it stands.
        path: String,
        /// Why it is none.
        source: DigestError,
    },
    /// A blob is not what its digest says.
    #[error("{path} of the container image is damaged: expected {expected}, found {found}")]
    Damaged {
        /// The blob.
        path: String,
        /// By the document that names it.
        expected: String,
        /// In truth.
        found: String,
    },
    /// Nothing for this machine.
    #[error("the container image is for {found}, not for {wanted}, which this machine is")]
    Platform {
        /// This machine's.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// Several images, and none was chosen.
    #[error("there are several images in it ({}); choose one with --reference", .0.join(", "))]
    Several(Vec<String>),
    /// The chosen one is not there.
    #[error("there is no image {wanted} in it; there is: {}", .found.join(", "))]
    NoReference {
        /// As asked for.
        wanted: String,
        /// What there is.
        found: Vec<String>,
    },
    /// A layer cannot be unpacked.
    #[error("layer {number} of the container image: {source}")]
    Layer {
        /// Its place, counted from 1.
        number: usize,
        /// Why not.
        source: ArchiveError,
    },
}

/// An image whose documents have been read and verified.
#[derive(Debug)]
pub(crate) struct ContainerImage {
    layers: Vec<Layer>,
    /// What the image says of itself.
    pub(crate) description: Option<String>,
}

#[derive(Debug)]
struct Layer {
    blob: Blob,
    /// Of the layer without its compression.
    content: Digest,
}

// === impl ContainerImage ===

impl ContainerImage {
    /// Whether a directory looks like one.
    pub(crate) fn is_in(dir: &Path) -> bool {
        ["oci-layout", "manifest.json"].iter().any(|name| dir.join(name).is_file())
    }

    /// Reads the image in a directory; `reference` chooses among several.
    pub(crate) fn open(dir: &Path, reference: Option<&str>) -> Result<Self, OciError> {
        let tree = Tree::open(dir)
            .map_err(|source| OciError::Read { path: dir.display().to_string(), source })?;
        // Newer `docker save` archives have both; the layout's digests cover more.
        match blob::has(&tree, "oci-layout")? {
            true => layout::find(&tree, reference),
            false => docker::find(&tree, reference),
        }
    }

    /// How many layers there are.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Applies one layer after the other; each is verified as it is read.
    pub(crate) fn unpack(
        &self,
        dir: &Path,
        unpacker: &mut Unpacker<'_>,
        mut begun: impl FnMut(usize),
    ) -> Result<(), OciError> {
        let tree = Tree::open(dir)
            .map_err(|source| OciError::Read { path: dir.display().to_string(), source })?;
        for (at, layer) in self.layers.iter().enumerate() {
            begun(at + 1);
            layer.unpack(&tree, unpacker, at + 1)?;
        }
        Ok(())
    }
}

// === impl Layer ===

impl Layer {
    fn unpack(
        &self,
        tree: &Tree,
        unpacker: &mut Unpacker<'_>,
        number: usize,
    ) -> Result<(), OciError> {
        let read = |source| OciError::Read { path: self.blob.path.clone(), source };
        let mut packed = Digesting::new(self.blob.open(tree)?);
        let unpacked = {
            let stream = decompressed(&mut packed).map_err(read)?;
            let mut stream = Digesting::new(stream);
            unpacker
                .unpack(&mut stream, Whiteouts::Honoured)
                .map_err(|source| OciError::Layer { number, source })?;
            stream.digest()
        };
        // What follows the compressed stream belongs to the blob as well.
        io::copy(&mut packed, &mut io::sink()).map_err(read)?;
        let bytes = packed.bytes();
        self.blob.check(&packed.digest(), bytes)?;
        blob::compare(&self.blob.path, "content", &self.content, &unpacked)
    }
}

/// What both kinds have in common once their blobs are known.
fn assemble(config: &ImageConfiguration, blobs: Vec<Blob>) -> Result<ContainerImage, OciError> {
    let document = |why: String| OciError::Document { path: "the configuration".to_owned(), why };
    platform::check(config.os(), config.architecture())?;
    let contents = config.rootfs().diff_ids();
    if contents.len() != blobs.len() {
        let why = format!("it has {} diff_ids for {} layers", contents.len(), blobs.len());
        return Err(document(why));
    }
    if blobs.is_empty() || blobs.len() > MAX_LAYERS {
        return Err(document(format!("{} layers; 1 to {MAX_LAYERS} can be", blobs.len())));
    }
    let layers = blobs
        .into_iter()
        .zip(contents)
        .map(|(blob, content)| {
            Ok(Layer { content: blob::digest("rootfs.diff_ids", content)?, blob })
        })
        .collect::<Result<_, OciError>>()?;
    let labels = config.config().as_ref().and_then(|config| config.labels().as_ref());
    let description = labels.and_then(|labels| labels.get(DESCRIPTION)).cloned();
    Ok(ContainerImage { layers, description })
}
