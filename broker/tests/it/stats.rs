//! What a desktop is doing is for its owner and for operators.

use rolltop_proto::v1;
use tonic::Code;

use crate::support::{House, reason_of};

#[tokio::test]
async fn the_owner_and_an_operator_look_and_nobody_else() {
    let house = House::new().await;
    let (mut anna, mut ben) = (house.sign_in("anna").await, house.sign_in("ben").await);
    let mut olga = house.sign_in("olga").await;
    ben.start("demo").await.unwrap();
    let (_, desktop) = anna.start("demo").await.unwrap();
    assert_eq!(desktop.number, 2);

    // The number is the broker's to say: a caller's own is not passed on.
    let of = |desktop: &str| v1::DesktopStatsRequest { number: 1, desktop: desktop.into() };
    for (user, id) in [(&mut anna, "demo"), (&mut olga, "demo/anna")] {
        let request = user.ask(of(id));
        let stats = user.stats.get_desktop_stats(request).await.unwrap().into_inner();
        assert_eq!(stats.memory_bytes, Some(2 << 20));
        let request =
            user.ask(v1::DesktopProcessesRequest { number: 1, desktop: id.into(), max: 7 });
        let processes = user.stats.list_desktop_processes(request).await.unwrap().into_inner();
        assert_eq!((processes.processes[0].pid, processes.processes[0].uid), (2, 7));
    }
    let request = ben.ask(of("demo/anna"));
    let refused = ben.stats.get_desktop_stats(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_str()),
        (Code::PermissionDenied, "NOT_YOURS")
    );
    let request =
        ben.ask(v1::DesktopLogRequest { desktop: "demo/anna".into(), ..Default::default() });
    let refused = ben.stats.read_desktop_log(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = anna.stats.get_desktop_stats(of("demo")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "nobody has signed in");
    let request = olga.ask(of("demo/olga"));
    let unknown = olga.stats.get_desktop_stats(request).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn streams_and_their_refusals_come_through() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    anna.start("demo").await.unwrap();
    let mut watch = v1::WatchDesktopStatsRequest { desktop: "demo".into(), ..Default::default() };
    let refused = anna.stats.watch_desktop_stats(anna.ask(watch.clone())).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "too often"));
    watch.interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let mut told = anna.stats.watch_desktop_stats(anna.ask(watch)).await.unwrap().into_inner();
    let mut count = 0;
    while let Some(stats) = told.message().await.unwrap() {
        assert_eq!(stats.memory_bytes, Some(1 << 20));
        count += 1;
    }
    assert_eq!(count, 3);
    let log = v1::DesktopLogRequest { number: 0, desktop: "demo".into(), lines: 5, follow: true };
    let mut chunks = anna.stats.read_desktop_log(anna.ask(log)).await.unwrap().into_inner();
    assert_eq!(chunks.message().await.unwrap().unwrap().data, b"1 5 true");
}
