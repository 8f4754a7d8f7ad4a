//! Accounts with a concurrency limit, and accounts near their upstream's limit.

use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{SOON, TestKey, TestSystem};
use baton_test_harness::upstream::FakeUpstream;
use serde_json::json;

/// Two accounts. The first one is preferred and has a concurrency limit.
struct CrowdedAccounts {
    first: FakeUpstream,
    second: FakeUpstream,
    key: TestKey,
}

async fn pair(system: &TestSystem, max_concurrency: u32) -> CrowdedAccounts {
    let (first, second) = (FakeUpstream::start(), FakeUpstream::start());
    let bounded = json!({"priority": 1, "max_concurrency": max_concurrency});
    system.account_with("first", &first.url(), bounded).await;
    system.account_with("second", &second.url(), json!({"priority": 2})).await;
    CrowdedAccounts { first, second, key: system.key("ci").create().await }
}

impl CrowdedAccounts {
    fn counts(&self) -> (usize, usize) {
        (self.first.exchanges().len(), self.second.exchanges().len())
    }
}

#[tokio::test]
async fn full_account_is_skipped_until_a_slot_is_free() {
    let system = TestSystem::empty().await;
    let pair = pair(&system, 2).await;
    pair.first.always("text;gate=slow");
    let gate = pair.first.gate("slow");
    let ask = |_| {
        let key = pair.key.clone();
        tokio::spawn(async move { key.ask("hi").await.ok() })
    };
    let running: Vec<_> = (0..8).map(ask).collect();
    gate.reached(2).await;
    eventually("six requests reach the second upstream", SOON, async || {
        match pair.second.exchanges().len() {
            6 => Ok(()),
            count => Err(count),
        }
    })
    .await;
    assert_eq!(pair.counts(), (2, 6));
    gate.open();
    for answer in running {
        answer.await.expect("an answer");
    }
    // The slot is released before the answer ends, so the test does not have to wait.
    pair.key.ask("hi").await.ok();
    pair.first.next("status:500");
    pair.key.ask("hi").await.ok();
    pair.key.ask("hi").await.ok();
    pair.key.ask("hi").await.ok();
    assert_eq!(pair.counts(), (6, 7), "a failed attempt also releases its slot");
}

#[tokio::test]
async fn all_accounts_full_gets_503_with_retry_after() {
    let system = TestSystem::empty().await;
    let upstream = FakeUpstream::start();
    system.account_with("only", &upstream.url(), json!({"max_concurrency": 1})).await;
    let key = system.key("ci").create().await;
    upstream.next("text;gate=slow");
    let first = tokio::spawn({
        let key = key.clone();
        async move { key.ask("hi").await.ok() }
    });
    upstream.gate("slow").reached(1).await;
    let refused = key.ask("hi").await.refused(503, "overloaded_error");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.message().contains("concurrent requests"), "{}", refused.message());
    upstream.gate("slow").open();
    first.await.expect("an answer");
    key.ask("hi").await.ok();
}

#[tokio::test]
async fn max_concurrency_of_zero_is_refused() {
    let system = TestSystem::empty().await;
    let body = json!({"name": "none", "max_concurrency": 0,
        "credential": {"type": "api_key", "value": "sk-upstream"}});
    system.admin().post("/accounts", &body).await.refused(400, "invalid_request_error");
}

#[tokio::test]
async fn account_near_limit_is_last_choice() {
    let system = TestSystem::empty().await;
    let pair = pair(&system, 9).await;
    let unified = "header=anthropic-ratelimit-unified";
    pair.first.next(&format!("text;{unified}-5h-utilization:0.97"));
    pair.key.ask("hi").await.ok();
    eventually("its utilization is stored", SOON, async || {
        let accounts = system.admin().get("/accounts").await.ok().json();
        let used = &accounts["data"][0]["utilization"]["five_hour"]["percent"];
        if *used == 97 { Ok(()) } else { Err(accounts) }
    })
    .await;
    pair.key.ask("hi").await.ok();
    assert_eq!(pair.counts(), (1, 1));
    pair.second.next("error:spend_cap");
    pair.key.ask("hi").await.ok();
    pair.key.ask("hi").await.ok();
    assert_eq!(pair.counts(), (3, 2), "the other account is in cooldown");
}
