//! Connections to desktops, from a browser's point of view.

use std::time::Duration;

use rolltop_proto::v1::{self, HostState};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{House, Socket, connect_tls, loop_until};

#[tokio::test]
async fn the_second_viewer_takes_over_and_the_first_is_told() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    anna.start("demo").await.unwrap();
    let mut first = Socket::greeted(&house, &anna.ticket("demo").await.unwrap()).await;
    first.send(Message::Binary(vec![7; 200_000].into())).await;
    let mut back = Vec::new();
    while back.len() < 200_000 {
        back.extend(first.bytes().await);
    }
    assert!(back.iter().all(|byte| *byte == 7));
    let viewer = anna.get("demo").await.unwrap().viewer.unwrap();
    assert_eq!((viewer.user.as_str(), viewer.address.as_str()), ("anna", "127.0.0.1"));

    let mut second = Socket::greeted(&house, &anna.ticket("demo").await.unwrap()).await;
    assert_eq!(first.closed().await, (4001, "opened elsewhere, from 127.0.0.1".into()));
    second.send(Message::Binary(b"still here".to_vec().into())).await;
    assert_eq!(second.bytes().await, b"still here");
    second.send(Message::Close(None)).await;
    loop_until("nobody looks", async || {
        anna.get("demo").await.unwrap().viewer.is_none().then_some(())
    })
    .await;
    assert_eq!(
        anna.get("demo").await.unwrap().state(),
        v1::DesktopState::Running,
        "the session stays"
    );
}

/// A connection from the address of the load balancer.
async fn balanced(house: &House) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(([127, 0, 0, 1], house.port).into()).await.unwrap()
}

#[tokio::test]
async fn a_load_balancer_tells_whom_it_serves_and_nobody_else_does() {
    let house = House::with("[server]\nproxies = [\"127.0.0.2\"]\n").await;
    let mut anna = house.sign_in("anna").await;
    anna.start("demo").await.unwrap();
    let header = format!("PROXY TCP4 192.0.2.7 192.0.2.1 4711 {}\r\n", house.port);
    let mut stream = balanced(&house).await;
    stream.write_all(header.as_bytes()).await.unwrap();
    let ticket = anna.ticket("demo").await.unwrap();
    let _socket = Socket::open_over(&house, &ticket, stream).await;
    let viewer = loop_until("someone looks", async || anna.get("demo").await.unwrap().viewer).await;
    assert_eq!(viewer.address, "192.0.2.7");

    let mut silent = balanced(&house).await;
    silent.write_all(&[0x16; 64]).await.unwrap();
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0, "a balancer has to tell");
    let mut liar = TcpStream::connect(("127.0.0.1", house.port)).await.unwrap();
    liar.write_all(header.as_bytes()).await.unwrap();
    // An alert of TLS, if anything.
    assert!(liar.read(&mut [0; 64]).await.unwrap_or(0) < 64);
    assert_eq!(liar.read(&mut [0; 64]).await.unwrap_or(0), 0, "who is no balancer speaks TLS");
    assert!(anna.get("demo").await.is_ok());
}

#[tokio::test]
async fn a_ticket_is_good_once_for_a_moment_and_for_one_life_of_one_desktop() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    anna.start("demo").await.unwrap();
    let refused = async |ticket: &str| Socket::open(&house, ticket).await.closed().await.0;

    let ticket = anna.ticket("demo").await.unwrap();
    let _first = Socket::greeted(&house, &ticket).await;
    assert_eq!(refused(&ticket).await, 4000, "used twice");

    let ticket = anna.ticket("demo").await.unwrap();
    house.clock.advance(Duration::from_secs(31));
    assert_eq!(refused(&ticket).await, 4000, "expired");

    let ticket = anna.ticket("demo").await.unwrap();
    anna.stop("demo").await.unwrap();
    anna.start("demo").await.unwrap();
    assert_eq!(refused(&ticket).await, 4000, "for an earlier life");
    for ticket in ["", "x", "../..", &"a".repeat(5000)] {
        assert_eq!(refused(ticket).await, 4000, "{ticket:?}");
    }

    let mut ben = house.sign_in("ben").await;
    assert_eq!(ben.ticket("demo/anna").await.unwrap_err().code(), tonic::Code::PermissionDenied);
    let mut olga = house.sign_in("olga").await;
    assert_eq!(olga.ticket("demo/anna").await.unwrap_err().code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn garbage_is_answered_and_harms_nobody_else() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let mut ben = house.sign_in("ben").await;
    anna.start("demo").await.unwrap();
    ben.start("demo").await.unwrap();
    let mut neighbour = Socket::greeted(&house, &ben.ticket("demo").await.unwrap()).await;

    let mut socket = Socket::greeted(&house, &anna.ticket("demo").await.unwrap()).await;
    socket.send(Message::Text("hello".into())).await;
    assert_eq!(socket.closed().await.0, 1003);

    let mut socket = Socket::greeted(&house, &anna.ticket("demo").await.unwrap()).await;
    socket.send(Message::Binary(vec![0; (1 << 20) + 1].into())).await;
    assert_eq!(socket.closed().await.0, 1009);

    // Not WebSocket at all, after the upgrade.
    let mut raw = connect_tls(&house).await;
    let ticket = anna.ticket("demo").await.unwrap();
    let upgrade = format!(
        "GET /gateway?ticket={ticket} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    raw.write_all(upgrade.as_bytes()).await.unwrap();
    raw.write_all(&[0xff; 64]).await.unwrap();
    let mut answer = Vec::new();
    // Whether it ends with an alert or not, it ends.
    tokio::time::timeout(crate::support::SOON, raw.read_to_end(&mut answer)).await.unwrap().ok();
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));

    neighbour.send(Message::Binary(b"fine".to_vec().into())).await;
    assert_eq!(neighbour.bytes().await, b"fine");
}

#[tokio::test]
async fn the_page_learns_how_the_session_ended() {
    let mut house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let (_, desktop) = anna.start("demo").await.unwrap();
    let mut socket = Socket::greeted(&house, &anna.ticket("demo").await.unwrap()).await;
    house.agent.script.end(desktop.number, "LOGOUT");
    assert_eq!(socket.closed().await, (4002, "you have logged out".into()));

    let (_, desktop) = anna.start("demo").await.unwrap();
    let mut socket = Socket::greeted(&house, &anna.ticket("demo").await.unwrap()).await;
    let reason = "the desktop ran out of memory: its limit is 200 MiB";
    let failure = v1::Failure {
        phase: v1::Phase::Session.into(),
        reason: reason.into(),
        code: "OUT_OF_MEMORY".into(),
        output_tail: vec!["Killed".into()],
    };
    house.agent.script.break_down(desktop.number, failure.clone());
    assert_eq!(socket.closed().await, (4002, reason.into()));
    let gone = anna.get("demo").await.unwrap();
    assert_eq!((gone.end_reason.as_str(), gone.failure), ("OUT_OF_MEMORY", Some(failure)));

    anna.start("demo").await.unwrap();
    let mut socket = Socket::greeted(&house, &anna.ticket("demo").await.unwrap()).await;
    house.agent.vanish();
    assert_eq!(socket.closed().await.0, 4003);
    house.host_is(HostState::Suspect).await;
    let ticket = anna.ticket("demo").await.unwrap();
    assert_eq!(Socket::open(&house, &ticket).await.closed().await.0, 4003);
}

#[tokio::test]
async fn what_is_no_upgrade_from_the_portal_gets_a_sentence() {
    let house = House::new().await;
    let mut raw = connect_tls(&house).await;
    raw.write_all(
        b"GET /gateway?ticket=x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await
    .unwrap();
    let mut answer = String::new();
    raw.read_to_string(&mut answer).await.ok();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("open the portal instead"), "{answer}");

    let mut foreign = Socket::request(&house, "x");
    foreign.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(Socket::refused(&house, foreign).await, 403);
}
