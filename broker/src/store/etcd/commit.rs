//! Transactions: applied at most once, reported as what they became.
//!
//! An answer may be lost when a member dies, pauses, or loses the others, with
//! the transaction applied, dropped, or still on its way. Thanks to its slot
//! (see `slots`) the same transaction can be sent again without harm: it finds
//! its own name there if it was applied before. And before anything else is
//! reported, the slot is **fenced**: written in a transaction that demands the
//! same state of it. Then no copy still on its way can be applied any more.

use std::sync::Arc;

use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use tokio::time::Instant;

use super::{
    super::{Commit, Guard, LeaseId, StoreError, Transaction, Write},
    Layout,
    fault::Fault,
    from_revision, header_revision, lease_number,
    members::{Members, Pause, fault_error},
    slots::{Slot, Slots},
    to_revision,
};

const VERB: &str = "commit";

/// Applies transactions.
pub(super) struct Committer {
    members: Arc<Members>,
    layout: Layout,
    slots: Arc<Slots>,
}

/// One transaction with its slot.
struct Attempt<'a> {
    transaction: &'a Transaction,
    slot: Slot,
    /// Its name in the slot.
    name: Vec<u8>,
    /// In the slot: it will never be applied.
    fence: Vec<u8>,
    deadline: Instant,
    /// A copy may be on its way.
    sent: bool,
}

/// What became of an attempt.
enum End {
    /// The slot is known, and free.
    Done(Commit),
    /// The slot is known, and free; the transaction was not applied.
    Failed(Fault),
    /// The slot vanished, but the transaction was not applied.
    NoSlot,
    /// Nobody knows.
    Unknown,
    /// Not applied, and out of time.
    TooLate(String),
}

/// What a member said to the transaction.
enum Answer {
    Applied(i64),
    /// The slot holds its name already.
    AppliedBefore(i64),
    Conflict(String),
    /// Someone else wrote to the slot, or it is gone.
    Foreign,
}

// === impl Committer ===

impl Committer {
    pub(super) fn new(members: Arc<Members>, layout: Layout, slots: Arc<Slots>) -> Self {
        Self { members, layout, slots }
    }

    /// See [`super::super::Store::commit`].
    pub(super) async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        transaction.check()?;
        let leases = leases_of(&transaction)?;
        let deadline = Instant::now() + self.members.deadline();
        let _room = self.slots.room(deadline).await?;
        loop {
            let name = uuid::Uuid::new_v4().into_bytes().to_vec();
            let mut attempt = Attempt {
                transaction: &transaction,
                slot: self.slots.take().await?,
                fence: [b"not ".as_slice(), &name].concat(),
                name,
                deadline,
                sent: false,
            };
            let end = self.run(&mut attempt).await?;
            let lease = attempt.slot.lease;
            if let End::Done(_) | End::Failed(_) = &end {
                self.slots.give_back(attempt.slot).await;
            }
            match end {
                End::Done(commit) => return Ok(commit),
                // Its own lease or the marker's: the answer does not say.
                End::Failed(Fault::NoLease) => match self.gone(&leases).await? {
                    Some(gone) => return Err(StoreError::LeaseGone(gone)),
                    None => self.slots.lost(lease).await,
                },
                End::NoSlot => self.slots.lost(lease).await,
                End::Failed(fault) => return Err(fault_error(VERB, &fault)),
                End::TooLate(problem) => return Err(self.members.unavailable(VERB, problem)),
                End::Unknown => {
                    let seconds = self.members.deadline().as_secs();
                    return Err(StoreError::Indeterminate { seconds });
                }
            }
            if Instant::now() >= deadline {
                let problem = "the lease of the markers was lost again and again".to_owned();
                return Err(self.members.unavailable(VERB, problem));
            }
        }
    }

    /// Until it is known what became of it, or there is no time left.
    async fn run(&self, attempt: &mut Attempt<'_>) -> Result<End, StoreError> {
        let transaction = attempt.build(&self.layout)?;
        let mut pause = Pause::default();
        loop {
            let sent = transaction.clone();
            let answer = self
                .members
                .once(attempt.deadline, move |mut client| {
                    Box::pin(async move { client.txn(sent).await })
                })
                .await;
            match answer {
                Ok(response) => match attempt.read(&self.layout, &response)? {
                    Answer::Applied(revision) | Answer::AppliedBefore(revision) => {
                        return Ok(attempt.applied(revision));
                    }
                    Answer::Conflict(key) if attempt.sent => {
                        return self.fence(attempt, End::Done(Commit::Conflict { key })).await;
                    }
                    Answer::Conflict(key) => return Ok(End::Done(Commit::Conflict { key })),
                    Answer::Foreign if attempt.sent => return Ok(End::Unknown),
                    Answer::Foreign => return Ok(End::NoSlot),
                },
                Err(fault @ (Fault::NotDone(_) | Fault::Unknown(_))) => {
                    attempt.sent |= matches!(fault, Fault::Unknown(_));
                    if !pause.before(attempt.deadline).await {
                        let late = End::TooLate(fault.problem());
                        return Ok(if attempt.sent { End::Unknown } else { late });
                    }
                }
                Err(fault) if attempt.sent => {
                    return self.fence(attempt, End::Failed(fault)).await;
                }
                Err(fault) => return Ok(End::Failed(fault)),
            }
        }
    }

    /// Makes sure that no copy is applied after `end` was reported.
    async fn fence(&self, attempt: &mut Attempt<'_>, end: End) -> Result<End, StoreError> {
        let transaction = attempt.build_fence();
        let mut pause = Pause::default();
        loop {
            let sent = transaction.clone();
            let answer = self
                .members
                .once(attempt.deadline, move |mut client| {
                    Box::pin(async move { client.txn(sent).await })
                })
                .await;
            match answer {
                Ok(response) if response.succeeded() => {
                    attempt.slot.revision = signed(&response)?;
                    return Ok(end);
                }
                Ok(response) => {
                    let seen = first_keys(&response).into_iter().next().flatten();
                    let Some(marker) = seen else { return Ok(End::Unknown) };
                    let revision = marker.mod_revision();
                    if marker.value() == attempt.name {
                        return Ok(attempt.applied(revision));
                    }
                    if marker.value() == attempt.fence {
                        attempt.slot.revision = revision;
                        return Ok(end);
                    }
                    return Ok(End::Unknown);
                }
                Err(Fault::NotDone(_) | Fault::Unknown(_)) => {
                    if !pause.before(attempt.deadline).await {
                        return Ok(End::Unknown);
                    }
                }
                // The marker's lease, most likely: what the slot said is lost.
                Err(_) => return Ok(End::Unknown),
            }
        }
    }

    /// The first of these that is no more.
    async fn gone(&self, leases: &[(LeaseId, i64)]) -> Result<Option<LeaseId>, StoreError> {
        for (lease, id) in leases.iter().copied() {
            let left = self
                .members
                .call("look at a lease", move |mut client| {
                    Box::pin(async move { client.lease_time_to_live(id, None).await })
                })
                .await?;
            if left.ttl() <= 0 {
                return Ok(Some(lease));
            }
        }
        Ok(None)
    }
}

// === impl Attempt ===

impl Attempt<'_> {
    fn applied(&mut self, revision: i64) -> End {
        self.slot.revision = revision;
        End::Done(Commit::Applied(to_revision(revision)))
    }

    fn build(&self, layout: &Layout) -> Result<Txn, StoreError> {
        let guards = &self.transaction.guards;
        let mut demands = vec![self.slot_as_seen()];
        let mut looks = vec![TxnOp::get(self.slot.key.as_str(), None)];
        for guard in guards {
            let key = layout.key(&guard.key);
            looks.push(TxnOp::get(key.as_str(), Some(GetOptions::new().with_keys_only())));
            let revision = guard.revision.map_or(0, from_revision);
            demands.push(Compare::mod_revision(key, CompareOp::Equal, revision));
        }
        let mut writes = vec![self.mark(&self.name)];
        for write in &self.transaction.writes {
            let key = layout.key(write.key());
            writes.push(match write {
                Write::Put { value, lease: None, .. } => TxnOp::put(key, value.as_slice(), None),
                Write::Put { value, lease: Some(lease), .. } => {
                    let options = PutOptions::new().with_lease(lease_number(*lease)?);
                    TxnOp::put(key, value.as_slice(), Some(options))
                }
                Write::Delete { .. } => TxnOp::delete(key, None),
            });
        }
        Ok(Txn::new().when(demands).and_then(writes).or_else(looks))
    }

    fn build_fence(&self) -> Txn {
        Txn::new()
            .when([self.slot_as_seen()])
            .and_then([self.mark(&self.fence)])
            .or_else([TxnOp::get(self.slot.key.as_str(), None)])
    }

    fn slot_as_seen(&self) -> Compare {
        Compare::mod_revision(self.slot.key.as_str(), CompareOp::Equal, self.slot.revision)
    }

    fn mark(&self, text: &[u8]) -> TxnOp {
        let options = PutOptions::new().with_lease(self.slot.lease_number);
        TxnOp::put(self.slot.key.as_str(), text, Some(options))
    }

    fn read(&self, layout: &Layout, response: &TxnResponse) -> Result<Answer, StoreError> {
        if response.succeeded() {
            return Ok(Answer::Applied(signed(response)?));
        }
        let mut found = first_keys(response).into_iter();
        let marker = found.next().flatten();
        let (name, revision) =
            marker.as_ref().map_or((&[][..], 0), |kv| (kv.value(), kv.mod_revision()));
        if name == self.name {
            return Ok(Answer::AppliedBefore(revision));
        }
        if revision != self.slot.revision {
            return Ok(Answer::Foreign);
        }
        let changed = |(guard, now): &(&Guard, Option<KeyValue>)| {
            now.as_ref().map(|kv| to_revision(kv.mod_revision())) != guard.revision
        };
        let guards = &self.transaction.guards;
        match guards.iter().zip(found).find(changed) {
            Some((guard, _)) => Ok(Answer::Conflict(guard.key.clone())),
            None => Err(StoreError::Damaged {
                key: layout.key(""),
                reason: "a member refused a transaction whose guards all hold".to_owned(),
            }),
        }
    }
}

fn leases_of(transaction: &Transaction) -> Result<Vec<(LeaseId, i64)>, StoreError> {
    let leases = transaction.writes.iter().filter_map(|write| match write {
        Write::Put { lease, .. } => *lease,
        Write::Delete { .. } => None,
    });
    let mut numbers = leases
        .map(|lease| Ok((lease, lease_number(lease)?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

fn signed(response: &TxnResponse) -> Result<i64, StoreError> {
    header_revision(response.header()).map(from_revision)
}

/// Of each look, the key it found.
fn first_keys(response: &TxnResponse) -> Vec<Option<KeyValue>> {
    let looks = response.op_responses().into_iter().map(|answer| match answer {
        TxnOpResponse::Get(mut found) => found.take_kvs().into_iter().next(),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
    });
    looks.collect()
}
