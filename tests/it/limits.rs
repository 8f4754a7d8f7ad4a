//! Limits hold under concurrency and after a crash. The errors have the form that clients
//! understand.

mod in_process;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{
    MODEL, TestSystem, estimate, message, pico, settled, spend, spent_key, usd,
};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

#[tokio::test]
async fn concurrent_requests_are_admitted_up_to_the_budget() {
    // Without this setting, requests over the limit would wait.
    let system = TestSystem::builder()
        .env("BATON_LIMIT_WAIT_SECONDS", "0")
        .with_account("main")
        .start()
        .await;
    let text = "[[text;gate=race]]";
    let each =
        estimate(&system, &text.replace("[[text;gate=race]]", &"x".repeat(text.len()))).await;
    assert!(each > 0);
    let limit = each * 50 + each / 2;
    let key = system.key("race").limit("usd_total", usd(limit)).create().await;
    let gate = system.upstream.gate("race");
    let before = system.upstream.exchanges_on("/v1/messages").len();

    let mut asking: FuturesUnordered<_> = (0..200).map(|_| key.ask(text)).collect();
    for _ in 0..150 {
        let refused = asking.next().await.expect("an answer").blocked("rate_limit_error");
        assert_eq!(refused.header("x-should-retry"), None, "the budget is reserved, not spent");
    }
    // Every request has been decided, and none is settled.
    gate.reached(50).await;
    let during = spend(&key, "total").await;
    assert_eq!(pico(&during["reserved_usd"]), each * 50, "{during}");
    assert_eq!(pico(&during["spent_usd"]), 0, "{during}");
    gate.open();
    while let Some(answer) = asking.next().await {
        answer.ok();
    }
    assert_eq!(
        system.upstream.exchanges_on("/v1/messages").len() - before,
        50,
        "more requests than the budget allows went upstream"
    );

    let events = system.events_of(&key, 50).await;
    let cost: i128 = events.iter().map(|event| pico(&event["cost_usd"])).sum();
    let after = settled(&key).await;
    assert_eq!(pico(&after["spent_usd"]), cost, "the spent amount differs from the cost");
    assert!(cost > 0 && cost < each * 50, "the cost is not below the reservation");
    key.ask("hi").await.ok();
}

#[tokio::test]
async fn spent_budget_error_has_form_for_clients() {
    let system = TestSystem::open().await;
    let key = spent_key(&system, "poor").await;
    let answer = key.ask("hi").await.blocked("billing_error");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    let seconds: u64 = answer.header("retry-after").unwrap_or_default().parse().expect("seconds");
    assert!((1..=86_400).contains(&seconds), "{seconds}");
    let text = answer.message();
    assert!(text.starts_with("spend limit reached · resets "), "{text}");
    assert!(text.ends_with(" · ask your operator to raise the daily limit of your key"));
    let unified = |tail: &str| answer.header(&format!("anthropic-ratelimit-unified-{tail}"));
    assert_eq!(unified("status"), Some("rejected"));
    assert_eq!(unified("overage-disabled-reason"), Some("org_spend_cap_reached"));
    assert_eq!(unified("representative-claim"), None, "clients would drop the message");

    for (name, period) in [("usd_total", "total"), ("usd_daily", "daily")] {
        let never = system.key(name).limit(name, "0").create().await;
        let answer = never.ask("hi").await.blocked("billing_error");
        assert_eq!(answer.header("retry-after"), None, "a reset changes nothing");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        let text = answer.message();
        assert!(text.starts_with("spend limit reached · ") && !text.contains("resets"), "{text}");
        assert!(text.contains(&format!("the {period} limit of 0.00 USD")), "{text}");
    }

    let body = message(MODEL, "hi", false).to_string();
    let counting = key.request("POST", "/v1/messages/count_tokens").body(body);
    ClientResponse::to(counting).await.ok();
    assert_eq!(
        system.upstream.exchanges_on("/v1/messages").len(),
        1,
        "a further paid request was sent"
    );
}

#[tokio::test]
async fn response_headers_show_budget_utilization() {
    let system = TestSystem::open().await;
    let key = system.key("rich").limit_usd_daily("100").create().await;
    key.ask("hi").await.ok();
    settled(&key).await;
    let answer = key.ask("hi").await.ok();
    let get = |tail: &str| answer.header(&format!("anthropic-ratelimit-unified-{tail}"));
    assert_eq!(get("status"), Some("allowed"));
    assert_eq!(get("representative-claim"), Some("overage"));
    assert_eq!(get("overage-utilization"), Some("0.00"));
    let reset: i64 = get("reset").unwrap_or_default().parse().expect("unix seconds");
    assert_eq!(reset % 86_400, 0, "midnight UTC");
    settled(&key).await;
    let spent = spend(&key, "daily").await;
    assert_eq!(spent["limit_usd"], "100.000000000000");
    assert!(pico(&spent["spent_usd"]) > 0);

    let free = system.key("free").create().await.ask("hi").await.ok();
    assert_eq!(free.header("anthropic-ratelimit-unified-status"), None);
}

#[tokio::test]
async fn requests_over_rate_limit_get_429() {
    let system = TestSystem::open().await;
    let key = system.key("slow").limit("requests_per_minute", 3).create().await;
    let mut passed = 0;
    let refused = loop {
        let answer = key.ask("hi").await;
        if answer.status != 200 {
            break answer.blocked("rate_limit_error");
        }
        passed += 1;
        assert!(passed <= 6, "more requests than two minutes allow");
    };
    assert!(passed >= 3, "{passed}");
    let seconds: u64 = refused.header("retry-after").unwrap_or_default().parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("x-should-retry"), None);
}

#[tokio::test]
async fn requests_over_concurrency_limit_get_429() {
    let system = TestSystem::open().await;
    let key = system.key("narrow").limit("concurrency", 2).create().await;
    let gate = system.upstream.gate("narrow");
    let asking: Vec<_> = (0..2)
        .map(|_| {
            let key = key.clone();
            tokio::spawn(async move { key.ask("[[text;gate=narrow]]").await })
        })
        .collect();
    gate.reached(2).await;
    let refused = key.ask("hi").await.blocked("rate_limit_error");
    assert_eq!(refused.header("retry-after"), Some("1"));
    gate.open();
    for one in asking {
        one.await.expect("an answer").ok();
    }
    settled(&key).await;
    key.ask("hi").await.ok();
}

#[tokio::test]
async fn local_answers_make_no_reservation() {
    let system = TestSystem::open().await;
    let group = system.group("empty").await;
    let key = system.key("ci").group(&group).limit_usd_daily("100").create().await;
    key.ask("hi").await.refused(503, "api_error");
    let row = spend(&key, "daily").await;
    assert_eq!((pico(&row["reserved_usd"]), pico(&row["spent_usd"])), (0, 0), "{row}");
}

#[tokio::test]
async fn crashed_request_is_settled_at_its_estimate() {
    let launch = TestSystem::builder()
        .env("BATON_OVERALL_SECONDS", "3")
        .env("BATON_RESERVATION_MARGIN_SECONDS", "0");
    let mut system = launch.with_account("main").start().await;
    let key = system.key("crash").limit_usd_daily("100").create().await;
    let gate = system.upstream.gate("crash");
    gate.release(2);
    system.upstream.next("text;gate=crash");
    let mut live = key.open("hi").await;
    live.read_to(20).await;
    system.crash_and_return().await;
    let reserved = pico(&spend(&key.at(&system), "total").await["reserved_usd"]);
    assert!(reserved > 0, "the reservation is lost");
    // A sweep runs at every start and then once a minute. Restarts are faster than waiting.
    let mut starts = 0;
    let events = loop {
        let events = system.events(&key).await;
        if !events.is_empty() {
            break events;
        }
        starts += 1;
        assert!(starts < 60, "never swept");
        system.restart().await;
    };
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["estimated"], true, "{}", events[0]);
    assert_eq!(pico(&events[0]["cost_usd"]), reserved, "{}", events[0]);
    let after = settled(&key.at(&system)).await;
    assert_eq!(pico(&after["spent_usd"]), reserved, "{after}");
    gate.open();
}

#[tokio::test]
async fn mapped_model_reserves_the_higher_price() {
    let system = TestSystem::open().await;
    let requested = "claude-haiku-5-5";
    let reserved = async |group: &str, gate: &str| {
        let key = system.key(gate).group(group).limit_usd_daily("1000").create().await;
        let held = system.upstream.gate(gate);
        system.upstream.next(&format!("text;gate={gate}"));
        let asking = tokio::spawn({
            let key = key.clone();
            async move { key.ask_model(requested, "hi").await }
        });
        held.reached(1).await;
        let row = spend(&key, "total").await;
        held.open();
        asking.await.expect("an answer").ok();
        pico(&row["reserved_usd"])
    };
    let (plain, mapping) = (system.group("plain").await, system.group("mapping").await);
    let url = system.upstream.url();
    system.account_with("plain", &url, serde_json::json!({"groups": [plain]})).await;
    let mapped = serde_json::json!({"groups": [mapping], "model_map": {requested: MODEL}});
    system.account_with("mapping", &url, mapped).await;
    let (cheap, expensive) =
        (reserved(&plain, "cheap").await, reserved(&mapping, "expensive").await);
    assert!(expensive > cheap, "{expensive} > {cheap}");
}
