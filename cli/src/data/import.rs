//! `rolltop data import`: from a file or standard input.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rolltop_proto::v1::{ExportEnd, ImportDataChunk, ImportDataStart, import_data_chunk::Message};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{app::App, failure::Failure, view::DataView};

/// Bytes in one message.
const CHUNK_BYTES: usize = 256 << 10;
/// Messages on their way.
const AHEAD: usize = 4;

/// What is to be made, and of what.
#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    which: super::Which,
    /// What `data export` wrote, or "-" for standard input
    file: PathBuf,
    /// The host that is to keep it [default: the one with the most room]
    #[arg(long)]
    host: Option<String>,
}

impl Import {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let Self { which, file, host } = self;
        let start = ImportDataStart { data: which.data.clone(), host: host.unwrap_or_default() };
        let (from, length) = open(&file)?;
        let mut storage = app.storage().await?;
        let (sender, chunks) = mpsc::channel(AHEAD);
        let bar = bar(length);
        let drawn = bar.clone();
        let reading = tokio::task::spawn_blocking(move || send(from, start, &sender, &drawn));
        let imported = storage.import_data(ReceiverStream::new(chunks)).await;
        bar.finish_and_clear();
        let data = match imported {
            Ok(imported) => DataView::from(imported.into_inner()),
            Err(status) => {
                // What cannot be read is the better reason; a reader that is
                // still at it has none.
                let unread = async { reading.await.ok().and_then(Result::err) };
                return Err(tokio::select! {
                    biased;
                    Some(error) = unread => cannot_read(&file, &error),
                    () = std::future::ready(()) => status.into(),
                });
            }
        };
        let sentence = format!("imported {} from {}", which.data, file.display());
        app.output.done(&sentence, &json!({ "data": data }))
    }
}

fn open(file: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let opened = File::open(file).and_then(|opened| Ok((opened.metadata()?.len(), opened)));
    let (length, opened) = opened.map_err(|error| cannot_read(file, &error))?;
    Ok((Box::new(opened), Some(length)))
}

fn cannot_read(file: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot read {}: {error}", file.display());
    Failure::new(Code::InvalidArgument, "FILE_FAILED", message)
}

/// Reads to the end, unless the broker wants no more. Without the last message
/// nothing is imported.
fn send(
    mut from: impl Read,
    start: ImportDataStart,
    to: &mpsc::Sender<ImportDataChunk>,
    bar: &ProgressBar,
) -> io::Result<()> {
    let give = |message| to.blocking_send(ImportDataChunk { message: Some(message) }).is_ok();
    if !give(Message::Start(start)) {
        return Ok(());
    }
    let (mut digest, mut bytes) = (Sha256::new(), 0_i64);
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let length = from.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if length == 0 {
            break;
        }
        digest.update(&chunk);
        bytes += i64::try_from(length).unwrap_or(i64::MAX);
        bar.inc(length as u64);
        if !give(Message::Data(chunk)) {
            return Ok(());
        }
    }
    let sha256 = super::export::hex(&digest.finalize());
    // If nobody takes it, the answer says why.
    give(Message::End(ExportEnd { sha256, bytes }));
    Ok(())
}

fn bar(length: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    let template = match length {
        Some(_) => "[{bar:24}] {bytes} of {total_bytes}, {bytes_per_sec} {elapsed}",
        None => "{spinner} {bytes}, {bytes_per_sec} {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(from: impl Read) -> (io::Result<()>, Vec<Message>) {
        let (sender, mut chunks) = mpsc::channel(64);
        let outcome = send(from, ImportDataStart::default(), &sender, &ProgressBar::hidden());
        drop(sender);
        let messages = std::iter::from_fn(|| chunks.try_recv().ok()?.message).collect();
        (outcome, messages)
    }

    #[test]
    fn the_end_tells_what_was_sent() {
        let bytes = vec![7; CHUNK_BYTES + 1];
        let (outcome, messages) = sent(bytes.as_slice());
        outcome.unwrap();
        let lengths: Vec<_> = messages
            .iter()
            .map(|message| match message {
                Message::Start(_) => -1,
                Message::Data(data) => data.len() as i64,
                Message::End(end) => end.bytes,
            })
            .collect();
        let chunk = CHUNK_BYTES as i64;
        assert_eq!(lengths, [-1, chunk, 1, chunk + 1]);
        let Some(Message::End(end)) = messages.last() else { panic!("no end") };
        assert_eq!(end.sha256, super::super::export::hex(&Sha256::digest(&bytes)));
    }

    #[test]
    fn a_read_that_fails_sends_no_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
        let (outcome, messages) = sent(b"some".as_slice().chain(Broken));
        assert!(outcome.is_err());
        assert!(!messages.iter().any(|message| matches!(message, Message::End(_))));
    }
}
