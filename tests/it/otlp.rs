//! If the environment names a collector, Baton sends it metrics and spans. The request that goes
//! upstream does not change.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::collector::{FakeCollector, attribute};
use baton_test_harness::system::{MODEL, TestSystem, message};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

fn one<'a>(spans: &'a [Span], name: &str, trace: &str) -> &'a Span {
    let found: Vec<&Span> =
        spans.iter().filter(|it| it.name == name && hex(&it.trace_id) == trace).collect();
    assert_eq!(found.len(), 1, "{name} in {trace}: {spans:?}");
    found[0]
}

#[tokio::test]
async fn collector_gets_metrics_and_spans_of_client_trace() {
    let collector = FakeCollector::start();
    let launch = TestSystem::builder()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=collector-canary-1");
    let mut system = launch.with_account("main").start().await;
    let key = system.key("ci").create().await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let body = message(MODEL, "prompt-canary-2", true).to_string();
    let request = key.message(body.clone()).header("traceparent", &traceparent);
    let answer = ClientResponse::to(request).await.ok();
    let upstream = system.upstream.last().request;
    assert_eq!(
        upstream.header("traceparent"),
        Some(traceparent.as_str()),
        "the header is unchanged"
    );
    assert_eq!(upstream.body, body.as_bytes());
    system.upstream.next("error:overloaded");
    let request = key.message(message(MODEL, "hi", true).to_string());
    ClientResponse::to(request.header("traceparent", format!("00-{}-{PARENT}-01", "1".repeat(32))))
        .await;

    // Pending data is sent before the process ends.
    system.process().terminate();
    assert_eq!(system.process().ended().code, Some(0));
    let spans = collector.spans();
    let root = one(&spans, "request", TRACE);
    assert_eq!(hex(&root.parent_span_id), PARENT);
    assert_eq!(root.kind, SpanKind::Server as i32);
    let request_id = answer.header("x-baton-request-id").expect("an id").to_owned();
    assert_eq!(attribute(root, "baton.request_id"), Some(request_id));
    assert_eq!(attribute(root, "gen_ai.request.model").as_deref(), Some(MODEL));
    assert_eq!(attribute(root, "baton.outcome").as_deref(), Some("complete"));
    assert_eq!(attribute(root, "http.response.status_code").as_deref(), Some("200"));
    let call = one(&spans, "upstream", TRACE);
    assert_eq!(call.parent_span_id, root.span_id);
    assert_eq!(call.kind, SpanKind::Client as i32);
    assert!(root.start_time_unix_nano <= call.start_time_unix_nano);
    assert!(call.end_time_unix_nano <= root.end_time_unix_nano);
    let failed = one(&spans, "upstream", &"1".repeat(32));
    assert_eq!(attribute(failed, "error.type").as_deref(), Some("overloaded"));

    let exports = collector.metrics();
    let resources = exports.iter().flat_map(|export| &export.resource_metrics);
    let scopes = resources.flat_map(|resource| &resource.scope_metrics);
    let metrics: Vec<_> = scopes.flat_map(|scope| &scope.metrics).collect();
    let data = |name: &str| {
        let found = metrics.iter().rev().find(|metric| metric.name == name);
        found.unwrap_or_else(|| panic!("no {name}")).data.as_ref().expect("data")
    };
    let Data::Sum(requests) = data("baton.requests") else { panic!("no sum") };
    assert!(requests.is_monotonic && requests.data_points.len() == 2, "{requests:?}");
    let Data::Histogram(ttft) = data("baton.ttft") else { panic!("no histogram") };
    assert_eq!(ttft.data_points.iter().map(|point| point.count).sum::<u64>(), 1);
    assert!(matches!(data("baton.accounts"), Data::Gauge(_)));

    let keyed = collector.each(|it| it.headers["x-collector-key"] == "collector-canary-1");
    assert!(!keyed.is_empty() && keyed.iter().all(|is| *is), "headers of the environment");
    let leaks = collector.each(|it| {
        let text = String::from_utf8_lossy(&it.body).into_owned();
        ["prompt-canary-2", "sk-upstream", &key.secret].iter().any(|hidden| text.contains(hidden))
    });
    assert!(leaks.iter().all(|is| !is), "no prompt and no secret goes to the collector");
}
