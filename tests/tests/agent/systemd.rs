//! Images whose own init is systemd.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rolltop_image::{Init, OwnInit};
use rolltop_proto::v1::{DesktopState, StartHostDesktopRequest};
use rolltop_tests::{
    client::{self, Api, assignment, warm},
    patience::on_this_machine,
};
use tonic::Code;

use crate::{
    crashes::murder,
    stage::{Stage, attempt, demo, eventually, exec, get, kept, last_word, log_out, shell},
};

/// What a service leaves when it is ended in order.
const WITNESS: &str = "systemd-run --quiet --unit=witness --slice=system.slice \
                       -p ExecStop='/bin/sh -c \"echo in order >>/var/witness\"' sleep 1000";
/// Its root's way out of what it has been given, and up.
const GREED: &str = "cd /sys/fs/cgroup && mkdir greed && cd greed
  made=0; while [ $made -lt 2000 ] && mkdir $made 2>/dev/null; do made=$((made + 1)); done
  echo made $made; rmdir [0-9]*; cd .. && rmdir greed
  deep=.; while mkdir $deep/x 2>/dev/null; do deep=$deep/x; done; echo deep ${#deep}
  while [ $deep != . ]; do rmdir $deep; deep=${deep%/x}; done
  for file in cgroup.max.descendants cgroup.max.depth pids.max memory.max; do
    [ ! -e $file ] || { echo 100000 > $file && echo raised $file; } 2>/dev/null
  done
  mount -t cgroup2 none /mnt 2>/dev/null && echo mounted; mkdir /sys/fs/cgroup/../x 2>/dev/null && echo out; exit 0";
/// As in `sessions`: one in a session of its own, one whose parents are gone.
const LEAVER: &str = "left='while [ ! -e /tmp/end ]; do sleep 0.05; done'
  setsid sh -c \"$left\" & sh -c \"(sh -c '$left') & exit\"
  Xvnc :1 -rfbport -1 -rfbunixpath $ROLLTOP_DISPLAY_SOCKET -SecurityTypes None";

pub(crate) async fn its_services_run_beside_the_session(stage: &Stage) -> anyhow::Result<()> {
    let image = stage.systemd("services", |_| {})?;
    let request = |epoch| StartHostDesktopRequest { image: image.clone(), ..kept(1, epoch, "sd") };
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, request(1)).await?;
    let (state, code) = exec(&mut api, 1, true, "systemctl is-system-running").await?;
    ensure!(code == 0, "{state}{}", exec(&mut api, 1, true, "systemctl --failed").await?.0);
    let place = shell(&mut api, 1, "cat /proc/$(pidof Xvnc)/cgroup").await?;
    ensure!(place.contains("0::/session\n"), "{place}");
    let (got, _) = exec(&mut api, 1, true, GREED).await?;
    let words: Vec<&str> = got.split_whitespace().collect();
    let [_, made, _, deep] = words[..] else { anyhow::bail!("{got}") };
    ensure!((500..1000).contains(&made.parse::<u32>()?), "{got}");
    ensure!(deep.parse::<u32>()? < 40, "{got}");

    // Its user logs out, which services do not keep from being a logout; asked to
    // end, its init ends them in order.
    let (said, code) = exec(&mut api, 1, true, WITNESS).await?;
    ensure!(code == 0, "{said}");
    let last = last_word(&mut api, 1, async |api| log_out(api, 1).await).await?;
    ensure!(last.end_reason == "LOGOUT" && last.failure.is_none(), "{last:?}");
    client::start(&mut api, request(2)).await?;
    ensure!(shell(&mut api, 1, "cat /var/witness").await? == "in order\n");
    let took = client::stop(&mut api, 1, 2).await?;
    ensure!(took < on_this_machine(Duration::from_secs(9)), "it was killed after {took:?}");
    agent.purge().await
}

pub(crate) async fn what_a_session_leaves_counts_and_services_do_not(
    stage: &Stage,
) -> anyhow::Result<()> {
    let image = stage.systemd("leaver-systemd", |manifest| {
        manifest.desktop.session.command = ["/bin/sh", "-c", LEAVER].map(str::to_owned).into();
    })?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    // Made ahead: it has booted before its user comes.
    let request = StartHostDesktopRequest { image, ..demo(1) };
    let ahead = client::start(&mut api, warm(request)).await?.desktop;
    ensure!(ahead.state() == DesktopState::Warm, "{ahead:?}");
    let given = client::assign(&mut api, assignment(1, 2)).await?.desktop;
    ensure!(given.init_pid == ahead.init_pid && given.state() == DesktopState::Running);
    shell(&mut api, 1, "pkill Xvnc").await?;
    eventually("the display server has ended", async || {
        Ok(exec(&mut api, 1, false, "pgrep Xvnc").await?.1 != 0)
    })
    .await?;
    // The next agent knows what the session is, too.
    murder(agent).await?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let adopted = get(&mut api, 1).await.context("not adopted")?;
    ensure!(adopted.state() == DesktopState::Running && adopted.end_reason.is_empty());
    let end = async |api: &mut Api| exec(api, 1, false, "touch /tmp/end").await.map(drop);
    let last = last_word(&mut api, 1, end).await?;
    ensure!(last.end_reason == "LOGOUT", "{last:?}");
    agent.purge().await
}

pub(crate) async fn an_init_that_does_not_come_up_is_told(stage: &Stage) -> anyhow::Result<()> {
    // It ends at once; and one that never says that it is ready.
    let ends = stage.systemd("ends", |manifest| {
        manifest.desktop.init = Init::Own(OwnInit::new("/bin/true"));
    })?;
    let silent = stage.systemd("silent", |manifest| {
        manifest.desktop.init = Init::Own(OwnInit::new("/usr/bin/yes"));
    })?;
    let mut settings = stage.settings()?;
    settings.more = toml::toml! { [deadlines] boot_ms = 700 };
    let agent = rolltop_tests::agent::Agent::start(settings).await?;
    let mut api = agent.api().await?;
    for (number, image, code) in [(1, ends, "INIT_ENDED_EARLY"), (2, silent, "BOOT_TIMEOUT")] {
        let request = StartHostDesktopRequest { image: image.clone(), ..demo(number) };
        let failed = attempt(&mut api, request).await?;
        let failure = failed.failure.with_context(|| format!("{image} came up"))?;
        ensure!(failure.code == code, "{failure:?}");
        if agent.settings().runtimes.contains_key("runc") {
            let runtime = "runc".into();
            let request = StartHostDesktopRequest { image, runtime, ..demo(3) };
            let refused = attempt(&mut api, request).await.err().context("runc may try")?;
            let status = refused.downcast_ref::<tonic::Status>().context("no status")?;
            ensure!(status.code() == Code::FailedPrecondition, "{status:?}");
        }
    }
    agent.purge().await
}
