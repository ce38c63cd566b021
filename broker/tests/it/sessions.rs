//! Sessions: who looks, and what others do about it.

use rolltop_proto::v1::{
    self, DesktopState, send_message_request::To, sessions_client::SessionsClient,
};
use tonic::{Code, transport::Channel};

use crate::support::{House, Socket, User, loop_until};

async fn sessions(house: &House) -> SessionsClient<Channel> {
    SessionsClient::new(house.channel().await)
}

async fn listed(house: &House, user: &User, all: bool) -> Vec<v1::Session> {
    let request = user.ask(v1::ListSessionsRequest { all });
    sessions(house).await.list_sessions(request).await.unwrap().into_inner().sessions
}

async fn look(house: &House, user: &mut User) -> Socket {
    let ticket = user.ticket("demo").await.unwrap();
    let socket = Socket::greeted(house, &ticket).await;
    loop_until("the viewer is noted", async || user.get("demo").await.unwrap().viewer).await;
    socket
}

#[tokio::test]
async fn who_looks_is_listed_and_can_be_sent_away_and_come_back() {
    let house = House::new().await;
    let (mut anna, ben, olga) =
        (house.sign_in("anna").await, house.sign_in("ben").await, house.sign_in("olga").await);
    anna.start("demo").await.unwrap();
    assert!(listed(&house, &anna, false).await[0].viewer.is_none());
    let mut socket = look(&house, &mut anna).await;
    let seen = listed(&house, &olga, true).await.remove(0);
    assert_eq!((seen.desktop.as_str(), seen.state()), ("demo/anna", DesktopState::Running));
    assert_eq!(seen.viewer.unwrap().address, "127.0.0.1");
    assert!(listed(&house, &ben, false).await.is_empty());

    let mut service = sessions(&house).await;
    let refused = service.list_sessions(ben.ask(v1::ListSessionsRequest { all: true })).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let away = |reason: &str| v1::DisconnectSessionRequest {
        desktop: "demo/anna".into(),
        reason: reason.into(),
    };
    let refused = service.disconnect_session(ben.ask(away(""))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    for reason in ["two\nlines", &"x".repeat(101)] {
        let refused = service.disconnect_session(olga.ask(away(reason))).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{reason:?}");
    }

    let sent = service.disconnect_session(olga.ask(away("the room is being locked"))).await;
    assert_eq!(sent.unwrap().into_inner().viewer.unwrap().user, "anna");
    assert_eq!(socket.closed().await, (4005, "the room is being locked".to_owned()));
    assert_eq!(anna.get("demo").await.unwrap().state(), DesktopState::Running);

    // What was said to that connection does not concern the next.
    let mut socket = look(&house, &mut anna).await;
    let sent = service.disconnect_session(anna.ask(away(""))).await.unwrap().into_inner();
    assert!(sent.viewer.is_some());
    assert_eq!(socket.closed().await, (4005, "disconnected by anna".to_owned()));
    loop_until("nobody looks", async || {
        anna.get("demo").await.unwrap().viewer.is_none().then_some(())
    })
    .await;
    let nobody = service.disconnect_session(olga.ask(away(""))).await.unwrap().into_inner();
    assert!(nobody.viewer.is_none());
}

#[tokio::test]
async fn a_text_reaches_running_desktops_and_only_operators_send_it() {
    let house = House::new().await;
    let (mut anna, mut ben, olga) =
        (house.sign_in("anna").await, house.sign_in("ben").await, house.sign_in("olga").await);
    anna.start("demo").await.unwrap();
    ben.start("demo").await.unwrap();
    let _socket = look(&house, &mut anna).await;
    let mut service = sessions(&house).await;
    let message = |text: &str, to| v1::SendMessageRequest { text: text.into(), to, life: None };

    let everybody = message("Maintenance at five.\nSave your work.", None);
    let told = service.send_message(olga.ask(everybody)).await.unwrap().into_inner();
    assert_eq!((told.desktops, told.watched), (2, 1));
    let notice = ben.get("demo").await.unwrap().notice.unwrap();
    assert_eq!(
        (notice.text.as_str(), notice.by.as_str()),
        ("Maintenance at five.\nSave your work.", "olga")
    );

    let one = message("Only you.", Some(To::Desktop("demo/anna".into())));
    assert_eq!(service.send_message(olga.ask(one)).await.unwrap().into_inner().desktops, 1);
    assert_eq!(anna.get("demo").await.unwrap().notice.unwrap().text, "Only you.");
    assert_ne!(ben.get("demo").await.unwrap().notice.unwrap().text, "Only you.");
    for (to, count) in
        [(To::Pool("demo".into()), 2), (To::Host("h1".into()), 2), (To::Host("h9".into()), 0)]
    {
        let told = service.send_message(olga.ask(message("All.", Some(to)))).await.unwrap();
        assert_eq!(told.into_inner().desktops, count);
    }

    let nobody = message("?", Some(To::Desktop("demo/olga".into())));
    assert_eq!(service.send_message(olga.ask(nobody)).await.unwrap_err().code(), Code::NotFound);
    for text in ["", "  ", "\u{1b}[2J", &"x".repeat(1_001)] {
        let refused = service.send_message(olga.ask(message(text, None))).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{text:?}");
    }
    let refused = service.send_message(ben.ask(message("Hello.", None))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_session_is_ended_by_its_user_or_an_operator_and_watchers_hear_of_it() {
    let house = House::new().await;
    let (mut anna, ben, olga) =
        (house.sign_in("anna").await, house.sign_in("ben").await, house.sign_in("olga").await);
    let mut service = sessions(&house).await;
    let watch = anna.ask(v1::WatchSessionsRequest { all: false });
    let mut told = service.watch_sessions(watch).await.unwrap().into_inner();
    let (_, desktop) = anna.start("demo").await.unwrap();
    loop_until("it runs", async || {
        let session = told.message().await.unwrap().unwrap();
        (session.state() == DesktopState::Running).then_some(())
    })
    .await;

    let kill = |desktop: &str| v1::KillSessionRequest { desktop: desktop.into() };
    let refused = service.kill_session(ben.ask(kill("demo/anna"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let ended = service.kill_session(olga.ask(kill("demo/anna"))).await.unwrap().into_inner();
    assert_eq!(ended.state(), DesktopState::Gone);
    assert!(!house.agent.script.has(desktop.number));
    loop_until("its end is told", async || {
        let session = told.message().await.unwrap().unwrap();
        (session.state() == DesktopState::Gone).then_some(())
    })
    .await;

    anna.start("demo").await.unwrap();
    let log_out = |seconds| v1::LogOutSessionRequest {
        desktop: "demo".into(),
        grace: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    let refused = service.log_out_session(anna.ask(log_out(601))).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let ended = service.log_out_session(anna.ask(log_out(5))).await.unwrap().into_inner();
    assert_eq!(ended.state(), DesktopState::Gone);
    let again = service.log_out_session(anna.ask(log_out(5))).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
}
