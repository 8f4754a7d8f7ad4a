//! The relay's timers: a hung upstream ends in an error, or in another account's answer while
//! nothing was sent yet. All timers are short, and the tests wait for results, not for time.

use std::net::TcpListener;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{SOON, TestKey, TestSystem};
use baton_test_harness::upstream::{FakeUpstream, RecordedEnd};
use serde_json::{Value, json};

/// A system with this timer set to 0.3 seconds.
async fn system(timer: &str) -> TestSystem {
    TestSystem::builder().env(timer, "0.3").start().await
}

async fn only_event(system: &TestSystem, key: &TestKey) -> Value {
    system.events_of(key, 1).await.remove(0)
}

fn assert_ends_with_timeout(answer: &ClientResponse) {
    let text = answer.text();
    let end = text.rsplit("event: ").next().unwrap_or_default();
    assert!(end.starts_with("error\n") && end.contains("timeout_error"), "{text}");
    assert!(text.ends_with("\n\n"), "the event is not complete: {text}");
}

/// A server that accepts connections and never answers, so that TLS is never established.
fn silent_listener() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("its number"));
    (listener, url)
}

#[tokio::test]
async fn connect_timeout_fails_over() {
    let system = system("BATON_CONNECT_SECONDS").await;
    let (_listener, url) = silent_listener();
    system.account_with("mute", &url, json!({"priority": 1})).await;
    let key = system.key("ci").create().await;
    key.ask("hi").await.refused(504, "timeout_error");
    assert_eq!(only_event(&system, &key).await["tried"][0]["reason"], "no answer in time");

    system.account("well", &system.upstream.url()).await;
    key.ask("hi").await.ok();
    assert_eq!(system.upstream.exchanges().len(), 1);
}

#[tokio::test]
async fn first_byte_timeout_fails_over() {
    let system = system("BATON_FIRST_BYTE_SECONDS").await;
    let silent = FakeUpstream::start();
    silent.always("hang");
    let id = system.account_with("silent", &silent.url(), json!({"priority": 1})).await;
    let key = system.key("ci").create().await;
    key.ask("hi").await.refused(504, "timeout_error");
    key.ask_whole("hi").await.refused(504, "timeout_error");
    system.account("well", &system.upstream.url()).await;
    key.ask("hi").await.ok();
    let events = system.events_of(&key, 3).await;
    let tried = json!([{"account_id": id, "reason": "no answer in time"}]);
    let served = events.iter().find(|event| event["status"] == 200).expect("the good one");
    assert_eq!((&served["tried"], &served["attempts"]), (&tried, &json!(2)));
    let refused = events.iter().find(|event| event["status"] == 504).expect("a refused one");
    assert_eq!((&refused["tried"], &refused["outcome"]), (&tried, &json!("upstream_error")));
    let left = eventually("the connections are closed", SOON, async || {
        let endings: Vec<RecordedEnd> = silent.exchanges().iter().map(|each| each.ending).collect();
        if endings.iter().all(|one| *one == RecordedEnd::PeerLeft) {
            Ok(endings)
        } else {
            Err(endings)
        }
    })
    .await;
    assert_eq!(left.len(), 3, "a call is still open");
}

#[tokio::test]
async fn unfinished_error_answer_gets_504() {
    let system = system("BATON_FIRST_BYTE_SECONDS").await;
    system.account("main", &system.upstream.url()).await;
    let key = system.key("ci").create().await;
    // The first event is an error. The rest of the answer never comes.
    system.upstream.next("fixture:error_first;gate=never;size=40");
    system.upstream.gate("never").release(3);
    key.ask("hi").await.refused(504, "timeout_error");
}

#[tokio::test]
async fn silent_stream_ends_with_error_event() {
    let system = system("BATON_IDLE_SECONDS").await;
    system.account("main", &system.upstream.url()).await;
    let key = system.key("ci").create().await;
    system.upstream.next("hang:4");
    assert_ends_with_timeout(&key.ask("hi").await);
    let event = only_event(&system, &key).await;
    assert_eq!((&event["outcome"], &event["status"]), (&json!("deadline"), &json!(200)));
    assert_eq!(event["tried"], Value::Null, "a stream that has begun was retried");
}

#[tokio::test]
async fn overall_timeout_ends_the_request() {
    let system = system("BATON_OVERALL_SECONDS").await;
    system.account("main", &system.upstream.url()).await;
    system.account("other", &system.upstream.url()).await;
    let key = system.key("ci").create().await;
    system.upstream.next("hang:4");
    assert_ends_with_timeout(&key.ask("hi").await);
    system.upstream.next("hang");
    key.ask("hi").await.refused(504, "timeout_error");
    assert_eq!(
        system.upstream.exchanges().len(),
        2,
        "another account was tried after the deadline"
    );
}

#[tokio::test]
async fn abandoned_answer_is_drained_for_limited_time() {
    let system = system("BATON_DRAIN_SECONDS").await;
    system.account("main", &system.upstream.url()).await;
    let key = system.key("ci").create().await;
    system.upstream.next("hang:4");
    let mut live = key.open("hi").await;
    live.read_to(100).await;
    drop(live);
    let event = only_event(&system, &key).await;
    assert_eq!(event["outcome"], "client_disconnected");
    assert_eq!(event["estimated"], true);
    eventually("the upstream's connection is closed", SOON, async || {
        let ending = system.upstream.last().ending;
        if ending == RecordedEnd::PeerLeft { Ok(()) } else { Err(ending) }
    })
    .await;
}

/// A client could otherwise leave before the upstream reports what it bills. A key without a money
/// limit keeps the likely count.
#[tokio::test]
async fn abandoned_answer_of_a_limited_key_costs_the_most_that_it_can() {
    let system = system("BATON_DRAIN_SECONDS").await;
    system.account("main", &system.upstream.url()).await;
    let unlimited = system.key("ci").create().await;
    let limited = system.key("limited").limit_usd_daily("9").create().await;
    let mut costs = Vec::new();
    for key in [&unlimited, &limited] {
        system.upstream.next("hang:12;events=100");
        let mut live = key.open("hi").await;
        live.read_to(1_000).await;
        drop(live);
        let event = only_event(&system, key).await;
        assert_eq!(event["outcome"], "client_disconnected", "{event}");
        costs.push((event["tokens"].clone(), event["cost_usd"].as_str().map(str::to_owned)));
    }
    let usd = |cost: &Option<String>| cost.as_ref().and_then(|usd| usd.parse::<f64>().ok());
    assert_eq!(costs[0].0, costs[1].0, "the counts are the likely ones");
    assert!(usd(&costs[1].1) > usd(&costs[0].1), "{costs:?}");
}

#[tokio::test]
async fn account_shows_last_use() {
    let system = TestSystem::open().await;
    let read = async || system.admin().get("/accounts").await.ok().json()["data"][0].clone();
    assert_eq!(read().await["last_used_at"], Value::Null);
    let key = system.key("ci").create().await;
    key.ask("hi").await.ok();
    let event = only_event(&system, &key).await;
    let account = eventually("the last use is stored", SOON, async || {
        let account = read().await;
        if account["last_used_at"].is_string() { Ok(account) } else { Err(account) }
    })
    .await;
    assert_eq!(account["last_used_at"], event["started_at"]);
    let path = format!("/accounts/{}", account["id"].as_str().expect("an id"));
    assert_eq!(system.admin().get(&path).await.ok().json()["last_used_at"], event["started_at"]);
}
