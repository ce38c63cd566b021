//! A desktop is claimed in one transaction: number, epoch, capacity on a host,
//! the place of a kept disk, and the record. Whoever loses the race finds the
//! record of who won it. What depends on this desktop alone is read here; what all
//! share is in the books (see `group`).

mod plan;

use super::{DesktopError, Desktops, StartRequest};
use crate::{
    data::{DataId, Slot},
    names::{DesktopId, HostName, PoolName},
    placement::{self, Demand, Place, Verdict},
    state::{self, DesktopRecord, DesktopState, HomePolicy, PoolRecord, Stored, UserRecord, keys},
    store::StoreError,
};

/// Lost races before giving up: over the desktop, its user, its pool or its data.
const ATTEMPTS: u32 = 64;

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// This caller's, to be started now.
    New(Box<DesktopRecord>),
    /// There is one.
    Existing(Box<DesktopRecord>),
}

/// What a claim depends on alone, as it was read.
struct Facts {
    id: DesktopId,
    request: StartRequest,
    desktop: Option<Stored<DesktopRecord>>,
    user: Stored<UserRecord>,
    pool: Stored<PoolRecord>,
    /// Kept data it takes.
    overlay: Option<Slot>,
    home: Option<Slot>,
    /// The earlier life is on a host that is lost, and given up.
    given_up: bool,
    /// Where it has to be, for it was looked at there whether its data is free.
    pinned: Option<HostName>,
}

// === impl Facts ===

impl Facts {
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.overlay.iter().chain(&self.home)
    }

    /// The earlier life that is given up.
    fn earlier(&self) -> Option<&DesktopRecord> {
        self.desktop.as_ref().map(|stored| &stored.record).filter(|_| self.given_up)
    }

    /// The last life, which failed, and has its number still.
    fn failed(&self) -> Option<&DesktopRecord> {
        let last = self.desktop.as_ref().map(|stored| &stored.record);
        last.filter(|record| record.state == DesktopState::Failed)
    }

    /// What is to be placed, but for its number.
    fn demand(&self) -> Result<Demand, DesktopError> {
        let pool = &self.pool.record;
        Ok(Demand {
            image: pool.image.clone(),
            limits: pool.limits,
            new_overlay_mib: self.new_mib(),
            bound_to: self.bound_to()?,
            number: 1,
            wishes: pool.hosts.clone(),
        })
    }

    /// Where the kept data is: the start is bound to that.
    fn bound_to(&self) -> Result<Vec<Place>, DesktopError> {
        let of = |slot: &Option<Slot>| slot.as_ref().and_then(Slot::place);
        match (of(&self.overlay), of(&self.home)) {
            (Some(overlay), Some(home))
                if overlay.host != home.host && !overlay.is_shared() && !home.is_shared() =>
            {
                let (overlay, home) = (overlay.host, home.host);
                Err(DesktopError::DataApart { desktop: self.id.clone(), overlay, home })
            }
            (overlay, home) => Ok(overlay.into_iter().chain(home).collect()),
        }
    }

    /// What a start would make on its host, MiB.
    fn new_mib(&self) -> i64 {
        let is_new = |slot: &Option<Slot>| slot.as_ref().is_none_or(|slot| slot.place().is_none());
        let pool = &self.pool.record;
        let overlay = if is_new(&self.overlay) { pool.overlay_size_mib } else { 0 };
        match pool.home {
            Some(HomePolicy::Volume { size_mib }) if is_new(&self.home) => {
                overlay.saturating_add(size_mib)
            }
            Some(_) | None => overlay,
        }
    }
}

impl Desktops {
    /// What would become of a start now, host by host, and which host would be
    /// taken. Nothing is claimed.
    ///
    /// # Errors
    /// There is no such pool, or what the user keeps cannot be taken.
    pub async fn explain(
        &self,
        pool: &PoolName,
        user: Option<UserRecord>,
    ) -> Result<Vec<Verdict>, DesktopError> {
        let record = state::read::<PoolRecord>(self.store(), &keys::pool(pool)).await?;
        let record = record.ok_or_else(|| DesktopError::UnknownPool(pool.clone()))?.record;
        let facts = match user {
            Some(user) => {
                let (width, height, time_zone) = (0, 0, String::new());
                let pool = pool.clone();
                let request = StartRequest { user, pool, width, height, time_zone };
                Some(self.facts(&request).await?)
            }
            None => None,
        };
        self.look_up_room().await?;
        self.try_plan(|draft| {
            let (demand, seed) = match &facts {
                Some(facts) => {
                    let demand = Demand { number: draft.free_number(), ..facts.demand()? };
                    (demand, placement::seed_of(&facts.id.to_string(), draft.next_epoch()))
                }
                None => {
                    let demand = Demand {
                        image: record.image.clone(),
                        limits: record.limits,
                        new_overlay_mib: record.overlay_size_mib,
                        bound_to: Vec::new(),
                        number: 1,
                        wishes: record.hosts.clone(),
                    };
                    (demand, placement::seed_of(pool.as_str(), 0))
                }
            };
            Ok(placement::explain(draft.hosts(), &demand, self.inner.policy, seed))
        })
        .await
    }

    /// Claims a desktop for the user, unless there is one. To start it is for the
    /// caller: see [`Desktops::start`].
    ///
    /// # Errors
    /// It cannot be had, or the store failed.
    pub async fn claim(&self, request: &StartRequest) -> Result<Claim, DesktopError> {
        let mut refreshed = false;
        for _ in 0..ATTEMPTS {
            let facts = self.facts(request).await?;
            if let Some(existing) = &facts.desktop
                && !facts.given_up
                && existing.record.state.holds_capacity()
            {
                return Ok(Claim::Existing(Box::new(existing.record.clone())));
            }
            let id = facts.id.clone();
            let seen = facts.desktop.as_ref().map(|stored| stored.revision);
            match self.try_claim(facts).await {
                Ok(Some(record)) => return Ok(Claim::New(Box::new(record))),
                Ok(None) => {}
                // It may have been published a moment ago.
                Err(DesktopError::NoRoom(no_room))
                    if !refreshed && placement::lacks_image(&no_room) =>
                {
                    refreshed = true;
                    self.inner.hosts.refresh_images().await;
                }
                // The last place may have gone to this very user, who asked twice.
                Err(error @ (DesktopError::NoRoom(_) | DesktopError::PoolFull { .. })) => {
                    let now = self.find(&id).await?.map(|stored| stored.revision);
                    if now == seen {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended { what: "a claim", attempts: ATTEMPTS }.into())
    }

    async fn facts(&self, request: &StartRequest) -> Result<Facts, DesktopError> {
        let store = self.store();
        let id = DesktopId { pool: request.pool.clone(), user: request.user.name.clone() };
        let (pool_key, user_key) = (keys::pool(&id.pool), keys::user(&id.user));
        let (desktop, pool, user) = futures_util::future::try_join3(
            self.find(&id),
            state::read::<PoolRecord>(store, &pool_key),
            state::read::<UserRecord>(store, &user_key),
        )
        .await?;
        let pool = pool.ok_or_else(|| DesktopError::UnknownPool(id.pool.clone()))?;
        let user = user.filter(|user| user.record.uid == request.user.uid);
        let user = user.ok_or_else(|| DesktopError::UnknownUser(id.user.clone()))?;
        // A desktop that is there has its data: no need to look at that.
        let living = desktop.as_ref().filter(|stored| stored.record.state.holds_capacity());
        let lost_for = match living {
            Some(living) => self.lost_for(&living.record.host).await?,
            None => None,
        };
        let given_up = lost_for.is_some();
        let to_claim = living.is_none() || given_up;
        let data = &self.inner.data;
        let overlay = match pool.record.persistent && to_claim {
            true => Some(data.slot(DataId::Desktop(id.clone()), &user.record, &id).await?),
            false => None,
        };
        let home = match pool.record.home {
            Some(HomePolicy::Volume { .. }) if to_claim => {
                Some(data.slot(DataId::Home(id.user.clone()), &user.record, &id).await?)
            }
            Some(_) | None => None,
        };
        if let (Some(lost_for), Some(Stored { record, .. })) = (lost_for, living) {
            let places = overlay.iter().chain(&home).filter_map(Slot::place);
            if record.keeps_data() && !places.into_iter().all(|place| place.is_shared()) {
                return Err(Self::data_out_of_reach(record, lost_for));
            }
        }
        let (request, pinned) = (request.clone(), None);
        Ok(Facts { id, request, desktop, user, pool, overlay, home, given_up, pinned })
    }

    /// `None`: others were faster, look again.
    async fn try_claim(&self, mut facts: Facts) -> Result<Option<DesktopRecord>, DesktopError> {
        let pool = &facts.pool.record;
        if facts.earlier().is_none() && !pool.closed.is_empty() {
            let (pool, why) = (pool.name.clone(), pool.closed.clone());
            return Err(DesktopError::PoolClosed { pool, why });
        }
        for place in facts.bound_to()?.iter().filter(|place| !place.is_shared()) {
            if let Some(lost_for) = self.lost_for(&place.host).await? {
                let (desktop, host) = (facts.id.clone(), place.host.clone());
                let seconds = lost_for.as_secs();
                return Err(DesktopError::DataOnLostHost { desktop, host, seconds });
            }
        }
        if let Some(earlier) = facts.earlier()
            && facts.slots().any(|slot| slot.volume_id().is_some())
        {
            // That takes its time, so it is done before others wait for it.
            let planned = self.try_plan(|draft| self.plan_claim(&facts, draft)).await?;
            let Some((_, DesktopRecord { host, .. })) = planned else { return Ok(None) };
            self.look_at_fences(earlier, facts.slots(), &host).await?;
            facts.pinned = Some(host);
        }
        let keeps_warm = facts.pool.record.warm > 0;
        let desktops = self.clone();
        let claimed = self.together(move |draft| desktops.plan_claim(&facts, draft)).await?;
        if let Some(record) = &claimed
            && keeps_warm
        {
            self.inner.metrics.warm_claimed(record.warm_epoch > 0);
        }
        Ok(claimed)
    }
}
