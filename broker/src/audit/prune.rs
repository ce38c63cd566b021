//! What is too old, or too much, goes: whole segments, the oldest first.

use super::segment::{self, Summary};
use crate::{
    clock::Timestamp,
    config,
    state::keys,
    store::{MAX_OPERATIONS, Store, StoreError, Transaction},
};

/// Throws away segments whose last entry is too old, and the oldest while the
/// others hold as many entries as are kept. Says how many entries went. Several
/// brokers may do so at once.
///
/// # Errors
/// Of the store.
pub async fn prune(
    store: &dyn Store,
    config: config::Audit,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let segments = segment::all(store).await?;
    let mut gone = 0;
    for Summary { name, count, .. } in surplus(&segments, config, now) {
        let batches = segment::batches(store, name).await?;
        for some in batches.chunks(MAX_OPERATIONS) {
            let delete =
                some.iter().fold(Transaction::new(), |t, batch| t.delete(batch.key.clone()));
            store.commit(delete).await?;
        }
        // Last: what is left of a broken attempt is found again.
        store.commit(Transaction::new().delete(keys::audit_segment(name.as_str()))).await?;
        gone += count;
    }
    Ok(gone)
}

fn surplus(segments: &[Summary], config: config::Audit, now: Timestamp) -> Vec<&Summary> {
    let mut kept: u64 = segments.iter().map(|segment| segment.count).sum();
    let surplus = |segment: &&Summary| {
        let old = segment.last.after(config.keep) <= now;
        let others = kept.saturating_sub(segment.count);
        let gone = old || others >= config.keep_entries;
        if gone {
            kept = others;
        }
        gone
    };
    segments.iter().filter(surplus).collect()
}
