use proptest::prelude::*;

use super::*;

const NOBODY: Facts =
    Facts { since: Timestamp(0), used_at: Timestamp(0), away_since: Some(Timestamp(0)) };

fn limits(idle: u64, disconnected: u64, total: u64, warning_ms: u64) -> TimeLimits {
    let ms = |ms| Some(ms).filter(|ms| *ms > 0);
    TimeLimits {
        idle_ms: ms(idle),
        disconnected_ms: ms(disconnected),
        total_ms: ms(total),
        warning_ms,
    }
}

#[test]
fn a_desktop_is_told_of_and_then_ended() {
    let limits = limits(0, 0, 100_000, 30_000);
    assert_eq!(step(&limits, &NOBODY, None, Timestamp(0)), Step::Wait(Some(Timestamp(70_000))));
    let Step::Tell(told) = step(&limits, &NOBODY, None, Timestamp(70_000)) else { panic!() };
    assert_eq!((told.limit, told.at), (TimeLimit::Total, Timestamp(100_000)));
    assert_eq!(told.because, "desktops of this pool run for 100 seconds at most");
    let at = |now| step(&limits, &NOBODY, Some(&told), Timestamp(now));
    assert_eq!(at(70_001), Step::Wait(Some(Timestamp(100_000))));
    assert_eq!(at(100_000), Step::End(TimeLimit::Total));
}

#[test]
fn a_limit_set_too_late_still_leaves_the_time_of_the_warning() {
    let limits = limits(0, 60_000, 0, 30_000);
    let Step::Tell(told) = step(&limits, &NOBODY, None, Timestamp(500_000)) else { panic!() };
    assert_eq!(told.at, Timestamp(530_000));
    assert_eq!(
        step(&limits, &NOBODY, Some(&told), Timestamp(510_000)),
        Step::Wait(Some(Timestamp(530_000)))
    );
    assert_eq!(
        step(&limits, &NOBODY, Some(&told), Timestamp(530_000)),
        Step::End(TimeLimit::Disconnected)
    );
}

#[test]
fn whoever_comes_back_keeps_the_desktop() {
    let limits = limits(50_000, 50_000, 0, 10_000);
    let Step::Tell(told) = step(&limits, &NOBODY, None, Timestamp(40_000)) else { panic!() };
    assert_eq!(told.limit, TimeLimit::Disconnected, "of two at once");
    let back = Facts { used_at: Timestamp(45_000), away_since: None, ..NOBODY };
    assert_eq!(step(&limits, &back, Some(&told), Timestamp(45_000)), Step::Untell);
    assert_eq!(step(&limits, &back, None, Timestamp(45_000)), Step::Wait(Some(Timestamp(85_000))));
}

#[test]
fn spans_are_told_in_their_largest_whole_unit() {
    let told = [0, 1000, 90_000, 60_000, 5_400_000, 3_600_000, 7_200_000, 172_800_000].map(span);
    assert_eq!(
        told,
        [
            "0 seconds",
            "1 second",
            "90 seconds",
            "1 minute",
            "90 minutes",
            "1 hour",
            "2 hours",
            "2 days"
        ]
    );
}

/// What may happen to a desktop between two looks.
#[derive(Debug, Clone)]
enum Act {
    Pass(u64),
    Use,
    Leave,
    Come,
    Limit(TimeLimits),
}

fn any_limits() -> impl Strategy<Value = TimeLimits> {
    let limit = || prop_oneof![Just(0), 1..500_u64];
    (limit(), limit(), limit(), 0..200_u64).prop_map(|(i, d, t, w)| limits(i, d, t, w))
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..200_u64).prop_map(Act::Pass),
        2 => Just(Act::Use),
        1 => Just(Act::Leave),
        1 => Just(Act::Come),
        1 => any_limits().prop_map(Act::Limit),
    ]
}

proptest! {
    #[test]
    fn nobody_is_ended_early_or_untold(start in any_limits(), acts in prop::collection::vec(any_act(), 1..60)) {
        let (mut limits, mut facts, mut now) = (start, NOBODY, Timestamp(0));
        let mut told: Option<ExpiryRecord> = None;
        for act in acts {
            match act {
                Act::Pass(ms) => now = Timestamp(now.0 + ms),
                Act::Use if facts.away_since.is_none() => facts.used_at = now,
                Act::Use => {}
                Act::Leave => facts.away_since = facts.away_since.or(Some(now)),
                Act::Come => {
                    facts.away_since = None;
                    facts.used_at = now;
                }
                Act::Limit(other) => limits = other,
            }
            // As the keeper does: until there is nothing to do.
            for round in 0.. {
                prop_assert!(round < 4, "no rest");
                match step(&limits, &facts, told.as_ref(), now) {
                    Step::Wait(Some(at)) => { prop_assert!(at > now); break; }
                    Step::Wait(None) => { prop_assert!(told.is_none()); break; }
                    Step::Untell => { prop_assert!(told.take().is_some()); }
                    Step::Tell(record) => {
                        // Whoever knew of no end has the whole time of the warning.
                        prop_assert!(record.at > now);
                        prop_assert!(told.is_some() || record.at.0 >= now.0 + limits.warning_ms);
                        told = Some(record);
                    }
                    Step::End(limit) => {
                        let (from, ms) = match limit {
                            TimeLimit::Idle => (Some(facts.used_at), limits.idle_ms),
                            TimeLimit::Disconnected => (facts.away_since, limits.disconnected_ms),
                            TimeLimit::Total => (Some(facts.since), limits.total_ms),
                        };
                        prop_assert!(now.0 >= from.unwrap().0 + ms.unwrap(), "before the limit");
                        match &told {
                            Some(told) if now >= told.at => {}
                            _ => prop_assert_eq!(limits.warning_ms, 0, "sooner than told"),
                        }
                        return Ok(());
                    }
                }
            }
        }
    }

    #[test]
    fn two_brokers_come_to_the_same(limits in any_limits(), used in 0..1000_u64, now in 0..1000_u64, late in 0..50_u64) {
        let facts = Facts { used_at: Timestamp(used), ..NOBODY };
        if let Step::Tell(told) = step(&limits, &facts, None, Timestamp(now)) {
            // Another broker sees what the first wrote, a moment later.
            let again = step(&limits, &facts, Some(&told), Timestamp(now + late));
            match again {
                Step::Wait(at) => prop_assert_eq!(at, Some(told.at)),
                Step::End(limit) => { prop_assert_eq!(limit, told.limit); prop_assert!(now + late >= told.at.0); }
                Step::Tell(_) | Step::Untell => prop_assert!(false, "told twice: {:?}", again),
            }
        }
    }
}
