//! The last account of a group is tried even in a cooldown, unless the upstream has announced when
//! the cooldown ends.

use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{SOON, TestSystem};
use baton_test_harness::upstream::FakeUpstream;
use serde_json::json;

#[tokio::test]
async fn only_account_is_tried_after_overload() {
    let system = TestSystem::empty().await;
    for scenario in ["error:overloaded", "fixture:error_first", "status:429"] {
        let upstream = FakeUpstream::start();
        let key = system.private_key(&upstream.url()).await;
        upstream.next(scenario);
        key.ask("hi").await;
        let answer = key.ask("hi").await.ok();
        assert!(answer.said().starts_with("Hello"), "{scenario}: {}", answer.text());
        upstream.next(scenario);
        let own = key.ask("hi").await;
        assert_eq!(own.body, upstream.last().sent, "{scenario}: the upstream's body, not Baton's");
    }
}

#[tokio::test]
async fn only_account_is_tried_with_open_circuit() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    for _ in 0..5 {
        system.upstream.next("status:500");
        key.ask("hi").await.status(500);
    }
    eventually("the circuit is open", SOON, async || {
        let accounts = system.admin().get("/accounts").await.ok().json();
        if accounts["data"][0]["status"] == "cooling" { Ok(()) } else { Err(accounts) }
    })
    .await;
    key.ask("hi").await.ok();
    assert_eq!(system.upstream.exchanges().len(), 6);
}

#[tokio::test]
async fn announced_cooldowns_outrank_guessed_ones() {
    let system = TestSystem::empty().await;
    let (limited, overloaded) = (FakeUpstream::start(), FakeUpstream::start());
    system.account_with("limited", &limited.url(), json!({"priority": 1})).await;
    system.account_with("overloaded", &overloaded.url(), json!({"priority": 2})).await;
    let key = system.key("ci").create().await;
    limited.next("error:rate_limit_final");
    overloaded.next("error:overloaded");
    key.ask("hi").await.status(529);
    for serial in 0..3 {
        key.ask(&format!("hi {serial}")).await.ok();
    }
    assert_eq!((limited.exchanges().len(), overloaded.exchanges().len()), (1, 4));
}
