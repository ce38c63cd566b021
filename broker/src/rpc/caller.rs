//! Who calls: a bearer token, or the cookie of a browser.
//!
//! A cookie travels with whatever request a foreign page makes the browser
//! send, so it counts only where a foreign page cannot go: `SameSite=Strict`,
//! and gRPC-web's content type, which no page may send to another origin
//! without a CORS preflight; this server answers none.

use std::net::IpAddr;

use http::HeaderMap;
use tonic::Request;

use super::{Api, RpcError, arrival::Arrival};
use crate::{
    auth::{Caller, Tokens},
    cookie,
    server::Peer,
};

/// Finds out who calls.
pub(super) async fn identify<T>(api: &Api, request: &Request<T>) -> Result<Caller, RpcError> {
    let token = token_of(request)?.ok_or(RpcError::NotSignedIn)?;
    let found = match Tokens::is_one(&token) {
        true => api.tokens.find(&token).await?,
        false => api.sessions.find(&token).await?,
    };
    found.ok_or(RpcError::NotSignedIn)
}

/// Where the call came from.
pub(super) fn address_of<T>(request: &Request<T>) -> Result<IpAddr, RpcError> {
    let peer = request.extensions().get::<Peer>();
    peer.map(|Peer(address)| address.ip()).ok_or(RpcError::NoAddress)
}

fn token_of<T>(request: &Request<T>) -> Result<Option<String>, RpcError> {
    let headers: &HeaderMap = request.metadata().as_ref();
    if let Some(value) = headers.get(http::header::AUTHORIZATION) {
        let bearer = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        return bearer.map(|token| Some(token.trim().to_owned())).ok_or(RpcError::NotSignedIn);
    }
    match (cookie::find(headers, cookie::SESSION), request.extensions().get::<Arrival>()) {
        (None, _) => Ok(None),
        (Some(token), Some(Arrival::Web)) => Ok(Some(token)),
        (Some(_), Some(Arrival::Grpc) | None) => Err(RpcError::CookieOutsideWeb),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(header: &str, value: &str, arrival: Arrival) -> Request<()> {
        let mut request = Request::new(());
        request.metadata_mut().insert(
            tonic::metadata::MetadataKey::from_bytes(header.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
        request.extensions_mut().insert(arrival);
        request
    }

    #[test]
    fn a_cookie_counts_in_grpc_web_only() {
        let value = "other=1; rolltop_session=abc; x=y";
        assert_eq!(
            token_of(&request("cookie", value, Arrival::Web)).unwrap().as_deref(),
            Some("abc")
        );
        assert!(matches!(
            token_of(&request("cookie", value, Arrival::Grpc)),
            Err(RpcError::CookieOutsideWeb)
        ));
        assert_eq!(token_of(&request("cookie", "a=b", Arrival::Grpc)).unwrap(), None);
    }

    #[test]
    fn a_bearer_token_counts_everywhere() {
        for arrival in [Arrival::Web, Arrival::Grpc] {
            assert_eq!(
                token_of(&request("authorization", "Bearer abc", arrival)).unwrap().as_deref(),
                Some("abc")
            );
        }
        assert!(token_of(&request("authorization", "Basic abc", Arrival::Grpc)).is_err());
    }
}
