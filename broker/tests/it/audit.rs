//! What people did is noted, whether it was allowed or not, and can be asked
//! for and watched.

use rolltop_proto::v1::{self, AuditOutcome};
use tokio_tungstenite::tungstenite::Message;
use tonic::Code;

use crate::support::{House, PASSWORD, Socket, User, loop_until, reason_of};

/// The newest first; entries are written a moment after the answer.
async fn entries(user: &mut User, filter: v1::AuditFilter, count: usize) -> Vec<v1::AuditEntry> {
    loop_until("entries of the audit log", async || {
        let request = v1::ListAuditRequest { filter: Some(filter.clone()), ..Default::default() };
        let page = user.audit.list_audit(user.ask(request)).await.unwrap().into_inner();
        (page.entries.len() >= count).then_some(page.entries)
    })
    .await
}

fn about(object: &str) -> v1::AuditFilter {
    v1::AuditFilter { object: object.into(), ..Default::default() }
}

fn of(act: &str) -> v1::AuditFilter {
    v1::AuditFilter { act: act.into(), ..Default::default() }
}

fn told(entry: &v1::AuditEntry) -> (&str, &str, &str, AuditOutcome) {
    (entry.act.as_str(), entry.user.as_str(), entry.via.as_str(), entry.outcome())
}

#[tokio::test]
async fn acts_allowed_and_refused_are_noted_with_who_what_and_where() {
    let house = House::new().await;
    let (mut olga, mut anna) = (house.sign_in("olga").await, house.sign_in("anna").await);
    let pool = v1::Pool {
        name: "staff".into(),
        image: "demo:stable".into(),
        overlay_size_mib: 128,
        ..Default::default()
    };
    let put = v1::PutPoolRequest { pool: Some(pool) };
    anna.client.put_pool(anna.ask(put.clone())).await.unwrap_err();
    olga.client.put_pool(olga.ask(put)).await.unwrap();
    let bad =
        v1::PutPoolRequest { pool: Some(v1::Pool { name: "staff".into(), ..Default::default() }) };
    olga.client.put_pool(olga.ask(bad)).await.unwrap_err();

    let noted = entries(&mut olga, about("pool:staff"), 3).await;
    let noted: Vec<_> = noted.iter().map(told).collect();
    assert_eq!(
        noted,
        [
            ("put-pool", "olga", "session", AuditOutcome::Failed),
            ("put-pool", "olga", "session", AuditOutcome::Ok),
            ("put-pool", "anna", "session", AuditOutcome::Refused),
        ]
    );
    let noted = entries(&mut olga, about("pool:"), 3).await;
    assert_eq!(noted[2].reason, "OPERATORS_ONLY: this is for operators and admins");
    assert!(noted[0].reason.starts_with("BAD_FIELD: pool.overlay_size_mib"), "{noted:?}");
    assert!(noted.iter().all(|entry| entry.from == "127.0.0.1" && entry.at.is_some()));

    let refused = anna.audit.list_audit(anna.ask(v1::ListAuditRequest::default())).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let noted = entries(&mut olga, of("read-audit"), 3).await;
    assert!(
        noted
            .iter()
            .any(|entry| told(entry).1 == "anna" && entry.outcome() == AuditOutcome::Refused)
    );
    // Among them may be looks at the log by act, as the one just taken.
    let object = |entry: &v1::AuditEntry| entry.details.get("object").cloned();
    assert!(noted.iter().any(|entry| {
        told(entry).1 == "olga" && object(entry).is_some_and(|object| object.starts_with("pool:"))
    }));

    // What was made before the broker ran.
    let offline = entries(&mut olga, of("create-user"), 3).await;
    assert!(offline.iter().all(|entry| entry.via == "offline"));
}

#[tokio::test]
async fn sign_ins_are_noted_right_or_wrong() {
    let house = House::new().await;
    let mut client = house.client().await;
    let sign_in = |name: &str, password: &str| v1::SignInRequest {
        name: name.into(),
        password: password.into(),
        ..Default::default()
    };
    for name in ["anna", "nobody\x1b[2J"] {
        client.sign_in(sign_in(name, "not this one")).await.unwrap_err();
    }
    client.sign_in(sign_in("anna", PASSWORD)).await.unwrap();
    let mut olga = house.sign_in("olga").await;
    let filter = v1::AuditFilter { outcome: AuditOutcome::Refused.into(), ..of("sign-in") };
    let refused = entries(&mut olga, filter, 2).await;
    assert_eq!(refused[1].user, "anna");
    assert_eq!(refused[0].user, "nobody\u{fffd}[2J");
    assert!(refused.iter().all(|entry| !format!("{entry:?}").contains("not this one")));
    let filter = v1::AuditFilter { user: "anna".into(), ..of("sign-in") };
    let all = entries(&mut olga, filter, 2).await;
    assert_eq!((all[0].outcome(), all[0].details["with"].as_str()), (AuditOutcome::Ok, "password"));
}

#[tokio::test]
async fn connections_are_noted_from_their_beginning_to_their_end() {
    let house = House::new().await;
    let (mut anna, mut olga) = (house.sign_in("anna").await, house.sign_in("olga").await);
    anna.start("demo").await.unwrap();
    let _rubbish = Socket::open(&house, "rubbish").await;
    let mut first = Socket::greeted(&house, &anna.ticket("demo").await.unwrap()).await;
    let mut second = Socket::greeted(&house, &anna.ticket("demo").await.unwrap()).await;
    assert_eq!(first.closed().await.0, 4001);
    second.send(Message::Close(None)).await;

    let ended = entries(&mut olga, of("disconnect"), 2).await;
    assert!(ended[1].reason.starts_with("taken_over: opened elsewhere"), "{ended:?}");
    assert!(ended[0].reason.starts_with("client_left"), "{ended:?}");
    let begun = entries(&mut olga, of("connect"), 3).await;
    let outcomes: Vec<_> = begun.iter().map(v1::AuditEntry::outcome).collect();
    assert_eq!(outcomes, [AuditOutcome::Ok, AuditOutcome::Ok, AuditOutcome::Refused]);
    assert_eq!(begun[1].details["connection"], ended[1].details["connection"]);
    assert_eq!((begun[0].user.as_str(), begun[0].object.as_str()), ("anna", "desktop:demo/anna"));

    let refused = olga.ticket("demo/anna").await.unwrap_err();
    assert_eq!(reason_of(&refused), "NOT_YOURS");
    let stats = v1::DesktopStatsRequest { desktop: "demo/anna".into(), number: 0 };
    olga.stats.get_desktop_stats(olga.ask(stats.clone())).await.unwrap();
    anna.stats.get_desktop_stats(anna.ask(stats)).await.unwrap();
    anna.stop("demo").await.unwrap();
    let all = entries(&mut olga, about("desktop:demo/anna"), 8).await;
    let all: Vec<_> =
        all.iter().rev().map(|entry| (entry.act.as_str(), entry.user.as_str())).collect();
    assert_eq!(all.len(), 8, "one's own look is nobody's business: {all:?}");
    for expected in [
        ("start-desktop", "anna"),
        ("open-connection", "olga"),
        ("look-into", "olga"),
        ("stop-desktop", "anna"),
    ] {
        assert!(all.contains(&expected), "{expected:?} in {all:?}");
    }
}

#[tokio::test]
async fn pages_and_watches_see_every_entry_once_even_over_a_restart() {
    let mut house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    for _ in 0..15 {
        house.sign_in("anna").await;
    }
    house.stop_broker().await;
    house.start_broker().await;
    olga = User { token: olga.token, ..house.sign_in("olga").await };
    let filter = v1::AuditFilter { user: "anna".into(), ..of("sign-in") };
    let mut request = v1::ListAuditRequest {
        filter: Some(filter.clone()),
        page_size: 4,
        oldest_first: true,
        ..Default::default()
    };
    let (mut ids, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let page = olga.audit.list_audit(olga.ask(request.clone())).await.unwrap().into_inner();
        sizes.push(page.entries.len());
        ids.extend(page.entries.into_iter().map(|entry| entry.id));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!((sizes.iter().sum::<usize>(), sizes[0]), (15, 4), "nothing was lost at the end");

    let from = Some(prost_types::Timestamp::default());
    let watch = v1::WatchAuditRequest { filter: Some(v1::AuditFilter { from, ..filter }) };
    let mut watch = olga.audit.watch_audit(olga.ask(watch)).await.unwrap().into_inner();
    let mut seen = Vec::new();
    for _ in 0..15 {
        seen.push(watch.message().await.unwrap().unwrap().id);
    }
    assert_eq!(seen, ids);
    house.sign_in("anna").await;
    let live = watch.message().await.unwrap().unwrap();
    assert!(!ids.contains(&live.id) && live.user == "anna");
    olga.client.sign_out(olga.ask(v1::SignOutRequest {})).await.unwrap();
    assert_eq!(reason_of(&watch.message().await.unwrap_err()), "NOT_SIGNED_IN");

    for (request, field) in [
        (v1::ListAuditRequest { page_size: 1001, ..Default::default() }, "page_size"),
        (v1::ListAuditRequest { page_token: "../x".into(), ..Default::default() }, "page_token"),
        (v1::ListAuditRequest { filter: Some(of("nonsense")), ..Default::default() }, "filter.act"),
    ] {
        let mut olga = house.sign_in("olga").await;
        let error = olga.audit.list_audit(olga.ask(request)).await.unwrap_err();
        assert!(error.message().starts_with(field), "{error}");
    }
}
