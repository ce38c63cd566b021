//! Long work, followed to its end.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rolltop_proto::v1::{DataResult, DataWork, data_work::Message};
use tokio::time::timeout;
use tonic::{Code, Response, Status, Streaming};

use crate::{app::no_answer, failure::Failure, view::task_word};

/// The broker tells of progress every second or so.
const SILENCE: Duration = Duration::from_secs(90);

/// Draws progress on standard error, if that is a terminal, until the result.
pub(super) async fn follow(
    call: impl Future<Output = Result<Response<Streaming<DataWork>>, Status>>,
) -> Result<DataResult, Failure> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let result = result_of(call, &bar).await;
    bar.finish_and_clear();
    result
}

async fn result_of(
    call: impl Future<Output = Result<Response<Streaming<DataWork>>, Status>>,
    bar: &ProgressBar,
) -> Result<DataResult, Failure> {
    let silent = |_elapsed| no_answer(SILENCE);
    let mut steps = timeout(SILENCE, call).await.map_err(silent)??.into_inner();
    while let Some(step) = timeout(SILENCE, steps.message()).await.map_err(silent)?? {
        match step.message {
            Some(Message::Progress(progress)) => bar.set_message(task_word(progress.task())),
            Some(Message::Result(result)) => return Ok(result),
            // Something that a newer broker tells.
            None => {}
        }
    }
    Err(Failure::new(Code::Internal, "BAD_ANSWER", "the broker ended without a result"))
}
