//! Streams of changes, told until the broker ends them.

use serde::Serialize;
use tonic::{Code, Streaming};

use crate::{
    app::App,
    failure::Failure,
    output::{Format, notice},
};

/// What a person is told of each change.
pub(crate) trait Change: Serialize {
    /// For a line of its own.
    fn sentence(&self) -> String;
}

/// Tells each change: a sentence to a person, a JSON object on a line to a
/// program.
///
/// # Errors
/// Of the stream. Its end is one too: whoever watches is to ask again.
pub(crate) async fn watch<T, V>(app: &App, mut told: Streaming<T>) -> Result<(), Failure>
where
    V: Change + From<T>,
{
    while let Some(change) = told.message().await? {
        let change = V::from(change);
        match app.output.format() {
            Format::Json => app.output.json_line(&change)?,
            Format::Table => notice(&change.sentence()),
        }
    }
    let message = "the broker ended the answer; ask again";
    Err(Failure::new(Code::Unavailable, "BROKER_ENDING", message))
}
