//! `rolltop data export`: to a file that has its name when it is whole, or to
//! standard output.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rolltop_proto::v1::{ExportDataRequest, ExportEnd, export_chunk::Message};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use tonic::Code;

use crate::{
    app::{App, no_answer},
    failure::{Exit, Failure},
    output::size_bytes,
    terminal::Endings,
};

/// A disk in use is copied at its host before the first byte comes.
const SILENCE: Duration = Duration::from_secs(600);

/// What is to be exported, and where to.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    which: super::Which,
    /// A file that is not there yet, or "-" for standard output
    file: PathBuf,
    /// As of this snapshot instead of now
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
}

/// A file under another name until it is whole; removed unless it gets there.
struct Draft {
    file: File,
    draft: PathBuf,
    name: PathBuf,
    kept: bool,
}

impl Export {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let Self { which, file: name, snapshot } = self;
        let request =
            ExportDataRequest { data: which.data.clone(), snapshot: snapshot.unwrap_or_default() };
        if name == Path::new("-") {
            // Standard output is the archive's: the checksum goes elsewhere.
            let end = receive(app, request, &mut io::stdout().lock()).await?;
            crate::output::notice(&format!("sha256:{}", end.sha256));
            return Ok(());
        }
        let mut draft = Draft::create(&name)?;
        let mut endings = Endings::catch().map_err(|error| Failure::output(&error))?;
        let end = tokio::select! {
            end = receive(app, request, &mut draft.file) => end?,
            signal = endings.recv() => {
                return Err(Failure::interrupted(signal, "interrupted; nothing was written"));
            }
        };
        draft.publish()?;
        let shown = name.display();
        let sentence = format!(
            "{} is in {shown}, {}\nsha256:{}",
            which.data,
            size_bytes(end.bytes),
            end.sha256
        );
        let document = json!({
            "exported": which.data,
            "file": name,
            "bytes": end.bytes,
            "sha256": end.sha256,
        });
        match app.output.format() {
            crate::output::Format::Table => app.output.write(&format!("{sentence}\n")),
            crate::output::Format::Json => app.output.json_line(&document),
        }
    }
}

/// Writes the whole stream, or fails.
async fn receive(
    app: &App,
    request: ExportDataRequest,
    to: &mut dyn Write,
) -> Result<ExportEnd, Failure> {
    let silent = |_elapsed| no_answer(SILENCE);
    let mut storage = app.storage().await?;
    let call = storage.export_data(request);
    let mut chunks = timeout(SILENCE, call).await.map_err(silent)??.into_inner();
    let bar = bar();
    let (mut digest, mut bytes) = (Sha256::new(), 0_i64);
    while let Some(chunk) = timeout(SILENCE, chunks.message()).await.map_err(silent)?? {
        match chunk.message {
            Some(Message::Data(data)) => {
                to.write_all(&data).map_err(|error| cannot_write(&error))?;
                digest.update(&data);
                bytes += i64::try_from(data.len()).unwrap_or(i64::MAX);
                bar.inc(data.len() as u64);
            }
            Some(Message::End(end)) => {
                bar.finish_and_clear();
                to.flush().map_err(|error| cannot_write(&error))?;
                let sha256 = hex(&digest.finalize());
                if (bytes, &sha256) == (end.bytes, &end.sha256) {
                    return Ok(end);
                }
                let message = format!(
                    "{bytes} bytes with checksum {sha256} arrived, and {} with {} were sent",
                    end.bytes, end.sha256
                );
                return Err(Failure::new(Code::DataLoss, "BAD_CHECKSUM", message));
            }
            Some(Message::Head(_)) | None => {}
        }
    }
    Err(Failure::new(Code::DataLoss, "NOT_WHOLE", "the broker ended in the middle"))
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{spinner} {bytes} compressed, {bytes_per_sec} {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cannot_write(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::output(error);
    }
    let message = format!("cannot write the archive: {error}");
    Failure::new(Code::Unknown, "FILE_FAILED", message).exit(Exit::FAILURE)
}

// === impl Draft ===

impl Draft {
    fn create(name: &Path) -> Result<Self, Failure> {
        let failed = |path: &Path, error: &io::Error| {
            let message = format!("cannot make {}: {error}", path.display());
            Failure::new(Code::InvalidArgument, "FILE_FAILED", message)
        };
        if name.symlink_metadata().is_ok() {
            return Err(exists(name));
        }
        let mut draft = name.as_os_str().to_owned();
        draft.push(format!(".part-{}", std::process::id()));
        let draft = PathBuf::from(draft);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(|error| failed(&draft, &error))?;
        Ok(Self { file, draft, name: name.to_owned(), kept: false })
    }

    fn publish(mut self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| cannot_write(&error))?;
        // A link is refused where the name is taken; a rename is not.
        match fs::hard_link(&self.draft, &self.name) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&self.name)),
            // A file system without links.
            Err(_) => {
                self.kept = true;
                fs::rename(&self.draft, &self.name).map_err(|error| cannot_write(&error))
            }
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            // Somebody else has removed it: as good.
            fs::remove_file(&self.draft).unwrap_or_default();
        }
    }
}

fn exists(name: &Path) -> Failure {
    let message = format!("{} is there already", name.display());
    Failure::new(Code::AlreadyExists, "FILE_EXISTS", message).hint("choose another name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_none_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("backup.rto");
        let names = || fs::read_dir(dir.path()).unwrap().count();
        let mut draft = Draft::create(&name).unwrap();
        draft.file.write_all(b"all of it").unwrap();
        assert!(!name.exists());
        draft.publish().unwrap();
        assert_eq!((fs::read(&name).unwrap().as_slice(), names()), (b"all of it".as_slice(), 1));
        assert_eq!(Draft::create(&name).err().unwrap().reason, "FILE_EXISTS");

        let other = dir.path().join("other");
        drop(Draft::create(&other).unwrap());
        assert_eq!(names(), 1, "nothing half-made stays");
        let late = Draft::create(&other).unwrap();
        fs::write(&other, "somebody else's").unwrap();
        assert_eq!(late.publish().unwrap_err().reason, "FILE_EXISTS");
        assert_eq!(fs::read(&other).unwrap(), b"somebody else's");
        assert_eq!(names(), 2);
    }
}
