//! The relay's timers between dialects: a hung upstream ends in a clean error in the client's words,
//! whichever timer it was, and is counted.

use baton_tests::house::{LaunchOptions, TestKey, TestSystem};
use futures_util::future::join_all;

use crate::protocols::{AccountKind, TestClient, key, pairs};

/// A house with this timer, whose upstream does the same to everybody, and a key for each pair.
async fn house(
    (timer, seconds): (&str, &str),
    scenario: &str,
) -> (TestSystem, Vec<(TestClient, AccountKind, TestKey)>) {
    let house = TestSystem::launched(LaunchOptions::new().env(timer, seconds)).await;
    let mut keys = Vec::new();
    for (client, kind) in pairs() {
        let accounts = [(kind, &*house.upstream.url())];
        keys.push((client, kind, key(&house, &format!("{client:?}-{kind:?}"), &accounts).await));
    }
    house.upstream.always(scenario);
    (house, keys)
}

/// Nothing was sent yet: a 504.
async fn are_refused(
    house: &TestSystem,
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
        for event in house.events_of(key, 2).await {
            assert_eq!(event["outcome"], outcome, "{client:?} {kind:?} {event}");
            assert_eq!(event["status"], 504, "{client:?} {kind:?} {event}");
        }
    }))
    .await;
}

/// The stream has begun: its last event says so.
async fn are_told(house: &TestSystem, keys: &[(TestClient, AccountKind, TestKey)]) {
    join_all(keys.iter().map(async |(client, kind, key)| {
        let answer = client.ask(key, "hi", true).await.ok();
        let (error, message) = client.error(&answer);
        let words = ["timeout_error", "timeout"];
        assert!(words.contains(&&*error), "{client:?} {kind:?} {}", answer.text());
        assert!(message.contains("sent nothing"), "{client:?} {kind:?} {message}");
        assert!(!client.is_ended(&answer), "{client:?} {kind:?} {}", answer.text());
        let event = house.events_of(key, 1).await.remove(0);
        assert_eq!(event["outcome"], "deadline", "{client:?} {kind:?} {event}");
        assert_eq!(event["status"], 200, "{client:?} {kind:?} {event}");
    }))
    .await;
}

#[tokio::test]
async fn no_first_byte() {
    let (house, keys) = house(("BATON_FIRST_BYTE_SECONDS", "0.3"), "hang").await;
    are_refused(&house, &keys, "upstream_error").await;
}

#[tokio::test]
async fn a_stream_that_goes_silent() {
    let (house, keys) = house(("BATON_IDLE_SECONDS", "0.3"), "hang:5").await;
    are_told(&house, &keys).await;
}

#[tokio::test]
async fn no_time_left_for_the_whole_of_it() {
    // Time enough for all of them to begin.
    let (house, keys) = house(("BATON_OVERALL_SECONDS", "3"), "hang:5").await;
    are_told(&house, &keys).await;
}

#[tokio::test]
async fn no_time_left_before_the_first_event() {
    let (house, keys) = house(("BATON_OVERALL_SECONDS", "0.3"), "hang").await;
    are_refused(&house, &keys, "upstream_error").await;
}
