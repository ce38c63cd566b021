//! gRPC calls: how many, how they ended, how long they took.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tower::{Layer, Service};

use crate::seconds;

/// What is no call of the described services, such as health checks, and calls
/// of services that there are not.
const OTHER: &str = "other";

/// Codes of gRPC by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const CANCELLED: &str = CODES[1];
const UNKNOWN: &str = CODES[2];

type Method = [(&'static str, Arc<str>); 1];
type Ended = [(&'static str, Arc<str>); 2];

/// Counts the calls that pass through it; a layer around the services. Cheap to
/// clone: all clones count together.
#[derive(Clone, Debug)]
pub struct Calls {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// By path. Only these become labels.
    known: BTreeMap<String, Arc<str>>,
    other: Arc<str>,
    codes: Vec<Arc<str>>,
    ended: Family<Ended, Counter>,
    running: Family<Method, Gauge>,
    seconds: Family<Method, Histogram, fn() -> Histogram>,
}

/// A call under way; its end is counted when it is dropped, however it ends.
#[derive(Debug)]
struct Call {
    calls: Calls,
    method: Arc<str>,
    begun: Instant,
    code: &'static str,
}

// === impl Calls ===

impl Calls {
    /// Counts the methods of the services in `descriptors`, an encoded
    /// `FileDescriptorSet`, each by its name as `Service/Method`.
    ///
    /// # Errors
    /// They cannot be decoded.
    pub fn new(descriptors: &[u8]) -> Result<Self, prost::DecodeError> {
        let files = FileDescriptorSet::decode(descriptors)?.file;
        let mut known = BTreeMap::new();
        for file in &files {
            for service in &file.service {
                for method in &service.method {
                    let short = format!("{}/{}", service.name(), method.name());
                    known.insert(format!("/{}.{short}", file.package()), short.into());
                }
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                known,
                other: OTHER.into(),
                codes: CODES.iter().map(|code| Arc::from(*code)).collect(),
                ended: Family::default(),
                running: Family::default(),
                seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            }),
        })
    }

    /// Makes them part of `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let Inner { ended, running, seconds, .. } = self.inner.as_ref();
        registry.register("rpcs", "Calls that have ended, by method and gRPC code", ended.clone());
        registry.register("rpcs_running", "Calls under way, streams included", running.clone());
        let help = "From a call's arrival to the end of its answer; streams last as long as \
                    someone reads them";
        registry.register("rpc_seconds", help, seconds.clone());
    }

    fn begin(&self, path: &str) -> Call {
        let method = Arc::clone(self.inner.known.get(path).unwrap_or(&self.inner.other));
        self.inner.running.get_or_create(&[("method", Arc::clone(&method))]).inc();
        Call { calls: self.clone(), method, begun: Instant::now(), code: CANCELLED }
    }
}

// === impl Call ===

impl Call {
    /// Notes the status, if these headers or trailers hold it.
    fn look(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            let number = status.to_str().ok().and_then(|text| text.parse::<usize>().ok());
            self.code = number.and_then(|number| CODES.get(number)).unwrap_or(&UNKNOWN);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Inner { codes, other, ended, running, seconds, .. } = self.calls.inner.as_ref();
        let label = ("method", Arc::clone(&self.method));
        let code = codes.iter().find(|code| ***code == *self.code).unwrap_or(other);
        let method = [label.clone()];
        running.get_or_create(&method).dec();
        seconds.get_or_create(&method).observe(self.begun.elapsed().as_secs_f64());
        ended.get_or_create(&[label, ("code", Arc::clone(code))]).inc();
    }
}

// === impl Layer ===

/// The services with their calls counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    calls: Calls,
}

pin_project! {
    /// A call until its answer begins.
    #[derive(Debug)]
    pub struct Answering<F> {
        #[pin]
        inner: F,
        call: Option<Call>,
    }
}

pin_project! {
    /// An answer until it ends.
    #[derive(Debug)]
    pub struct Answer<B> {
        #[pin]
        inner: B,
        call: Option<Call>,
    }
}

impl<S> Layer<S> for Calls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, calls: self.clone() }
    }
}

impl<S, Q, B> Service<Request<Q>> for Counted<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let call = self.calls.begin(request.uri().path());
        Answering { inner: self.inner.call(request), call: Some(call) }
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Answer<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let mut call = this.call.take();
        if let Some(call) = &mut call {
            // An answer without a body has its status here.
            call.look(response.headers());
        }
        Poll::Ready(Ok(response.map(|inner| Answer { inner, call })))
    }
}

impl<B: Body> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if let (Some(Ok(frame)), Some(call)) = (&frame, this.call.as_mut())
            && let Some(trailers) = frame.trailers_ref()
        {
            call.look(trailers);
        }
        if frame.is_none() {
            *this.call = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Empty, StreamBody};
    use prost_types::{FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto};
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::encode;

    fn calls() -> Calls {
        let method = MethodDescriptorProto { name: Some("Start".into()), ..Default::default() };
        let service = ServiceDescriptorProto {
            name: Some("Agent".into()),
            method: vec![method],
            ..Default::default()
        };
        let file = FileDescriptorProto {
            package: Some("x.v1".into()),
            service: vec![service],
            ..Default::default()
        };
        Calls::new(&FileDescriptorSet { file: vec![file] }.encode_to_vec()).unwrap()
    }

    fn told(calls: &Calls) -> String {
        let mut registry = Registry::default();
        calls.register(&mut registry);
        encode(&[&registry]).unwrap()
    }

    fn trailers(status: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static(status),
        )])
    }

    /// One call at `path` that ends with `status` in its trailers, if it is read.
    async fn call(calls: &Calls, path: &str, status: &'static str, read: bool) {
        let answer = service_fn(move |_: Request<()>| async move {
            let last = Ok::<_, Infallible>(Frame::<Bytes>::trailers(trailers(status)));
            let body = StreamBody::new(futures_util::stream::iter([last]));
            Ok::<_, Infallible>(Response::new(body))
        });
        let request = Request::builder().uri(path).body(()).unwrap();
        let response = calls.layer(answer).oneshot(request).await.unwrap();
        assert!(told(calls).contains("rpcs_running{method=\"Agent/Start\"} 1"), "{}", told(calls));
        if read {
            response.into_body().collect().await.unwrap();
        }
    }

    #[tokio::test]
    async fn every_end_is_counted_once() {
        let calls = calls();
        call(&calls, "/x.v1.Agent/Start", "0", true).await;
        call(&calls, "/x.v1.Agent/Start", "8", true).await;
        call(&calls, "/x.v1.Agent/Start", "nonsense", true).await;
        // Whoever goes away before the end has cancelled it.
        call(&calls, "/x.v1.Agent/Start", "0", false).await;
        let text = told(&calls);
        for code in ["OK", "RESOURCE_EXHAUSTED", "UNKNOWN", "CANCELLED"] {
            let line = format!("rpcs_total{{method=\"Agent/Start\",code=\"{code}\"}} 1");
            assert!(text.contains(&line), "{line}: {text}");
        }
        assert!(text.contains("rpcs_running{method=\"Agent/Start\"} 0"), "{text}");
        assert!(text.contains("rpc_seconds_count{method=\"Agent/Start\"} 4"), "{text}");
    }

    #[tokio::test]
    async fn a_status_without_a_body_is_found_in_the_head() {
        let calls = calls();
        let refuse = service_fn(|_: Request<()>| async {
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.headers_mut() = trailers("5");
            Ok::<_, Infallible>(response)
        });
        let request = Request::builder().uri("/x.v1.Agent/Start").body(()).unwrap();
        drop(calls.layer(refuse).oneshot(request).await.unwrap());
        assert!(told(&calls).contains("code=\"NOT_FOUND\"} 1"), "{}", told(&calls));
    }

    #[tokio::test]
    async fn invented_names_make_no_labels() {
        let calls = calls();
        let refuse = service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        for n in 0..50 {
            let request = Request::builder().uri(format!("/x.v1.Agent/No{n}")).body(()).unwrap();
            drop(calls.layer(refuse).oneshot(request).await.unwrap());
        }
        let text = told(&calls);
        assert!(text.contains("rpcs_total{method=\"other\",code=\"CANCELLED\"} 50"), "{text}");
        assert!(!text.contains("No7"), "{text}");
    }
}
