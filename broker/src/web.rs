//! The portal's pages, out of the binary.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, Method, Request, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};
use tonic::{Code, Status};

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/web"]
struct Pages;

/// Pages may load and reach nothing but this server.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' wss:; img-src 'self' data: blob:; \
     style-src 'self'; script-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// Names of files in here change with their content.
const HASHED: &str = "assets/";
const FOREVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";
const INDEX: &str = "index.html";

/// Everything no other route takes.
pub async fn serve(request: Request<Body>) -> Response {
    if is_grpc(&request) {
        let status = Status::new(Code::Unimplemented, "there is no such service");
        return status.into_http::<tonic::body::Body>().map(Body::new);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let path = request.uri().path().trim_start_matches('/');
    let known = request.headers().get(header::IF_NONE_MATCH);
    match Pages::get(path) {
        Some(file) => answer(path, file, known),
        // A missing file is missing; any other path is a view of the portal.
        None if path.starts_with(HASHED) || path.contains('.') => {
            StatusCode::NOT_FOUND.into_response()
        }
        None => Pages::get(INDEX).map_or_else(
            || StatusCode::NOT_FOUND.into_response(),
            |file| answer(INDEX, file, known),
        ),
    }
}

fn answer(path: &str, file: EmbeddedFile, known: Option<&HeaderValue>) -> Response {
    let tag = tag_of(&file);
    let caching = if path.starts_with(HASHED) { FOREVER } else { ASK_AGAIN };
    let mut response = if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = kind_of(path);
        ([(header::CONTENT_TYPE, kind)], file.data).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

fn tag_of(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let short: Vec<String> = hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{}\"", short.concat())
}

/// The kinds of files a portal is made of.
fn kind_of(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("webp") => "image/webp",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some(_) | None => "application/octet-stream",
    }
}

fn is_grpc(request: &Request<Body>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}
