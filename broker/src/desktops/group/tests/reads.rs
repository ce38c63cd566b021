//! What is read about a host, or for a user, is of their own desktops.

use rolltop_proto::v1;

use super::*;
use crate::{
    desktops::Reconciler,
    hosts::Observer as _,
    presence::Presence,
    state::{DesktopState, Stored},
};

const ROOM: usize = 5;

fn told(record: &DesktopRecord) -> v1::HostDesktop {
    let mut told = v1::HostDesktop {
        label: record.id.to_string(),
        number: record.number,
        epoch: record.epoch,
        ..v1::HostDesktop::default()
    };
    told.set_state(v1::DesktopState::Running);
    told
}

/// Records read when a host has told all it has but one, when it is drained, and
/// when a user asks for theirs; and leases granted when all of the host end.
async fn costs_among(hosts: usize) -> [usize; 5] {
    let dir = tempfile::tempdir().unwrap();
    let store = gated(&dir).await;
    let all = hosts * ROOM;
    let people = people(store.as_ref(), all).await;
    let broker = Claimer::new(Arc::<Gated>::clone(&store), hosts, ROOM as i64).await;
    let desktops = &broker.desktops;
    // Starts of others are looked at, too.
    Presence::new(Arc::<Gated>::clone(&store)).announce().await.unwrap();
    join_all(people.iter().map(|request| desktops.claim(request))).await;
    let records = state::list::<DesktopRecord>(store.as_ref(), keys::DESKTOPS).await.unwrap();
    let host: HostName = "h0".parse().unwrap();
    let of_host =
        |stored: Stored<DesktopRecord>| Some(stored.record).filter(|record| record.host == host);
    let on_host: Vec<DesktopRecord> = records.into_iter().filter_map(of_host).collect();
    assert_eq!(on_host.len(), ROOM, "all hosts are full");
    let (missing, there) = on_host.split_first().unwrap();
    let there = there.iter().map(|record| (record.number, told(record))).collect();

    let reads = || store.reads.swap(0, Ordering::SeqCst);
    // Known by now, so that what is counted is what a host's coming up costs.
    desktops.living_on(&host).await.unwrap();
    reads();
    let reconciler = Reconciler::new(desktops.clone());
    let horizon = reconciler.horizon(&host).await;
    let verdicts = reconciler.all(&host, &horizon, &there).await;
    let of_line = reads();
    assert!(verdicts.to_end.is_empty() && verdicts.strays.is_empty() && !verdicts.missed);
    let now = desktops.find(&missing.id).await.unwrap().unwrap().record;
    assert_eq!(now.state, DesktopState::Failed, "its host has it not");
    reads();
    reconciler.fail_orphans().await;
    let of_orphans = reads();
    let living = desktops.living_on(&host).await.unwrap();
    let of_drain = reads();
    assert!(living.iter().all(|record| record.state == DesktopState::Running));
    assert_eq!(living.len(), ROOM - 1);
    let own = desktops.of(&missing.id.user).await.unwrap();
    assert_eq!(own.into_iter().map(|stored| stored.record).collect::<Vec<_>>(), [now]);
    let of_user = reads();

    store.grants.store(0, Ordering::SeqCst);
    assert_eq!(desktops.write_off(&host, "TEST").await.unwrap(), ROOM - 1);
    assert_eq!(desktops.living_on(&host).await.unwrap(), []);
    [of_line, of_orphans, of_drain, of_user, store.grants.load(Ordering::SeqCst)]
}

#[tokio::test]
async fn what_is_read_about_a_host_is_of_its_own_desktops() {
    let few = costs_among(2).await;
    let many = costs_among(60).await;
    assert_eq!(few, many, "of 10 desktops and of 300");
    println!("line, orphans, drain, user, leases: {many:?}");
    assert!(many[..4].iter().all(|reads| *reads < 8 * ROOM), "{many:?}");
    assert!(many[4] <= 2, "leases are shared: {many:?}");
}
