//! Limits of a desktop that runs. More is claimed before its host is asked, and
//! less is given back after; between the two the record has the greater of both,
//! so that what is claimed on a host always adds up to its desktops' records.

use std::time::Duration;

use rolltop_proto::v1::{HostDesktop, SetHostDesktopLimitsRequest};
use tokio::time::timeout;
use tonic_types::StatusExt as _;

use super::{
    DesktopError, Desktops,
    group::{Draft, Planned},
};
use crate::{
    config::Placement as Policy,
    names::{DesktopId, HostName},
    placement::{self, Demand, HostFacts, Reason},
    state::{DesktopRecord, HostPolicy, LimitsRecord, TransactionExt as _},
    store::{StoreError, Transaction},
};

/// Lost races before giving up.
const ATTEMPTS: u32 = 256;
/// The kernel may have to take back a lot of memory.
const ANSWER: Duration = Duration::from_secs(60);

/// Limits that are to be others; `None`: as it is. 0: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewLimits {
    /// Memory.
    pub memory_mib: Option<i64>,
    /// Thousandths of one processor.
    pub cpu_millis: Option<i64>,
    /// Processes and threads.
    pub pids: Option<i64>,
    /// Bits a second to it.
    pub network_down_bits: Option<i64>,
    /// Bits a second from it.
    pub network_up_bits: Option<i64>,
    /// Bytes a second read from its own disks.
    pub disk_read_bytes: Option<i64>,
    /// Bytes a second written to them.
    pub disk_write_bytes: Option<i64>,
    /// Reads a second, and as many writes.
    pub disk_ops: Option<i64>,
}

impl Desktops {
    /// Replaces limits of a running desktop, for its life; what its host says of
    /// it then.
    ///
    /// # Errors
    /// [`DesktopError::LimitsTooLarge`], [`DesktopError::LimitInUse`], it does not
    /// run, or its host cannot. Nothing has changed then.
    pub async fn set_limits(
        &self,
        id: &DesktopId,
        new: NewLimits,
    ) -> Result<(DesktopRecord, HostDesktop), DesktopError> {
        let (epoch, before) = {
            let record = self.running(id).await?;
            self.inner.hosts.agent(&record.host)?;
            (record.epoch, record.limits)
        };
        let wanted = new.over(before);
        let record = self.claim_limits(id, epoch, before.widened_by(wanted), true).await?;
        match self.ask_for_limits(&record, wanted).await {
            Ok(told) => {
                let record = self.claim_limits(id, epoch, wanted, false).await?;
                tracing::info!(desktop.id = %id, host.name = %record.host, ?wanted, "a desktop has other limits");
                Ok((record, told))
            }
            Err(error) => {
                // It may have ended: then its room was given back with it.
                match self.claim_limits(id, epoch, before, false).await {
                    Ok(_) | Err(DesktopError::Unknown(_) | DesktopError::Superseded { .. }) => {}
                    Err(unnoted) => self.doubt_after(&unnoted),
                }
                Err(error)
            }
        }
    }

    /// Takes what a host tells of a desktop's limits for what they are: a broker
    /// may have died between asking for others and noting them.
    pub(super) async fn heed_limits(
        &self,
        record: &DesktopRecord,
        told: &HostDesktop,
    ) -> Result<(), DesktopError> {
        let Some(limits) = told.limits.map(LimitsRecord::from) else { return Ok(()) };
        if limits != record.limits {
            self.claim_limits(&record.id, record.epoch, limits, false).await?;
        }
        Ok(())
    }

    /// Notes limits, with what they claim on the host. `if_room`: not more than
    /// that has left.
    async fn claim_limits(
        &self,
        id: &DesktopId,
        epoch: u64,
        limits: LimitsRecord,
        if_room: bool,
    ) -> Result<DesktopRecord, DesktopError> {
        for _ in 0..ATTEMPTS {
            let stored = self.find(id).await?.filter(|stored| stored.record.state.holds_capacity());
            let stored = stored.ok_or_else(|| DesktopError::Unknown(id.clone()))?;
            if stored.record.epoch != epoch {
                return Err(DesktopError::Superseded { desktop: id.clone() });
            }
            let before = stored.record.limits;
            if before == limits {
                return Ok(stored.record);
            }
            let record = DesktopRecord { limits, ..stored.record.clone() };
            let own = Transaction::new()
                .unchanged(&stored.key, stored.revision)
                .put_record(&stored.key, &record)?;
            let (demand, policy) = (difference(&stored.record, limits), self.inner.policy);
            let note = {
                let record = record.clone();
                move |draft: &mut Draft<'_>| -> Planned<()> {
                    if let Some(host) = draft.host(&record.host).filter(|_| if_room) {
                        has_room(&record, host, &demand, policy)?;
                    }
                    draft.give_room(&record.host, &before);
                    draft.take_room(&record.host, &limits);
                    Ok(Some((own.clone(), ())))
                }
            };
            if self.together(note).await?.is_some() {
                return Ok(record);
            }
        }
        Err(StoreError::Contended { what: "a desktop", attempts: ATTEMPTS }.into())
    }

    async fn ask_for_limits(
        &self,
        record: &DesktopRecord,
        limits: LimitsRecord,
    ) -> Result<HostDesktop, DesktopError> {
        let mut agent = self.inner.hosts.agent(&record.host)?;
        let limits = Some(limits.into());
        let (number, epoch) = (record.number, record.epoch);
        let request = SetHostDesktopLimitsRequest { number, epoch, limits };
        let message = match timeout(ANSWER, agent.set_desktop_limits(request)).await {
            Ok(Ok(desktop)) => return Ok(desktop.into_inner()),
            Ok(Err(status)) => {
                let reason = status.get_details_error_info().map(|info| info.reason);
                if reason.is_some_and(|reason| reason == "LIMIT_IN_USE") {
                    let (desktop, message) = (record.id.clone(), status.message().to_owned());
                    return Err(DesktopError::LimitInUse { desktop, message });
                }
                status.message().to_owned()
            }
            Err(_elapsed) => "it takes too long".to_owned(),
        };
        Err(agent_error(&record.host, message))
    }
}

/// What these limits are more.
fn difference(record: &DesktopRecord, limits: LimitsRecord) -> Demand {
    let more = |now: i64, then: i64| then.saturating_sub(now).max(0);
    Demand {
        image: record.image.clone(),
        limits: LimitsRecord {
            memory_mib: more(record.limits.memory_mib, limits.memory_mib),
            cpu_millis: more(record.limits.cpu_millis, limits.cpu_millis),
            ..LimitsRecord::default()
        },
        new_overlay_mib: 0,
        bound_to: Vec::new(),
        number: record.number,
        wishes: HostPolicy::default(),
    }
}

/// Whether a desktop's host has room for that.
fn has_room(
    record: &DesktopRecord,
    host: &HostFacts,
    demand: &Demand,
    policy: Policy,
) -> Result<(), DesktopError> {
    let against = placement::against_more(host, demand, policy);
    if against.is_empty() {
        return Ok(());
    }
    let against: Vec<String> = against.iter().map(Reason::to_string).collect();
    let (desktop, host) = (record.id.clone(), record.host.clone());
    Err(DesktopError::LimitsTooLarge { desktop, host, against: against.join(", ") })
}

fn agent_error(host: &HostName, message: String) -> DesktopError {
    DesktopError::Agent { host: host.to_string(), verb: "change a desktop's limits", message }
}

// === impl NewLimits ===

impl NewLimits {
    /// What they make of limits.
    fn over(self, limits: LimitsRecord) -> LimitsRecord {
        LimitsRecord {
            memory_mib: self.memory_mib.unwrap_or(limits.memory_mib),
            cpu_millis: self.cpu_millis.unwrap_or(limits.cpu_millis),
            pids: self.pids.unwrap_or(limits.pids),
            network_down_bits: self.network_down_bits.unwrap_or(limits.network_down_bits),
            network_up_bits: self.network_up_bits.unwrap_or(limits.network_up_bits),
            disk_read_bytes: self.disk_read_bytes.unwrap_or(limits.disk_read_bytes),
            disk_write_bytes: self.disk_write_bytes.unwrap_or(limits.disk_write_bytes),
            disk_ops: self.disk_ops.unwrap_or(limits.disk_ops),
        }
    }
}

// === impl LimitsRecord ===

impl LimitsRecord {
    /// What claims as much as either; rates claim nothing.
    fn widened_by(self, other: Self) -> Self {
        Self {
            memory_mib: self.memory_mib.max(other.memory_mib),
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            pids: self.pids.max(other.pids),
            ..self
        }
    }
}
