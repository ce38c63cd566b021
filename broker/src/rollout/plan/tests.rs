use proptest::prelude::*;

use super::*;
use crate::state::{
    AgainRecord, Batch, FailedRecord, RestartRecord, RolloutSettings, rollout_for_tests as rollout,
};

const NOW: Timestamp = Timestamp(10_000);

/// Of "demo", behind, volatile, with nobody there since the epoch's time.
fn fact(user: &str, epoch: u64) -> Fact {
    Fact {
        id: DesktopId::from_key(&format!("demo/{user}")).unwrap(),
        epoch,
        life: Life::Running(Age::Behind),
        connected: false,
        alone_since: Timestamp(epoch),
        kept: false,
        heard: true,
        placeable: true,
        told: Some(NOW),
    }
}

fn restart(user: &str, again: bool) -> RestartRecord {
    let again = again.then(|| AgainRecord { width: 0, height: 0, time_zone: String::new() });
    RestartRecord { desktop: fact(user, 1).id, epoch: 1, since: NOW, again }
}

fn with(settings: RolloutSettings) -> RolloutRecord {
    RolloutRecord { settings, ..rollout() }
}

fn timed(deadline_ms: Option<u64>, warning_ms: u64) -> RolloutRecord {
    with(RolloutSettings { deadline_ms, warning_ms, ..rollout().settings })
}

fn taken(record: &RolloutRecord, facts: &[Fact]) -> Vec<(usize, bool)> {
    plan(record, facts, false, NOW).take
}

#[test]
fn who_is_not_there_is_told_a_short_time_and_who_is_the_deadline() {
    let untold = |connected| Fact { told: None, connected, ..fact("a", 1) };
    let told = |record: &RolloutRecord, fact: Fact, now| {
        let plan = plan(record, &[fact], false, Timestamp(now));
        assert!(plan.take.is_empty(), "nobody ends in the look that tells them");
        plan.tell
    };
    // Began at 1000: the deadline is at 61000.
    let record = timed(Some(60_000), 5_000);
    assert_eq!(told(&record, untold(false), 2_000), [(0, Some(Timestamp(7_000)))]);
    assert_eq!(told(&record, untold(true), 2_000), [(0, Some(Timestamp(61_000)))]);
    // Who comes back has the deadline; who leaves has the warning's time.
    let back = Fact { told: Some(Timestamp(7_000)), ..untold(true) };
    assert_eq!(told(&record, back, 3_000), [(0, Some(Timestamp(61_000)))]);
    let gone = Fact { told: Some(Timestamp(61_000)), ..untold(false) };
    assert_eq!(told(&record, gone, 3_000), [(0, Some(Timestamp(8_000)))]);
    // After the deadline, leaving and coming back changes nothing any more.
    let late = Fact { told: Some(Timestamp(66_000)), ..untold(true) };
    assert!(plan(&record, &[late], false, Timestamp(64_000)).tell.is_empty());
    // Without a deadline who is there stays.
    let open = timed(None, 0);
    assert!(told(&open, untold(true), 2_000).is_empty());
    let stays = Fact { told: Some(Timestamp(2_000)), ..untold(true) };
    assert_eq!(told(&open, stays, 2_000), [(0, None)]);
}

#[test]
fn a_batch_is_kept_and_the_longest_alone_go_first() {
    let record = with(RolloutSettings { deadline_ms: Some(0), ..rollout().settings });
    let used = Fact { connected: true, ..fact("c", 1) };
    let facts = [used.clone(), fact("b", 7), fact("a", 5)];
    assert_eq!(taken(&record, &facts), [(2, false), (1, false)]);
    let busy = RolloutRecord { restarting: vec![restart("d", false)], ..record.clone() };
    assert_eq!(taken(&busy, &facts), [(2, false)]);
    let full = RolloutRecord { restarting: vec![restart("d", false), restart("e", false)], ..busy };
    assert!(taken(&full, &facts).is_empty());
    assert_eq!(taken(&record, &[used]), [(0, true)], "who is there gets it back");
}

#[test]
fn the_first_to_be_started_anew_is_waited_for() {
    let kept = |user: &str, epoch| Fact { kept: true, ..fact(user, epoch) };
    let record = RolloutRecord { batch: 10, ..rollout() };
    let facts = [kept("a", 1), kept("b", 2), fact("c", 3)];
    assert_eq!(taken(&record, &facts), [(0, true), (2, false)]);
    let trying = RolloutRecord { restarting: vec![restart("d", true)], ..record.clone() };
    assert_eq!(taken(&trying, &facts), [(2, false)]);
    let proven = RolloutRecord { restarted: 1, ..trying };
    assert_eq!(taken(&proven, &facts).len(), 3);
    // Somebody runs it already.
    let current = Fact { life: Life::Running(Age::Current), told: None, ..fact("d", 4) };
    let facts = [facts.to_vec(), vec![current]].concat();
    assert_eq!(taken(&record, &facts).len(), 3);
}

#[test]
fn what_cannot_or_must_not_be_ended_is_left() {
    let left = |fact: Fact| {
        let plan = plan(&rollout(), &[fact], false, NOW);
        assert_eq!((plan.take, plan.finished), (vec![], false));
        plan.tell
    };
    assert!(left(Fact { heard: false, ..fact("a", 1) }).is_empty());
    // What will not come is not told.
    assert_eq!(left(Fact { placeable: false, ..fact("a", 1) }), [(0, None)]);
    let closed = plan(&rollout(), &[fact("a", 1)], true, NOW);
    assert_eq!((closed.take, closed.tell), (vec![], vec![(0, None)]));
    // Later lives are none of its business.
    let later = plan(&rollout(), &[Fact { told: None, ..fact("a", 101) }], false, NOW);
    assert_eq!((later.take, later.finished), (vec![], true));
    for state in [RolloutState::Paused, RolloutState::Halted, RolloutState::Cancelled] {
        let record = RolloutRecord { state, ..rollout() };
        let plan = plan(&record, &[fact("a", 1)], false, NOW);
        assert_eq!((plan.take, plan.tell), (vec![], vec![(0, None)]), "{state}");
    }
}

#[test]
fn it_is_done_when_none_is_left_that_may_come_up_behind() {
    let done = |record: &RolloutRecord, facts: &[Fact]| plan(record, facts, false, NOW).finished;
    assert!(done(&rollout(), &[]));
    let life = |life| Fact { life, told: None, ..fact("a", 1) };
    assert!(!done(&rollout(), &[life(Life::Starting)]));
    assert!(!done(&rollout(), &[life(Life::Running(Age::Behind))]));
    for other in [Life::Running(Age::Current), Life::Running(Age::Unknown), Life::Over] {
        assert!(done(&rollout(), &[life(other)]), "{other:?}");
    }
    let busy = RolloutRecord { restarting: vec![restart("b", true)], ..rollout() };
    assert!(!done(&busy, &[]));
    let paused = RolloutRecord { state: RolloutState::Paused, ..rollout() };
    assert!(!done(&paused, &[]));
}

#[test]
fn starts_that_fail_are_counted_once_and_stop_it() {
    let failed = |user, epoch| Fact { life: Life::Failed, told: None, ..fact(user, epoch) };
    let facts = [failed("a", 100), failed("b", 101), failed("c", 102), fact("d", 3)];
    let one = RolloutRecord { counts_after: 101, ..rollout() };
    let of_one = plan(&one, &facts, false, NOW);
    assert_eq!((of_one.failed, of_one.take.len()), (vec![2], 1), "one of two may fail");
    let two = plan(&rollout(), &facts, false, NOW);
    assert_eq!((two.failed, two.take), (vec![1, 2], vec![]));
    let mut known = rollout();
    known.failures.push(FailedRecord {
        desktop: failed("b", 0).id,
        epoch: 101,
        host: None,
        code: "X".to_owned(),
        reason: "it broke".to_owned(),
        at: NOW,
    });
    assert_eq!(plan(&known, &facts, false, NOW).failed, [2]);
    // Its own are counted by who sees to them.
    known.restarting.push(restart("c", true));
    assert!(plan(&known, &facts, false, NOW).failed.is_empty());
    known.state = RolloutState::Halted;
    known.failed = 1;
    let because = because(&known, Standing::default(), false);
    assert_eq!(because, "a start failed; the last: demo/b: it broke (X)");
}

#[test]
fn what_is_waited_for_is_said() {
    let standing = Standing { behind: 4, connected: 3, unreachable: 1, unplaceable: 0, warned: 0 };
    let of = |record: &RolloutRecord, closed| because(record, standing, closed);
    assert_eq!(
        of(&rollout(), false),
        "3 in use, and there is no deadline; 1 on hosts that do not answer"
    );
    assert!(of(&timed(Some(1), 0), false).starts_with("3 in use, until the deadline"));
    assert!(of(&rollout(), true).starts_with("the pool is closed"));
    let facts = [
        Fact { connected: true, ..fact("a", 1) },
        Fact { heard: false, ..fact("b", 2) },
        fact("c", 101),
        // Its time has come; to be told; told.
        fact("d", 3),
        Fact { told: None, ..fact("e", 4) },
        Fact { told: Some(Timestamp(NOW.0 + 1)), ..fact("f", 5) },
    ];
    let expected = Standing { behind: 5, connected: 1, unreachable: 1, unplaceable: 0, warned: 2 };
    assert_eq!(super::standing(&rollout(), &facts, NOW), expected);
    // Else an operator wonders for ten minutes why nothing happens.
    let quiet = Standing { warned: 2, ..Standing::default() };
    for (ms, time) in [(999, "1 s"), (90_000, "90 s"), (600_000, "10 min"), (7_200_000, "2 h")] {
        let said = because(&timed(None, ms), quiet, false);
        assert_eq!(said, format!("2 to end {time} after they are told"));
    }
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let lives = prop_oneof![
        Just(Life::Starting),
        Just(Life::Running(Age::Behind)),
        Just(Life::Running(Age::Current)),
        Just(Life::Failed),
        Just(Life::Over),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let told = prop::option::of((0_u64..20_000).prop_map(Timestamp));
    (lives, flags, told, 1_u64..200).prop_map(|(life, flags, told, epoch)| {
        let (connected, kept, heard, placeable) = flags;
        Fact { life, connected, kept, heard, placeable, told, ..fact("a", epoch) }
    })
}

proptest! {
    #[test]
    fn never_more_than_a_batch_and_nobody_untold(
        facts in prop::collection::vec(any_fact(), 0..20),
        batch in 1_u32..5,
        under_way in 0_usize..7,
        deadline_ms in prop::option::of(0_u64..20_000),
        closed in any::<bool>(),
    ) {
        let record = RolloutRecord {
            batch,
            restarting: vec![restart("z", false); under_way],
            settings: RolloutSettings {
                deadline_ms, batch: Batch::Desktops(batch), max_failures: 3, warning_ms: 100,
            },
            ..rollout()
        };
        let plan = plan(&record, &facts, closed, NOW);
        prop_assert!(plan.take.len() + under_way <= (batch as usize).max(under_way));
        for (place, again) in &plan.take {
            let fact = &facts[*place];
            prop_assert!(fact.told.is_some_and(|at| at <= NOW) && fact.heard && fact.placeable);
            prop_assert!(fact.epoch <= record.horizon && !closed);
            prop_assert!(!fact.connected || record.deadline().is_some_and(|at| at <= NOW));
            prop_assert_eq!(*again, fact.kept || fact.connected);
        }
        for (place, at) in &plan.tell {
            prop_assert!(at.is_none_or(|at| at.0 >= NOW.0.min(facts[*place].told.map_or(u64::MAX, |told| told.0))));
        }
        prop_assert!(!plan.finished || plan.take.is_empty());
    }
}
