//! Builds a recipe and publishes it: `build-image RECIPE STORE WORK TAG`.

use std::error::Error;
use std::path::Path;
use std::time::SystemTime;

use rolltop_image::{BuildEvent, ImageStore, Recipe, RootKind, build};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, store, work, tag] = &arguments[..] else {
        return Err("use: build-image RECIPE STORE WORK TAG".into());
    };
    let recipe = Recipe::open(recipe)?;
    let store = ImageStore::create(store)?;
    let input = recipe.manifest_input(Some(&store))?;
    let published = match input
        .recipe_digest
        .map(|digest| store.find_by_recipe(&digest))
        .transpose()?
        .flatten()
    {
        Some(published) => published,
        None => {
            let root = build(&recipe, Some(&store), Path::new(work), &mut |event| match event {
                BuildEvent::Step(step) => println!("== {step}"),
                BuildEvent::Line(line) => println!("   {line}"),
            })?;
            println!("== publishing");
            store.publish(&root.path(), &input, RootKind::Erofs, SystemTime::now())?
        }
    };
    store.tag(&published.name, &tag.parse()?, &published.version)?;
    println!("{}@{}: {} bytes", published.name, published.version, published.manifest.size_bytes);
    Ok(())
}
