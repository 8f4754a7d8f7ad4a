//! Acknowledged usage survives a restart and a kill at the worst moment.

use baton_test_harness::system::{TestKey, TestSystem};

#[tokio::test]
async fn restart_keeps_accounts_keys_and_totals() {
    let mut system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    key.ask("hi").await.ok();
    system.summary_equals(&system.upstream.ledger().total()).await;

    system.restart().await;
    let key = key.at(&system);
    system.summary_equals(&system.upstream.ledger().total()).await;
    key.ask("again").await.ok();
    system.events_of(&key, 2).await;
    system.summary_equals(&system.upstream.ledger().total()).await;
}

#[tokio::test]
async fn kill_after_answers_loses_no_usage() {
    let mut system = TestSystem::open().await;
    let mut key = system.key("ci").create().await;
    let mut sent = 0;
    for round in 0..3 {
        sent += ask_at_once(&key, 20 + round).await;
        // The last byte of the last answer has just been read.
        system.crash_and_return().await;
        key = key.at(&system);
    }
    system.events_of(&key, sent).await;
    system.summary_equals(&system.upstream.ledger().total()).await;
}

/// Sends `count` requests at the same time and reads each answer to its end. Returns `count`.
async fn ask_at_once(key: &TestKey, count: usize) -> usize {
    let asking = (0..count).map(|n| {
        let key = key.clone();
        async move {
            if n % 2 == 0 { key.ask("hi").await.ok() } else { key.ask_whole("hello").await.ok() }
        }
    });
    futures_util::future::join_all(asking).await.len()
}

#[tokio::test]
async fn repeated_kills_count_nothing_twice() {
    let mut system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    ask_at_once(&key, 25).await;
    // Each start can find messages that were stored but not yet deleted from the queue.
    for _ in 0..3 {
        system.crash_and_return().await;
    }
    let key = key.at(&system);
    system.events_of(&key, 25).await;
    system.summary_equals(&system.upstream.ledger().total()).await;
}
