//! What the agent tells a Prometheus server.

use std::path::Path;

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::GetHostDesktopRequest;
use rolltop_tests::{agent::Agent, client, display, exposition::Exposition, http, rules};

use crate::stage::{Stage, attempt, demo, eventually, log_out};

const ADDRESS: &str = "127.0.0.1:9743";

pub(crate) async fn a_desktops_life_can_be_read(stage: &Stage) -> anyhow::Result<()> {
    let mut settings = stage.settings()?;
    settings.more = toml::toml! {
        [metrics]
        listen = "127.0.0.1:9743"
    };
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    let before = read().await?;
    ensure!(before.value("rolltop_agent_starts_total", &[("outcome", "running")])? == 0.0);
    ensure!(before.value("rolltop_agent_desktops", &[("state", "running")])? == 0.0);

    client::start(&mut api, demo(1)).await?;
    let missing = api.get_desktop(GetHostDesktopRequest { number: 9 }).await;
    ensure!(missing.is_err());
    let viewer = display::connect(&mut api, 1, 1).await?;
    eventually("the display's first words are counted", async || {
        let bytes = [("direction", "to_viewer")];
        Ok(read().await?.value("rolltop_agent_display_bytes_total", &bytes)? >= 12.0)
    })
    .await?;
    let up = read().await?;
    for (name, labels, wanted) in [
        ("rolltop_agent_desktops", &[("state", "running")][..], 1.0),
        ("rolltop_agent_starts_total", &[("outcome", "running")], 1.0),
        ("rolltop_agent_start_seconds_count", &[], 1.0),
        ("rolltop_agent_displays_connected", &[], 1.0),
        ("rolltop_agent_lanes_free", &[], 4.0),
        ("rolltop_agent_lanes_waiting", &[], 0.0),
    ] {
        let told = up.value(name, labels)?;
        ensure!(told == wanted, "{name} {labels:?} is {told}, not {wanted}");
    }
    for phase in ["disk", "network", "container", "session", "display"] {
        let count = up.value("rolltop_agent_start_phase_seconds_count", &[("phase", phase)])?;
        ensure!(count == 1.0, "phase {phase}: {count}");
    }
    let calls =
        |method, code| up.value("rolltop_agent_rpcs_total", &[("method", method), ("code", code)]);
    ensure!(calls("HostAgent/StartDesktop", "OK")? == 1.0);
    ensure!(calls("HostAgent/GetDesktop", "NOT_FOUND")? >= 1.0);
    let running = up.value("rolltop_agent_rpcs_running", &[("method", "HostAgent/ConnectDisplay")]);
    ensure!(running? == 1.0, "a viewer is there");
    ensure!(up.value("rolltop_agent_events_total", &[])? > 10.0);
    let free = up.value("rolltop_agent_storage_free_bytes", &[("dir", "state")])?;
    ensure!(
        free > 0.0 && free <= up.value("rolltop_agent_storage_size_bytes", &[("dir", "state")])?
    );

    drop(viewer);
    log_out(&mut api, 1).await?;
    eventually("its end is counted", async || {
        let now = read().await?;
        Ok(now.value("rolltop_agent_ends_total", &[("reason", "LOGOUT")])? == 1.0
            && now.value("rolltop_agent_displays_connected", &[])? == 0.0
            && now.value("rolltop_agent_stop_phase_seconds_count", &[("phase", "release")])? == 1.0)
    })
    .await?;

    // A start that fails is told by phase and reason.
    let image = stage.session("dies", "exit 3")?;
    let mut request = demo(2);
    request.image = image;
    ensure!(attempt(&mut api, request).await?.failure.is_some());
    let failed = read().await?;
    let labels = [("phase", "display"), ("reason", "SESSION_ENDED_EARLY")];
    ensure!(failed.value("rolltop_agent_start_failures_total", &labels)? == 1.0);
    ensure!(failed.value("rolltop_agent_desktops", &[("state", "running")])? == 0.0);

    // One made ahead is told as that, and then as its user's.
    client::start(&mut api, client::warm(demo(3))).await?;
    let ahead = read().await?;
    ensure!(ahead.value("rolltop_agent_desktops", &[("state", "warm")])? == 1.0);
    client::assign(&mut api, client::assignment(3, 2)).await?;
    let given = read().await?;
    for (name, labels, wanted) in [
        ("rolltop_agent_desktops", &[("state", "warm")][..], 0.0),
        ("rolltop_agent_starts_total", &[("outcome", "warm")], 1.0),
        ("rolltop_agent_starts_total", &[("outcome", "running")], 2.0),
        ("rolltop_agent_assign_seconds_count", &[], 1.0),
        ("rolltop_agent_start_seconds_count", &[], 1.0),
    ] {
        let told = given.value(name, labels)?;
        ensure!(told == wanted, "{name} {labels:?} is {told}, not {wanted}");
    }
    // By now all has happened once.
    the_rules_look_at(&failed)?;
    agent.purge().await
}

/// Alerts over metrics that nobody tells would never fire.
fn the_rules_look_at(told: &Exposition) -> anyhow::Result<()> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/rolltop.rules.yml");
    let mut there = told.sample_names();
    // Of Prometheus itself.
    there.insert("up".into());
    for alert in rules::read(Path::new(file))? {
        // Those of the broker have a test beside it.
        for metric in alert.metrics().into_iter().filter(|name| !name.contains("_broker_")) {
            ensure!(there.contains(&metric), "{} looks at {metric}, which is not told", alert.name);
        }
    }
    Ok(())
}

async fn read() -> anyhow::Result<Exposition> {
    let text = http::get(ADDRESS, "/metrics").await?;
    Exposition::parse(&text).with_context(|| format!("no valid text:\n{text}"))
}
