//! How a call arrived, noted before gRPC-web is translated into gRPC.

use axum::{body::Body, middleware::Next, response::Response};
use http::{Request, header};

/// How a call arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// As gRPC: a program.
    Grpc,
    /// As gRPC-web: a page, or a program that acts like one.
    Web,
}

/// Notes the kind of every call.
pub async fn note_arrival(mut request: Request<Body>, next: Next) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let web = kind.is_some_and(|kind| kind.starts_with("application/grpc-web"));
    request.extensions_mut().insert(if web { Arrival::Web } else { Arrival::Grpc });
    next.run(request).await
}
