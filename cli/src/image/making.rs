//! What `image build`, `import` and `publish` have in common: where to, in what
//! form, and how they tell what goes on.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use rolltop_image::{BuildEvent, Compression, FirstId, ImageStore, Published, RootForm, Tag};
use serde_json::json;
use tonic::Code;

use super::{local, tags};
use crate::{
    app::App,
    failure::Failure,
    output::{Format, Output, View as _, clean, notice},
    terminal::{Endings, TerminalError},
};

/// Where a version is published and how.
#[derive(Debug, Args)]
pub(super) struct Making {
    /// Store to publish into, made if missing
    #[arg(long, value_name = "DIR")]
    pub(super) store: PathBuf,
    /// Tag to let point at the new version
    #[arg(long)]
    pub(super) tag: Option<Tag>,
    /// In what form the root is kept
    #[arg(long, value_enum, default_value = "erofs")]
    pub(super) format: RootFormat,
    /// How an EROFS file is compressed
    #[arg(long, value_enum, default_value = "lz4hc")]
    compress: Packing,
    /// Move all owners up, so that root has this id: for a directory on NFS,
    /// which cannot be ID-mapped
    #[arg(long, value_name = "FIRST")]
    shift_ids: Option<FirstId>,
    /// Where the root is made [default: .build in the store]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
}

/// The forms of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RootFormat {
    /// One compressed file: fastest, and the better one on NFS
    Erofs,
    /// A plain directory
    Directory,
}

/// Compression of an EROFS file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Packing {
    /// Reads fastest
    Lz4hc,
    /// Smaller; needs Linux 6.10 on the hosts, and erofs-utils 1.8 here
    Zstd,
    /// Not compressed
    None,
}

/// What came of it.
pub(super) struct Made {
    pub(super) published: Published,
    pub(super) reused: bool,
}

// === impl Making ===

impl Making {
    pub(super) fn form(&self) -> Result<RootForm, Failure> {
        match (self.format, self.shift_ids) {
            (RootFormat::Directory, first) => Ok(RootForm::Directory(first)),
            (RootFormat::Erofs, None) => Ok(RootForm::Erofs(match self.compress {
                Packing::Lz4hc => Compression::Lz4hc,
                Packing::Zstd => Compression::Zstd,
                Packing::None => Compression::None,
            })),
            (RootFormat::Erofs, Some(_)) => Err(Failure::usage(
                "--shift-ids goes with --format directory: the ids of an EROFS file are mapped \
                 where it is mounted",
            )),
        }
    }

    pub(super) fn work_dir(&self, store: &ImageStore) -> PathBuf {
        self.work_dir.clone().unwrap_or_else(|| store.path().join(".build"))
    }

    /// Runs `make`, which blocks, and reports what it made. A signal ends it.
    pub(super) async fn run(
        self,
        app: &App,
        make: impl FnOnce(&Self, &ImageStore, Output) -> Result<Made, Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        self.form()?;
        let output = app.output;
        let mut endings = Endings::catch().map_err(TerminalError::from)?;
        let mut work = tokio::task::spawn_blocking(move || {
            let store = ImageStore::create(&self.store)?;
            let made = make(&self, &store, output)?;
            let published = &made.published;
            if let Some(tag) = &self.tag {
                store.tag(&published.name, tag, &published.version)?;
            }
            let tags = tags(&store, &published.name, &published.version)?;
            Ok::<_, Failure>((made, tags))
        });
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
                return Err(Failure::interrupted(signal, "it was interrupted"));
            }
        };
        let crashed = |_| Failure::new(Code::Internal, "IMAGE_BUILD_FAILED", "the work crashed");
        let (made, tags) = made.map_err(crashed)??;
        report(output, &made, tags)
    }
}

/// Whoever makes roots must be able to give files to any user.
pub(super) fn need_root(what: &str) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let message = format!("{what} needs root: the files of a root belong to many users");
    Err(Failure::new(Code::PermissionDenied, "NEEDS_ROOT", message).hint("run it with sudo"))
}

/// Collects the first failure to tell something, since work cannot stop for it.
pub(super) struct Teller {
    output: Output,
    told: Result<(), Failure>,
}

impl Teller {
    pub(super) fn new(output: Output) -> Self {
        Self { output, told: Ok(()) }
    }

    pub(super) fn tell(&mut self, event: BuildEvent<'_>) {
        let now = tell(self.output, event);
        if self.told.is_ok() {
            self.told = now;
        }
    }

    pub(super) fn done(self) -> Result<(), Failure> {
        self.told
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

fn report(output: Output, made: &Made, tags: Vec<String>) -> Result<(), Failure> {
    let image = local::view(&made.published, tags);
    match output.format() {
        Format::Json => output
            .json_line(&json!({ "event": "published", "reused": made.reused, "image": image })),
        Format::Table => {
            let how = if made.reused { "kept: built from the same recipe" } else { "published" };
            output.write(&format!("{how}\n{}", image.text(output.look())))
        }
    }
}

/// Whether a path is a file or directory; a failure that names it if it is not there.
pub(super) fn is_dir(path: &Path) -> Result<bool, Failure> {
    path.metadata().map(|meta| meta.is_dir()).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Failure::new(Code::NotFound, "FILE_FAILED", message)
    })
}
