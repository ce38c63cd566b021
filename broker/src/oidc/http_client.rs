//! How the provider is asked: TLS, bounded in time and size, and no redirects, so that
//! nobody can send the broker elsewhere.

use std::{pin::Pin, time::Duration};

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls::ClientConfig;
use thiserror::Error;

use crate::config::is_private;

/// Of a whole request.
const DEADLINE: Duration = Duration::from_secs(10);
/// Keys and documents of providers are a few KiB; somebody's groups may be many.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A request was not answered.
#[derive(Debug, Error)]
pub(super) enum HttpError {
    /// It could not be sent, or was not answered.
    #[error("no answer")]
    Request(#[from] reqwest::Error),
    /// The answer cannot be told on.
    #[error("not an answer")]
    Answer(#[from] http::Error),
    /// Secrets would go in the clear.
    #[error("{0} is not https://")]
    InTheClear(http::Uri),
    /// More than anything we ask for.
    #[error("an answer of more than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
}

/// A client of the provider. Cheap to clone.
#[derive(Clone)]
pub(super) struct Http(reqwest::Client);

// === impl Http ===

impl Http {
    /// Believes what `tls` does. `near`: the provider is on this machine, and no proxy
    /// that the environment names is on the way there.
    pub(super) fn new(tls: ClientConfig, near: bool) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(DEADLINE)
            .user_agent(concat!("rolltop-broker/", env!("CARGO_PKG_VERSION")));
        let client = if near { client.no_proxy() } else { client };
        client.build().map(Self)
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !is_private(request.uri()) {
            return Err(HttpError::InTheClear(request.uri().clone()));
        }
        let mut answer = self.0.execute(request.try_into()?).await?;
        let mut response = http::Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.extend(answer.headers().clone());
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(HttpError::TooLong);
            }
        }
        Ok(response.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
