//! Limits of users, groups and the organization, tested from outside. All keys in the scope share
//! them.

mod in_process;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{
    MODEL, SOON, TINY_USD, TestKey, TestSystem, estimate, message, period, pico, scope, settled,
    spent_key, usd,
};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};

const CENT: i128 = 10_000_000_000;

async fn limit_organization(system: &TestSystem, limits: Value) {
    system.admin().send("PUT", "/limits/organization", &limits).await.ok();
}

/// Waits until the scope has no open request.
async fn settled_scope(key: &TestKey, kind: &str) -> Value {
    eventually("the scope is settled", SOON, async || {
        let row = scope(key, kind).await;
        if row["open_requests"] == 0 { Ok(row) } else { Err(row) }
    })
    .await
}

#[tokio::test]
async fn concurrent_keys_of_user_share_the_spend_cap() {
    // Without this setting, requests over the limit would wait.
    let system = TestSystem::builder()
        .env("BATON_LIMIT_WAIT_SECONDS", "0")
        .with_account("main")
        .start()
        .await;
    let text = "[[text;gate=race]]";
    let each = estimate(&system, &"x".repeat(text.len())).await;
    // The smallest whole number of cents that admits fifty requests. One more request does not fit.
    let cents = (each * 50 + CENT - 1) / CENT;
    assert!(cents * CENT < each * 51, "an estimate is more than a cent");
    let user = system.admin().create("/users", &json!({"name": "racer"})).await;
    let mut keys = Vec::new();
    for number in 0..4 {
        let name = format!("race-{number}");
        keys.push(system.key(&name).with("user_id", user.as_str()).create().await);
    }
    let cap = json!({
        "scope": { "type": "user", "user_id": user }, "amount": cents.to_string(),
        "period": "monthly",
    });
    system.admin().post("/organizations/spend_limits", &cap).await.ok();
    let gate = system.upstream.gate("race");
    let before = system.upstream.exchanges_on("/v1/messages").len();
    let mut asking: FuturesUnordered<_> = (0..200).map(|n| keys[n % 4].ask(text)).collect();
    for _ in 0..150 {
        asking.next().await.expect("an answer").blocked("rate_limit_error");
    }
    gate.reached(50).await;
    let during = scope(&keys[0], "user").await;
    assert_eq!(during["id"], user.as_str());
    assert_eq!(pico(&period(&during, "monthly")["reserved_usd"]), each * 50, "{during}");
    assert_eq!(during["open_requests"], 50);
    gate.open();
    while let Some(answer) = asking.next().await {
        answer.ok();
    }
    assert_eq!(
        system.upstream.exchanges_on("/v1/messages").len() - before,
        50,
        "more requests than the cap allows went upstream"
    );
    let after = settled_scope(&keys[0], "user").await;
    let mut cost = 0;
    for key in &keys {
        settled(key).await;
        cost += system.events(key).await.iter().map(|one| pico(&one["cost_usd"])).sum::<i128>();
    }
    assert_eq!(
        pico(&period(&after, "monthly")["spent_usd"]),
        cost,
        "the spent amount differs from the cost"
    );
    assert_eq!(pico(&period(&after, "monthly")["reserved_usd"]), 0);
    keys[3].ask("hi").await.ok();
}

#[tokio::test]
async fn error_names_the_limit_that_resets_last() {
    let system = TestSystem::open().await;
    limit_organization(&system, json!({ "usd_monthly": "100" })).await;
    let key = spent_key(&system, "ci").await;
    let other = system.key("other").create().await;
    let text = key.ask("hi").await.blocked("billing_error").message();
    assert!(text.contains("limit of your key"), "{text}");
    limit_organization(&system, json!({ "usd_monthly": TINY_USD })).await;
    for key in [&key, &other] {
        let answer = key.ask("hi").await.blocked("billing_error");
        let text = answer.message();
        assert!(
            text.starts_with("spend limit reached · resets ") && text.contains("monthly"),
            "{text}"
        );
        assert!(text.contains("limit of your organization"), "{text}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        let usage = key.get("/v1/usage").await.ok().json();
        let reset = &period(&usage["scopes"][1], "monthly")["resets_at"];
        let reset: jiff::Timestamp = reset.as_str().expect("a time").parse().expect("a time");
        let seconds: i64 = answer.header("retry-after").unwrap_or_default().parse().expect("s");
        let left = reset.as_second() - jiff_now();
        assert!((left..=left + 5).contains(&seconds), "{seconds} of {left}");
    }
    let words = json!({ "message": "Ask in #llm for more." });
    system.admin().send("PUT", "/limits/message", &words).await.ok();
    let text = key.ask("hi").await.blocked("billing_error").message();
    assert!(text.ends_with(" · Ask in #llm for more."), "{text}");
    limit_organization(&system, json!({})).await;
    other.ask("hi").await.ok();
}

fn jiff_now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}

#[tokio::test]
async fn response_headers_show_the_tightest_limit() {
    let system = TestSystem::open().await;
    let key = system.key("ci").limit_usd_daily("100").create().await;
    key.ask("hi").await.ok();
    let spent = pico(&settled(&key).await["spent_usd"]);
    let group = json!({ "limits": { "usd_weekly": usd(spent * 100) } });
    system.admin().patch("/groups/grp_default", &group).await.ok();
    let ask = async || {
        let answer = key.ask("hi").await.ok();
        let get = |tail: &str| {
            let header = answer.header(&format!("anthropic-ratelimit-unified-overage-{tail}"));
            header.unwrap_or_default().to_owned()
        };
        (get("period"), get("utilization"))
    };
    assert_eq!(ask().await.0, "daily", "the group's usage is not counted yet");
    settled_scope(&key, "group").await;
    assert_eq!(ask().await, ("weekly".to_owned(), "0.01".to_owned()));
}

#[tokio::test]
async fn organization_limit_counts_requests_of_all_keys() {
    let system = TestSystem::open().await;
    let (one, two) = (system.key("one").create().await, system.key("two").create().await);
    limit_organization(&system, json!({ "concurrency": 2 })).await;
    let gate = system.upstream.gate("narrow");
    let asking: Vec<_> = [&one, &two]
        .map(|key| {
            let key = key.clone();
            tokio::spawn(async move { key.ask("[[text;gate=narrow]]").await })
        })
        .into();
    gate.reached(2).await;
    let text = two.ask("hi").await.blocked("rate_limit_error").message();
    assert!(text.contains("your organization"), "{text}");
    gate.open();
    for one in asking {
        one.await.expect("an answer").ok();
    }
    settled_scope(&one, "organization").await;
    limit_organization(&system, json!({ "requests_per_minute": 0 })).await;
    let refused = one.ask("hi").await.blocked("rate_limit_error");
    assert_eq!(refused.header("x-should-retry"), Some("false"), "0 admits no request at any time");
    let expect = "0 requests per minute is the limit of your organization";
    assert!(refused.message().contains(expect), "{}", refused.message());
}

#[tokio::test]
async fn open_requests_of_a_removed_key_are_settled_in_shared_limits() {
    let system = TestSystem::open().await;
    limit_organization(&system, json!({ "usd_total": "1000" })).await;
    let (key, witness) = (system.key("gone").create().await, system.key("witness").create().await);
    let gate = system.upstream.gate("gone");
    system.upstream.next("text;gate=gone");
    let asking = tokio::spawn({
        let key = key.clone();
        async move { key.ask("hi").await }
    });
    gate.reached(1).await;
    system.admin().delete(&format!("/keys/{}", key.id)).await.status(204);
    gate.open();
    asking.await.expect("an answer").ok();
    let cost = pico(&system.events_of(&key, 1).await[0]["cost_usd"]);
    let row = period(&settled_scope(&witness, "organization").await, "total");
    assert_eq!((pico(&row["spent_usd"]), pico(&row["reserved_usd"])), (cost, 0), "{row}");
}

#[tokio::test]
async fn expected_estimates_overshoot_by_at_most_the_stated_amount() {
    let system = TestSystem::open().await;
    let limit = pico(&json!("2.000000000000"));
    let bold = system.key("bold").with("estimate", "expected").limit("usd_total", usd(limit));
    let key = bold.create().await;
    let answer = system.admin().get(&format!("/keys/{}", key.id)).await.ok().json();
    assert_eq!(answer["estimate"], "expected");
    assert!(answer["overshoot"].as_str().is_some_and(|text| text.starts_with("at most")));
    let gate = system.upstream.gate("bold");
    let mut body = message(MODEL, "[[text;gate=bold]]", true);
    body["max_tokens"] = json!(32_000);
    let asking: Vec<_> =
        (0..60).map(|_| tokio::spawn(ClientResponse::to(key.message(body.to_string())))).collect();
    let admitted = eventually("nothing more fits", SOON, async || {
        let usage = key.get("/v1/usage").await.ok().json();
        let open = i128::from(usage["open_requests"].as_u64().unwrap_or_default());
        let reserved = pico(&period(&usage, "total")["reserved_usd"]);
        if open > 0 && reserved + reserved / open > limit { Ok(usage) } else { Err(usage) }
    })
    .await;
    let open = i128::from(admitted["open_requests"].as_u64().expect("a number"));
    let (reserved, beyond) =
        (pico(&period(&admitted, "total")["reserved_usd"]), pico(&admitted["overshoot_usd_max"]));
    let most = (reserved + beyond) / open;
    assert!(open > limit / most, "not more than with the highest cost: {open}");
    gate.open();
    let mut served = 0;
    for answer in asking {
        served += i128::from(answer.await.expect("an answer").status == 200);
    }
    assert!(served >= open, "{served}");
    let spent = pico(&settled(&key).await["spent_usd"]);
    assert!(spent <= limit + beyond, "{spent} <= {limit} + {beyond}");
}
