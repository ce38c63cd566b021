//! How many members' transactions make one.

use std::collections::BTreeSet;

use crate::store::{Guard, MAX_OPERATIONS, MAX_TRANSACTION_BYTES, Revision, Transaction, Write};

/// More than what members share of a host or a pool, with its key, bytes.
const SHARED_BYTES: usize = 512;

/// The members so far.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    guards: BTreeSet<(String, Option<Revision>)>,
    written: BTreeSet<String>,
    bytes: usize,
}

// === impl Assembly ===

impl Assembly {
    /// Whether there is room for one more, with so many operations that are shared,
    /// and it writes nothing that another does.
    pub(super) fn takes(&self, own: &Transaction, shared: usize) -> bool {
        let apart = own.writes.iter().all(|write| !self.written.contains(write.key()));
        apart && !self.is_full(own, shared)
    }

    /// Whether there is no room.
    pub(super) fn is_full(&self, own: &Transaction, shared: usize) -> bool {
        let new = |guard: &&Guard| !self.guards.contains(&(guard.key.clone(), guard.revision));
        let guards = self.guards.len() + own.guards.iter().filter(new).count() + shared;
        let writes = self.written.len() + own.writes.len() + shared;
        let bytes = self.bytes + bytes_of(own) + shared * SHARED_BYTES;
        guards.max(writes) > MAX_OPERATIONS || bytes > MAX_TRANSACTION_BYTES
    }

    pub(super) fn add(&mut self, own: &Transaction) {
        self.guards.extend(own.guards.iter().map(|guard| (guard.key.clone(), guard.revision)));
        self.written.extend(own.writes.iter().map(|write| write.key().to_owned()));
        self.bytes += bytes_of(own);
    }
}

fn bytes_of(own: &Transaction) -> usize {
    let guards: usize = own.guards.iter().map(|guard| guard.key.len()).sum();
    let writes = own.writes.iter().map(|write| match write {
        Write::Put { key, value, .. } => key.len() + value.len(),
        Write::Delete { key } => key.len(),
    });
    guards + writes.sum::<usize>()
}

/// All of them in one; what several demand is demanded once.
pub(super) fn join<'a>(
    shared: Transaction,
    own: impl Iterator<Item = &'a Transaction>,
) -> Transaction {
    let mut all = shared;
    let mut demanded = BTreeSet::new();
    for one in own {
        let new = one.guards.iter().filter(|guard| demanded.insert((&guard.key, guard.revision)));
        all.guards.extend(new.cloned());
        all.writes.extend(one.writes.iter().cloned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_fit_until_a_bound_is_met() {
        let own = |n: usize, bytes: usize| {
            let (guard, key) = (format!("guard/{n}"), format!("key/{n}"));
            Transaction::new()
                .unchanged("pool/demo", Revision(1))
                .absent(guard)
                .put(key, vec![0; bytes])
        };
        let mut assembly = Assembly::default();
        let mut all = Vec::new();
        while assembly.takes(&own(all.len(), 1), 20) {
            assembly.add(&own(all.len(), 1));
            all.push(own(all.len(), 1));
        }
        // The pool is demanded once.
        assert_eq!(all.len(), MAX_OPERATIONS - 20 - 1);
        let joined = join(Transaction::new(), all.iter());
        assert_eq!((joined.guards.len(), joined.writes.len()), (all.len() + 1, all.len()));

        let mut assembly = Assembly::default();
        assembly.add(&own(1, 1));
        assert!(
            !assembly.takes(&own(1, 1), 0) && !assembly.is_full(&own(1, 1), 0),
            "written twice"
        );
        let large = own(2, MAX_TRANSACTION_BYTES);
        assert!(assembly.is_full(&large, 0));
    }
}
