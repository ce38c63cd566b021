//! An image store of one's own, made of versions that others have published.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use rolltop_image::{ImageName, ImageRef, ImageStore, Manifest, Published, Root, VersionId};

/// Tag of everything in such a store.
pub const TAG: &str = "stable";

/// A store to put borrowed roots into.
#[derive(Debug)]
pub struct BorrowedImages {
    dir: PathBuf,
}

impl BorrowedImages {
    /// An empty store at `dir`.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn create(dir: &Path) -> anyhow::Result<Self> {
        ImageStore::create(dir)?;
        Ok(Self { dir: dir.into() })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts a version that `change` has had its way with beside its original's
    /// root: the same file where the filesystem allows it, a copy elsewhere.
    /// Returns its reference, by [`TAG`].
    ///
    /// # Errors
    /// The root is a directory, or the store cannot be written.
    pub fn add(
        &self,
        original: &Published,
        change: impl FnOnce(&mut Manifest),
    ) -> anyhow::Result<String> {
        let name = self.put(original, &original.version, change)?;
        // Not by the store, which would refuse what some tests mend afterwards.
        let tags = self.dir.join(name.as_str()).join("tags");
        fs::create_dir_all(&tags).with_context(|| format!("cannot make {}", tags.display()))?;
        symlink(Path::new("../versions").join(original.version.as_str()), tags.join(TAG))?;
        let reference = format!("{name}:{TAG}");
        self.read_back(&reference)?;
        Ok(reference)
    }

    /// The same as a version of this name, which no tag points at yet.
    ///
    /// # Errors
    /// The root is a directory, or the store cannot be written.
    pub fn add_version(
        &self,
        original: &Published,
        version: &VersionId,
        change: impl FnOnce(&mut Manifest),
    ) -> anyhow::Result<Published> {
        let name = self.put(original, version, change)?;
        self.read_back(&format!("{name}@{version}"))
    }

    fn put(
        &self,
        original: &Published,
        version: &VersionId,
        change: impl FnOnce(&mut Manifest),
    ) -> anyhow::Result<ImageName> {
        let Root::Erofs(root) = &original.root else {
            bail!(
                "{}@{} is a directory; use one kept as an EROFS file",
                original.name,
                original.version
            )
        };
        let mut manifest = original.manifest.clone();
        change(&mut manifest);
        let dir = self.dir.join(manifest.name.as_str()).join("versions").join(version.as_str());
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let file = dir.join(root.file_name().context("a root without a name")?);
        if fs::hard_link(root, &file).is_err() {
            // Another filesystem.
            fs::copy(root, &file).with_context(|| format!("cannot copy {}", root.display()))?;
        }
        fs::write(dir.join("manifest.toml"), manifest.to_toml())?;
        Ok(manifest.name)
    }

    /// By the reader's own eyes: the layout is the store's business.
    fn read_back(&self, reference: &str) -> anyhow::Result<Published> {
        ImageStore::open(&self.dir)?
            .resolve(&reference.parse::<ImageRef>()?)
            .with_context(|| format!("{reference} was not put into the store as it should be"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "format = 1\nname = 'demo'\ndescription = ''\npublished_at = 1\n\
        [root]\nkind = 'erofs'\nsize_bytes = 4\n\
        digest = 'sha256:0000000000000000000000000000000000000000000000000000000000000000'\n\
        [init]\nkind = 'builtin'\n[session]\ncommand = ['/bin/long']\n\
        [display]\nprotocol = 'vnc'\nsocket = 'vnc.sock'\n";

    #[test]
    fn a_borrowed_version_differs_only_where_it_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let version = dir.path().join("theirs/demo/versions/20260101-000000-00000000");
        fs::create_dir_all(&version).unwrap();
        fs::write(version.join("manifest.toml"), MANIFEST).unwrap();
        fs::write(version.join("root.erofs"), "root").unwrap();
        let theirs = ImageStore::open(dir.path().join("theirs")).unwrap();
        let original = theirs.resolve(&"demo@20260101-000000-00000000".parse().unwrap()).unwrap();

        let ours = BorrowedImages::create(&dir.path().join("ours")).unwrap();
        let reference = ours
            .add(&original, |manifest| {
                manifest.name = "small".parse().unwrap();
                manifest.desktop.session.command = vec!["/bin/short".into()];
            })
            .unwrap();
        let borrowed =
            ImageStore::open(ours.dir()).unwrap().resolve(&reference.parse().unwrap()).unwrap();
        assert_eq!(borrowed.manifest.desktop.session.command, ["/bin/short"]);
        assert_eq!(borrowed.manifest.digest, original.manifest.digest);
        assert_eq!(fs::read(borrowed.root.path()).unwrap(), b"root");
    }
}
