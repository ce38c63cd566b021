//! What a claim makes of the books: epoch, number, host, room, and its record.

use super::Facts;
use crate::{
    data::Slot,
    desktops::{
        DesktopError, Desktops,
        group::{Draft, Planned},
    },
    names::HostName,
    placement::{self, Demand, HostFacts},
    state::{
        DesktopRecord, DesktopState, HeldRecord, HomePolicy, HomeUse, NumberRecord, SeatRecord,
        StorageRecord, Stored, TransactionExt as _, WarmRecord, keys,
    },
    store::{StoreError, Transaction},
};

/// Where number and room of a new desktop come from.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// Both are new.
    New,
    /// The number is that of its last life, which failed.
    Failed,
    /// Both are those of a desktop that was made ahead.
    Warm(&'a Stored<WarmRecord>),
}

impl Desktops {
    /// Adds a claim to a draft.
    pub(super) fn plan_claim(
        &self,
        facts: &Facts,
        draft: &mut Draft<'_>,
    ) -> Planned<DesktopRecord> {
        let (pool, policy) = (&facts.pool.record, self.inner.policy);
        match facts.earlier() {
            // One for another: the pool has as many as before.
            Some(earlier) => draft.give_room(&earlier.host, &earlier.limits),
            None => draft.join_pool(pool)?,
        }
        // A failed one keeps its number, unless a stray on some host has it.
        let failed = facts.failed();
        let number = failed.map_or_else(|| draft.free_number(), |failed| failed.number);
        let demand = Demand { number, ..facts.demand()? };
        let epoch = draft.take_epoch();
        let seed = placement::seed_of(&facts.id.to_string(), epoch);
        // Its overlay is there; a new home is not.
        let overlay_mib = if pool.persistent { 0 } else { pool.overlay_size_mib };
        let new_overlay_mib = demand.new_overlay_mib.saturating_sub(overlay_mib);
        let given = Demand { new_overlay_mib, ..demand.clone() };
        let pinned: Option<Vec<HostFacts>> =
            facts.pinned.as_ref().map(|host| draft.host(host).cloned().into_iter().collect());
        let warm = self
            .choose_warm(pool, draft, &given, seed)
            .filter(|warm| facts.pinned.as_ref().is_none_or(|host| *host == warm.record.host));
        let (host, number, source) = match &warm {
            Some(warm) => (warm.record.host.clone(), warm.record.number, Source::Warm(warm)),
            None => {
                let among = pinned.as_deref().unwrap_or(draft.hosts());
                let host = match placement::place(among, &demand, policy, seed) {
                    Ok(host) => host,
                    // It was another that would have been looked at.
                    Err(_) if pinned.is_some() => return Ok(None),
                    Err(no_room) => return Err(DesktopError::NoRoom(no_room)),
                };
                (host, number, if failed.is_some() { Source::Failed } else { Source::New })
            }
        };
        match source {
            Source::New => draft.take_number(number),
            Source::Failed => {}
            Source::Warm(warm) => draft.take_warm(&warm.key),
        }
        if !matches!(source, Source::Warm(_)) {
            draft.take_room(&host, &pool.limits);
        }
        let chosen = draft.host(&host);
        let storage = chosen
            .and_then(|chosen| chosen.ready.as_ref().ok())
            .and_then(|ready| ready.storage.as_ref());
        let warm_epoch = warm.as_ref().map_or(0, |warm| warm.record.epoch);
        let placed = DesktopRecord { number, epoch, warm_epoch, ..self.record(facts, &host) };
        let own = own(&placed, facts, storage, source)?;
        Ok(Some((own, placed)))
    }

    /// The record, but for number and epochs.
    fn record(&self, facts: &Facts, host: &HostName) -> DesktopRecord {
        let Facts { id, request, .. } = facts;
        let pool = &facts.pool.record;
        let home = pool.home.as_ref().map(|home| match home {
            HomePolicy::Volume { size_mib } => HomeUse::Volume {
                name: facts.home.as_ref().map(Slot::volume).unwrap_or_default(),
                size_mib: *size_mib,
            },
            HomePolicy::Directory { parent } => {
                HomeUse::Directory { parent: parent.clone(), name: id.user.to_string() }
            }
        });
        DesktopRecord {
            id: id.clone(),
            pool_title: pool.title.clone(),
            state: DesktopState::Starting,
            number: 0,
            epoch: 0,
            host: host.clone(),
            pilot: self.inner.presence.name().to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
            image: pool.image.clone(),
            overlay: facts.overlay.as_ref().map(Slot::volume).unwrap_or_default(),
            overlay_size_mib: pool.overlay_size_mib,
            home,
            egress: pool.egress.clone(),
            limits: pool.limits,
            runtime: pool.runtime.clone(),
            width: request.width,
            height: request.height,
            time_zone: request.time_zone.clone(),
            claimed_at: self.inner.clock.now(),
            placed: None,
            failure: None,
            end_reason: String::new(),
            phases: Vec::new(),
            warm_epoch: 0,
            ends: None,
            expiry: None,
            renewal: None,
            seat: SeatRecord::default(),
            notice: None,
        }
    }
}

/// What is this claim's alone.
fn own(
    record: &DesktopRecord,
    facts: &Facts,
    storage: Option<&StorageRecord>,
    source: Source<'_>,
) -> Result<Transaction, StoreError> {
    let key = keys::desktop(&record.id);
    let mut own = Transaction::new()
        .unless_changed(&key, facts.desktop.as_ref())
        .unless_changed(&facts.pool.key, Some(&facts.pool))
        .unless_changed(&facts.user.key, Some(&facts.user))
        .put_record(&key, record)?;
    let number_key = keys::number(record.number);
    let number = NumberRecord { desktop: record.id.to_string() };
    match source {
        Source::New => own = own.absent(&number_key).put_record(&number_key, &number)?,
        Source::Failed => {}
        Source::Warm(warm) => {
            own = own
                .unless_changed(&warm.key, Some(warm))
                .delete(&warm.key)
                .put_record(&number_key, &number)?;
            // One that failed has held another number till now.
            if let Some(failed) = facts.failed() {
                own = own.delete(keys::number(failed.number));
            }
        }
    }
    if let Some(earlier) = facts.earlier() {
        // The host may run on with it: its number is not given back.
        let held = HeldRecord { desktop: earlier.id.to_string(), epoch: earlier.epoch };
        own = own.put_record(&keys::held(&earlier.host, earlier.number), &held)?;
    }
    for slot in facts.slots() {
        own = slot.take(own, &record.host, storage, &record.id, record.epoch)?;
    }
    Ok(own)
}
