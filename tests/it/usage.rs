//! Every request that reached an upstream is counted once, with the upstream's numbers.

use std::time::Duration;

use baton_test_harness::eventually::eventually;
use baton_test_harness::fixtures;
use baton_test_harness::system::{MODEL, SOON, TestSystem, tokens};
use serde_json::Value;

/// The promised delay of statistics on one machine.
const PROMISE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn request_creates_one_documented_event() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let request = key
        .message(baton_test_harness::system::message(MODEL, "a secret prompt", true).to_string())
        .header("x-claude-code-session-id", "session-1")
        .header("x-claude-code-agent-id", "agent-1");
    let answer = baton_test_harness::client_response::ClientResponse::to(request).await.ok();
    let events = system.events_within(PROMISE, &key, 1).await;
    let event = &events[0];
    for (field, expected) in [
        ("v", Value::from(1)),
        ("key_id", key.id.as_str().into()),
        ("provider", "anthropic".into()),
        ("model", MODEL.into()),
        ("upstream_model", MODEL.into()),
        ("stream", true.into()),
        ("status", 200.into()),
        ("outcome", "complete".into()),
        ("estimated", false.into()),
        ("attempts", 1.into()),
        ("session_id", "session-1".into()),
        ("agent_id", "agent-1".into()),
        ("service_tier", "standard".into()),
        ("inference_geo", "global".into()),
    ] {
        assert_eq!(event[field], expected, "{field} in {event}");
    }
    assert_eq!(tokens(event), system.upstream.ledger().total().usage);
    for (field, prefix) in [("group_id", "grp_"), ("account_id", "acc_"), ("started_at", "20")] {
        let text = event[field].as_str().unwrap_or_default();
        assert!(text.starts_with(prefix), "{field}: {event}");
    }
    let cost = event["cost_usd"].as_str().expect("a decimal string");
    assert!(cost.parse::<f64>().is_ok_and(|usd| usd > 0.0), "{cost}");
    assert!(event["duration_ms"].as_u64() >= event["ttft_ms"].as_u64());
    let text = event.to_string();
    assert!(
        !text.contains("secret prompt") && !text.contains("Hello"),
        "the event contains text of the request: {text}"
    );
    assert!(answer.header("x-baton-request-id").is_some());
}

#[tokio::test]
async fn usage_equals_the_ledger_within_two_seconds() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    for round in 0..10 {
        key.ask(&format!("stream {}", "x".repeat(round))).await.ok();
        key.ask_whole(&format!("whole {}", "y".repeat(round * 3))).await.ok();
        key.ask_model("claude-haiku-5-5", "another model").await.ok();
    }
    let ledger = system.upstream.ledger();
    system.summary_equals_within(PROMISE, &ledger.total()).await;
    system.events_within(PROMISE, &key, 30).await;

    let by_model = system.summary("by=model").await;
    for (model, row) in &ledger.models {
        let found = by_model.iter().find(|r| r["group"]["model"] == model.as_str());
        let found = found.unwrap_or_else(|| panic!("{model} in {by_model:?}"));
        assert_eq!(tokens(found), row.usage, "{model}");
        assert_eq!(found["requests"], row.complete);
    }
    let of_key = system.summary(&format!("key={}", key.id)).await;
    assert_eq!(of_key[0]["requests"], 30);
    assert_eq!(of_key[0]["errors"], 0);
}

#[tokio::test]
async fn recorded_streams_are_metered_as_billed() {
    let system = TestSystem::open().await;
    let mut checked = 0;
    for stream in fixtures::streams("anthropic").into_iter().filter(|stream| stream.complete) {
        let key = system.key(&stream.name).create().await;
        system.upstream.next(&format!("fixture:{};size=61", stream.name));
        key.ask("hi").await.ok();
        let events = system.events_of(&key, 1).await;
        assert_eq!(tokens(&events[0]), stream.usage(), "{}: {}", stream.name, events[0]);
        checked += 1;
    }
    assert!(checked > 15, "{checked} streams");
}

#[tokio::test]
async fn disconnected_client_is_counted() {
    // The relay drains the answer for half a second and then estimates the rest.
    let system = TestSystem::builder().env("BATON_DRAIN_SECONDS", "0.5").start().await;
    let key = system.private_key(&system.upstream.url()).await;
    let gate = system.upstream.gate("hangup");
    gate.release(4);
    system.upstream.next("text;gate=hangup");
    let mut live = key.open("hi").await;
    live.read_to(20).await;
    drop(live);
    let events = system.events_of(&key, 1).await;
    assert_eq!(events[0]["outcome"], "client_disconnected", "{}", events[0]);
    assert_eq!(events[0]["estimated"], true, "{}", events[0]);
    assert!(tokens(&events[0]).input > 0, "the counts of the first event are lost: {}", events[0]);
    gate.open();
}

#[tokio::test]
async fn disconnect_before_first_event_is_counted() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let gate = system.upstream.gate("silent");
    system.upstream.next("fixture:text;gate=silent");
    let asking = tokio::spawn({
        let key = key.clone();
        async move { key.ask("hi").await }
    });
    gate.reached(1).await;
    asking.abort();
    let gone = asking.await;
    assert!(gone.is_err(), "the client got an answer");
    gate.open();
    // The outcome depends on which comes first, the answer or the disconnect.
    let events = system.events_of(&key, 1).await;
    assert_eq!(tokens(&events[0]), system.upstream.ledger().total().usage);
}

#[tokio::test]
async fn upstream_failure_counts_as_one_error() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    system.upstream.next("error:invalid_request");
    key.ask("hi").await.status(400);
    key.ask("[[cut:5]]").await;
    let events = system.events_of(&key, 2).await;
    let mut outcomes: Vec<&str> = events.iter().filter_map(|e| e["outcome"].as_str()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["upstream_error", "upstream_error"]);
    let statuses: Vec<u64> = events.iter().filter_map(|e| e["status"].as_u64()).collect();
    assert!(statuses.contains(&400), "{statuses:?}");
    eventually("two errors in the summary", SOON, async || {
        let rows = system.summary("").await;
        if rows[0]["errors"] == 2 { Ok(()) } else { Err(rows) }
    })
    .await;
}

#[tokio::test]
async fn token_counts_are_not_billed() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let body = baton_test_harness::system::message(MODEL, "hi", false).to_string();
    for _ in 0..5 {
        let request = key.request("POST", "/v1/messages/count_tokens").body(body.clone());
        baton_test_harness::client_response::ClientResponse::to(request).await.ok();
    }
    key.ask("hi").await.ok();
    system.events_of(&key, 1).await;
    system.summary_equals(&system.upstream.ledger().total()).await;
    assert_eq!(system.upstream.ledger().count_tokens, 5);
}

#[tokio::test]
async fn key_usage_route_creates_no_event() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let other = system.key("other").create().await;
    other.ask("hi").await.ok();
    key.get("/v1/usage").await.ok();
    system.events_of(&other, 1).await;
    assert!(system.events(&key).await.is_empty(), "a usage query was counted");
}
