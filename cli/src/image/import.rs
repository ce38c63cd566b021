//! `rolltop image import` and `publish`: roots that no recipe of ours made.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::Args;
use rolltop_image::{
    BuildEvent, ImageName, ImageSpec, ImportOptions, Imported, Limits, ManifestInput,
};

use super::making::{Made, Making, RootFormat, Teller, is_dir, need_root};
use crate::{app::App, failure::Failure, size};

/// What both say of the root.
#[derive(Debug, Args)]
struct About {
    /// File that says what to start: [init], [session], [display]
    /// [default: /etc/rolltop/image.toml in the root]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// One line for people [default: from the manifest or the container image]
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// Options of `image import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The image to publish a version of
    name: ImageName,
    /// A root's tar file (plain, gzip, xz or zstd), an OCI image layout (file
    /// or directory), or what `docker save` wrote
    file: PathBuf,
    /// Which image of several, by its tag or name
    #[arg(long)]
    reference: Option<String>,
    /// Most that may be unpacked, such as 20GiB [default: 64GiB]
    #[arg(long, value_name = "SIZE", value_parser = size::mib)]
    max_size: Option<i64>,
    #[command(flatten)]
    about: About,
    #[command(flatten)]
    making: Making,
}

/// Options of `image publish`.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The image to publish a version of
    name: ImageName,
    /// A root: a directory, of which a copy is made fit for a container, or an
    /// EROFS file, which is taken as it is
    root: PathBuf,
    #[command(flatten)]
    about: About,
    #[command(flatten)]
    making: Making,
}

impl Import {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        need_root("importing an image")?;
        let Self { name, file, reference, max_size, about, making } = self;
        let mut limits = Limits::default();
        if let Some(mib) = max_size {
            limits.bytes = u64::try_from(mib).unwrap_or(0) << 20;
        }
        making
            .run(app, move |making, store, output| {
                let options = ImportOptions { reference, limits, spec: about.spec()? };
                let mut teller = Teller::new(output);
                let imported =
                    rolltop_image::import(&file, &making.work_dir(store), options, &mut |event| {
                        teller.tell(event)
                    })?;
                teller.tell(BuildEvent::Step("publishing"));
                teller.done()?;
                let input = about.input(name, &imported);
                let root = imported.root.path();
                let published = store.publish(&root, &input, making.form()?, SystemTime::now())?;
                Ok(Made { published, reused: false })
            })
            .await
    }
}

impl Publish {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        need_root("publishing an image")?;
        let Self { name, root, about, making } = self;
        making
            .run(app, move |making, store, output| {
                let as_it_is = !is_dir(&root)?;
                if as_it_is && making.format != RootFormat::Erofs {
                    let message = format!("{} is a file: leave --format away", root.display());
                    return Err(Failure::usage(message));
                }
                let mut teller = Teller::new(output);
                let taken = rolltop_image::take_in(
                    &root,
                    &making.work_dir(store),
                    about.spec()?,
                    &mut |event| teller.tell(event),
                )?;
                teller.tell(BuildEvent::Step("publishing"));
                teller.done()?;
                let input = about.input(name, &taken);
                let (copy, now) = (taken.root.path(), SystemTime::now());
                let published = match as_it_is {
                    true => store.publish_erofs(&root, &copy, &input, now)?,
                    false => store.publish(&copy, &input, making.form()?, now)?,
                };
                Ok(Made { published, reused: false })
            })
            .await
    }
}

impl About {
    fn spec(&self) -> Result<Option<ImageSpec>, Failure> {
        let read = |path: &PathBuf| ImageSpec::open(Path::new(path)).map_err(Failure::from);
        self.manifest.as_ref().map(read).transpose()
    }

    fn input(&self, name: ImageName, taken: &Imported) -> ManifestInput {
        let said = self.description.clone().or_else(|| taken.spec.description.clone());
        // What a container image says of itself may be several lines.
        let from_labels = || {
            let text = taken.description.as_deref().unwrap_or_default();
            text.lines().next().unwrap_or_default().chars().take(120).collect()
        };
        ManifestInput {
            name,
            description: said.unwrap_or_else(from_labels),
            desktop: taken.spec.desktop.clone(),
            recipe_digest: None,
        }
    }
}
