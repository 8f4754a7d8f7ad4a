//! Accounts that may have only so many requests under way, and accounts near their limits.

use baton_tests::eventually::eventually;
use baton_tests::house::{SOON, TestKey, TestSystem};
use baton_tests::upstream::FakeUpstream;
use serde_json::json;

/// Two accounts, the first preferred and bounded.
struct CrowdedAccounts {
    first: FakeUpstream,
    second: FakeUpstream,
    key: TestKey,
}

async fn pair(house: &TestSystem, most: u32) -> CrowdedAccounts {
    let (first, second) = (FakeUpstream::start(), FakeUpstream::start());
    let bounded = json!({"priority": 1, "max_concurrency": most});
    house.account_with("first", &first.url(), bounded).await;
    house.account_with("second", &second.url(), json!({"priority": 2})).await;
    CrowdedAccounts { first, second, key: house.key("ci").create().await }
}

impl CrowdedAccounts {
    fn counts(&self) -> (usize, usize) {
        (self.first.exchanges().len(), self.second.exchanges().len())
    }
}

#[tokio::test]
async fn a_full_account_is_left_for_the_next_and_taken_again_when_there_is_room() {
    let house = TestSystem::empty().await;
    let pair = pair(&house, 2).await;
    pair.first.always("text;gate=slow");
    let gate = pair.first.gate("slow");
    let asked = |_| {
        let key = pair.key.clone();
        tokio::spawn(async move { key.ask("hi").await.ok() })
    };
    let under_way: Vec<_> = (0..8).map(asked).collect();
    gate.reached(2).await;
    eventually("six went to the second", SOON, async || match pair.second.exchanges().len() {
        6 => Ok(()),
        count => Err(count),
    })
    .await;
    assert_eq!(pair.counts(), (2, 6));
    gate.open();
    for answer in under_way {
        answer.await.expect("an answer");
    }
    // The seat is left before the answer ends, so this needs no patience.
    pair.key.ask("hi").await.ok();
    pair.first.next("status:500");
    pair.key.ask("hi").await.ok();
    pair.key.ask("hi").await.ok();
    pair.key.ask("hi").await.ok();
    assert_eq!(pair.counts(), (6, 7), "a failed try leaves its seat, too");
}

#[tokio::test]
async fn when_every_account_is_full_the_client_is_told_to_come_back() {
    let house = TestSystem::empty().await;
    let upstream = FakeUpstream::start();
    house.account_with("only", &upstream.url(), json!({"max_concurrency": 1})).await;
    let key = house.key("ci").create().await;
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
async fn the_bound_of_an_account_is_one_or_more() {
    let house = TestSystem::empty().await;
    let body = json!({"name": "none", "max_concurrency": 0,
        "credential": {"type": "api_key", "value": "sk-upstream"}});
    house.admin().post("/accounts", &body).await.refused(400, "invalid_request_error");
}

#[tokio::test]
async fn an_account_near_its_limit_is_taken_only_if_no_other_serves() {
    let house = TestSystem::empty().await;
    let pair = pair(&house, 9).await;
    let unified = "header=anthropic-ratelimit-unified";
    pair.first.next(&format!("text;{unified}-5h-utilization:0.97"));
    pair.key.ask("hi").await.ok();
    eventually("its limit is known", SOON, async || {
        let accounts = house.admin().get("/accounts").await.ok().json();
        let used = &accounts["data"][0]["utilisation"]["five_hour"]["percent"];
        if *used == 97 { Ok(()) } else { Err(accounts) }
    })
    .await;
    pair.key.ask("hi").await.ok();
    assert_eq!(pair.counts(), (1, 1));
    pair.second.next("error:spend_cap");
    pair.key.ask("hi").await.ok();
    pair.key.ask("hi").await.ok();
    assert_eq!(pair.counts(), (3, 2), "no other serves");
}
