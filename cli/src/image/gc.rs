//! `rolltop image gc`: removes versions that nobody needs.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use rolltop_image::{Hidden, ImageRef, ImageStore, Judged, Judgement, Policy, Selector, Uses};
use rolltop_proto::v1::{
    Desktop, Host, HostState, ListDesktopsRequest, ListHostsRequest, ListPoolsRequest, Pool,
};
use tonic::Code;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    output::{Format, notice},
    view::{GcVersion, GcView},
};

/// Options of `image gc`.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// The store
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// How many of the newest untagged versions of each image stay
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    keep: usize,
    /// Untagged versions that are older go in any case, such as 12h, 30d or 8w
    #[arg(long, default_value = "30d", value_name = "AGE", value_parser = crate::duration::parse)]
    older_than: Duration,
    /// Do it; without this, it only says what it would do
    #[arg(long)]
    yes: bool,
    /// Do not ask the broker; trust what hosts have noted in the store
    #[arg(long)]
    offline: bool,
    /// A host that is gone for good: what it used is not in use. May be repeated
    #[arg(long, value_name = "HOST")]
    forget_host: Vec<String>,
}

impl Gc {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let store = ImageStore::open(&self.store)?;
        if self.yes {
            // Of a collection that was interrupted.
            for (name, version) in store.bring_back()? {
                if app.output.format() == Format::Table {
                    notice(&format!("brought back {name}@{version}, hidden by an earlier call"));
                }
            }
        }
        let uses = self.uses(app, &store).await?;
        let policy = Policy { keep: self.keep, older_than: self.older_than };
        let judgement = store.judge(&uses, policy, SystemTime::now())?;
        for broken in &judgement.broken {
            // Without standard error, the list is all there is.
            Failure::from_broken(broken)
                .write(&mut std::io::stderr().lock(), app.output.format())
                .ok();
        }
        let mut view = view(&judgement, !self.yes);
        if self.yes {
            self.collect(app, &store, &judgement, &mut view).await?;
        }
        app.output.show(&view)?;
        match view.versions.iter().filter(|version| version.failure.is_some()).count() {
            0 => Ok(()),
            count => {
                let message = format!("{count} versions could not be removed");
                Err(Failure::new(Code::Unknown, "IMAGE_GC_FAILED", message))
            }
        }
    }

    /// Hides what is to go, asks once more who uses it, and only then removes it.
    async fn collect(
        &self,
        app: &App,
        store: &ImageStore,
        judgement: &Judgement,
        view: &mut GcView,
    ) -> Result<(), Failure> {
        let mut hidden: Vec<(usize, Hidden<'_>)> = Vec::new();
        for (at, judged) in judgement.versions.iter().enumerate() {
            if judged.verdict.goes() {
                let published = &judged.published;
                match store.hide(&published.name, &published.version, &self.forget_host) {
                    Ok(one) => hidden.push((at, one)),
                    Err(error) => view.stays_after_all(at, &error.to_string()),
                }
            }
        }
        // A desktop that found its version before it was hidden is known to the broker by now.
        let uses = match self.uses(app, store).await {
            Ok(uses) => uses,
            Err(failure) => {
                for (_, one) in hidden {
                    one.restore()?;
                }
                return Err(failure);
            }
        };
        for (at, one) in hidden {
            let Some(Judged { published, .. }) = judgement.versions.get(at) else { continue };
            let users = uses.of(&published.name, &published.version);
            if !users.is_empty() {
                one.restore()?;
                view.stays_after_all(at, &format!("in use by {}", users.join(", ")));
            } else if let Err(error) = one.destroy() {
                view.failed(at, &error.to_string());
            }
        }
        view.drafts =
            store.remove_drafts()?.iter().map(|path| path.display().to_string()).collect();
        Ok(())
    }

    async fn uses(&self, app: &App, store: &ImageStore) -> Result<Uses, Failure> {
        let mut uses = store.noted_uses(&self.forget_host)?;
        if self.offline {
            return Ok(uses);
        }
        let asked = async {
            let mut broker = app.broker().await?;
            let hosts = within(QUICK, broker.list_hosts(ListHostsRequest {})).await?.hosts;
            let desktops = broker.list_desktops(ListDesktopsRequest { all: true });
            let desktops = within(QUICK, desktops).await?.desktops;
            let pools = broker.list_pools(ListPoolsRequest { all: true });
            Ok::<_, Failure>((hosts, desktops, within(QUICK, pools).await?.pools))
        };
        let (hosts, desktops, pools) = asked.await.map_err(|mut failure| {
            failure.message = format!("cannot ask which versions are in use: {}", failure.message);
            failure.hint.get_or_insert_with(|| OFFLINE_HINT.to_owned());
            failure
        })?;
        all_answer(&hosts, &self.forget_host)?;
        add(&mut uses, &desktops, &pools);
        Ok(uses)
    }
}

const OFFLINE_HINT: &str = "with --offline, only what hosts have noted in the store itself counts; \
    hosts that mount the store read-only note nothing there";

/// Nothing is removed while a host cannot say what it uses.
fn all_answer(hosts: &[Host], forgotten: &[String]) -> Result<(), Failure> {
    let silent: Vec<String> = hosts
        .iter()
        .filter(|host| host.state() != HostState::Ready && !forgotten.contains(&host.name))
        .map(|host| match host.problem.as_str() {
            "" => host.name.clone(),
            problem => format!("{}: {problem}", host.name),
        })
        .collect();
    if silent.is_empty() {
        return Ok(());
    }
    let message = "hosts do not answer, and may use any version: nothing was removed";
    Err(Failure::new(Code::FailedPrecondition, "HOST_SILENT", message)
        .details(silent)
        .hint("wait for them, or name those that are gone for good with --forget-host"))
}

fn add(uses: &mut Uses, desktops: &[Desktop], pools: &[Pool]) {
    for desktop in desktops {
        let who = format!("desktop {}", desktop.id);
        let name = desktop.image.split([':', '@']).next().unwrap_or_default();
        let Ok(name) = name.parse() else { continue };
        match desktop.version.parse() {
            Ok(version) => uses.add(name, version, who),
            // It has not told its version yet.
            Err(_) => uses.add_image(name, who),
        }
    }
    for pool in pools {
        // A tag protects its version by itself.
        if let Ok(ImageRef { name, selector: Selector::Version(version) }) = pool.image.parse() {
            uses.add(name, version, format!("pool {}", pool.name));
        }
    }
}

fn view(judgement: &Judgement, dry_run: bool) -> GcView {
    GcView {
        dry_run,
        versions: judgement.versions.iter().map(GcVersion::new).collect(),
        drafts: judgement.drafts.iter().map(|path| path.display().to_string()).collect(),
        busy: judgement.busy.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, state: HostState) -> Host {
        Host {
            name: name.into(),
            state: state.into(),
            problem: "no answer".into(),
            ..Host::default()
        }
    }

    #[test]
    fn a_silent_host_stops_it_unless_it_is_forgotten() {
        let hosts = [host("h1", HostState::Ready), host("h2", HostState::Suspect)];
        let failure = all_answer(&hosts, &[]).unwrap_err();
        assert_eq!(failure.reason, "HOST_SILENT");
        assert_eq!(failure.details, ["h2: no answer"]);
        assert!(all_answer(&hosts, &["h2".to_owned()]).is_ok());
        assert!(all_answer(&[host("h3", HostState::Unknown)], &[]).is_err());
        assert!(all_answer(&[], &[]).is_ok());
    }

    #[test]
    fn desktops_and_pools_name_what_they_use() {
        let desktop = |image: &str, version: &str| Desktop {
            id: "p/ada".into(),
            image: image.into(),
            version: version.into(),
            ..Desktop::default()
        };
        let pool = |image: &str| Pool { name: "p".into(), image: image.into(), ..Pool::default() };
        let mut uses = Uses::default();
        let desktops = [desktop("demo:stable", "v1"), desktop("early:stable", "")];
        add(&mut uses, &desktops, &[pool("pinned@v7"), pool("demo:next")]);
        let of =
            |name: &str, version: &str| uses.of(&name.parse().unwrap(), &version.parse().unwrap());
        assert_eq!(of("demo", "v1"), ["desktop p/ada"]);
        assert!(of("demo", "v2").is_empty());
        assert_eq!(of("early", "any"), ["desktop p/ada"]);
        assert_eq!(of("pinned", "v7"), ["pool p"]);
    }
}
