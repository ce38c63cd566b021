//! `rolltop image build`: from a recipe to a published version.

use std::{path::PathBuf, time::SystemTime};

use clap::{Args, ValueEnum};
use rolltop_image::{BuildEvent, ImageStore, Published, Recipe, RootKind, Tag};
use serde_json::json;
use tonic::Code;

use super::{local, tags};
use crate::{
    app::App,
    failure::Failure,
    output::{Format, Output, View as _, clean, notice},
    terminal::{Endings, TerminalError},
};

/// Options of `image build`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Directory with recipe.toml
    recipe: PathBuf,
    /// Store to publish into, made if missing
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Tag to let point at the new version
    #[arg(long)]
    tag: Option<Tag>,
    /// In what form the root is kept
    #[arg(long, value_enum, default_value = "erofs")]
    format: RootFormat,
    /// Take the version that was built from the same recipe, if there is one
    #[arg(long)]
    reuse: bool,
    /// Where the root is built [default: .build in the store]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
}

/// The forms of a root.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RootFormat {
    /// One compressed file: fastest, and the better one on NFS
    Erofs,
    /// A plain directory
    Directory,
}

impl From<RootFormat> for RootKind {
    fn from(format: RootFormat) -> Self {
        match format {
            RootFormat::Erofs => Self::Erofs,
            RootFormat::Directory => Self::Directory,
        }
    }
}

/// What came of it.
struct Made {
    published: Published,
    tags: Vec<String>,
    reused: bool,
}

impl Build {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let output = app.output;
        let mut endings = Endings::catch().map_err(TerminalError::from)?;
        let mut work = tokio::task::spawn_blocking(move || self.make(output));
        let made = tokio::select! {
            made = &mut work => made,
            signal = endings.recv() => {
                // A Ctrl-C also reaches the program that runs now, which ends.
                if output.format() == Format::Table {
                    notice("stopping; once more to leave what is half made");
                }
                tokio::select! {
                    // It did not get its way; what it made or met is no news.
                    _ = work => {}
                    _ = endings.recv() => {}
                }
                return Err(Failure::interrupted(signal, "the build was interrupted"));
            }
        };
        let crashed = |_| Failure::new(Code::Internal, "IMAGE_BUILD_FAILED", "the build crashed");
        report(output, &made.map_err(crashed)??)
    }

    /// Blocks for as long as it takes.
    fn make(self, output: Output) -> Result<Made, Failure> {
        let recipe = Recipe::open(&self.recipe)?;
        let store = ImageStore::create(&self.store)?;
        let (published, reused) = match self.reusable(&store, &recipe)? {
            Some(published) => (published, true),
            None => (self.publish(&store, &recipe, output)?, false),
        };
        if let Some(tag) = &self.tag {
            store.tag(&published.name, tag, &published.version)?;
        }
        let tags = tags(&store, &published.name, &published.version)?;
        Ok(Made { published, tags, reused })
    }

    /// Of the same recipe and the same form.
    fn reusable(&self, store: &ImageStore, recipe: &Recipe) -> Result<Option<Published>, Failure> {
        if !self.reuse {
            return Ok(None);
        }
        let found = store.find_by_recipe(&recipe.digest()?)?;
        Ok(found.filter(|published| published.manifest.root == self.format.into()))
    }

    fn publish(
        &self,
        store: &ImageStore,
        recipe: &Recipe,
        output: Output,
    ) -> Result<Published, Failure> {
        let work_dir = self.work_dir.clone().unwrap_or_else(|| store.path().join(".build"));
        let mut told = Ok(());
        let built = rolltop_image::build(recipe, &work_dir, &mut |event| {
            let now = tell(output, event);
            if told.is_ok() {
                told = now;
            }
        })?;
        told?;
        tell(output, BuildEvent::Step("publishing"))?;
        let input = recipe.manifest_input()?;
        Ok(store.publish(&built.path(), &input, self.format.into(), SystemTime::now())?)
    }
}

/// For a person on standard error, for a program as JSON lines.
fn tell(output: Output, event: BuildEvent<'_>) -> Result<(), Failure> {
    match (output.format(), event) {
        (Format::Json, BuildEvent::Step(text)) => {
            output.json_line(&json!({ "event": "step", "text": text }))
        }
        (Format::Json, BuildEvent::Line(text)) => {
            output.json_line(&json!({ "event": "line", "text": text }))
        }
        (Format::Table, BuildEvent::Step(text)) => {
            notice(&format!("==> {}", clean(text)));
            Ok(())
        }
        (Format::Table, BuildEvent::Line(text)) => {
            notice(&format!("    {}", clean(text)));
            Ok(())
        }
    }
}

fn report(output: Output, made: &Made) -> Result<(), Failure> {
    let image = local::view(&made.published, made.tags.clone());
    match output.format() {
        Format::Json => output
            .json_line(&json!({ "event": "published", "reused": made.reused, "image": image })),
        Format::Table => {
            let how = if made.reused { "kept: built from the same recipe" } else { "published" };
            output.write(&format!("{how}\n{}", image.text(output.look())))
        }
    }
}
