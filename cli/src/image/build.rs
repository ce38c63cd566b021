//! `rolltop image build`: from a recipe to a published version.

use std::{path::PathBuf, time::SystemTime};

use clap::Args;
use rolltop_image::{BuildEvent, ImageStore, Published, Recipe};

use super::making::{Made, Making, Teller, need_root};
use crate::{app::App, failure::Failure, output::Output};

/// Options of `image build`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Directory with recipe.toml
    recipe: PathBuf,
    /// Take the version that was built from the same recipe, if there is one
    #[arg(long)]
    reuse: bool,
    #[command(flatten)]
    making: Making,
}

impl Build {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let Self { recipe, reuse, making } = self;
        making
            .run(app, move |making, store, output| {
                let recipe = Recipe::open(&recipe)?;
                if reuse && let Some(published) = reusable(making, store, &recipe)? {
                    return Ok(Made { published, reused: true });
                }
                need_root("building an image")?;
                let published = publish(making, store, &recipe, output)?;
                Ok(Made { published, reused: false })
            })
            .await
    }
}

/// Of the same recipe and the same form.
fn reusable(
    making: &Making,
    store: &ImageStore,
    recipe: &Recipe,
) -> Result<Option<Published>, Failure> {
    let form = making.form()?;
    let found = store.find_by_recipe(&recipe.digest(Some(store))?)?;
    Ok(found.filter(|published| {
        published.manifest.root == form.kind() && published.manifest.first_id == form.first_id()
    }))
}

fn publish(
    making: &Making,
    store: &ImageStore,
    recipe: &Recipe,
    output: Output,
) -> Result<Published, Failure> {
    let mut teller = Teller::new(output);
    let work_dir = making.work_dir(store);
    let built =
        rolltop_image::build(recipe, Some(store), &work_dir, &mut |event| teller.tell(event))?;
    teller.tell(BuildEvent::Step("publishing"));
    teller.done()?;
    let input = recipe.manifest_input(Some(store))?;
    Ok(store.publish(&built.path(), &input, making.form()?, SystemTime::now())?)
}
