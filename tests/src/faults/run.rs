//! One schedule after the other, on one cluster.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    BROKERS, POOLS,
    answers::{Outcome, Wish},
    clients::{Answers, Caller, Doors},
    cluster::{Cluster, Settings, host_name},
    invariants,
    random::Random,
    schedule::{Fault, Schedule},
    snapshot::Snapshot,
    truth::Truth,
};
use crate::patience::on_this_machine;

/// After which a person does not wait any more.
const PATIENCE: Duration = Duration::from_secs(25);
/// For brokers to serve.
const BIRTH: Duration = Duration::from_secs(60);
/// For a cluster that is whole again to come to rest: a broker that is gone is
/// counted for 15 s, a host asked to end a desktop has up to 40.
const REST: Duration = Duration::from_secs(90);
/// For what desktops had to go from their machines, once they are gone.
const LEFT: Duration = Duration::from_secs(10);
/// Between looks at the store.
const LOOK: Duration = Duration::from_millis(700);

/// What came of a schedule.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What did not hold.
    pub wrong: Vec<String>,
    /// How many wishes had which outcome.
    pub outcomes: BTreeMap<String, usize>,
    /// Looks at the store meanwhile.
    pub looks: usize,
    /// Until all was at rest.
    pub rest: Duration,
    /// All of it.
    pub took: Duration,
    /// Addresses and files that were seen on real hosts.
    pub seen: usize,
}

/// A cluster, and everybody signed in.
pub struct Stage {
    cluster: Cluster,
    people: Vec<Caller>,
    operator: Caller,
}

// === impl Stage ===

impl Stage {
    /// Starts a cluster and waits until all of it serves.
    ///
    /// # Errors
    /// It does not.
    pub async fn set(settings: Settings) -> anyhow::Result<Self> {
        let cluster = Cluster::start(settings).await?;
        let doors = Doors::new(&cluster.ca()?, PATIENCE)?;
        let mut callers = Vec::new();
        for person in cluster.people() {
            callers.push(doors.sign_in(person, on_this_machine(BIRTH)).await?);
        }
        let operator = callers.pop().context("nobody has an account")?;
        let stage = Self { cluster, people: callers, operator };
        let deadline = Instant::now() + on_this_machine(BIRTH);
        while !stage.is_ready().await {
            ensure!(Instant::now() < deadline, "the brokers do not hear all hosts");
            sleep(LOOK).await;
        }
        Ok(stage)
    }

    /// Clears it away.
    ///
    /// # Errors
    /// See [`Cluster::end`].
    pub async fn end(self) -> anyhow::Result<()> {
        self.cluster.end().await
    }

    async fn set_warm(&self, warm: u32) -> anyhow::Result<()> {
        let set = self.operator.put_pool(POOLS[0], 0, |pool| pool.warm = warm).await;
        set.context("the pool cannot be changed")
    }

    async fn is_ready(&self) -> bool {
        for broker in 0..BROKERS {
            if !self.operator.all_ready(broker).await {
                return false;
            }
        }
        true
    }

    /// Lets a schedule happen, checks everything, and clears the stage for the next.
    ///
    /// # Errors
    /// The faults cannot be brought about; that something does not hold is in the
    /// report.
    pub async fn play(&mut self, schedule: &Schedule) -> anyhow::Result<Report> {
        self.set_warm(schedule.warm).await?;
        let begun = Instant::now();
        let end = begun + schedule.length;
        let answers = Answers::default();
        let mut people = JoinSet::new();
        for (place, person) in self.people.iter().enumerate() {
            let random = Random::new(schedule.seed, 1 + place as u64);
            people.spawn(person.clone().live(random, end, answers.clone()));
        }
        let mut report = Report::default();
        self.strike(schedule, begun, &mut report).await?;
        ensure!(self.cluster.is_whole(), "a fault was not made good");
        while people.join_next().await.is_some() {}

        let told = answers.all();
        let (wrong, rest) =
            self.rest(|snapshot, truth| invariants::at_rest(snapshot, truth, &told)).await?;
        report.wrong.extend(wrong);
        report.rest = rest;
        let truth = self.cluster.truth().await?;
        report.wrong.extend(invariants::of_answers(&told, &truth));
        for answer in &told {
            *report.outcomes.entry(kind(answer.wish, &answer.outcome)).or_default() += 1;
        }
        report.wrong.extend(self.clear().await?);
        report.wrong.extend(invariants::of_truth(&self.cluster.truth().await?));
        let (twice, seen) = self.cluster.seen_twice();
        report.wrong.extend(twice);
        report.seen = seen;
        report.took = begun.elapsed();
        report.wrong.sort();
        report.wrong.dedup();
        Ok(report)
    }

    /// Faults begin and end; between them the store is looked at.
    async fn strike(
        &mut self,
        schedule: &Schedule,
        begun: Instant,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let mut moments: Vec<(Duration, bool, &Fault)> = Vec::new();
        for step in &schedule.steps {
            moments.push((step.at, true, &step.fault));
            moments.push(((step.at + step.lasts).min(schedule.length), false, &step.fault));
        }
        // Of those at the same moment, what begins is first: none ends unbegun.
        moments.sort_by_key(|(at, begins, _)| (*at, !begins));
        for (at, begins, fault) in moments {
            while begun + at > Instant::now() + LOOK {
                if let Some(snapshot) = self.cluster.snapshot().await? {
                    report.looks += 1;
                    report.wrong.extend(invariants::of_snapshot(&snapshot));
                }
                sleep_until((Instant::now() + LOOK).min(begun + at)).await;
            }
            sleep_until(begun + at).await;
            match begins {
                true => self.cluster.strike(fault).await?,
                false => self.cluster.mend(fault).await?,
            }
        }
        Ok(())
    }

    /// Looks until nothing is wrong, or for too long; and how long.
    async fn rest(
        &self,
        look: impl Fn(&Snapshot, &Truth) -> Vec<String>,
    ) -> anyhow::Result<(Vec<String>, Duration)> {
        let begun = Instant::now();
        let deadline = begun + on_this_machine(REST);
        loop {
            let wrong = match self.is_ready().await {
                false => vec!["the brokers do not serve, or do not hear all hosts".to_owned()],
                true => match (self.cluster.snapshot().await?, self.cluster.truth().await) {
                    (Some(snapshot), Ok(truth)) => {
                        let mut wrong = look(&snapshot, &truth);
                        wrong.extend(self.machines(&truth));
                        wrong
                    }
                    (None, _) => vec!["the store cannot be read".to_owned()],
                    (_, Err(error)) => vec![format!("{error:#}")],
                },
            };
            if wrong.is_empty() || Instant::now() > deadline {
                return Ok((wrong, begun.elapsed()));
            }
            sleep(LOOK).await;
        }
    }

    /// Everybody leaves, and nothing must be left.
    async fn clear(&self) -> anyhow::Result<Vec<String>> {
        self.set_warm(0).await?;
        let mut leaving = JoinSet::new();
        for (place, person) in self.people.iter().cloned().enumerate() {
            leaving.spawn(async move {
                let mut refused = Vec::new();
                for pool in POOLS {
                    let answer = person.wish(Wish::Stop, pool, place % BROKERS).await;
                    match answer.outcome {
                        Outcome::Ended(_) => {}
                        Outcome::Refused { reason, .. } if reason == "UNKNOWN_DESKTOP" => {}
                        other => refused.push(format!(
                            "all is well, and {} cannot leave: {other:?}",
                            answer.desktop
                        )),
                    }
                }
                refused
            });
        }
        let mut wrong = Vec::new();
        while let Some(refused) = leaving.join_next().await {
            wrong.extend(refused?);
        }
        let (left, _) = self.rest(invariants::when_empty).await?;
        wrong.extend(left);
        wrong.extend(self.left().await?);
        Ok(wrong)
    }

    /// What real agents say is what their machines have.
    fn machines(&self, truth: &Truth) -> Vec<String> {
        let mut wrong = Vec::new();
        for (place, unit) in self.cluster.hosts().iter().enumerate() {
            if let Some(containers) = unit.containers() {
                let name = host_name(place);
                let told = truth.now.get(&name).map_or(&[][..], Vec::as_slice);
                wrong.extend(invariants::of_machine(&name, told, &containers));
            }
        }
        wrong
    }

    /// What is left on the machines of real hosts; what is on its way out gets a
    /// while.
    async fn left(&self) -> anyhow::Result<Vec<String>> {
        let deadline = Instant::now() + on_this_machine(LEFT);
        loop {
            let mut wrong = Vec::new();
            for (place, unit) in self.cluster.hosts().iter().enumerate() {
                let left = unit.left().await?.into_iter();
                wrong.extend(left.map(|left| format!("{}: {left}", host_name(place))));
            }
            if wrong.is_empty() || Instant::now() > deadline {
                return Ok(wrong);
            }
            sleep(LOOK).await;
        }
    }
}

fn kind(wish: Wish, outcome: &Outcome) -> String {
    let what = match outcome {
        Outcome::Running(_) => "running".to_owned(),
        Outcome::Ended(_) => "ended".to_owned(),
        Outcome::Failed(why) => format!("failed {why}"),
        Outcome::Seen => "seen".to_owned(),
        Outcome::Refused { reason, .. } => reason.clone(),
        Outcome::Unknown(_) => "unknown".to_owned(),
    };
    format!("{wish:?}: {what}").to_lowercase()
}

// === impl Report ===

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wishes: usize = self.outcomes.values().sum();
        write!(
            f,
            "{wishes} wishes, {} looks at the store, at rest after {:.1} s, {:.1} s in all",
            self.looks,
            self.rest.as_secs_f32(),
            self.took.as_secs_f32()
        )?;
        if self.seen > 0 {
            write!(f, ", {} addresses and files seen", self.seen)?;
        }
        for wrong in &self.wrong {
            write!(f, "\n  WRONG: {wrong}")?;
        }
        Ok(())
    }
}
