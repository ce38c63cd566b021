//! Building upon a version that is published already.
//!
//! Its root is copied, and packages are added by its own apt, from where this
//! machine gets its own.

use std::path::Path;
use std::process::Command;

use crate::build::{BuildError, BuildEvent, BuiltRoot, apt_options, follow_in_root, io_error};
use crate::import::copy_out;
use crate::mirror::Mirror;
use crate::name::ImageRef;
use crate::recipe::Recipe;
use crate::store::{ImageStore, Published, Root, StoreError};
use crate::tool;
use crate::tree::{InnerPath, Tree};

/// What apt is told for this once, in a directory that is emptied afterwards.
const APT_CONF: &str = "run/rolltop-apt.conf";
const SOURCES: &str = "run/rolltop-sources.list";
/// How the packages' servers are found; both are written anew afterwards.
const OF_THIS_MACHINE: [&str; 2] = ["etc/resolv.conf", "etc/hosts"];
const INSTALL: &str = "export APT_CONFIG=/run/rolltop-apt.conf DEBIAN_FRONTEND=noninteractive\n\
                       apt-get --quiet update\n\
                       apt-get --quiet --yes --no-install-recommends install";

/// Fills a root with a copy of a version's.
pub(crate) fn copy(
    from: &ImageRef,
    store: Option<&ImageStore>,
    built: &BuiltRoot,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<Published, BuildError> {
    let store = store.ok_or(BuildError::NoStore)?;
    let base = store.resolve(from)?;
    if let Some(first) = base.manifest.first_id {
        return Err(BuildError::Shifted { image: from.to_string(), first: first.get() });
    }
    progress(BuildEvent::Step(&format!("copying {}@{}", base.name, base.version)));
    match &base.root {
        Root::Erofs(file) => copy_out(file, built).map_err(|e| BuildError::Base(Box::new(e)))?,
        Root::Directory(dir) => {
            let mut cp = Command::new("cp");
            cp.args(["--archive", "--reflink=auto", "--"]).arg(dir).arg(built.path());
            tool::run(&mut cp, built.lock())
                .map_err(|source| BuildError::Packages { image: from.to_string(), source })?;
        }
    }
    Ok(base)
}

/// Installs the recipe's packages by the root's own apt.
pub(crate) fn install(
    recipe: &Recipe,
    built: &BuiltRoot,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<(), BuildError> {
    if recipe.packages.is_empty() {
        return Ok(());
    }
    progress(BuildEvent::Step("installing packages"));
    let root = built.path();
    let tree = Tree::open(&root).map_err(io_error("open", &root))?;
    let mirror = match recipe.sources.is_empty() {
        true => Mirror::of_this_machine(&suite_of(&tree, &root)?),
        false => Mirror::of_sources(&recipe.sources),
    };
    let put = |path: &str, text: &str| {
        tree.write(&InnerPath::fixed(path), text, 0o644).map_err(io_error("write", root.join(path)))
    };
    for path in OF_THIS_MACHINE {
        // Without one, there is nothing to say.
        if let Ok(text) = std::fs::read_to_string(Path::new("/").join(path)) {
            put(path, &text)?;
        }
    }
    let mut conf: String = apt_options(recipe)
        .chain(mirror.options.iter().map(String::as_str))
        .map(|line| format!("{line}\n"))
        .collect();
    if !mirror.sources.is_empty() {
        conf += &format!(
            "Dir::Etc::SourceList \"/{SOURCES}\";\nDir::Etc::SourceParts \"/dev/null\";\n"
        );
        put(SOURCES, &(mirror.sources.join("\n") + "\n"))?;
    }
    put(APT_CONF, &conf)?;
    let command = format!("{INSTALL} {}", recipe.packages.join(" "));
    follow_in_root(built, &command, progress)
        .map_err(|source| BuildError::Packages { image: recipe.name.to_string(), source })
}

/// What the root says it is: `VERSION_CODENAME` of os-release(5).
fn suite_of(tree: &Tree, root: &Path) -> Result<String, BuildError> {
    let text = tree
        .read_text("/etc/os-release", 64 << 10)
        .map_err(io_error("read", root.join("etc/os-release")))?
        .unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.unwrap_or_default().trim_matches('"').to_owned())
}

impl From<StoreError> for BuildError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
