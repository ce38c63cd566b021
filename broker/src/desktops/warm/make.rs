//! One more warm desktop: claimed on a host, and made there.

use std::time::Duration;

use futures_util::StreamExt as _;
use rolltop_proto::v1::{self, OverlaySpec, start_host_desktop_response::Message};
use tokio::time::{sleep, timeout};
use tracing::Instrument as _;

use super::{AtWork, Work, choose::standing, plan::is_of_use};
use crate::{
    desktops::{
        DesktopError, Desktops,
        group::{Draft, Planned},
    },
    names::PoolName,
    placement::{self, Demand},
    state::{
        self, NumberRecord, PoolRecord, Stored, TransactionExt as _, WarmRecord, WarmState, keys,
    },
    store::{StoreError, Transaction},
};

/// Lost races before giving up: over the pool, or what others have made.
const ATTEMPTS: u32 = 64;
/// For what other brokers have made to be heard of.
const PAUSE: Duration = Duration::from_millis(20);

/// What became of the wish for one more.
enum OneMore {
    Made(Box<WarmRecord>),
    Enough,
}

impl Desktops {
    /// Makes one more, unless there are enough; answers whether it does.
    ///
    /// # Errors
    /// No host has room.
    pub(super) async fn make_warm(&self, pool: &PoolName) -> Result<bool, DesktopError> {
        let Some(record) = self.claim_warm(pool).await? else { return Ok(false) };
        let Some(work) = self.at_work(record.epoch, Work::Make) else { return Ok(false) };
        let span = tracing::info_span!("warm", pool.name = %pool, number = record.number, host.name = %record.host);
        let desktops = self.clone();
        let make = async move { desktops.see_through(record, work).await };
        self.inner.tasks.spawn(make.instrument(span));
        Ok(true)
    }

    /// `None`: there are enough.
    async fn claim_warm(&self, pool: &PoolName) -> Result<Option<WarmRecord>, DesktopError> {
        for _ in 0..ATTEMPTS {
            let pool = state::read::<PoolRecord>(self.store(), &keys::pool(pool)).await?;
            let Some(pool) = pool else { return Ok(None) };
            let desktops = self.clone();
            let planned = self.together(move |draft| desktops.plan_warm(&pool, draft)).await?;
            match planned {
                Some(OneMore::Made(record)) => return Ok(Some(*record)),
                Some(OneMore::Enough) => return Ok(None),
                None => sleep(PAUSE).await,
            }
        }
        Err(StoreError::Contended { what: "a claim", attempts: ATTEMPTS }.into())
    }

    /// Adds one to a draft. Whoever makes one takes an epoch, so that another broker
    /// that makes one after this has counted is a lost race, and it is counted again.
    fn plan_warm(&self, stored: &Stored<PoolRecord>, draft: &mut Draft<'_>) -> Planned<OneMore> {
        if !draft.is_whole() {
            return Ok(None);
        }
        let pool = &stored.record;
        let useful = |record: &WarmRecord| {
            is_of_use(record, pool, &standing(draft.host(&record.host), record))
        };
        let there = draft.warm_of(&pool.name).filter(|stored| useful(&stored.record)).count();
        let there = there + draft.warm_made(&pool.name).count();
        if there >= pool.warm_wanted() as usize {
            return Ok(Some((Transaction::new(), OneMore::Enough)));
        }
        let number = draft.free_number();
        let demand = Demand {
            image: pool.image.clone(),
            limits: pool.limits,
            new_overlay_mib: pool.overlay_size_mib,
            bound_to: Vec::new(),
            number,
            wishes: pool.hosts.clone(),
        };
        let epoch = draft.take_epoch();
        let seed = placement::seed_of(pool.name.as_str(), epoch);
        let host = placement::place(draft.hosts(), &demand, self.inner.policy, seed)
            .map_err(DesktopError::NoRoom)?;
        let record = WarmRecord {
            pool: pool.name.clone(),
            number,
            epoch,
            host,
            state: WarmState::Making,
            pilot: self.inner.presence.name().to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
            recipe: pool.recipe(),
            version: String::new(),
            claimed_at: self.inner.clock.now(),
        };
        draft.take_number(number);
        draft.take_room(&record.host, &record.recipe.limits);
        draft.make_warm(record.clone());
        let (number_key, key) =
            (keys::number(record.number), keys::warm(&record.pool, record.number));
        let own = Transaction::new()
            .unless_changed(&stored.key, Some(stored))
            .absent(&number_key)
            .absent(&key)
            .put_record(&key, &record)?
            .put_record(&number_key, &NumberRecord { desktop: record.pool.to_string() })?;
        Ok(Some((own, OneMore::Made(Box::new(record)))))
    }

    /// Until it can be claimed, or is forgotten.
    async fn see_through(&self, record: WarmRecord, work: AtWork) {
        let limit = self.inner.deadlines.start_deadline;
        let made = match timeout(limit, self.ask_for_warm(&record)).await {
            Ok(made) => made,
            Err(_) => Err(format!("it was not there after {} seconds", limit.as_secs())),
        };
        let noted = match made {
            Ok(version) => {
                self.inner.setbacks.went_well(&record.host);
                self.inner.warming.patience.went_well(&record.pool);
                self.inner.metrics.warm_made(true);
                self.warm_is_ready(&record, &version).await.map_err(DesktopError::from)
            }
            Err(problem) => self.could_not(&record, &problem).await,
        };
        drop(work);
        match noted {
            Ok(()) => self.nudge(),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what became of a warm desktop is noted later"
            ),
        }
    }

    /// It could not be made: what the host has of it goes too. A host that is
    /// silent is asked later.
    async fn could_not(&self, record: &WarmRecord, problem: &str) -> Result<(), DesktopError> {
        let there = self.warm(&record.pool, record.number, record.epoch).await?;
        // Ended by someone meanwhile: that is no failure.
        if there.is_some_and(|stored| stored.record.state == WarmState::Making) {
            tracing::warn!(problem, "a desktop could not be made ahead of its user");
            self.inner.metrics.warm_made(false);
            self.inner.setbacks.failed(&record.host);
            let problem = format!("a start on host {} failed: {problem}", record.host);
            self.inner.warming.patience.failed(&record.pool, problem, rand::random());
        }
        self.end_warm(record).await
    }

    /// Its version, once it is warm.
    async fn ask_for_warm(&self, record: &WarmRecord) -> Result<String, String> {
        let mut agent = self.inner.hosts.agent(&record.host).map_err(|error| error.to_string())?;
        let refused = |status: tonic::Status| status.message().to_owned();
        let mut answers =
            agent.start_desktop(host_request(record)).await.map_err(refused)?.into_inner();
        while let Some(answer) = answers.next().await {
            if let Some(Message::Desktop(desktop)) = answer.map_err(refused)?.message {
                return match (desktop.state(), desktop.failure) {
                    (v1::DesktopState::Warm, _) => Ok(desktop.version),
                    (_, Some(failure)) => Err(format!("{} ({})", failure.reason, failure.code)),
                    (state, None) => Err(format!("it is {}", state.as_str_name())),
                };
            }
        }
        Err("the host ended its answer too early".to_owned())
    }
}

fn host_request(record: &WarmRecord) -> v1::StartHostDesktopRequest {
    let recipe = &record.recipe;
    v1::StartHostDesktopRequest {
        request_id: record.request_id.clone(),
        number: record.number,
        epoch: record.epoch,
        label: record.pool.to_string(),
        image: recipe.image.to_string(),
        overlay: Some(OverlaySpec {
            persistent_name: String::new(),
            size_mib: recipe.overlay_size_mib,
        }),
        limits: Some(recipe.limits.into()),
        runtime: recipe.runtime.clone(),
        network: Some(v1::NetworkPolicy { egress: recipe.egress.clone() }),
        warm: true,
        ..v1::StartHostDesktopRequest::default()
    }
}
