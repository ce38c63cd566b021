//! Formatted ext4 files that overlays are copied from, one per size and kind.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use thiserror::Error;

use crate::dir_lock::DirLock;
use crate::draft::{Draft, DraftError};
use crate::scratch_mount::BLOCK_BYTES;
use crate::size::OverlaySize;
use crate::step::{Step, StepError};
use crate::tool::{self, ToolError};

/// It takes 10 ms, or seconds for terabytes.
const DEADLINE: Duration = Duration::from_secs(120);

/// Grows when anything below changes, so that old templates are not used.
const REVISION: u32 = 2;

/// A journal need not hold more than some seconds of a desktop's metadata, and
/// what it holds takes real space on the host.
const JOURNAL_MIB: std::ops::RangeInclusive<u32> = 4..=32;
const JOURNAL_PART: u32 = 64;

/// Why a template could not be made.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// mkfs.ext4 did not run to its end.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// mkfs.ext4 failed.
    #[error("mkfs.ext4 for {size} failed: {output}")]
    Mkfs {
        /// The size of the template.
        size: OverlaySize,
        /// What it wrote.
        output: String,
    },
    /// The file could not be put in its place.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// Any other call.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// How the ext4 of a template is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// For volatile overlays.
    Plain,
    /// For kept ones.
    Journal,
    /// For kept ones that other hosts reach: with multiple mount protection.
    SharedJournal,
}

// === impl TemplateError ===

impl TemplateError {
    /// Whether mkfs failed for lack of space; it says so in words only.
    pub(crate) fn is_no_space(&self) -> bool {
        matches!(self, Self::Mkfs { output, .. } if output.contains("No space left"))
    }
}

/// Opens the template in `dir`, making it first if it is not there.
pub(crate) fn template(
    dir: &Path,
    size: OverlaySize,
    layout: Layout,
) -> Result<File, TemplateError> {
    let path = path(dir, size, layout);
    if let Ok(file) = File::open(&path) {
        return Ok(file);
    }
    // Of many that want the first overlay of a size, one formats.
    let lock = DirLock::create(dir)?;
    if let Ok(file) = File::open(&path) {
        return Ok(file);
    }
    let draft = Draft::create(&path)?;
    draft.file().set_len(size.bytes()).step("size", draft.path())?;
    let mut command = Command::new("mkfs.ext4");
    // Not the host's taste, but the features named here.
    command
        .env("MKE2FS_CONFIG", "/dev/null")
        .env("LC_ALL", "C")
        .args(arguments(size, layout))
        .arg(draft.path());
    let answer = tool::run_on(draft.file(), "mkfs.ext4", &mut command, DEADLINE)?;
    if !answer.status.success() {
        return Err(TemplateError::Mkfs { size, output: answer.output });
    }
    draft.file().sync_all().step("sync", draft.path())?;
    draft.publish()?;
    drop(lock);
    File::open(&path).step("open", &path).map_err(TemplateError::from)
}

fn path(dir: &Path, size: OverlaySize, layout: Layout) -> PathBuf {
    let kind = match layout {
        Layout::Plain => "plain",
        Layout::Journal => "journal",
        Layout::SharedJournal => "shared",
    };
    dir.join(format!("{}-{kind}-{REVISION}.ext4", size.mib()))
}

fn arguments(size: OverlaySize, layout: Layout) -> Vec<OsString> {
    // No resize_inode: it would write 4 MiB more, and growing works without.
    // metadata_csum_seed: a copy gets its own UUID by an edit of one block.
    // sparse_super, not sparse_super, which the kernel does not grow.
    let mut features = String::from(
        "none,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,\
         huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed",
    );
    // "lazy": what mkfs would zero are holes of a new file already. Discard,
    // the default, tells the kernel so, or it would zero them once mounted.
    let extended = String::from("lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0");
    let mut arguments: Vec<String> = Vec::new();
    if layout != Layout::Plain {
        features.push_str(",has_journal");
        let mib = (size.mib() / JOURNAL_PART).clamp(*JOURNAL_MIB.start(), *JOURNAL_MIB.end());
        arguments.extend(["-J".to_owned(), format!("size={mib}")]);
    }
    if layout == Layout::SharedJournal {
        features.push_str(",mmp");
    }
    for (flag, value) in [
        ("-b", BLOCK_BYTES.to_string()),
        ("-I", "256".to_owned()),
        ("-i", "16384".to_owned()),
        // The whole disk is for the desktop; root needs no reserve in it.
        ("-m", "0".to_owned()),
        ("-e", "remount-ro".to_owned()),
        ("-O", features),
        ("-E", extended),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    let fixed = ["-q", "-F"].map(str::to_owned);
    fixed.into_iter().chain(arguments).map(OsString::from).collect()
}
