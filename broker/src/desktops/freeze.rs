//! Holding a desktop still, and letting it go on. Its host does it and knows;
//! nothing is noted here.

use std::time::Duration;

use rolltop_proto::v1::{FreezeHostDesktopRequest, HostDesktop, ThawHostDesktopRequest};
use tokio::time::timeout;

use super::{DesktopError, Desktops};
use crate::{names::DesktopId, state::DesktopRecord};

/// A process may be deep in the kernel; the host gives up before this.
const ANSWER: Duration = Duration::from_secs(60);

impl Desktops {
    /// Freezes or thaws a running desktop; answers when it is done, with what
    /// the host says of it.
    ///
    /// # Errors
    /// It does not run, or its host cannot.
    pub async fn set_frozen(
        &self,
        id: &DesktopId,
        frozen: bool,
    ) -> Result<(DesktopRecord, HostDesktop), DesktopError> {
        let record = self.running(id).await?;
        let (number, epoch) = (record.number, record.epoch);
        let mut agent = self.inner.hosts.agent(&record.host)?;
        let call = async {
            if frozen {
                agent.freeze_desktop(FreezeHostDesktopRequest { number, epoch }).await
            } else {
                agent.thaw_desktop(ThawHostDesktopRequest { number, epoch }).await
            }
        };
        let message = match timeout(ANSWER, call).await {
            Ok(Ok(desktop)) => return Ok((record, desktop.into_inner())),
            Ok(Err(status)) => status.message().to_owned(),
            Err(_elapsed) => "it takes too long".to_owned(),
        };
        let verb = if frozen { "freeze a desktop" } else { "thaw a desktop" };
        Err(DesktopError::Agent { host: record.host.to_string(), verb, message })
    }
}
