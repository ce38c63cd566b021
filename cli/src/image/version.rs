//! `rolltop image retire`, `verify` and `untag`: single versions of a store.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::Args;
use rolltop_image::{ImageRef, ImageStore, Published, Retirement, Selector};
use serde_json::json;
use tonic::Code;

use crate::{
    app::App,
    failure::Failure,
    output::{Format, notice},
    view::{ImageView, RetiredView},
};

/// Options of `image retire`.
#[derive(Debug, Args)]
pub(crate) struct Retire {
    /// "image@version"
    image: ImageRef,
    /// The store
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Why, in one line for whoever is refused
    #[arg(long, default_value = "", hide_default_value = true, conflicts_with = "undo")]
    reason: String,
    /// Take it back
    #[arg(long)]
    undo: bool,
}

/// Options of `image verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// "image@version" or "image:tag"; all there are, if none is named
    images: Vec<ImageRef>,
    /// The store
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

impl Retire {
    pub(crate) fn run(self, app: &App) -> Result<(), Failure> {
        let store = ImageStore::open(&self.store)?;
        let Selector::Version(version) = &self.image.selector else {
            // A tag may point elsewhere a moment later.
            return Err(Failure::usage(format!(
                "name the version itself, as {}@VERSION",
                self.image.name
            )));
        };
        let name = &self.image.name;
        let sentence = if self.undo {
            match store.reinstate(name, version)? {
                true => format!("{name}@{version} can be started again"),
                false => format!("{name}@{version} was not retired"),
            }
        } else {
            store.retire(name, version, &self.reason, SystemTime::now())?;
            format!("{name}@{version} is retired: what runs goes on, nothing new starts from it")
        };
        let document =
            json!({ "image": name.as_str(), "version": version.as_str(), "retired": !self.undo });
        app.output.done(&sentence, &document)
    }
}

impl Verify {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let format = app.output.format();
        let work = move || self.verify(format);
        let crashed = |_| Failure::new(Code::Internal, "INTERNAL", "the verification crashed");
        let (sound, damaged) = tokio::task::spawn_blocking(work).await.map_err(crashed)??;
        let count = sound.len();
        if damaged.is_empty() {
            return app.output.done(&format!("{count} sound"), &json!({ "sound": sound }));
        }
        let message =
            format!("{} of {} versions are damaged", damaged.len(), count + damaged.len());
        Err(Failure::new(Code::DataLoss, "IMAGE_DAMAGED", message)
            .details(damaged)
            .hint("publish them anew, let their tags point there, and retire the damaged ones"))
    }

    /// Blocks for as long as it takes: every byte is read.
    fn verify(&self, format: Format) -> Result<(Vec<String>, Vec<String>), Failure> {
        let store = ImageStore::open(&self.store)?;
        let (mut sound, mut damaged) = (Vec::new(), Vec::new());
        let versions: Vec<Published> = if self.images.is_empty() {
            let listing = store.list()?;
            damaged.extend(listing.broken.iter().map(|b| Failure::from_broken(b).message.clone()));
            listing.versions.into_iter().map(|listed| listed.published).collect()
        } else {
            self.images.iter().map(|image| store.find(image)).collect::<Result<_, _>>()?
        };
        for published in &versions {
            let title = format!("{}@{}", published.name, published.version);
            if format == Format::Table {
                notice(&format!("reading {title}"));
            }
            match store.verify(published) {
                Ok(()) => sound.push(title),
                Err(error) => damaged.push(error.to_string()),
            }
        }
        Ok((sound, damaged))
    }
}

pub(super) fn untag(app: &App, image: &ImageRef, store: &Path) -> Result<(), Failure> {
    let store = ImageStore::open(store)?;
    let Selector::Tag(tag) = &image.selector else {
        return Err(Failure::usage(format!("name a tag, as {}:TAG", image.name)));
    };
    if !store.untag(&image.name, tag)? {
        return Err(rolltop_image::StoreError::NoTag(image.name.clone(), tag.clone()).into());
    }
    let document = json!({ "image": image.name.as_str(), "removed": tag.as_str() });
    app.output.done(&format!("removed {image}; its version stays"), &document)
}

/// The view of a version, with the word that it is retired.
pub(super) fn with_retirement(mut view: ImageView, retired: Option<&Retirement>) -> ImageView {
    view.retired = retired.map(|retirement| RetiredView {
        at: prost_types::Timestamp::from(retirement.at).to_string(),
        reason: Some(retirement.reason.clone()).filter(|text| !text.is_empty()),
    });
    view
}
