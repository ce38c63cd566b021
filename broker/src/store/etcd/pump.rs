//! One watch over everything below the prefix feeds all watches of this
//! process. When it breaks, it goes on after the last whole transaction it has
//! seen, with another member if need be; when etcd has forgotten what came
//! then, all watches that lack it are told.

use std::{sync::Arc, time::Duration};

use etcd_client::{EventType, WatchOptions, WatchResponse};
use tokio::time::{Instant, timeout};

use super::{
    super::{Event, Revision, history::History},
    after_all,
    fault::Fault,
    from_revision,
    members::{Members, Pause},
    to_revision,
};

/// For the answer to the wish to watch.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a watch ended.
enum Break {
    /// It may go on elsewhere.
    Lost(String),
    /// Nothing before this revision is left.
    Compacted(Revision),
}

/// Follows the changes after `seen` until dropped.
pub(super) async fn run(
    members: Arc<Members>,
    prefix: String,
    history: Arc<History>,
    mut seen: Revision,
) {
    let mut pause = Pause::default();
    loop {
        let begun = seen;
        let (place, broke) = follow(&members, &prefix, &history, &mut seen).await;
        match broke {
            Break::Compacted(first) => {
                tracing::warn!(%seen, left = %first, "etcd has forgotten changes; all is read anew");
                seen = seen.max(Revision(first.0.saturating_sub(1)));
                history.forget_before(seen);
            }
            Break::Lost(problem) => {
                tracing::info!(problem, "the watch over the store broke; it goes on elsewhere");
                members.leave(place, &problem);
            }
        }
        if seen > begun {
            pause = Pause::default();
        }
        // There is no last try.
        pause.before(Instant::now() + Duration::from_secs(60)).await;
    }
}

/// Until it breaks; with the member's place.
async fn follow(
    members: &Members,
    prefix: &str,
    history: &History,
    seen: &mut Revision,
) -> (usize, Break) {
    let (place, client) = members.connected().await;
    let mut client = match client {
        Ok(client) => client.watch_client().max_decoding_message_size(MOST_BYTES),
        Err(fault) => return (place, Break::Lost(fault.problem())),
    };
    let options = WatchOptions::new()
        .with_range(after_all(prefix))
        .with_start_revision(from_revision(Revision(seen.0 + 1)))
        .with_progress_notify();
    let watching = timeout(PATIENCE, client.watch(prefix, Some(options))).await;
    let mut stream = match watching {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return (place, Break::Lost(Fault::of(&error).problem())),
        Err(_) => return (place, Break::Lost("no answer".to_owned())),
    };
    loop {
        match stream.message().await {
            Ok(Some(response)) => {
                if let Err(broke) = take(&response, prefix, history, seen) {
                    return (place, broke);
                }
            }
            Ok(None) => return (place, Break::Lost("the member ended it".to_owned())),
            Err(error) => return (place, Break::Lost(Fault::of(&error).problem())),
        }
    }
}

/// A burst of the largest transactions.
const MOST_BYTES: usize = 128 << 20;

fn take(
    response: &WatchResponse,
    prefix: &str,
    history: &History,
    seen: &mut Revision,
) -> Result<(), Break> {
    if response.compact_revision() > 0 {
        return Err(Break::Compacted(to_revision(response.compact_revision())));
    }
    if response.canceled() {
        return Err(Break::Lost(response.cancel_reason().to_owned()));
    }
    let mut events = response.events().iter().filter_map(|event| read(event, prefix)).peekable();
    // A response holds whole transactions (it was not asked to be in fragments).
    while let Some(revision) = events.peek().map(|event| event.revision) {
        let mut of_one = Vec::new();
        while let Some(event) = events.next_if(|event| event.revision == revision) {
            of_one.push(event);
        }
        if revision > *seen {
            history.record(revision, of_one);
            *seen = revision;
        }
    }
    // "Nothing up to here": what other keys changed needs no second look.
    let header = response.header().map_or(0, etcd_client::ResponseHeader::revision);
    let idle = response.events().is_empty() && !response.created();
    if idle && to_revision(header) > *seen {
        *seen = to_revision(header);
        history.record(*seen, Vec::new());
    }
    Ok(())
}

fn read(event: &etcd_client::Event, prefix: &str) -> Option<Event> {
    let kv = event.kv()?;
    let key = std::str::from_utf8(kv.key()).ok()?.strip_prefix(prefix)?.to_owned();
    let value = match event.event_type() {
        EventType::Put => Some(kv.value().to_vec()),
        EventType::Delete => None,
    };
    Some(Event { key, value, revision: to_revision(kv.mod_revision()) })
}
