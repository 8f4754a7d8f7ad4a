//! Tests of the fake upstream itself, without Baton. The other tests rely on it.

use baton_test_harness::client_response::{ClientResponse, OpenResponse};
use baton_test_harness::fixtures;
use baton_test_harness::system::{MODEL, message, plain_client};
use baton_test_harness::upstream::{FakeUpstream, RecordedEnd, ServedTokens};
use reqwest::RequestBuilder;

fn ask(upstream: &FakeUpstream, scenario: &str, stream: bool) -> RequestBuilder {
    plain_client()
        .post(format!("{}/v1/messages", upstream.url()))
        .header("X-Api-Key", "sk-test")
        .header("x-scenario", scenario)
        .body(message(MODEL, "hi", stream).to_string())
}

#[tokio::test]
async fn fake_upstream_records_requests_and_ledger() {
    let upstream = FakeUpstream::start();
    let streamed = ClientResponse::to(ask(&upstream, "text", true)).await.ok();
    let whole = ClientResponse::to(ask(&upstream, "text", false)).await.ok();
    assert_eq!(streamed.said(), "Hello wörld 你好 🦀 from the fake upstream.");
    assert_eq!(streamed.said(), whole.said());

    let last = upstream.last();
    assert_eq!((last.request.method.as_str(), last.ending), ("POST", RecordedEnd::Complete));
    assert_eq!(last.request.header("x-api-key"), Some("sk-test"));
    assert_eq!(last.sent, whole.body);

    let mut expected = ServedTokens::default();
    for exchange in upstream.exchanges() {
        let usage = ServedTokens::of_body(&exchange.request.body);
        expected.input += usage.input;
        expected.cache_write_1h += usage.cache_write_1h;
    }
    let total = upstream.ledger().total();
    assert_eq!((total.begun, total.complete, total.errors), (2, 2, 0));
    assert_eq!(total.usage.input, expected.input);
    assert_eq!(total.usage.cache_write_1h, expected.cache_write_1h);
}

#[tokio::test]
async fn gate_releases_chunks_one_by_one() {
    let upstream = FakeUpstream::start();
    let fixture = fixtures::stream("text").expect("the text fixture");
    let gate = upstream.gate("slow");
    gate.release(1);
    let mut live = OpenResponse::to(ask(&upstream, "fixture:text;size=100;gate=slow", true)).await;
    for count in 1..=5 {
        let seen = live.read_to(count * 100).await;
        assert_eq!(seen, fixture.body[..count * 100], "after {count} releases");
        gate.reached(count + 1).await;
        gate.release(1);
    }
    gate.open();
    assert_eq!(live.finish().await.ok().body, fixture.body);
}

#[tokio::test]
async fn fixtures_are_served_unchanged() {
    let upstream = FakeUpstream::start();
    for stream in fixtures::streams("anthropic") {
        let scenario = format!("fixture:{};size=97", stream.name);
        let answer = ClientResponse::to(ask(&upstream, &scenario, true)).await.ok();
        assert!(answer.body == stream.body, "{}", stream.name);
    }
    for error in fixtures::errors() {
        let scenario = format!("error:{}", error.name);
        let answer = ClientResponse::to(ask(&upstream, &scenario, true)).await.status(error.status);
        assert_eq!(answer.body, error.body, "{}", error.name);
    }
}

#[tokio::test]
async fn cut_and_hang_scenarios_work() {
    let upstream = FakeUpstream::start();
    let torn = ClientResponse::to(ask(&upstream, "cut:3", true)).await;
    assert!(torn.torn && torn.text().contains("content_block_start"));
    assert_eq!(upstream.last().ending, RecordedEnd::Cut);

    let mut live = OpenResponse::to(ask(&upstream, "hang:2", true)).await;
    let seen = live.read_to(10).await;
    assert!(seen.starts_with(b"event: mes"));
    drop(live);
    let left = async || match upstream.last().ending {
        RecordedEnd::PeerLeft => Ok(()),
        other => Err(other),
    };
    baton_test_harness::eventually::eventually(
        "the upstream notices the disconnect",
        baton_test_harness::system::SOON,
        left,
    )
    .await;
    assert_eq!(upstream.ledger().total().complete, 0);
}

#[tokio::test]
async fn queued_and_compressed_answers_work() {
    let upstream = FakeUpstream::start();
    upstream.next("error:overloaded");
    upstream.next("thinking");
    ClientResponse::to(ask(&upstream, "text", true)).await.status(529);
    let thought = ClientResponse::to(ask(&upstream, "text", true)).await.ok();
    assert!(thought.text().contains("signature_delta"));

    let plain = ClientResponse::to(ask(&upstream, "text;gzip", false)).await.ok();
    assert_eq!(plain.header("content-encoding"), None);
    let packed =
        ClientResponse::to(ask(&upstream, "text;gzip", false).header("accept-encoding", "gzip"))
            .await
            .ok();
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.starts_with(&[0x1f, 0x8b]));
}
