//! Answers to limited keys, invalid limits, and free calls.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem, message, pico, spent_key};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

use crate::class::AttackClass;
use crate::greedy_upstream::GreedyUpstream;

async fn start(variables: &[(&str, &str)]) -> (TestSystem, GreedyUpstream) {
    let launch = variables
        .iter()
        .fold(TestSystem::builder(), |launch, (name, value)| launch.env(name, value));
    let (system, upstream) = (launch.start().await, GreedyUpstream::start().await);
    system.account("main", &upstream.url()).await;
    (system, upstream)
}

fn body(max_tokens: u64) -> String {
    let mut body = message("claude-opus-5-5", "hi", false);
    body["max_tokens"] = json!(max_tokens);
    body.to_string()
}

async fn ask(key: &TestKey, max_tokens: u64) -> ClientResponse {
    ClientResponse::to(key.message(body(max_tokens))).await
}

/// Spent, reserved by others, and too large are three different answers.
pub(crate) async fn truth(class: AttackClass) {
    let (system, _upstream) = start(&[]).await;
    let is_final = |answer: &ClientResponse| answer.header("x-should-retry") == Some("false");
    let told = |answer: &ClientResponse| format!("{} {:?}", answer.status, answer.text());

    let spent = ask(&spent_key(&system, "spent").await, 100).await;
    let holds = spent.status == 429
        && is_final(&spent)
        && spent.text().contains("billing_error")
        && spent.message().starts_with("spend limit reached · resets ")
        && spent.header("retry-after").is_some_and(|text| text.parse::<u64>().is_ok());
    class.check("a spent limit", holds, || told(&spent));

    let nothing = ask(&system.key("nothing").limit_usd_daily("0").create().await, 100).await;
    let holds = nothing.status == 429
        && is_final(&nothing)
        && nothing.header("retry-after").is_none()
        && nothing.text().contains("billing_error")
        && nothing.message().starts_with("spend limit reached · the daily limit of 0.00 USD");
    class.check("a limit of nothing", holds, || told(&nothing));

    let large = system.key("large").limit_usd_daily("0.10").create().await;
    let answer = ask(&large, 20_000).await;
    let words = ["could cost", "0.10 USD", "max_tokens", "helps"];
    let says = |answer: &ClientResponse, words: &[&str]| {
        let message = answer.message();
        words.iter().all(|word| message.contains(word))
    };
    let holds = answer.status == 429
        && is_final(&answer)
        && answer.header("retry-after").is_none()
        && answer.text().contains("billing_error")
        && says(&answer, &words);
    class.check("larger than the limit", holds, || told(&answer));
    let answer = ask(&large, 100).await;
    class.check("a smaller one fits", answer.status == 200, || told(&answer));

    // One of them leaves no room for another: 20,000 × 20 and about 2,200 × 5 per million, plus one
    // tenth.
    let busy = system.key("busy").limit_usd_daily("1.00").create().await;
    let began = Instant::now();
    let mut answers = Vec::new();
    for answer in join_all((0..2).map(|_| ask(&busy, 20_000))).await {
        answers.push(answer.status);
    }
    class.check("two that fit together", answers == [200, 200], || format!("{answers:?}"));
    let left = system.key("left").limit_usd_daily("0.60").create().await;
    ask(&left, 10_000).await;
    system.events_within(Duration::from_secs(20), &left, 1).await;
    let answer = ask(&left, 20_000).await;
    let holds = answer.status == 429
        && is_final(&answer)
        && says(&answer, &["spend limit reached", "are left", "could cost", "max_tokens"]);
    class.check("less left than needed", holds, || told(&answer));
    class.check("in time", began.elapsed() < Duration::from_secs(30), || {
        format!("{:?}", began.elapsed())
    });
}

/// A suggested change must help, and a change that does not help must not be suggested.
pub(crate) async fn advice(class: AttackClass) {
    let (system, _upstream) = start(&[]).await;
    let search = json!([{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]);
    let of = |text: &str, max_tokens: u64, tools: &Value| {
        let mut body = message("claude-opus-5-5", text, false);
        body["max_tokens"] = json!(max_tokens);
        if !tools.is_null() {
            body["tools"] = tools.clone();
        }
        body.to_string()
    };
    let long = "x".repeat(100_000);
    let (tokens, prompt, tools) = ("max_tokens", "shorter prompt", "tools");
    for (name, limit, body, helps) in [
        ("a long answer", "0.10", of("hi", 20_000, &Value::Null), vec![tokens]),
        ("a long prompt", "0.10", of(&long, 1, &Value::Null), vec![prompt]),
        ("both", "0.10", of(&long, 20_000, &Value::Null), vec![tokens, prompt]),
        ("nothing", "0.0001", of("hi", 1, &Value::Null), vec![]),
        ("a search", "1", of("hi", 1, &search), vec![tools]),
    ] {
        let key = system.key(name).limit_usd_daily(limit).create().await;
        let answer = ClientResponse::to(key.message(body)).await;
        let text = answer.message();
        let holds = answer.status == 429
            && answer.header("x-should-retry") == Some("false")
            && [tokens, prompt, tools]
                .iter()
                .all(|word| text.contains(word) == helps.contains(word));
        class.check(name, holds, || format!("{} {text}", answer.status));
    }
}

/// Simultaneous requests wait for each other, and are refused with a wait time if that takes too
/// long.
pub(crate) async fn waiting(class: AttackClass) {
    let (system, _upstream) = start(&[]).await;
    // Each request costs far less than it reserves, so all of them fit one after another.
    let key = system.key("parallel").limit_usd_daily("0.60").create().await;
    let lie = json!({"user_id": r#"usage:{"input_tokens":5,"output_tokens":5}"#});
    let mut request: Value = serde_json::from_str(&body(20_000)).expect("a body");
    request["metadata"] = lie;
    let asking = (0..3).map(|_| ClientResponse::to(key.message(request.to_string())));
    let statuses: Vec<u16> = join_all(asking).await.iter().map(|answer| answer.status).collect();
    class.check("three where one fits at a time", statuses == [200; 3], || format!("{statuses:?}"));

    let (system, _upstream) = start(&[("BATON_LIMIT_WAIT_SECONDS", "0.1")]).await;
    let key = system.key("short").limit_usd_daily("0.60").create().await;
    let answers =
        join_all((0..3).map(|_| ClientResponse::to(key.message(request.to_string())))).await;
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        let seconds = answer.header("retry-after").and_then(|text| text.parse::<u64>().ok());
        let holds = answer.status == 429
            && answer.text().contains("rate_limit_error")
            && answer.header("x-should-retry").is_none()
            && seconds.is_some_and(|seconds| (1..=10).contains(&seconds));
        class.check("reserved by others", holds, || format!("{} {}", answer.status, answer.text()));
    }
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    class.check("one is served", (1..3).contains(&served), || format!("{served}"));

    // Far more requests than can wait: none of them blocks, and the limit is not exceeded.
    let key = system.key("many").limit_usd_daily("0.60").create().await;
    let answers = join_all((0..100).map(|_| ask(&key, 20_000))).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    let events = system.events_within(Duration::from_secs(20), &key, served).await;
    let spent: i128 = events.iter().map(|event| pico(&event["cost_usd"])).sum();
    class
        .check("a hundred at once", spent <= pico(&json!("0.600000000000")), || format!("{spent}"));
}

/// Amounts that are not valid limits.
pub(crate) async fn bad_limits(class: AttackClass) {
    let (system, _upstream) = start(&[]).await;
    let admin = system.admin();
    let key = admin.create("/keys", &json!({"name": "k"})).await;
    let user = admin.create("/users", &json!({"name": "u"})).await;
    let places = [
        ("POST", "/keys".to_owned()),
        ("PATCH", format!("/keys/{key}")),
        ("POST", "/users".to_owned()),
        ("PATCH", format!("/users/{user}")),
        ("POST", "/groups".to_owned()),
        ("PATCH", "/groups/grp_default".to_owned()),
        ("PUT", "/limits/organization".to_owned()),
    ];
    let money = ["usd_daily", "usd_weekly", "usd_monthly", "usd_total"];
    let amounts = [
        json!("-1"),
        json!("-0.000000000001"),
        json!("-99999999999999999999"),
        json!("1e3"),
        json!("NaN"),
        json!(""),
        json!("0.0000000000001"),
        json!(5),
        json!([]),
    ];
    let counts = ["requests_per_minute", "concurrency"];
    let numbers = [json!(-1), json!(1.5), json!("1"), json!(4_294_967_296_u64)];
    let mut tried: Vec<(&str, Value)> = Vec::new();
    for name in money {
        tried.extend(amounts.iter().map(|amount| (name, amount.clone())));
    }
    for name in counts {
        tried.extend(numbers.iter().map(|number| (name, number.clone())));
    }
    for (number, (name, value)) in tried.into_iter().enumerate() {
        for (method, path) in &places {
            let mut limits = json!({});
            limits[name] = value.clone();
            let body = match (*method, path.as_str()) {
                ("PUT", _) => limits,
                ("POST", _) => json!({"name": format!("n{number}"), "limits": limits}),
                _ => json!({"limits": limits}),
            };
            let answer = admin.send(method, path, &body).await;
            let is_named = answer.status == 400 && answer.message().contains(name);
            class.check(&format!("{method} {path} {body}"), is_named, || {
                format!("{} {:.200}", answer.status, answer.text())
            });
        }
    }
    for amount in ["-1", "-100", "1.5", "", "x"] {
        let cap = json!({"scope": {"type": "organization"}, "amount": amount, "period": "daily"});
        let answer = admin.post("/organizations/spend_limits", &cap).await;
        let is_named = answer.status == 400 && answer.message().contains("amount");
        class.check(&format!("a spend limit of {amount:?}"), is_named, || answer.text());
    }
}

/// Token counts and model lists with a key that has no room in its limits.
pub(crate) async fn free_calls(class: AttackClass) {
    let (system, upstream) = start(&[("BATON_METRICS_TOKEN", "metrics-token")]).await;
    for (name, method, path) in [
        ("count_tokens", "POST", "/v1/messages/count_tokens"),
        ("models", "GET", "/v1/models"),
        ("a model", "GET", "/v1/models/claude-haiku-4-5"),
    ] {
        let plan = system.key(name).limit("requests_per_minute", 1).limit("concurrency", 1);
        let key = plan.limit_usd_daily("0").create().await;
        let before = upstream.asked().len();
        let text = if method == "POST" { body(5) } else { String::new() };
        let asking =
            (0..300).map(|_| ClientResponse::to(key.request(method, path).body(text.clone())));
        let answers = join_all(asking).await;
        let served = answers.iter().filter(|answer| answer.status == 200).count();
        // The minute can change once during the test.
        class.check(&format!("{name}: served"), (26..=120).contains(&served), || {
            format!("{served}")
        });
        let asked = upstream.asked().len() - before;
        let asked_max = if method == "POST" { served } else { 64 };
        class.check(&format!("{name}: asked"), asked <= asked_max, || format!("{asked}"));
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            let holds = answer.status == 429
                && answer.text().contains("rate_limit_error")
                && answer.header("retry-after").is_some();
            class.check(name, holds, || format!("{} {:.200}", answer.status, answer.text()));
        }
    }
    let key = system.key("one").limit("requests_per_minute", 1).create().await;
    for _ in 0..5 {
        let request = key.request("POST", "/v1/messages/count_tokens").body(body(5));
        let answer = ClientResponse::to(request).await;
        class.check("a count beside a limit", answer.status == 200, || answer.text());
    }
    let answer = ask(&key, 5).await;
    class.check("the key's own limit is left", answer.status == 200, || answer.text());
    let metrics = reqwest::Client::new().get(format!("{}/metrics", system.admin_url()));
    let metrics = ClientResponse::to(metrics.bearer_auth("metrics-token")).await.text();
    class.check("metrics", metrics.contains("models"), || "no word of models".to_owned());
}

/// An upstream that claims more than a request permitted.
pub(crate) async fn lies(class: AttackClass) {
    let (system, _upstream) = start(&[]).await;
    let limits = json!({"usd_monthly": "1000"});
    system.admin().send("PUT", "/limits/organization", &limits).await.ok();
    let (liar, other) = (system.key("liar").create().await, system.key("other").create().await);
    let claims = [
        json!({"input_tokens": 1, "output_tokens": 50_000_000_000_u64}),
        json!({"input_tokens": 50_000_000_000_u64, "output_tokens": 1}),
        json!({"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 50_000_000_000_u64}),
        json!({
            "input_tokens": 1, "output_tokens": 1,
            "server_tool_use": {"web_search_requests": 50_000_000_u64},
        }),
        json!({
            "input_tokens": 1, "output_tokens": 1, "iterations": [
                {"type": "message", "model": "claude-opus-4-1", "input_tokens": 9_000_000_000_u64, "output_tokens": 5},
            ],
        }),
    ];
    for (number, claim) in claims.iter().enumerate() {
        let mut request = message("claude-haiku-4-5", "hi", false);
        request["max_tokens"] = json!(5);
        request["metadata"] = json!({"user_id": format!("usage:{claim}")});
        ClientResponse::to(liar.message(request.to_string())).await;
        let events = system.events_within(Duration::from_secs(20), &liar, number + 1).await;
        let capped = events.iter().filter(|event| event["capped"] == true);
        let most = capped.clone().map(|event| pico(&event["cost_usd"])).max().unwrap_or(i128::MAX);
        let holds = capped.count() == number + 1 && most < pico(&json!("0.100000000000"));
        class.check(&format!("{claim}"), holds, || format!("{events:?}"));
        let answer = ask(&other, 100).await;
        class.check(&format!("{claim}: the others"), answer.status == 200, || answer.text());
    }
}
