//! Desktops asked for, started, failed, stopped, ended.

use std::sync::Arc;

use rolltop_proto::v1::{self, DesktopState, Failure, Phase, exec_request, exec_response};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::support::{Behaviour, House, User, loop_until, reason_of};

#[tokio::test]
async fn a_desktop_is_one_however_often_and_concurrently_it_is_asked_for() {
    let house = House::new().await;
    let gate = Arc::new(Semaphore::new(0));
    house.agent.script.behave(Behaviour::Hold(Arc::clone(&gate)));
    let anna = house.sign_in("anna").await;
    let ask = |mut user: User| tokio::spawn(async move { user.start("demo").await.unwrap() });

    let leaver = ask(anna.clone());
    loop_until("the first start", async || (house.agent.script.starts() == 1).then_some(())).await;
    let waiters: Vec<_> = (0..20).map(|_| ask(anna.clone())).collect();
    // The one who began it goes away; it goes on.
    leaver.abort();
    gate.add_permits(1);
    let mut answers = Vec::new();
    for waiter in waiters {
        answers.push(waiter.await.unwrap());
    }
    // On a busy machine some come when it runs already.
    let (told, first) = answers.iter().max_by_key(|(told, _)| told.len()).unwrap();
    assert_eq!(first.state(), DesktopState::Running);
    assert_eq!((first.id.as_str(), first.number, first.epoch), ("demo/anna", 1, 1));
    let phases: Vec<_> = told.iter().map(|step| (step.phase(), step.done)).collect();
    let all = [
        Phase::Placement,
        Phase::Disk,
        Phase::Network,
        Phase::Container,
        Phase::Session,
        Phase::Display,
    ];
    let begun_and_done = all.iter().flat_map(|phase| [(*phase, false), (*phase, true)]);
    assert_eq!(phases, begun_and_done.collect::<Vec<_>>());
    for (other_told, other) in &answers {
        assert_eq!((other.number, other.epoch), (1, 1));
        assert!(other_told == told || other_told.len() == 1, "joined, or found it running");
    }
    assert_eq!(house.agent.script.starts(), 1);

    let mut ben = house.sign_in("ben").await;
    assert_eq!(ben.list().await, []);
    let refused = ben.get("demo/anna").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_str()),
        (Code::PermissionDenied, "NOT_YOURS")
    );
    gate.add_permits(1);
    let (_, other) = ben.start("demo").await.unwrap();
    assert_eq!((other.number, other.epoch), (2, 2));
}

#[tokio::test]
async fn a_failed_start_tells_why_and_the_next_one_can_succeed() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let failure = Failure {
        phase: Phase::Session.into(),
        reason: "The session ended as soon as it began.".into(),
        code: "SESSION_ENDED_EARLY".into(),
        output_tail: vec!["starting".into(), "cannot open display".into()],
    };
    house.agent.script.behave(Behaviour::Fail(failure.clone()));
    let (_, failed) = anna.start("demo").await.unwrap();
    assert_eq!(failed.state(), DesktopState::Failed);
    assert_eq!(failed.failure, Some(failure.clone()));
    assert_eq!(anna.get("demo").await.unwrap().failure, Some(failure));
    let refused = anna.ticket("demo").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_str()),
        (Code::FailedPrecondition, "WRONG_STATE")
    );

    house.agent.script.behave(Behaviour::Refuse(Status::resource_exhausted("the disk is full")));
    let (_, failed) = anna.start("demo").await.unwrap();
    let failure = failed.failure.unwrap();
    assert_eq!(
        (failure.code.as_str(), failure.reason.as_str()),
        ("HOST_REFUSED", "the disk is full")
    );

    house.agent.script.behave(Behaviour::Run);
    let (_, desktop) = anna.start("demo").await.unwrap();
    assert_eq!((desktop.state(), desktop.number, desktop.epoch), (DesktopState::Running, 1, 3));
    assert_eq!(desktop.failure, None);
}

#[tokio::test]
async fn a_failed_desktop_can_be_put_away() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    house.agent.script.behave(Behaviour::Fail(Failure::default()));
    anna.start("demo").await.unwrap();
    assert_eq!(anna.stop("demo").await.unwrap().state(), DesktopState::Gone);
    assert_eq!(anna.list().await, []);
    assert_eq!(reason_of(&anna.stop("demo").await.unwrap_err()), "UNKNOWN_DESKTOP");
}

#[tokio::test]
async fn without_room_the_reasons_are_told_per_host() {
    let house = House::new().await;
    house.agent.script.images.lock().unwrap().clear();
    let mut anna = house.sign_in("anna").await;
    let mut olga = house.sign_in("olga").await;
    loop_until("the image is missed", async || {
        let request = olga.ask(v1::ListClusterImagesRequest {});
        olga.client.list_images(request).await.unwrap().into_inner().images.is_empty().then_some(())
    })
    .await;
    let refused = anna.start("demo").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_str()),
        (Code::ResourceExhausted, "NO_ROOM")
    );
    assert!(refused.message().contains("h1: it has no image demo:stable"), "{}", refused.message());
    assert_eq!(anna.list().await, [], "nothing was claimed");

    // Published a moment ago: the hosts are asked again before giving up.
    let demo = v1::ImageVersion {
        image: "demo".into(),
        tags: vec!["stable".into()],
        ..Default::default()
    };
    house.agent.script.images.lock().unwrap().push(demo);
    assert_eq!(anna.start("demo").await.unwrap().1.state(), DesktopState::Running);
}

#[tokio::test]
async fn a_logout_ends_the_desktop_and_whoever_watches_is_told() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let watch =
        anna.client.watch_desktops(anna.ask(v1::WatchDesktopsRequest::default())).await.unwrap();
    let mut told = watch.into_inner();
    let (_, desktop) = anna.start("demo").await.unwrap();
    house.agent.script.end(desktop.number, "LOGOUT");
    let mut states = Vec::new();
    let last = loop {
        let desktop = told.next().await.unwrap().unwrap();
        states.push(desktop.state());
        if desktop.state() == DesktopState::Gone {
            break desktop;
        }
    };
    assert_eq!(last.end_reason, "LOGOUT");
    assert_eq!(states, [DesktopState::Planned, DesktopState::Running, DesktopState::Gone]);
    assert_eq!(anna.list().await, []);
    // The last word can still be read; the next life begins anew.
    assert_eq!(anna.get("demo").await.unwrap().end_reason, "LOGOUT");
    let (_, next) = anna.start("demo").await.unwrap();
    assert_eq!((next.number, next.epoch, next.end_reason.as_str()), (1, 2, ""));

    anna.client.sign_out(anna.ask(v1::SignOutRequest {})).await.unwrap();
    let ended = loop_until("the watch ends with the session", async || match told.next().await {
        Some(Ok(_)) => None,
        ended => Some(ended),
    });
    assert_eq!(ended.await.unwrap().unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_stop_answers_when_it_is_gone_even_in_the_middle_of_a_start() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let (_, desktop) = anna.start("demo").await.unwrap();
    let gone = anna.stop("demo").await.unwrap();
    assert_eq!((gone.state(), gone.end_reason.as_str()), (DesktopState::Gone, "STOPPED"));
    assert!(!house.agent.script.has(desktop.number));

    house.agent.script.behave(Behaviour::Hold(Arc::new(Semaphore::new(0))));
    let mut starter = anna.clone();
    let starting = tokio::spawn(async move { starter.start("demo").await });
    loop_until("the start", async || (house.agent.script.starts() == 2).then_some(())).await;
    assert_eq!(anna.stop("demo").await.unwrap().state(), DesktopState::Gone);
    assert_eq!(reason_of(&starting.await.unwrap().unwrap_err()), "STOPPED");
    assert_eq!(anna.list().await, []);
}

#[tokio::test]
async fn a_kept_disk_has_a_name_of_its_own_and_goes_only_when_named() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    anna.start("demo").await.unwrap();
    let delete = |user: &User, data: &str| user.ask(v1::DeleteDataRequest { data: data.into() });
    let nothing = anna.storage.delete_data(delete(&anna, "demo")).await.unwrap_err();
    assert_eq!(reason_of(&nothing), "NO_DATA");

    anna.start("demo-keep").await.unwrap();
    let overlays: Vec<String> = {
        let requests = house.agent.script.requests.lock().unwrap();
        requests.iter().map(|request| request.overlay.clone().unwrap().persistent_name).collect()
    };
    assert_eq!(overlays, ["", "demo-keep.anna.2000"]);
    let in_use = anna.storage.delete_data(delete(&anna, "demo-keep")).await.unwrap_err();
    assert_eq!(
        (in_use.code(), reason_of(&in_use).as_str()),
        (Code::FailedPrecondition, "DATA_IN_USE")
    );
    anna.stop("demo-keep").await.unwrap();
    assert_eq!(house.agent.script.storage.names(), ["demo-keep.anna.2000"]);
    anna.storage.delete_data(delete(&anna, "demo-keep")).await.unwrap();
    assert_eq!(house.agent.script.storage.names(), Vec::<String>::new());
}

#[tokio::test]
async fn commands_run_in_ones_own_desktop_and_as_root_for_operators_only() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let mut ben = house.sign_in("ben").await;
    let mut olga = house.sign_in("olga").await;
    let start = |desktop: &str, as_root| v1::ExecStart {
        desktop: desktop.into(),
        command: vec!["cat".into()],
        as_root,
        ..Default::default()
    };
    async fn run(user: &mut User, start: v1::ExecStart) -> Result<(Vec<u8>, i32), Status> {
        let messages = [
            exec_request::Message::Start(start),
            exec_request::Message::Stdin(b"hello".to_vec()),
            exec_request::Message::StdinClosed(true),
        ];
        let input =
            tokio_stream::iter(messages.map(|message| v1::ExecRequest { message: Some(message) }));
        let mut output = user.client.exec(user.ask(input)).await?.into_inner();
        let (mut bytes, mut code) = (Vec::new(), -1);
        while let Some(answer) = output.message().await? {
            match answer.message.unwrap() {
                exec_response::Message::Stdout(some) | exec_response::Message::Stderr(some) => {
                    bytes.extend(some)
                }
                exec_response::Message::Exit(exit) => code = exit.code,
            }
        }
        Ok((bytes, code))
    }
    assert_eq!(
        reason_of(&run(&mut anna, start("demo", false)).await.unwrap_err()),
        "UNKNOWN_DESKTOP"
    );
    anna.start("demo").await.unwrap();
    assert_eq!(run(&mut anna, start("demo", false)).await.unwrap(), (b"1 cat\nhello".to_vec(), 7));
    assert_eq!(
        reason_of(&run(&mut anna, start("demo", true)).await.unwrap_err()),
        "OPERATORS_ONLY"
    );
    assert_eq!(
        reason_of(&run(&mut ben, start("demo/anna", false)).await.unwrap_err()),
        "NOT_YOURS"
    );
    assert_eq!(run(&mut olga, start("demo/anna", true)).await.unwrap().1, 7);
}

#[tokio::test]
async fn bad_input_is_refused_by_field() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let long = "a".repeat(300);
    for pool in ["", "a/b", "..", "a b", "a\0b", long.as_str()] {
        let refused = anna.start(pool).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason_of(&refused).as_str()),
            (Code::InvalidArgument, "BAD_FIELD"),
            "{pool:?}"
        );
        let refused = anna.get(&format!("{pool}/anna")).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{pool:?}");
    }
    let unknown = anna.start("nosuch").await.unwrap_err();
    assert_eq!((unknown.code(), reason_of(&unknown).as_str()), (Code::NotFound, "UNKNOWN_POOL"));
    assert_eq!(anna.get("nosuch").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(house.agent.script.starts(), 0);
}
