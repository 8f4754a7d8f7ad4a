//! The relay's timers with translation: whichever timer ends a hung request, the client gets an
//! error in its protocol and the request is counted.

use baton_test_harness::system::{TestKey, TestSystem};
use futures_util::future::join_all;

use crate::protocols::{AccountKind, TestClient, key, pairs};

/// A system with this timer whose upstream always answers with `scenario`, and a key for each pair.
async fn system(
    (timer, seconds): (&str, &str),
    scenario: &str,
) -> (TestSystem, Vec<(TestClient, AccountKind, TestKey)>) {
    let system = TestSystem::builder().env(timer, seconds).start().await;
    let mut keys = Vec::new();
    for (client, kind) in pairs() {
        let accounts = [(kind, &*system.upstream.url())];
        keys.push((client, kind, key(&system, &format!("{client:?}-{kind:?}"), &accounts).await));
    }
    system.upstream.always(scenario);
    (system, keys)
}

/// Nothing was sent yet, so every request gets a 504.
async fn assert_refused(
    system: &TestSystem,
    keys: &[(TestClient, AccountKind, TestKey)],
    outcome: &str,
) {
    join_all(keys.iter().map(async |(client, kind, key)| {
        for stream in [true, false] {
            let answer = client.ask(key, "hi", stream).await.status(504);
            let (error, message) = client.error(&answer);
            assert_eq!(error, "timeout_error", "{client:?} {kind:?} {}", answer.text());
            assert!(message.len() > 5, "{client:?} {kind:?} {message}");
        }
        for event in system.events_of(key, 2).await {
            assert_eq!(event["outcome"], outcome, "{client:?} {kind:?} {event}");
            assert_eq!(event["status"], 504, "{client:?} {kind:?} {event}");
        }
    }))
    .await;
}

/// The streams have begun, so they end with an error event.
async fn assert_error_events(system: &TestSystem, keys: &[(TestClient, AccountKind, TestKey)]) {
    join_all(keys.iter().map(async |(client, kind, key)| {
        let answer = client.ask(key, "hi", true).await.ok();
        let (error, message) = client.error(&answer);
        let words = ["timeout_error", "timeout"];
        assert!(words.contains(&&*error), "{client:?} {kind:?} {}", answer.text());
        assert!(message.contains("sent nothing"), "{client:?} {kind:?} {message}");
        assert!(!client.is_ended(&answer), "{client:?} {kind:?} {}", answer.text());
        let event = system.events_of(key, 1).await.remove(0);
        assert_eq!(event["outcome"], "deadline", "{client:?} {kind:?} {event}");
        assert_eq!(event["status"], 200, "{client:?} {kind:?} {event}");
    }))
    .await;
}

#[tokio::test]
async fn first_byte_timeout_gets_504() {
    let (system, keys) = system(("BATON_FIRST_BYTE_SECONDS", "0.3"), "hang").await;
    assert_refused(&system, &keys, "upstream_error").await;
}

#[tokio::test]
async fn idle_timeout_ends_stream_with_error_event() {
    let (system, keys) = system(("BATON_IDLE_SECONDS", "0.3"), "hang:5").await;
    assert_error_events(&system, &keys).await;
}

#[tokio::test]
async fn overall_timeout_ends_stream_with_error_event() {
    // This is long enough for all streams to begin.
    let (system, keys) = system(("BATON_OVERALL_SECONDS", "3"), "hang:5").await;
    assert_error_events(&system, &keys).await;
}

#[tokio::test]
async fn overall_timeout_before_first_event_gets_504() {
    let (system, keys) = system(("BATON_OVERALL_SECONDS", "0.3"), "hang").await;
    assert_refused(&system, &keys, "upstream_error").await;
}
