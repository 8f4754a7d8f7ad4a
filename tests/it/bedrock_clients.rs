//! Clients that speak Bedrock's protocol themselves, on Bedrock and Anthropic accounts.

use aws_smithy_eventstream::frame::read_message_from;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{MODEL, TestKey, TestSystem, message};
use baton_test_harness::upstream::FakeUpstream;
use serde_json::{Value, json};

use crate::bedrock::{PROFILE, comparable_events, signed, system_with_role};

/// The request body of such a client.
fn body(text: &str) -> Value {
    json!({
        "anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["context-1m-2025-08-07"],
        "max_tokens": 1024, "messages": [{"role": "user", "content": text}],
    })
}

async fn invoke(key: &TestKey, action: &str, body: &Value) -> ClientResponse {
    let model = PROFILE.replace(':', "%3A");
    let request = key.request("POST", &format!("/model/{model}/{action}"));
    ClientResponse::to(request.header("content-type", "application/json").body(body.to_string()))
        .await
}

/// The events in the frames of an answer.
fn events(answer: &ClientResponse) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), Some("application/vnd.amazon.eventstream"));
    let (mut rest, mut events) = (answer.body.clone(), Vec::new());
    while !rest.is_empty() {
        let frame = read_message_from(&mut rest).expect("a frame");
        let part: Value = serde_json::from_slice(frame.payload()).expect("JSON");
        let bytes = BASE64_STANDARD.decode(part["bytes"].as_str().expect("bytes"));
        events.push(serde_json::from_slice(&bytes.expect("base64")).expect("an event"));
    }
    events
}

#[tokio::test]
async fn bedrock_account_gets_pass_through() {
    let system = system_with_role().await;
    system.admin().create("/accounts", &signed(&system.upstream.url())).await;
    let key = system.key("ci").create().await;
    for action in ["invoke-with-response-stream", "invoke"] {
        let sent_body = body("[[thinking]]");
        let answer = invoke(&key, action, &sent_body).await.ok();
        let seen = system.upstream.last();
        assert_eq!(seen.request.body, sent_body.to_string());
        assert_eq!(answer.body, seen.sent, "{action}");
    }
    system.upstream.next("status:429;say=slow down");
    let refused = invoke(&key, "invoke", &body("hi")).await.status(429);
    assert_eq!(refused.json(), json!({"message": "slow down"}));
    assert_eq!(refused.header("x-amzn-errortype"), Some("ThrottlingException"));
    system.summary_equals(&system.upstream.ledger().total()).await;
}

#[tokio::test]
async fn anthropic_account_gets_translated_request() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let answer = invoke(&key, "invoke-with-response-stream", &body("[[tool:echo]]")).await.ok();
    let sent = system.upstream.last().request;
    assert_eq!(
        (sent.path(), sent.header("anthropic-beta")),
        ("/v1/messages", Some("context-1m-2025-08-07"))
    );
    let mut expect = message(MODEL, "[[tool:echo]]", true);
    expect["stream"] = json!(true);
    assert_eq!(sent.json(), expect);
    let plain = key.ask("[[tool:echo]]").await.ok();
    let lines: Vec<String> =
        events(&answer).iter().map(|event| format!("data: {event}\n\n")).collect();
    let read = ClientResponse { body: lines.concat().into(), ..answer };
    assert_eq!(comparable_events(&read), comparable_events(&plain));

    let whole = invoke(&key, "invoke", &body("hi")).await.ok();
    assert_eq!(whole.body, system.upstream.last().sent);
    let inner = BASE64_STANDARD.encode(body("hi").to_string());
    let count = json!({"input": {"invokeModel": {"body": inner}}});
    let count = invoke(&key, "count-tokens", &count).await.ok().json();
    assert!(count["inputTokens"].is_u64(), "{count}");
    let empty = invoke(&key, "count-tokens", &json!({})).await;
    empty.refused(400, "invalid_request_error");
    let event = system.events_of(&key, 3).await.remove(0);
    assert!([PROFILE, MODEL].contains(&event["model"].as_str().unwrap_or_default()), "{event}");
    system.summary_equals(&system.upstream.ledger().total()).await;
}

#[tokio::test]
async fn broken_stream_ends_with_error_frame() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let answer = invoke(&key, "invoke-with-response-stream", &body("[[cut:4]]")).await;
    let last = events(&answer).pop().expect("an event");
    assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("api_error")));
}

#[tokio::test]
async fn inference_profiles_are_limited_to_the_key() {
    let system = system_with_role().await;
    let key = system.key("ci").create().await;
    system.admin().create("/accounts", &signed(&system.upstream.url())).await;
    let ids = async || {
        let list = key.get("/inference-profiles?type=SYSTEM_DEFINED").await.ok().json();
        let list = list["inferenceProfileSummaries"].as_array().cloned().expect("a list");
        list.iter()
            .map(|one| one["inferenceProfileId"].as_str().expect("an id").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids().await, [PROFILE]);
    let anthropic = FakeUpstream::start();
    let group = system.group("second").await;
    system.account_with("second", &anthropic.url(), json!({"groups": [group]})).await;
    let other = system.key("second").group(&group).models(&["claude-opus-5-5"]).create().await;
    let list = other.get("/inference-profiles").await.ok().text();
    assert!(list.contains("\"anthropic.claude-opus-5-5\"") && !list.contains("sonnet"), "{list}");
    system.get("/inference-profiles").await.refused(401, "authentication_error");
}
