//! People: they ask for desktops at any broker, look at them and leave, all at
//! once, and note what they are told.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use futures_util::{StreamExt as _, future::join};
use rolltop_proto::v1::{
    self, HostState, broker_client::BrokerClient, start_desktop_response::Message,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message as Frame;
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt as _;

use super::{
    BROKERS, POOLS,
    answers::{Answer, Life, Outcome, Wish},
    cluster::{Person, broker_port},
    random::Random,
};
use crate::gateway;

/// For a broker to take a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// What was seen of a display.
const BANNER: &[u8] = b"RFB ";

/// The ways to all brokers.
#[derive(Clone)]
pub struct Doors {
    channels: Vec<Channel>,
    tls: TlsConnector,
    patience: Duration,
}

/// Someone who has signed in; every broker knows it.
#[derive(Clone)]
pub struct Caller {
    name: String,
    token: String,
    doors: Doors,
}

/// All that was answered.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<Mutex<Vec<Answer>>>);

// === impl Answers ===

impl Answers {
    fn note(&self, answer: Answer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }

    /// In the order they were answered.
    pub fn all(&self) -> Vec<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl Doors ===

impl Doors {
    /// To brokers that show a certificate of this authority. Whoever uses them
    /// does not wait for longer than `patience`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn new(ca: &str, patience: Duration) -> anyhow::Result<Self> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name("localhost");
        let channel = |broker| {
            let endpoint =
                Endpoint::from_shared(format!("https://127.0.0.1:{}", broker_port(broker)))?;
            let endpoint = endpoint.tls_config(tls.clone())?.connect_timeout(CONNECT);
            anyhow::Ok(endpoint.connect_lazy())
        };
        let channels = (0..BROKERS).map(channel).collect::<anyhow::Result<_>>()?;
        Ok(Self { channels, tls: gateway::trusting(ca)?, patience })
    }

    fn client(&self, broker: usize) -> Option<BrokerClient<Channel>> {
        self.channels.get(broker).cloned().map(BrokerClient::new)
    }

    /// Signs someone in, at whichever broker serves first.
    ///
    /// # Errors
    /// None does within `patience`.
    pub async fn sign_in(&self, person: &Person, patience: Duration) -> anyhow::Result<Caller> {
        let deadline = Instant::now() + patience;
        for broker in (0..BROKERS).cycle() {
            let mut client = self.client(broker).context("no such broker")?;
            let request = v1::SignInRequest {
                name: person.name.clone(),
                password: person.password.clone(),
                ..Default::default()
            };
            match client.sign_in(request).await {
                Ok(answer) => {
                    let (name, token) = (person.name.clone(), answer.into_inner().token);
                    return Ok(Caller { name, token, doors: self.clone() });
                }
                Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(200)).await,
                Err(status) => {
                    return Err(status).with_context(|| format!("{} cannot sign in", person.name));
                }
            }
        }
        anyhow::bail!("there are no brokers")
    }
}

// === impl Caller ===

impl Caller {
    /// Who it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `message`, in its name.
    pub(crate) fn ask<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token);
        let bearer = bearer.parse().map_err(|_| Status::internal("a token that is no text"))?;
        request.metadata_mut().insert("authorization", bearer);
        Ok(request)
    }

    /// The way to a broker, if there is such a one.
    pub(crate) fn channel(&self, broker: usize) -> Option<Channel> {
        self.doors.channels.get(broker).cloned()
    }

    fn client(&self, broker: usize) -> Result<BrokerClient<Channel>, Status> {
        self.doors.client(broker).ok_or_else(|| Status::internal("there is no such broker"))
    }

    /// Wishes this and that until `end`, as `random` has it.
    pub async fn live(self, mut random: Random, end: Instant, answers: Answers) {
        // Not all in the same moment.
        sleep(Duration::from_millis(random.below(800))).await;
        while Instant::now() < end {
            let pool = POOLS.get(random.place(POOLS.len())).copied().unwrap_or_default();
            let broker = random.place(BROKERS);
            let wish = match random.below(10) {
                0..5 => Wish::Start,
                5..8 => Wish::Look,
                _ => Wish::Stop,
            };
            if wish == Wish::Start && random.below(4) == 0 {
                // Two of their devices at once.
                let other = random.place(BROKERS);
                let (one, two) =
                    join(self.wish(wish, pool, broker), self.wish(wish, pool, other)).await;
                answers.note(one);
                answers.note(two);
            } else {
                answers.note(self.wish(wish, pool, broker).await);
            }
            let pause = Duration::from_millis(random.below(700));
            sleep_until((Instant::now() + pause).min(end)).await;
        }
    }

    /// One wish and its answer.
    pub async fn wish(&self, wish: Wish, pool: &str, broker: usize) -> Answer {
        let asked = Instant::now();
        let done = async {
            match wish {
                Wish::Start => self.start(pool, broker).await,
                Wish::Stop => self.stop(pool, broker).await,
                Wish::Look => self.look(pool, broker).await,
            }
        };
        let outcome = match timeout(self.doors.patience, done).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(status)) => of_status(&status),
            Err(_) => Outcome::Unknown("no answer in time".to_owned()),
        };
        let desktop = format!("{pool}/{}", self.name);
        Answer { desktop, wish, broker, asked, answered: Instant::now(), outcome }
    }

    async fn start(&self, pool: &str, broker: usize) -> Result<Outcome, Status> {
        let request = v1::StartDesktopRequest { pool: pool.into(), ..Default::default() };
        let answer = self.client(broker)?.start_desktop(self.ask(request)?).await?;
        let mut steps = answer.into_inner();
        while let Some(step) = steps.message().await? {
            if let Some(Message::Desktop(desktop)) = step.message {
                return Ok(match desktop.state() {
                    v1::DesktopState::Running => Outcome::Running(life(&desktop)),
                    state => Outcome::Failed(format!(
                        "{state:?} {}",
                        desktop.failure.map(|failure| failure.code).unwrap_or_default()
                    )),
                });
            }
        }
        Ok(Outcome::Unknown("the answer ended too early".to_owned()))
    }

    async fn stop(&self, pool: &str, broker: usize) -> Result<Outcome, Status> {
        let request = self.ask(v1::StopDesktopRequest { desktop: pool.into() })?;
        let answer = self.client(broker)?.stop_desktop(request).await?.into_inner();
        let desktop = answer.desktop.unwrap_or_default();
        Ok(match desktop.state() {
            v1::DesktopState::Gone => Outcome::Ended(life(&desktop)),
            state => Outcome::Failed(format!("{state:?}")),
        })
    }

    async fn look(&self, pool: &str, broker: usize) -> Result<Outcome, Status> {
        let request = self.ask(v1::OpenConnectionRequest { desktop: pool.into() })?;
        let opened = self.client(broker)?.open_connection(request).await?.into_inner();
        let seen = self.see(&opened.path, broker).await;
        Ok(seen.unwrap_or_else(|error| Outcome::Unknown(format!("{error:#}"))))
    }

    /// As a browser does, until the display has greeted.
    async fn see(&self, path: &str, broker: usize) -> anyhow::Result<Outcome> {
        let port = u16::try_from(broker_port(broker))?;
        let mut socket = gateway::connect(&self.doors.tls, port, path).await?;
        while let Some(frame) = socket.next().await {
            match frame? {
                Frame::Binary(bytes) if bytes.starts_with(BANNER) => return Ok(Outcome::Seen),
                Frame::Close(frame) => {
                    let why = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    return Ok(Outcome::Unknown(format!("closed: {why}")));
                }
                _ => {}
            }
        }
        Ok(Outcome::Unknown("the display ended".to_owned()))
    }

    /// Changes a pool, or makes one of another name after it; for an operator.
    ///
    /// # Errors
    /// A broker refuses.
    pub async fn put_pool(
        &self,
        like: &str,
        broker: usize,
        change: impl FnOnce(&mut v1::Pool) + Send,
    ) -> Result<(), Status> {
        let mut client = self.client(broker)?;
        let request = self.ask(v1::ListPoolsRequest { all: true })?;
        let pools = client.list_pools(request).await?.into_inner().pools;
        let known = pools.into_iter().find(|known| known.name == like);
        let mut pool = known.ok_or_else(|| Status::not_found("there is no such pool"))?;
        change(&mut pool);
        client.put_pool(self.ask(v1::PutPoolRequest { pool: Some(pool) })?).await?;
        Ok(())
    }

    /// The hosts, as a broker sees them; for an operator.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn hosts(&self, broker: usize) -> Result<Vec<v1::Host>, Status> {
        let request = self.ask(v1::ListHostsRequest {})?;
        Ok(self.client(broker)?.list_hosts(request).await?.into_inner().hosts)
    }

    /// Whether a broker hears all hosts; for an operator.
    pub async fn all_ready(&self, broker: usize) -> bool {
        match timeout(CONNECT * 2, self.hosts(broker)).await {
            Ok(Ok(hosts)) => hosts.iter().all(|host| host.state() == HostState::Ready),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

fn life(desktop: &v1::Desktop) -> Life {
    Life { host: desktop.host.clone(), number: desktop.number, epoch: desktop.epoch }
}

fn of_status(status: &Status) -> Outcome {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    // Without a reason it is not a broker that speaks, but the line.
    match status.code() {
        Code::Unknown => Outcome::Unknown(format!("{reason} {}", status.message())),
        _ if reason.is_empty() => Outcome::Unknown(status.message().to_owned()),
        _ => Outcome::Refused { reason, message: status.message().to_owned() },
    }
}
