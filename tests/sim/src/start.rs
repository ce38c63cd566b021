//! The way of a start, and what its callers hear of it.

use std::{
    net::Ipv4Addr,
    sync::{Arc, MutexGuard},
};

use futures_util::{Stream, stream};
use prost_types::Timestamp;
use rolltop_proto::v1::{
    DesktopState, DisplayProtocol, Failure, HostDesktop, OverlayInfo, Phase, Progress,
    StartHostDesktopRequest, StartHostDesktopResponse, start_host_desktop_response::Message,
};
use tokio::{sync::watch, time::sleep};
use tonic::{Code, Status};

use crate::{
    host::{Behaviour, Host},
    lock,
    table::{Admission, Life, Table, Told, refuse},
};

/// In the order a person sees them.
const PHASES: [Phase; 5] =
    [Phase::Disk, Phase::Network, Phase::Container, Phase::Session, Phase::Display];

impl Host {
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// Joins what there is, or does as it is told to.
    pub(crate) async fn start(
        self: &Arc<Self>,
        request: StartHostDesktopRequest,
    ) -> Result<Life, Status> {
        let planned = self.plan(&request)?;
        let joined = self.table().joined(&planned, &request.request_id);
        if let Some(life) = joined {
            return Ok(life);
        }
        let behaviour = lock(&self.behaviour).clone();
        let broken = lock(&self.broken).get(&planned.version).cloned();
        let failure = match behaviour {
            _ if broken.is_some() => broken,
            Behaviour::Run | Behaviour::Late(_) => None,
            Behaviour::Fail(failure) => Some(failure),
            Behaviour::Refuse(status) => return Err(status),
            Behaviour::Hold(gate) => {
                drop(gate.acquire().await);
                None
            }
        };
        let most = lock(&self.facts).max_desktops;
        match self.table().admit(&request.request_id, planned, most)? {
            Admission::Joined(life) => Ok(life),
            Admission::New(life) => {
                // Goes on when the caller leaves.
                tokio::spawn(Arc::clone(self).make(request, failure));
                Ok(life)
            }
        }
    }

    async fn make(self: Arc<Self>, request: StartHostDesktopRequest, failure: Option<Failure>) {
        let (number, epoch) = (request.number, request.epoch);
        let pace = lock(&self.pace).phase;
        for step in 1..=PHASES.len() * 2 {
            if step % 2 == 0 && !pace.is_zero() {
                sleep(pace).await;
            }
            let goes_on = self.table().change(number, epoch, |told| {
                if told.desktop.state() != DesktopState::Stopping {
                    told.steps = step;
                    let late = step > PHASES.len();
                    let state = if late { DesktopState::Starting } else { DesktopState::Preparing };
                    told.desktop.set_state(state);
                }
            });
            if !goes_on {
                return;
            }
            if failure.is_some() {
                break;
            }
        }
        let mut table = self.table();
        if let Some(failure) = failure {
            table.end(number, epoch, |desktop| {
                desktop.set_state(DesktopState::Failed);
                desktop.failure = Some(failure);
            });
            return;
        }
        self.storage.mount(&request);
        table.change(number, epoch, |told| {
            if told.desktop.state() != DesktopState::Stopping {
                let up = if request.warm { DesktopState::Warm } else { DesktopState::Running };
                told.desktop.set_state(up);
                told.desktop.started_at = Some(Timestamp::from(std::time::SystemTime::now()));
            }
        });
    }

    /// What it would be; MAC and address follow from the number.
    fn plan(&self, request: &StartHostDesktopRequest) -> Result<HostDesktop, Status> {
        let [_, high, middle, low] = request.number.to_be_bytes();
        let network = lock(&self.facts).network.clone();
        let ip = address(&network, request.number).ok_or_else(|| {
            let text = format!("number: {} is not within {network}", request.number);
            refuse(Code::InvalidArgument, "INVALID_ARGUMENT", text)
        })?;
        let version = self.version(&request.image)?;
        let overlay = request.overlay.clone().unwrap_or_default();
        Ok(HostDesktop {
            number: request.number,
            epoch: request.epoch,
            label: request.label.clone(),
            state: DesktopState::Planned.into(),
            account: request.account.clone(),
            image: request.image.clone(),
            version,
            mac: format!("54:52:00:{high:02x}:{middle:02x}:{low:02x}"),
            ip: ip.to_string(),
            overlay: Some(OverlayInfo {
                persistent: !overlay.persistent_name.is_empty(),
                name: overlay.persistent_name,
                size_bytes: overlay.size_mib << 20,
                allocated_bytes: 0,
            }),
            limits: request.limits,
            display: DisplayProtocol::Vnc.into(),
            home: request.home.clone(),
            network: request.network.clone(),
            warm: request.warm,
            ..Default::default()
        })
    }

    fn version(&self, reference: &str) -> Result<String, Status> {
        let images = lock(&self.images);
        let found = match (reference.split_once('@'), reference.split_once(':')) {
            (Some((image, version)), _) => {
                images.iter().find(|known| known.image == image && known.version == version)
            }
            (None, Some((image, tag))) => images
                .iter()
                .find(|known| known.image == image && known.tags.iter().any(|known| known == tag)),
            (None, None) => None,
        };
        found.map(|known| known.version.clone()).ok_or_else(|| {
            let text = format!("there is no image {reference} on this host");
            refuse(Code::NotFound, "IMAGE_UNKNOWN", text)
        })
    }
}

/// The `number`th address of a network such as "10.77.0.0/16".
fn address(network: &str, number: u32) -> Option<Ipv4Addr> {
    let (first, prefix) = network.split_once('/')?;
    let first: Ipv4Addr = first.parse().ok()?;
    let prefix: u32 = prefix.parse().ok()?;
    let size = 1_u32.checked_shl(32_u32.checked_sub(prefix)?).unwrap_or(u32::MAX);
    // The last one is for broadcasts.
    (number > 0 && number < size - 1).then(|| Ipv4Addr::from(u32::from(first) + number))
}

/// Progress from the first step on, then the desktop: running, warm, or over.
pub(crate) fn follow(
    life: &Life,
) -> impl Stream<Item = Result<StartHostDesktopResponse, Status>> + Send + use<> {
    let told = life.told.subscribe();
    stream::unfold(Some((told, 0)), |state| async {
        let (mut told, seen) = state?;
        loop {
            let Told { steps, desktop } = told.borrow_and_update().clone();
            if seen < steps {
                let phase = PHASES.get(seen / 2).copied().unwrap_or_default();
                let progress = Progress { phase: phase.into(), done: seen % 2 == 1, elapsed: None };
                let message = Some(Message::Progress(progress));
                return Some((Ok(StartHostDesktopResponse { message }), Some((told, seen + 1))));
            }
            if is_last(&desktop) {
                let message = Some(Message::Desktop(desktop));
                return Some((Ok(StartHostDesktopResponse { message }), None));
            }
            if told.changed().await.is_err() {
                let text = "the agent is shutting down; ask again in a moment";
                return Some((Err(refuse(Code::Unavailable, "SHUTTING_DOWN", text)), None));
            }
        }
    })
}

/// Its last word, once it has come.
pub(crate) async fn last_word(mut told: watch::Receiver<Told>) -> Option<HostDesktop> {
    let told = told.wait_for(|told| is_over(&told.desktop)).await.ok()?;
    Some(told.desktop.clone())
}

pub(crate) fn is_over(desktop: &HostDesktop) -> bool {
    matches!(desktop.state(), DesktopState::Gone | DesktopState::Failed)
}

fn is_last(desktop: &HostDesktop) -> bool {
    let up = [DesktopState::Running, DesktopState::Warm, DesktopState::Frozen];
    up.contains(&desktop.state()) || is_over(desktop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_from_numbers() {
        let ip = |number| address("10.77.0.0/16", number).map(|ip| ip.to_string());
        assert_eq!(ip(1).as_deref(), Some("10.77.0.1"));
        assert_eq!(ip(258).as_deref(), Some("10.77.1.2"));
        assert_eq!(ip(65_534).as_deref(), Some("10.77.255.254"));
        for odd in [0, 65_535, 65_536] {
            assert_eq!(ip(odd), None, "{odd}");
        }
        for odd in ["", "10.77.0.0", "10.77.0.0/33", "x/16"] {
            assert_eq!(address(odd, 1), None, "{odd}");
        }
    }
}
