//! Blocking work, kept off the threads that serve everybody.

use std::{future::pending, panic::resume_unwind};

/// Runs `work`, which may wait on the kernel, on a thread of its own kind.
///
/// A panic in it goes on in the caller: it is a fault in the program, and the
/// caller's task is where it belongs. While the runtime shuts down it never
/// returns.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // What it logs belongs to whoever waits for it.
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_cancelled) => pending().await,
        },
    }
}
