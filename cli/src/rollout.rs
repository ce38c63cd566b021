//! `rolltop pool rollout`: desktops that are behind, brought to the version that
//! their pool names. For operators.

use std::time::Duration;

use clap::{Args, Subcommand};
use rolltop_proto::v1::{
    CancelRolloutRequest, ListRolloutsRequest, PauseRolloutRequest, ResumeRolloutRequest,
    RollBackRequest, RolloutSettings, RolloutState, StartRolloutRequest, WatchRolloutsRequest,
    rollout_settings::Batch,
};
use tonic::Code;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    output::{Format, notice},
    view::{RolloutList, RolloutView},
};

/// Hosts are asked for their images first.
const ASKING: Duration = Duration::from_secs(60);

/// What can be done about desktops that are behind.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Restart the desktops of a pool that run another version than it names
    ///
    /// Those that nobody is connected to come first, the others at the deadline;
    /// their users are told at once.
    Start {
        /// Name of the pool
        pool: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show how it stands
    Status {
        /// Name of the pool [default: all that have had one]
        pool: Option<String>,
        /// Tell each change until it is over or halted
        #[arg(long, requires = "pool")]
        watch: bool,
    },
    /// Restart no further desktops for now
    Pause {
        /// Name of the pool
        pool: String,
    },
    /// Go on, also after it was halted
    Resume {
        /// Name of the pool
        pool: String,
    },
    /// End it; desktops that were not restarted stay as they are
    Cancel {
        /// Name of the pool
        pool: String,
    },
    /// Set the pool to the version from before, and restart what does not run it
    Back {
        /// Name of the pool
        pool: String,
        /// To this version of its image [default: what most ran before]
        #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
        to: String,
        #[command(flatten)]
        settings: Settings,
    },
}

/// How it is to be done.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Settings {
    /// When desktops are restarted that somebody is connected to, such as 2h or 0s
    /// [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = crate::duration::parse)]
    deadline: Option<Duration>,
    /// How many at a time, such as 10 or 5%; 100 at most [default: 10%]
    #[arg(long, value_name = "NUMBER", value_parser = batch)]
    batch: Option<Batch>,
    /// Halt when so many starts have failed [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    max_failures: Option<u32>,
    /// Tell users so long before, at least [default: 10min, or the deadline if
    /// that is shorter]
    #[arg(long, value_name = "TIME", value_parser = crate::duration::parse)]
    warning: Option<Duration>,
}

impl Settings {
    /// None: nothing was said.
    fn of_the_api(self) -> Option<RolloutSettings> {
        let span = |span: Option<Duration>| prost_types::Duration::try_from(span?).ok();
        let settings = RolloutSettings {
            deadline: span(self.deadline),
            batch: self.batch,
            max_failures: self.max_failures.unwrap_or(0),
            warning: span(self.warning),
        };
        Some(settings).filter(|settings| *settings != RolloutSettings::default())
    }
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut rollouts = app.rollouts().await?;
        let rollout = match self {
            Self::Status { pool: Some(pool), watch: true } => return watch(app, pool).await,
            Self::Status { pool, .. } => {
                let request = ListRolloutsRequest { pool: pool.clone().unwrap_or_default() };
                let mut listed = within(QUICK, rollouts.list_rollouts(request)).await?.rollouts;
                return match (pool, listed.pop()) {
                    (Some(_), Some(one)) => app.output.show(&RolloutView::from(one)),
                    (Some(pool), None) => Err(none(&pool)),
                    (None, last) => {
                        app.output.show(&listed.into_iter().chain(last).collect::<RolloutList>())
                    }
                };
            }
            Self::Start { pool, settings } => {
                let request = StartRolloutRequest { pool, settings: settings.of_the_api() };
                within(ASKING, rollouts.start_rollout(request)).await?
            }
            Self::Back { pool, to, settings } => {
                let settings = settings.of_the_api();
                let request = RollBackRequest { pool, version: to, settings };
                within(ASKING, rollouts.roll_back(request)).await?
            }
            Self::Pause { pool } => {
                within(QUICK, rollouts.pause_rollout(PauseRolloutRequest { pool })).await?
            }
            Self::Resume { pool } => {
                within(QUICK, rollouts.resume_rollout(ResumeRolloutRequest { pool })).await?
            }
            Self::Cancel { pool } => {
                within(QUICK, rollouts.cancel_rollout(CancelRolloutRequest { pool })).await?
            }
        };
        let rollout = RolloutView::from(rollout);
        app.output.done(&rollout.sentence(), &rollout)
    }
}

/// Ends with the roll-out; one that was halted is a failure.
async fn watch(app: &App, pool: String) -> Result<(), Failure> {
    let mut rollouts = app.rollouts().await?;
    let request = WatchRolloutsRequest { pool: pool.clone() };
    let mut told = within(QUICK, rollouts.watch_rollouts(request)).await?;
    while let Some(rollout) = told.message().await? {
        let (state, because) = (rollout.state(), rollout.because.clone());
        let view = RolloutView::from(rollout);
        match app.output.format() {
            Format::Json => app.output.json_line(&view)?,
            Format::Table => notice(&view.sentence()),
        }
        match state {
            RolloutState::Done | RolloutState::Cancelled => return Ok(()),
            RolloutState::Halted => {
                let hint = format!(
                    "`rolltop pool rollout resume {pool}` goes on, `rolltop pool rollout back {pool}` rolls back"
                );
                let halted = Failure::new(Code::Aborted, "ROLLOUT_HALTED", because);
                return Err(halted.hint(hint));
            }
            RolloutState::Unspecified | RolloutState::Running | RolloutState::Paused => {}
        }
    }
    Err(Failure::new(Code::Unavailable, "BROKER_ENDING", "the broker ended the answer; ask again"))
}

fn none(pool: &str) -> Failure {
    let message = format!("pool {pool} has had no roll-out");
    Failure::new(Code::NotFound, "UNKNOWN_ROLLOUT", message)
        .hint(format!("`rolltop pool rollout start {pool}` begins one"))
}

fn batch(text: &str) -> Result<Batch, String> {
    let bad = || format!("{text:?} is not a number from 1 to 100, such as 10 or 10%");
    let (number, percent) = match text.strip_suffix('%') {
        Some(number) => (number, true),
        None => (text, false),
    };
    let number = number.parse().ok().filter(|number| (1..=100).contains(number)).ok_or_else(bad)?;
    Ok(if percent { Batch::Percent(number) } else { Batch::Desktops(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_a_number_or_a_part() {
        assert_eq!(batch("10"), Ok(Batch::Desktops(10)));
        assert_eq!(batch("5%"), Ok(Batch::Percent(5)));
        for text in ["", "%", "0", "0%", "101", "101%", "-1", "ten", "10 %"] {
            assert!(batch(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_said_is_the_broker_s_choice() {
        assert_eq!(Settings::default().of_the_api(), None);
        let deadline = Some(Duration::from_secs(7200));
        let settings = Settings { deadline, ..Settings::default() }.of_the_api().unwrap();
        assert_eq!((settings.deadline.unwrap().seconds, settings.batch), (7200, None));
    }
}
