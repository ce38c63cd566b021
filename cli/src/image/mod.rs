//! `rolltop image`: images in a local store, and those that hosts have.

mod build;
mod gc;
mod import;
mod local;
mod making;
mod version;

use std::path::PathBuf;

use clap::Subcommand;
use rolltop_image::{ImageName, ImageRef, ImageStore, Selector, Tag, VersionId};
use rolltop_proto::v1::{ClusterImage, ImageVersion, ListClusterImagesRequest};
use serde_json::json;
use tonic::Code;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    view::{ImageList, ImageView},
};

/// What can be done with images.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build a recipe, and publish it as a new version; needs root
    Build(build::Build),
    /// Publish a root from a tar file or a container image; needs root
    Import(import::Import),
    /// Publish a root that is a directory or an EROFS file; needs root
    Publish(import::Publish),
    /// List the versions that hosts have, or those of a local store
    List {
        /// A local store instead of the broker
        #[arg(long, value_name = "DIR")]
        store: Option<PathBuf>,
    },
    /// Let a tag of a local store point at a version
    Tag {
        /// "image@version", or "image:tag" for what another tag points at
        image: ImageRef,
        /// The tag to move
        tag: Tag,
        /// The store
        #[arg(long, value_name = "DIR")]
        store: PathBuf,
    },
    /// Remove a tag of a local store; the version stays
    Untag {
        /// "image:tag"
        image: ImageRef,
        /// The store
        #[arg(long, value_name = "DIR")]
        store: PathBuf,
    },
    /// Let nothing new start from a version; what runs goes on
    Retire(version::Retire),
    /// Compare whole versions with their digests
    Verify(version::Verify),
    /// Remove versions that nobody needs; says what and why, and does it with --yes
    Gc(gc::Gc),
    /// Show one version
    Show {
        /// "image:tag" or "image@version"
        image: ImageRef,
        /// A local store instead of the broker
        #[arg(long, value_name = "DIR")]
        store: Option<PathBuf>,
    },
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        match self {
            Self::Build(build) => build.run(app).await,
            Self::Import(import) => import.run(app).await,
            Self::Publish(publish) => publish.run(app).await,
            Self::Retire(retire) => retire.run(app),
            Self::Verify(verify) => verify.run(app).await,
            Self::Gc(gc) => gc.run(app).await,
            Self::Untag { image, store } => version::untag(app, &image, &store),
            Self::List { store: Some(store) } => list_local(app, store),
            Self::List { store: None } => {
                app.output.show(&in_cluster(app).await?.into_iter().collect::<ImageList>())
            }
            Self::Tag { image, tag, store } => move_tag(app, &image, &tag, store),
            Self::Show { image, store: Some(store) } => {
                let store = ImageStore::open(store)?;
                let found = store.find(&image)?;
                let retired = store.retirement(&found.name, &found.version)?;
                let view = local::view(&found, tags(&store, &image.name, &found.version)?);
                app.output.show(&version::with_retirement(view, retired.as_ref()))
            }
            Self::Show { image, store: None } => {
                let mut images = in_cluster(app).await?;
                images.retain(|at| at.version.as_ref().is_some_and(|version| is(version, &image)));
                if images.is_empty() {
                    let message = format!("no host has an image {image}");
                    return Err(Failure::new(Code::NotFound, "IMAGE_NOT_FOUND", message)
                        .hint("see `rolltop image list`"));
                }
                app.output.show(&images.into_iter().collect::<ImageList>())
            }
        }
    }
}

async fn in_cluster(app: &App) -> Result<Vec<ClusterImage>, Failure> {
    let mut broker = app.broker().await?;
    Ok(within(QUICK, broker.list_images(ListClusterImagesRequest {})).await?.images)
}

fn is(version: &ImageVersion, image: &ImageRef) -> bool {
    version.image == image.name.as_str()
        && match &image.selector {
            Selector::Tag(tag) => version.tags.iter().any(|name| name == tag.as_str()),
            Selector::Version(wanted) => version.version == wanted.as_str(),
        }
}

/// What is broken is told beside what is not.
fn list_local(app: &App, store: PathBuf) -> Result<(), Failure> {
    let listing = ImageStore::open(store)?.list()?;
    for broken in &listing.broken {
        let failure = Failure::from_broken(broken);
        // Without standard error, the list is all there is.
        failure.write(&mut std::io::stderr().lock(), app.output.format()).ok();
    }
    let images = listing.versions.iter().map(|listed| {
        let tags = listed.tags.iter().map(Tag::to_string).collect();
        version::with_retirement(local::view(&listed.published, tags), listed.retired.as_ref())
    });
    app.output.show(&ImageList { images: images.collect::<Vec<ImageView>>() })
}

fn move_tag(app: &App, image: &ImageRef, tag: &Tag, store: PathBuf) -> Result<(), Failure> {
    let store = ImageStore::open(store)?;
    let found = store.resolve(image)?;
    store.tag(&found.name, tag, &found.version)?;
    let (name, version) = (found.name.as_str(), found.version.as_str());
    let sentence = format!("{name}:{} is now {version}", tag.as_str());
    app.output.done(&sentence, &json!({ "image": name, "tag": tag.as_str(), "version": version }))
}

/// The tags that point at a version.
fn tags(store: &ImageStore, name: &ImageName, version: &VersionId) -> Result<Vec<String>, Failure> {
    Ok(store.tags_of(name, version)?.iter().map(Tag::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_picks_by_tag_or_version() {
        let version = ImageVersion {
            image: "demo".into(),
            version: "v1".into(),
            tags: vec!["stable".into()],
            ..ImageVersion::default()
        };
        for (reference, expected) in [
            ("demo:stable", true),
            ("demo@v1", true),
            ("demo:v1", false),
            ("demo:next", false),
            ("other:stable", false),
        ] {
            assert_eq!(is(&version, &reference.parse().unwrap()), expected, "{reference}");
        }
    }
}
