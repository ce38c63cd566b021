//! Desktops.

use rolltop_proto::v1::{Desktop, Failure, Limits, OverlayInfo, Progress, Usage, Viewer};
use serde::Serialize;

use super::{ago, duration_in_ms, or_empty, some, time, words};
use crate::{
    output::{
        Column, Fields, Look, Table, Tone, View, duration_ms, gib_or_mib, rate_bits, size_bytes,
    },
    watch::Change,
};

/// `{"desktops": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct DesktopList {
    desktops: Vec<DesktopView>,
}

/// One desktop.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DesktopView {
    pub(crate) id: String,
    pool: String,
    pool_title: Option<String>,
    user: String,
    pub(crate) state: &'static str,
    pub(crate) host: Option<String>,
    number: u32,
    epoch: u64,
    image: Option<String>,
    version: Option<String>,
    behind: bool,
    next_version: Option<String>,
    mac: Option<String>,
    pub(crate) ip: Option<String>,
    started_at: Option<String>,
    overlay: Option<OverlayView>,
    limits: Option<LimitsView>,
    usage: Option<UsageView>,
    failure: Option<FailureView>,
    viewer: Option<ViewerView>,
    end_reason: Option<String>,
    phases: Vec<ProgressView>,
    #[serde(skip)]
    tone: Tone,
}

#[derive(Clone, Debug, Serialize)]
struct OverlayView {
    name: Option<String>,
    persistent: bool,
    size_bytes: i64,
    allocated_bytes: i64,
}

/// Limits; `null` for "no limit".
#[derive(Clone, Debug, Serialize)]
pub(super) struct LimitsView {
    pub(super) memory_mib: Option<i64>,
    pub(super) cpu_millis: Option<i64>,
    pub(super) pids: Option<i64>,
    /// A second, as all that follow.
    network_down_bits: Option<i64>,
    network_up_bits: Option<i64>,
    disk_read_bytes: Option<i64>,
    disk_write_bytes: Option<i64>,
    disk_ops: Option<i64>,
}

#[derive(Clone, Debug, Serialize)]
struct UsageView {
    memory_bytes: i64,
    pids: i64,
    cpu_time_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
struct FailureView {
    phase: &'static str,
    reason: String,
    code: String,
    output_tail: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct ViewerView {
    user: String,
    address: String,
    since: Option<String>,
}

/// A phase that began or ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProgressView {
    phase: &'static str,
    done: bool,
    elapsed_ms: Option<f64>,
}

impl FromIterator<Desktop> for DesktopList {
    fn from_iter<I: IntoIterator<Item = Desktop>>(desktops: I) -> Self {
        Self { desktops: desktops.into_iter().map(DesktopView::from).collect() }
    }
}

impl Change for DesktopView {
    fn sentence(&self) -> String {
        let host = self.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
        let why = self.failure.as_ref().map(|failure| &failure.reason).or(self.end_reason.as_ref());
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}: {}{host}{why}", self.id, self.state)
    }
}

impl View for DesktopList {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Left("DESKTOP"),
                Column::Left("STATE"),
                Column::Left("HOST"),
                Column::Left("VERSION"),
                Column::Left("ADDRESS"),
                Column::Right("MEMORY"),
                Column::Right("DISK"),
                Column::Left("STARTED"),
                Column::Left("VIEWED FROM"),
            ],
            "no desktops",
        );
        for desktop in &self.desktops {
            let plain = |text| (Tone::Normal, text);
            let memory = desktop.usage.as_ref().map(|usage| size_bytes(usage.memory_bytes));
            let disk = desktop.overlay.as_ref().map(|disk| size_bytes(disk.allocated_bytes));
            table.row([
                plain(desktop.id.clone()),
                (desktop.tone, desktop.state.to_owned()),
                plain(or_empty(desktop.host.as_ref())),
                desktop.version_cell(),
                plain(or_empty(desktop.ip.as_ref())),
                plain(memory.unwrap_or_default()),
                plain(disk.unwrap_or_default()),
                plain(ago(desktop.started_at.as_ref(), look)),
                plain(desktop.viewer.as_ref().map(|v| v.address.clone()).unwrap_or_default()),
            ]);
        }
        table.render(look.paint)
    }
}

impl View for DesktopView {
    fn text(&self, look: Look) -> String {
        let mut fields = Fields::default();
        fields
            .field("desktop", &self.id)
            .field("pool", or_empty(self.pool_title.as_ref().or(Some(&self.pool))))
            .toned("state", self.tone, self.state)
            .field("host", or_empty(self.host.as_ref()))
            .field("number", format!("{} (epoch {})", self.number, self.epoch))
            .field("address", or_empty(self.ip.as_ref()))
            .field("mac", or_empty(self.mac.as_ref()))
            .field("image", self.image_and_version());
        if let Some(started) = &self.started_at {
            fields.field("started", format!("{started} ({})", ago(Some(started), look)));
        }
        if let Some(overlay) = &self.overlay {
            fields.field("disk", overlay.sentence());
        }
        if let Some(usage) = &self.usage {
            fields.field("uses", usage.sentence());
        }
        if let Some(limits) = &self.limits {
            fields.field("limits", limits.sentence());
        }
        match &self.viewer {
            Some(viewer) => {
                fields.field("viewed by", format!("{} from {}", viewer.user, viewer.address))
            }
            None => fields.field("viewed by", "nobody now"),
        };
        if let Some(reason) = &self.end_reason {
            fields.field("ended", reason);
        }
        for phase in self.phases.iter().filter(|phase| phase.done) {
            let at = phase.elapsed_ms.map(duration_ms).unwrap_or_default();
            fields.field("", format!("{} ready after {at}", phase.phase));
        }
        if let Some(failure) = &self.failure {
            match self.end_reason {
                // It was up: in which phase says nothing.
                Some(_) => fields.toned("why", Tone::Bad, &failure.reason),
                None => {
                    let why = format!("{} (in phase {})", failure.reason, failure.phase);
                    fields.toned("failed", Tone::Bad, why)
                }
            };
            for line in &failure.output_tail {
                fields.toned("", Tone::Faint, line);
            }
        }
        fields.render(look.paint)
    }
}

impl DesktopView {
    pub(crate) fn limits_sentence(&self) -> String {
        let limits = self.limits.as_ref().map(LimitsView::sentence);
        limits.filter(|limits| limits != "none").unwrap_or_else(|| "as much as there is".to_owned())
    }

    /// "v1 -> v2": what runs, and what its next start would take.
    fn version_cell(&self) -> (Tone, String) {
        let version = or_empty(self.version.as_ref());
        match (self.behind, &self.next_version) {
            (false, _) => (Tone::Normal, version),
            (true, Some(next)) => (Tone::Busy, format!("{version} -> {next}")),
            (true, None) => (Tone::Busy, format!("{version} (behind)")),
        }
    }

    fn image_and_version(&self) -> String {
        match (&self.image, &self.version) {
            (Some(image), Some(_)) if self.behind => format!("{image} ({})", self.version_cell().1),
            (Some(image), Some(version)) => format!("{image} ({version})"),
            (image, version) => or_empty(image.as_ref().or(version.as_ref())),
        }
    }
}

impl OverlayView {
    fn sentence(&self) -> String {
        let kept = if self.persistent { "kept" } else { "volatile" };
        let (used, size) = (size_bytes(self.allocated_bytes), size_bytes(self.size_bytes));
        match &self.name {
            Some(name) => format!("{kept}, {used} of {size}, {name}"),
            None => format!("{kept}, {used} of {size}"),
        }
    }
}

impl UsageView {
    fn sentence(&self) -> String {
        let cpu = self.cpu_time_ms.map(duration_ms).unwrap_or_default();
        format!("{} memory, {} processes, {cpu} of CPU", size_bytes(self.memory_bytes), self.pids)
    }
}

impl LimitsView {
    pub(super) fn sentence(&self) -> String {
        let limits = [
            self.memory_mib.map(|mib| format!("{} memory", gib_or_mib(mib))),
            self.cpu_millis.map(|millis| format!("{} CPUs", millis as f64 / 1000.0)),
            self.pids.map(|pids| format!("{pids} processes")),
            self.network_down_bits.map(|bits| format!("{} down", rate_bits(bits))),
            self.network_up_bits.map(|bits| format!("{} up", rate_bits(bits))),
            self.disk_read_bytes.map(|bytes| format!("{}/s read", size_bytes(bytes))),
            self.disk_write_bytes.map(|bytes| format!("{}/s written", size_bytes(bytes))),
            self.disk_ops.map(|ops| format!("{ops} reads/s, {ops} writes/s")),
        ];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }
    }
}

// === from the contract ===

impl From<Desktop> for DesktopView {
    fn from(desktop: Desktop) -> Self {
        let (state, tone) = words::desktop_state(desktop.state);
        Self {
            pool_title: some(&desktop.pool_title),
            host: some(&desktop.host),
            image: some(&desktop.image),
            version: some(&desktop.version),
            behind: desktop.behind,
            next_version: some(&desktop.next_version),
            mac: some(&desktop.mac),
            ip: some(&desktop.ip),
            end_reason: some(&desktop.end_reason),
            id: desktop.id,
            pool: desktop.pool,
            user: desktop.user,
            state,
            number: desktop.number,
            epoch: desktop.epoch,
            started_at: time(desktop.started_at),
            overlay: desktop.overlay.map(OverlayView::from),
            limits: desktop.limits.map(LimitsView::from),
            usage: desktop.usage.map(UsageView::from),
            failure: desktop.failure.map(FailureView::from),
            viewer: desktop.viewer.map(ViewerView::from),
            phases: desktop.phases.iter().map(ProgressView::from).collect(),
            tone,
        }
    }
}

impl From<OverlayInfo> for OverlayView {
    fn from(overlay: OverlayInfo) -> Self {
        Self {
            name: some(&overlay.name),
            persistent: overlay.persistent,
            size_bytes: overlay.size_bytes,
            allocated_bytes: overlay.allocated_bytes,
        }
    }
}

impl From<Limits> for LimitsView {
    fn from(limits: Limits) -> Self {
        let limit = |value| (value != 0).then_some(value);
        Self {
            memory_mib: limit(limits.memory_mib),
            cpu_millis: limit(limits.cpu_millis),
            pids: limit(limits.pids),
            network_down_bits: limit(limits.network_down_bits),
            network_up_bits: limit(limits.network_up_bits),
            disk_read_bytes: limit(limits.disk_read_bytes),
            disk_write_bytes: limit(limits.disk_write_bytes),
            disk_ops: limit(limits.disk_ops),
        }
    }
}

impl From<Usage> for UsageView {
    fn from(usage: Usage) -> Self {
        Self {
            memory_bytes: usage.memory_bytes,
            pids: usage.pids,
            cpu_time_ms: duration_in_ms(usage.cpu_time),
        }
    }
}

impl From<Failure> for FailureView {
    fn from(failure: Failure) -> Self {
        Self {
            phase: words::phase_word(failure.phase),
            reason: failure.reason,
            code: failure.code,
            output_tail: failure.output_tail,
        }
    }
}

impl From<Viewer> for ViewerView {
    fn from(viewer: Viewer) -> Self {
        Self { user: viewer.user, address: viewer.address, since: time(viewer.since) }
    }
}

impl From<&Progress> for ProgressView {
    fn from(progress: &Progress) -> Self {
        Self {
            phase: words::phase_word(progress.phase),
            done: progress.done,
            elapsed_ms: duration_in_ms(progress.elapsed),
        }
    }
}

#[cfg(test)]
#[path = "desktop_tests.rs"]
mod tests;
