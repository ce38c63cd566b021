//! What the broker tells a Prometheus server.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{House, Socket, loop_until};

const RULES: &str = include_str!("../../../deploy/prometheus/rolltop.rules.yml");

async fn read(house: &House) -> String {
    let mut stream = TcpStream::connect(house.metrics_address()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: broker\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    text.to_owned()
}

/// The sum of a series' samples, whatever their further labels.
fn value(text: &str, series: &str) -> f64 {
    let (name, label) = series.split_once('{').unwrap_or((series, ""));
    let label = label.trim_end_matches('}');
    let samples = text.lines().filter(|line| {
        let rest = line.strip_prefix(name).unwrap_or("-");
        (rest.starts_with('{') || rest.starts_with(' ')) && rest.contains(label)
    });
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn starts_connections_hosts_and_the_store_are_told() {
    let house = House::with("[metrics]\nlisten = \"127.0.0.1:0\"\n").await;
    let mut anna = house.sign_in("anna").await;
    let before = read(&house).await;
    assert_eq!(value(&before, "rolltop_broker_starts_total"), 0.0);
    assert_eq!(value(&before, "rolltop_broker_hosts{state=\"ready\"}"), 1.0);

    anna.start("demo").await.unwrap();
    assert!(anna.start("nonsense").await.is_err());
    let mut socket = Socket::greeted(&house, &anna.ticket("demo").await.unwrap()).await;
    let up = read(&house).await;
    for (series, wanted) in [
        ("rolltop_broker_starts_total{outcome=\"running\"}", 1.0),
        ("rolltop_broker_start_seconds_count", 1.0),
        ("rolltop_broker_starts_under_way", 0.0),
        ("rolltop_broker_connections", 1.0),
        ("rolltop_broker_store_errors_total", 0.0),
    ] {
        assert_eq!(value(&up, series), wanted, "{series} in\n{up}");
    }
    for series in [
        "rolltop_broker_display_bytes_total{direction=\"to_viewer\"}",
        "rolltop_broker_store_seconds_count{operation=\"commit\"}",
        "rolltop_broker_rpcs_total{method=\"Broker/SignIn\",code=\"OK\"}",
        "rolltop_broker_hosts_memory_bytes",
        "process_resident_memory_bytes",
    ] {
        assert!(value(&up, series) > 0.0, "{series} in\n{up}");
    }
    loop_until("the host tells of the desktop", async || {
        let now = read(&house).await;
        (value(&now, "rolltop_broker_desktops{state=\"running\"}") == 1.0).then_some(())
    })
    .await;
    house.agent.script.publish("2", "stable");
    loop_until("it is behind", async || {
        let now = read(&house).await;
        (value(&now, "rolltop_broker_desktops_behind{pool=\"demo\"}") == 1.0).then_some(())
    })
    .await;
    socket.send(Message::Close(None)).await;
    loop_until("the connection's end is counted", async || {
        let now = read(&house).await;
        let ends = "rolltop_broker_connection_ends_total{reason=\"client_left\"}";
        (value(&now, ends) == 1.0 && value(&now, "rolltop_broker_connections") == 0.0).then_some(())
    })
    .await;
}

/// Alerts over metrics that nobody tells would never fire.
#[tokio::test]
async fn the_alerts_look_at_what_is_told() {
    let house = House::with("[metrics]\nlisten = \"127.0.0.1:0\"\n").await;
    let told = read(&house).await;
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let mut looked_at = 0;
    for name in RULES.split(word).filter(|name| name.starts_with("rolltop_broker_")) {
        let there = told
            .lines()
            .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        assert!(there, "{name} is not told:\n{told}");
        looked_at += 1;
    }
    assert!(looked_at > 0);
}

#[tokio::test]
async fn without_an_address_there_is_no_port() {
    let house = House::new().await;
    assert_eq!(house.daemon().metrics_address(), None);
}
