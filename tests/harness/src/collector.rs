//! An OpenTelemetry collector that keeps what it receives (OTLP over HTTP, protobuf).
//!
//! It runs on a separate thread, so a test can block while a program's last batch arrives.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// One received request.
pub struct CollectedRequest {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

type CollectedRequests = Arc<Mutex<Vec<CollectedRequest>>>;

/// A running collector; it ends with the process of the test.
pub struct FakeCollector {
    address: SocketAddr,
    post: CollectedRequests,
}

impl FakeCollector {
    /// Starts one.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let (address, post) =
            (listener.local_addr().expect("its address"), CollectedRequests::default());
        let router = Router::new().fallback(take).with_state(Arc::clone(&post));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime for the collector").block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("the listener");
                axum::serve(listener, router).await
            })
        });
        Self { address, post }
    }

    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Calls `look` for each received request.
    pub fn each<T>(&self, look: impl FnMut(&CollectedRequest) -> T) -> Vec<T> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner).iter().map(look).collect()
    }

    /// All received spans.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self
            .bodies("/v1/traces")
            .into_iter()
            .map(|body| ExportTraceServiceRequest::decode(body).expect("an export of spans"));
        let resources = requests.flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// All received exports of metrics.
    pub fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        let bodies = self.bodies("/v1/metrics").into_iter();
        bodies
            .map(|body| ExportMetricsServiceRequest::decode(body).expect("an export of metrics"))
            .collect()
    }

    fn bodies(&self, path: &str) -> Vec<Bytes> {
        let found = self.each(|one| (one.path == path).then(|| one.body.clone()));
        found.into_iter().flatten().collect()
    }
}

/// An attribute of a span, as text.
pub fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        Any::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

async fn take(
    State(post): State<CollectedRequests>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Bytes) {
    let arrived = CollectedRequest { path: uri.path().to_owned(), headers, body };
    post.lock().unwrap_or_else(PoisonError::into_inner).push(arrived);
    // An empty message means that everything was accepted.
    (StatusCode::OK, Bytes::new())
}
