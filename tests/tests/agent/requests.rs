//! Calls that make no sense, are repeated, late, or malicious.

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{
    DisplayChunk, GetHostDesktopRequest, OverlaySpec, StartHostDesktopRequest,
    StopHostDesktopRequest,
};
use rolltop_tests::{client, display, rfb::Viewer};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::stage::{Stage, demo};

type Change = fn(&mut StartHostDesktopRequest);

pub(crate) async fn bad_input_is_named(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let size = |size_mib| Some(OverlaySpec { persistent_name: String::new(), size_mib });
    let sizes = [0, -1, 63, i64::MAX].map(size);
    let invalid: [(&str, Change); 8] = [
        ("number", |r| r.number = 0),
        ("number", |r| r.number = 65_535),
        ("image", |r| r.image = "../../etc:x".into()),
        ("image", |r| r.image = format!("{}:x", "a".repeat(300))),
        ("account.name", |r| r.account.get_or_insert_default().name = "../root".into()),
        ("overlay.persistent_name", |r| {
            r.overlay.get_or_insert_default().persistent_name = "a b\0".into()
        }),
        ("runtime", |r| r.runtime = "no-such".into()),
        ("width", |r| r.width = 1),
    ];
    for (field, change) in invalid {
        let mut request = demo(1);
        change(&mut request);
        named(api.start_desktop(request).await.err(), field)?;
    }
    for overlay in sizes {
        let request = StartHostDesktopRequest { overlay, ..demo(1) };
        named(api.start_desktop(request).await.err(), "overlay.size_mib")?;
    }
    for image in ["no-such:stable", "demo:no-such", "demo@20000101-000000-00000000"] {
        let request = StartHostDesktopRequest { image: image.into(), ..demo(1) };
        let error = api.start_desktop(request).await.err().context("it was found")?;
        ensure!(error.code() == Code::NotFound && error.message().contains(image), "{error}");
    }
    let error = api.get_desktop(GetHostDesktopRequest { number: 9 }).await.err();
    ensure!(error.is_some_and(|error| error.code() == Code::NotFound));
    agent.purge().await
}

fn named(error: Option<Status>, field: &str) -> anyhow::Result<()> {
    let error = error.with_context(|| format!("a bad {field} was taken"))?;
    ensure!(error.code() == Code::InvalidArgument, "{field}: {error}");
    let details = error.get_error_details();
    let violations = details.bad_request().map(|bad| &bad.field_violations[..]).unwrap_or_default();
    ensure!(violations.iter().any(|found| found.field == field), "{field} is not named: {error}");
    Ok(())
}

pub(crate) async fn repeated_requests_join(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let api = agent.api().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut api = api.clone();
        tasks.spawn(async move { client::start(&mut api, demo(1)).await });
    }
    let mut inits = std::collections::BTreeSet::new();
    while let Some(started) = tasks.join_next().await {
        inits.insert(started??.desktop.init_pid);
    }
    ensure!(inits.len() == 1, "one request made several desktops: {inits:?}");
    let mut api = api;
    let other = StartHostDesktopRequest { request_id: "other".into(), ..demo(1) };
    let error = api.start_desktop(other).await.err().context("a number was given twice")?;
    ensure!(error.code() == Code::FailedPrecondition, "{error}");
    ensure!(error.message().contains("taken by test/user1, which is running"), "{error}");
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}

pub(crate) async fn old_epochs_are_refused(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, StartHostDesktopRequest { epoch: 5, ..demo(1) }).await?;
    let stop = StopHostDesktopRequest { number: 1, epoch: 4, grace: None };
    let error = api.stop_desktop(stop).await.err().context("an old broker stopped it")?;
    ensure!(error.message().contains("epoch 4") && error.message().contains("epoch 5"), "{error}");
    let start = StartHostDesktopRequest { epoch: 4, ..demo(1) };
    ensure!(api.start_desktop(start).await.is_err(), "an old broker started it");
    ensure!(display::connect(&mut api, 1, 4).await.is_err(), "an old ticket opened it");
    client::stop(&mut api, 1, 5).await?;
    agent.purge().await
}

pub(crate) async fn garbage_on_the_display_harms_nobody(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    let garbage = (0..64_u32).map(|n| DisplayChunk {
        number: if n == 0 { 1 } else { 0 },
        epoch: 1,
        data: vec![(n % 251) as u8; 10_000],
    });
    // The X server hangs up on it, or reads on for ever: both are its right.
    let answers = api.connect_display(tokio_stream::iter(garbage.collect::<Vec<_>>())).await?;
    drop(answers);
    let stream = display::connect(&mut api, 1, 1).await?;
    Viewer::greet(stream).await?;
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}
