//! Everything on the one port: gRPC and gRPC-web, the gateway, health, pages.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use rolltop_proto::v1::{
    DESCRIPTORS, audit_server::AuditServer, broker_server::BrokerServer,
    enrolment_server::EnrolmentServer, hosts_server::HostsServer, people_server::PeopleServer,
    rollouts_server::RolloutsServer, sessions_server::SessionsServer,
    sign_in_ways_server::SignInWaysServer, stats_server::StatsServer,
    storage_server::StorageServer,
};
use tonic::server::NamedService;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceBuilder};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::{
    gateway::{self, Gateway},
    metrics::Metrics,
    oidc::{self, Door},
    rpc::{self, Api},
    store::Store,
    web,
};

/// Largest request: a piece of standard input, or a pool with all its users.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// A token and a request for a certificate, from anybody.
const MAX_ENROL_BYTES: usize = 64 << 10;

/// All routes.
///
/// # Errors
/// If the embedded descriptors cannot be read.
pub async fn routes(
    api: Api,
    gateway: Arc<Gateway>,
    provider: Option<Arc<Door>>,
    metrics: &Metrics,
) -> Result<Router, tonic_reflection::server::Error> {
    let store = Arc::clone(&api.store);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<BrokerServer<Api>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let broker = BrokerServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let stats = StatsServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let hosts = HostsServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let enrolment = EnrolmentServer::new(api.clone()).max_decoding_message_size(MAX_ENROL_BYTES);
    let audit = AuditServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let sessions = SessionsServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let people = PeopleServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let ways = SignInWaysServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let rollouts = RolloutsServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let storage = StorageServer::new(api).max_decoding_message_size(MAX_REQUEST_BYTES);

    let grpc = Router::new()
        .route_service(&calls_of(&broker), GrpcWebLayer::new().layer(broker))
        .route_service(&calls_of(&stats), GrpcWebLayer::new().layer(stats))
        .route_service(&calls_of(&storage), GrpcWebLayer::new().layer(storage))
        .route_service(&calls_of(&people), GrpcWebLayer::new().layer(people))
        .route_service(&calls_of(&ways), GrpcWebLayer::new().layer(ways))
        .route_service(&calls_of(&sessions), GrpcWebLayer::new().layer(sessions))
        .route_service(&calls_of(&rollouts), GrpcWebLayer::new().layer(rollouts))
        .route_service(&calls_of(&audit), GrpcWebLayer::new().layer(audit))
        .route_service(&calls_of(&hosts), GrpcWebLayer::new().layer(hosts))
        // Machines call this one, no browsers.
        .route_service(&calls_of(&enrolment), enrolment)
        .route_service(&calls_of(&health), health)
        .route_service(&calls_of(&reflection), reflection)
        .layer(middleware::from_fn(rpc::note_arrival))
        .layer(metrics.calls.clone());
    let header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
    };
    let guards = ServiceBuilder::new()
        .layer(header(header::CONTENT_SECURITY_POLICY, web::CONTENT_SECURITY_POLICY))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::REFERRER_POLICY, "no-referrer"))
        .layer(header(header::X_FRAME_OPTIONS, "DENY"));
    Ok(Router::new()
        .route("/gateway", get(gateway::handle).with_state(gateway))
        .route("/healthz", get(healthy).with_state(store))
        .merge(grpc)
        .merge(provider.map(oidc::routes).unwrap_or_default())
        .fallback(web::serve)
        .layer(guards))
}

/// Healthy is: the store answers. Hosts that do not are another matter.
async fn healthy(State(store): State<Arc<dyn Store>>) -> Response {
    match store.get("healthz").await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response()
        }
    }
}

fn calls_of<S: NamedService>(_: &S) -> String {
    format!("/{}/{{*call}}", S::NAME)
}
