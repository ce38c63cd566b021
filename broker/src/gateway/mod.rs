//! Where browsers look at desktops: `GET /gateway?ticket=…`, upgraded to a
//! WebSocket with the subprotocol `binary`. Binary messages are the bytes of
//! the display protocol, both ways; nothing is kept but the ticket.
//!
//! How a connection ended is told by a close code ([`End`]), since a page
//! sees neither headers nor bodies of a refused upgrade: a bad ticket is
//! answered after the upgrade.

mod activity;
mod end;
mod input;
mod relay;
mod viewers;
mod watch;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{
        FromRequestParts as _, Query, State,
        ws::{WebSocket, WebSocketUpgrade},
    },
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, Request, StatusCode, header};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

pub use activity::Activities;
pub use end::End;
pub use viewers::Viewers;

use crate::{
    audit::{Audit, Entry, Outcome, Who},
    auth::Act,
    config,
    desktops::{Admission, TicketError, Tickets},
    hosts::Hosts,
    metrics::Metrics,
    server::Peer,
    store::Store,
};

/// Largest message a client may send. Display clients send a few bytes; a
/// pasted text may be long.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// What may wait to be written before the writer has to wait.
const WRITE_BUFFER_BYTES: usize = 256 << 10;

/// What it takes to admit and relay.
pub struct Parts {
    /// Where desktops and viewers are noted.
    pub store: Arc<dyn Store>,
    /// Where the displays are.
    pub hosts: Hosts,
    /// Where connections are noted.
    pub audit: Audit,
    /// What admits.
    pub tickets: Tickets,
    /// Who looks.
    pub viewers: Viewers,
    /// Ends all connections.
    pub shutdown: CancellationToken,
    /// Connections are among these.
    pub tasks: TaskTracker,
    /// Where connections are counted.
    pub metrics: Arc<Metrics>,
}

/// Admits and relays.
pub struct Gateway {
    parts: Parts,
    config: config::Gateway,
    places: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    ticket: String,
}

// === impl Gateway ===

impl Gateway {
    /// Relays until it is shut down.
    pub fn new(parts: Parts, config: config::Gateway) -> Self {
        let places = Arc::new(Semaphore::new(config.max_connections));
        Self { parts, config, places }
    }

    async fn connection(&self, socket: WebSocket, ticket: &str, from: SocketAddr) {
        let (mut sink, mut stream) = relay::split(socket);
        let end = self.run(&mut sink, &mut stream, ticket, from).await;
        tracing::debug!(%end, "a connection ended");
        self.parts.metrics.left(&end);
        relay::close(sink, stream, &end).await;
    }

    async fn run(
        &self,
        sink: &mut relay::Sink,
        stream: &mut relay::Source,
        ticket: &str,
        from: SocketAddr,
    ) -> End {
        let Ok(_place) = self.places.try_acquire() else { return End::Full };
        let admission = match self.parts.tickets.redeem(ticket).await {
            Ok(admission) => admission,
            Err(error @ TicketError::Store(_)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a ticket could not be read"
                );
                return End::BrokerFault;
            }
            Err(error) => {
                let entry = Entry::new(Act::Connect, &Who::stranger(from.ip()), Outcome::Refused);
                self.parts.audit.note(entry.because(&error));
                return End::TicketRefused(error.to_string());
            }
        };
        let Admission { desktop, user } = admission;
        let who = Who { via: "ticket".to_owned(), ..Who::stranger(from.ip()) };
        let who = who.named(user.as_str());
        let note = |act, outcome| {
            let entry = Entry::new(act, &who, outcome).on("desktop", &desktop.id);
            entry.detail("epoch", desktop.epoch).detail("port", from.port())
        };
        // In the store first: who looked until now is told at once.
        let viewer = match self.parts.viewers.enter(&desktop, &user, from).await {
            Ok(viewer) => viewer,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a viewer could not be noted"
                );
                self.parts.audit.note(note(Act::Connect, Outcome::Failed).because(&error));
                return End::BrokerFault;
            }
        };
        let entry = note(Act::Connect, Outcome::Ok).detail("connection", viewer.connection());
        self.parts.audit.note(entry);
        let looking = self.parts.metrics.looking();
        let end = tokio::select! {
            biased;
            () = self.parts.shutdown.cancelled() => End::BrokerEnds,
            end = watch::end_of(self.parts.store.as_ref(), &desktop, viewer.connection()) => end,
            end = relay::run(&self.parts.hosts, &desktop, sink, stream, self.config.ping, &viewer, &self.parts.metrics) => match end {
                // The display ends a little before its desktop does.
                end @ End::DisplayEnded(_) => {
                    watch::likely_end(self.parts.store.as_ref(), &desktop, viewer.connection()).await.unwrap_or(end)
                }
                end => end,
            },
        };
        let entry = note(Act::Disconnect, Outcome::Ok).detail("connection", viewer.connection());
        self.parts.audit.note(entry.because(format_args!("{}: {end}", end.word())));
        drop(looking);
        viewer.leave().await;
        end
    }
}

/// `GET /gateway`.
pub async fn handle(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Response {
    let (mut parts, _) = request.into_parts();
    let refuse = |status: StatusCode, sentence: &'static str| (status, sentence).into_response();
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "This address is for WebSocket connections to desktops; open the portal instead.\n",
        );
    };
    if !same_origin(&parts.headers) {
        return refuse(
            StatusCode::FORBIDDEN,
            "Only pages of this portal may connect to desktops.\n",
        );
    }
    let ticket = Query::<Asked>::try_from_uri(&parts.uri)
        .map(|Query(asked)| asked.ticket)
        .unwrap_or_default();
    let Some(Peer(from)) = parts.extensions.get::<Peer>().copied() else {
        return refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The address of the client is not known.\n",
        );
    };
    let tasks = gateway.parts.tasks.clone();
    upgrade
        .protocols(["binary"])
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .max_write_buffer_size(MAX_MESSAGE_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .on_upgrade(move |socket| async move {
            let span = tracing::info_span!("connection", %from);
            // Tracked, so that an ending broker waits for the close frames.
            let work = async move { gateway.connection(socket, &ticket, from).await };
            tasks.track_future(work.instrument(span)).await;
        })
}

/// A browser tells the page's origin; it must be this server itself, or any
/// page on the web could use a ticket it got hold of. Programs tell none.
fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("https://"));
    match (origin, host) {
        (Some(origin), Some(host)) => with_port(origin).eq_ignore_ascii_case(&with_port(host)),
        (_, _) => false,
    }
}

/// Browsers leave the usual port away, in one header or both.
fn with_port(authority: &str) -> String {
    let after_address =
        authority.rfind(']').map_or(authority, |end| authority.get(end..).unwrap_or_default());
    if after_address.contains(':') { authority.to_owned() } else { format!("{authority}:443") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_portals_own_pages_connect() {
        let allowed = |origin: Option<&str>, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            same_origin(&headers)
        };
        assert!(allowed(None, "a:8443"));
        assert!(allowed(Some("https://a:8443"), "a:8443"));
        assert!(allowed(Some("https://a"), "a:443"));
        assert!(allowed(Some("https://[::1]"), "[::1]"));
        for foreign in
            ["https://b:8443", "http://a:8443", "https://a:8444", "null", "https://a:8443.evil", ""]
        {
            assert!(!allowed(Some(foreign), "a:8443"), "{foreign}");
        }
    }
}
