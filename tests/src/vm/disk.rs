//! Files that are disks of a guest.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

/// A saved guest knows how large its disks are, so all have the same size. They
/// are sparse.
pub(super) const PAYLOAD_BYTES: u64 = 4 << 30;
pub(super) const DATA_BYTES: u64 = 16 << 30;

/// A disk with an ext4 file system that outlives the guests that use it. One at
/// a time: QEMU locks the file.
#[derive(Debug)]
pub struct DataDisk {
    file: PathBuf,
}

impl DataDisk {
    /// A new, empty one.
    ///
    /// # Errors
    /// The file cannot be written, or `mkfs.ext4` fails.
    pub fn create(file: &Path) -> anyhow::Result<Self> {
        blank(file, DATA_BYTES)?;
        let disk = Self { file: file.canonicalize()? };
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk.file))?;
        Ok(disk)
    }

    /// Where it is kept.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether its file system is sound, looked at while no guest runs. The
    /// journal is replayed first, as a mount would.
    ///
    /// # Errors
    /// It is not; with what `e2fsck` says.
    pub fn check(&self) -> anyhow::Result<()> {
        let replay = Command::new("e2fsck")
            .args(["-fy", "-E", "journal_only"])
            .arg(&self.file)
            .output()
            .context("cannot run e2fsck")?;
        // 1: the journal was replayed (e2fsck(8)).
        ensure!(
            matches!(replay.status.code(), Some(0 | 1)),
            "the journal of {} cannot be replayed: {}",
            self.file.display(),
            String::from_utf8_lossy(&replay.stdout)
        );
        run(Command::new("e2fsck").arg("-fn").arg(&self.file))
    }
}

/// Files for guests, as a read-only disk.
#[derive(Debug)]
pub struct Payload {
    // Removed when dropped.
    _dir: TempDir,
    file: PathBuf,
}

impl Payload {
    /// Copies of `files`, each a path in the guest's `/payload` and a file or
    /// directory here.
    ///
    /// # Errors
    /// One cannot be read, or `mkfs.erofs` fails.
    pub fn create<'a>(
        work: &Path,
        files: impl IntoIterator<Item = (&'a str, &'a Path)>,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("payload-").tempdir_in(work)?;
        let tree = dir.path().join("tree");
        fs::create_dir(&tree)?;
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o755))?;
        for (name, source) in files {
            let target = tree.join(name);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            // Hard links where they are possible: programs are large.
            if !source.is_file() || fs::hard_link(source, &target).is_err() {
                run(Command::new("cp").args(["-a", "--"]).arg(source).arg(&target))?;
            }
        }
        let file = dir.path().join("payload.erofs");
        run(Command::new("mkfs.erofs").arg("--quiet").arg(&file).arg(&tree))?;
        fs::remove_dir_all(&tree)?;
        let length = file.metadata()?.len();
        ensure!(
            length <= PAYLOAD_BYTES,
            "a payload of {length} bytes is more than {PAYLOAD_BYTES}"
        );
        File::options().write(true).open(&file)?.set_len(PAYLOAD_BYTES)?;
        Ok(Self { _dir: dir, file })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

/// A sparse file of nothing, in place of any that is there.
pub(super) fn blank(file: &Path, bytes: u64) -> anyhow::Result<()> {
    let made = File::create(file).and_then(|made| made.set_len(bytes));
    made.with_context(|| format!("cannot make {}", file.display()))
}

/// Runs a program that must succeed.
pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
