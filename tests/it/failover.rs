//! Failover: for each kind of upstream failure, what clients, upstreams and operators see.

use std::net::TcpListener;
use std::ops::RangeInclusive;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{MODEL, SOON, TestKey, TestSystem, message};
use baton_test_harness::upstream::FakeUpstream;
use serde_json::{Value, json};

/// Two upstreams behind two accounts of one group. The first one is preferred.
struct FailoverSystem {
    first: FakeUpstream,
    second: FakeUpstream,
    group: String,
    ids: [String; 2],
    key: TestKey,
}

async fn pair_at(system: &TestSystem, first_url: Option<String>) -> FailoverSystem {
    let (first, second) = (FakeUpstream::start(), FakeUpstream::start());
    let group = system.group("pair").await;
    let account = async |name, url: &str, priority| {
        let fields = json!({"groups": [group], "priority": priority});
        system.account_with(name, url, fields).await
    };
    let ids = [
        account("first", &first_url.unwrap_or(first.url()), 1).await,
        account("second", &second.url(), 2).await,
    ];
    let key = system.key("ci").group(&group).create().await;
    FailoverSystem { first, second, group, ids, key }
}

async fn pair(system: &TestSystem) -> FailoverSystem {
    pair_at(system, None).await
}

impl FailoverSystem {
    fn counts(&self) -> (usize, usize) {
        (self.first.exchanges().len(), self.second.exchanges().len())
    }
}

async fn account(system: &TestSystem, id: &str) -> Value {
    system.admin().get(&format!("/accounts/{id}")).await.ok().json()
}

/// Waits until the account has this status.
async fn wait_for_status(system: &TestSystem, id: &str, status: &str) -> Value {
    eventually(&format!("the account is {status}"), SOON, async || {
        let account = account(system, id).await;
        if account["status"] == status { Ok(account) } else { Err(account) }
    })
    .await
}

/// Waits until the account, or the requested model on it, is in cooldown. Returns the end and the
/// reason.
async fn wait_for_cooldown(system: &TestSystem, id: &str) -> (jiff::Timestamp, String) {
    eventually("it is in cooldown", SOON, async || {
        let account = account(system, id).await;
        let model = &account["cooling_models"][MODEL];
        let whole = (&account["cooling_until"], &account["status_reason"]);
        let part = (&model["until"], &model["reason"]);
        for (until, reason) in [part, whole] {
            if let (Some(until), Some(reason)) = (until.as_str(), reason.as_str()) {
                return Ok((until.parse().expect("a time"), reason.to_owned()));
            }
        }
        Err(account)
    })
    .await
}

fn now() -> jiff::Timestamp {
    baton_runtime::clock::Clock::system().now()
}

fn in_seconds(seconds: i64) -> jiff::Timestamp {
    now() + jiff::SignedDuration::from_secs(seconds)
}

/// The first account answers with `scenario`, and the client gets the second account's answer. The
/// first account must then be in cooldown for `seconds`, with this reason.
async fn assert_cools_down(
    system: &TestSystem,
    scenario: &str,
    seconds: RangeInclusive<i64>,
    reason: &str,
) {
    let pair = pair(system).await;
    pair.first.next(scenario);
    let before = now();
    let answer = pair.key.ask("hi").await.ok();
    assert!(answer.said().starts_with("Hello"), "{scenario}: {}", answer.text());
    assert_eq!(pair.counts(), (1, 1), "{scenario}: each account is tried once");
    let (until, shown) = wait_for_cooldown(system, &pair.ids[0]).await;
    let (from, to) =
        (until.duration_since(now()).as_secs(), until.duration_since(before).as_secs());
    assert!(from <= *seconds.end() && to >= *seconds.start(), "{scenario}: {from}..{to} s");
    assert!(shown.contains(reason), "{scenario}: {shown}");
    assert_eq!(wait_for_status(system, &pair.ids[1], "ready").await["status_reason"], Value::Null);
    pair.key.ask("hi").await.ok();
    assert_eq!(pair.counts(), (1, 2), "{scenario}: a cooling account is used");
}

#[tokio::test]
async fn rate_limit_cools_down_for_announced_time() {
    let system = TestSystem::empty().await;
    assert_cools_down(&system, "error:rate_limit", 7..=7, "rate limited").await;
    assert_cools_down(&system, "error:rate_limit_final", 1800..=1800, "rate limited").await;
    assert_cools_down(&system, "status:429", 30..=30, "rate limited").await;
    let reset = in_seconds(120).to_string();
    let tokens = "header=anthropic-ratelimit-tokens";
    let scenario = format!("status:429;{tokens}-remaining:0;{tokens}-reset:{reset}");
    assert_cools_down(&system, &scenario, 119..=122, "rate limited").await;
    let reset = in_seconds(600).as_second();
    let unified = "header=anthropic-ratelimit-unified";
    let scenario = format!("status:429;{unified}-status:rejected;{unified}-reset:{reset}");
    assert_cools_down(&system, &scenario, 599..=602, "rate limited").await;
}

#[tokio::test]
async fn spend_cap_cools_down_until_reset() {
    let system = TestSystem::empty().await;
    assert_cools_down(&system, "error:billing", 600..=600, "spend cap").await;
    assert_cools_down(&system, "error:spend_cap", 37_800..=37_800, "spend cap").await;
    let credit = "Your credit balance is too low to access the Anthropic API. Please go to Plans";
    assert_cools_down(&system, &format!("status:400;say={credit}"), 600..=600, "credit").await;
    let day = in_seconds(3 * 86_400).strftime("%Y-%m-%d at %H:%M UTC").to_string();
    let limit = format!(
        "You have reached your specified API usage limits. You will regain access on {day}."
    );
    assert_cools_down(&system, &format!("status:400;say={limit}"), 259_130..=259_201, "spend cap")
        .await;
    let disabled = "status:400;say=This organization has been disabled.";
    assert_cools_down(&system, disabled, 600..=600, "disabled").await;
}

#[tokio::test]
async fn spent_quota_gets_insufficient_quota() {
    let system = TestSystem::empty().await;
    let (upstream, group) = (FakeUpstream::start(), system.group("spent").await);
    let fields = json!({"groups": [group], "provider": "openai_compatible"});
    let id = system.account_with("spent", &upstream.url(), fields).await;
    let key = system.key("ci").group(&group).create().await;
    let ask = async |path: &str| {
        let body = message(MODEL, "hi", false).to_string();
        ClientResponse::to(key.request("POST", path).body(body)).await
    };
    upstream.next("status:402;say=Insufficient Balance");
    for _ in 0..2 {
        let answer = ask("/v1/chat/completions").await.status(429);
        assert_eq!(answer.json()["error"]["code"], "insufficient_quota", "{}", answer.text());
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(answer.header("retry-after"), None, "waiting does not help");
    }
    let answer = ask("/v1/messages").await.refused(503, "api_error");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(upstream.exchanges().len(), 1);
    let account = wait_for_status(&system, &id, "cooling").await;
    assert_eq!(account["status_reason"], "spend cap reached");
}

#[tokio::test]
async fn fast_limit_does_not_block_standard_speed() {
    let system = TestSystem::empty().await;
    let upstream = FakeUpstream::start();
    let key = system.private_key(&upstream.url()).await;
    let fast = "header=anthropic-fast-input-tokens";
    let reset = in_seconds(3_600).to_string();
    let ask = async |is_fast: bool| {
        let mut body = message(MODEL, "hi", false);
        if is_fast {
            body["speed"] = "fast".into();
        }
        ClientResponse::to(key.message(body.to_string())).await
    };
    upstream
        .next(&format!("status:429;header=retry-after:40;{fast}-remaining:0;{fast}-reset:{reset}"));
    ask(true).await.status(429);
    ask(false).await.ok();
    ask(true).await.refused(503, "overloaded_error");
    assert_eq!(upstream.exchanges().len(), 2);
}

#[tokio::test]
async fn overload_cools_down_for_seconds() {
    let system = TestSystem::empty().await;
    assert_cools_down(&system, "error:overloaded", 5..=10, "overloaded").await;
    assert_cools_down(&system, "fixture:error_first", 5..=10, "overloaded").await;
}

#[tokio::test]
async fn model_403_cools_down_that_model_only() {
    let system = TestSystem::empty().await;
    assert_cools_down(&system, "error:permission", 300..=300, "not available").await;
    let pair = pair(&system).await;
    pair.first.next("error:permission");
    pair.key.ask("hi").await.ok();
    pair.key.ask_model("claude-haiku-5-5", "hi").await.ok();
    assert_eq!(pair.counts(), (2, 1), "another model is still served by the first account");
    assert_eq!(account(&system, &pair.ids[0]).await["status"], "ready");
}

#[tokio::test]
async fn unknown_model_fails_over() {
    let system = TestSystem::empty().await;
    assert_cools_down(&system, "error:not_found_model", 300..=300, "not available").await;
    let only = FakeUpstream::start();
    let key = system.private_key(&only.url()).await;
    for _ in 0..3 {
        only.next("error:not_found_model");
        let answer = key.ask("hi").await.status(404);
        assert_eq!(answer.body, only.last().sent, "the body of the upstream");
    }
}

#[tokio::test]
async fn firewall_403_does_not_disable_account() {
    let system = TestSystem::empty().await;
    let pair = pair(&system).await;
    for (serial, scenario) in ["error:text_403_waf", "error:lambda_403"].into_iter().enumerate() {
        pair.first.next(scenario);
        pair.key.ask("hi").await.ok();
        let calls = pair.first.exchanges_on("/v1/messages").len();
        assert_eq!(calls, serial + 1, "{scenario}: it is still the first choice");
    }
    assert_eq!(account(&system, &pair.ids[0]).await["status"], "ready");
}

#[tokio::test]
async fn refused_credential_disables_account_until_change() {
    let system = TestSystem::empty().await;
    let pair = pair(&system).await;
    pair.first.only_takes(&["sk-upstream-new"]);
    pair.key.ask("hi").await.ok();
    let account = wait_for_status(&system, &pair.ids[0], "auth_failed").await;
    assert!(account["status_reason"].as_str().is_some_and(|why| why.contains("401")));
    let before = pair.first.exchanges().len();
    pair.key.ask("hi").await.ok();
    assert_eq!((pair.first.exchanges().len(), pair.counts().1), (before, 2));
    let path = format!("/accounts/{}", pair.ids[0]);
    let credential = json!({"credential": {"type": "api_key", "value": "sk-upstream-new"}});
    let changed = system.admin().patch(&path, &credential).await.ok().json();
    assert_eq!(changed["status"], "ready", "a new credential makes the account ready: {changed}");
    pair.key.ask("hi from a session that did not have to move").await.ok();
    assert_eq!((pair.first.exchanges().len(), pair.counts().1), (before + 1, 2));
}

#[tokio::test]
async fn client_gets_503_for_refused_credential() {
    let system = TestSystem::empty().await;
    let upstream = FakeUpstream::start();
    upstream.only_takes(&[]);
    let key = system.private_key(&upstream.url()).await;
    for _ in 0..2 {
        let answer = key.ask("hi").await.refused(503, "api_error");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert!(!answer.text().contains("x-api-key"), "{}", answer.text());
        assert!(!answer.message().contains("acc_"), "{}", answer.text());
    }
    assert_eq!(
        upstream.exchanges_on("/v1/messages").len(),
        1,
        "the account is used after its credential was refused"
    );
}

#[tokio::test]
async fn three_server_errors_open_the_circuit() {
    let system = TestSystem::empty().await;
    for (scenario, streams) in [
        ("error:api_error", true),
        ("error:html_502", true),
        ("status:503", false),
        ("error:timeout", true),
        ("cut:0", false),
    ] {
        let pair = pair(&system).await;
        for count in 1..=3 {
            assert_eq!(account(&system, &pair.ids[0]).await["status"], "ready", "{scenario}");
            pair.first.next(scenario);
            ClientResponse::to(pair.key.message(message(MODEL, "hi", streams).to_string()))
                .await
                .ok();
            assert_eq!(pair.counts(), (count, count), "{scenario}");
        }
        wait_for_status(&system, &pair.ids[0], "cooling").await;
        pair.key.ask("hi").await.ok();
        assert_eq!(pair.counts(), (3, 4), "{scenario}: the circuit is open");
    }
}

/// A stream that breaks off after its beginning is a failure, although its first event was good.
#[tokio::test]
async fn three_broken_streams_open_the_circuit() {
    let system = TestSystem::empty().await;
    let pair = pair(&system).await;
    for count in 1..=3 {
        assert_eq!(account(&system, &pair.ids[0]).await["status"], "ready");
        pair.first.next("cut:4");
        let response =
            ClientResponse::to(pair.key.message(message(MODEL, "hi", true).to_string())).await;
        assert!(response.text().contains("event: error"), "{}", response.text());
        assert_eq!(pair.counts(), (count, 0));
    }
    let account = wait_for_status(&system, &pair.ids[0], "cooling").await;
    assert_eq!(account["status_reason"], "unreachable");
    pair.key.ask("hi").await.ok();
    assert_eq!(pair.counts(), (3, 1));
}

/// An upstream that works on a request for long can bill it, so a key with a money limit needs a new
/// reservation before another account gets the request.
#[tokio::test]
async fn limited_request_is_not_sent_again_after_a_long_silence() {
    let system = TestSystem::builder().env("BATON_FIRST_BYTE_SECONDS", "10.5").start().await;
    let pair = pair(&system).await;
    let limited = system.key("limited").group(&pair.group).limit_usd_daily("9").create().await;
    pair.first.always("hang");
    let (answer, other) = tokio::join!(limited.ask("hi"), pair.key.ask("hi"));
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert_eq!(other.status, 200, "{}", other.text());
    assert_eq!(pair.counts(), (2, 1));
    // The next try goes to the other account at once.
    limited.ask("hi").await.ok();
    assert_eq!(pair.counts(), (2, 2));
    let events = system.events_of(&limited, 2).await;
    let unanswered = events.iter().find(|event| event["estimated"] == true);
    assert!(unanswered.is_some_and(|event| event["cost_usd"] != "0"), "{events:?}");
}

#[tokio::test]
async fn success_between_errors_keeps_circuit_closed() {
    let system = TestSystem::empty().await;
    let pair = pair(&system).await;
    for scenario in ["status:500", "status:500", "text", "status:500", "status:500"] {
        pair.first.next(scenario);
        pair.key.ask("hi").await.ok();
    }
    assert_eq!(account(&system, &pair.ids[0]).await["status"], "ready");
    assert_eq!(pair.counts(), (5, 4));
}

#[tokio::test]
async fn down_or_silent_upstream_fails_over() {
    let system = TestSystem::builder().env("BATON_FIRST_BYTE_SECONDS", "0.5").start().await;
    let closed = TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr();
    let closed = format!("http://{}", closed.expect("its number"));
    let down = pair_at(&system, Some(closed)).await;
    for _ in 0..3 {
        down.key.ask("hi").await.ok();
    }
    let account = wait_for_status(&system, &down.ids[0], "cooling").await;
    assert_eq!(account["status_reason"], "unreachable");

    let silent = pair(&system).await;
    silent.first.always("hang");
    for _ in 0..3 {
        silent.key.ask("hi").await.ok();
    }
    let account = wait_for_status(&system, &silent.ids[0], "cooling").await;
    assert_eq!(account["status_reason"], "no answer in time");
    silent.key.ask("hi").await.ok();
    assert_eq!(silent.counts(), (3, 4));
}

#[tokio::test]
async fn client_errors_are_returned_and_change_no_account() {
    let system = TestSystem::empty().await;
    let pair = pair(&system).await;
    let scenarios = ["error:invalid_request", "status:404", "status:405"];
    let more = ["error:conflict", "error:too_large", "status:422"];
    for (serial, scenario) in scenarios.into_iter().chain(more).enumerate() {
        for _ in 0..4 {
            pair.first.next(scenario);
            let answer = pair.key.ask("hi").await;
            assert!((400..=422).contains(&answer.status), "{scenario}: {}", answer.status);
            assert_eq!(answer.body, pair.first.last().sent, "{scenario}: byte for byte");
        }
        assert_eq!(pair.counts(), ((serial + 1) * 4, 0), "{scenario}");
        assert_eq!(account(&system, &pair.ids[0]).await["status"], "ready", "{scenario}");
    }
}

#[tokio::test]
async fn counting_tokens_changes_no_health() {
    let system = TestSystem::empty().await;
    let pair = pair_at(&system, Some("http://127.0.0.1:1".to_owned())).await;
    for _ in 0..4 {
        let request = pair.key.request("POST", "/v1/messages/count_tokens");
        ClientResponse::to(request.body(message(MODEL, "hi", false).to_string())).await.ok();
    }
    assert_eq!(account(&system, &pair.ids[0]).await["status"], "ready");
}

#[tokio::test]
async fn error_after_first_event_is_passed_on() {
    let system = TestSystem::empty().await;
    let pair = pair(&system).await;
    pair.first.next("fixture:error_midstream");
    let answer = pair.key.ask("hi").await.ok();
    assert!(answer.text().contains("event: error"), "{}", answer.text());
    assert_eq!(pair.counts(), (1, 0));
}

#[tokio::test]
async fn log_names_failed_accounts_with_reason() {
    let mut system = TestSystem::builder().env("BATON_LOG_FORMAT", "json").start().await;
    let pair = pair(&system).await;
    pair.first.next("error:overloaded");
    pair.key.ask("hi").await.ok();
    let line = eventually("the line", SOON, async || {
        let log = system.process().stderr();
        log.lines().find(|line| line.contains("\"served\"")).map(str::to_owned).ok_or(log)
    })
    .await;
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["account_id"], pair.ids[1].as_str(), "{line}");
    assert_eq!(line["failed_attempts"], format!("{} answered 529", pair.ids[0]), "{line}");
}

#[tokio::test]
async fn at_most_three_accounts_are_tried() {
    let system = TestSystem::empty().await;
    let upstreams: Vec<FakeUpstream> = (0..5).map(|_| FakeUpstream::start()).collect();
    for (priority, upstream) in upstreams.iter().enumerate() {
        upstream.always("error:overloaded");
        system.account_with("one", &upstream.url(), json!({"priority": priority})).await;
    }
    let key = system.key("ci").create().await;
    let answer = key.ask("hi").await.status(529);
    assert_eq!(answer.body, upstreams[2].last().sent, "the body of the last upstream");
    let counts: Vec<usize> = upstreams.iter().map(|each| each.exchanges().len()).collect();
    assert_eq!(counts, [1, 1, 1, 0, 0]);
}

#[tokio::test]
async fn failover_prefers_same_cache_domain() {
    let system = TestSystem::empty().await;
    let [left, right] = [FakeUpstream::start(), FakeUpstream::start()];
    for (upstream, domain) in [(&left, "a"), (&left, "a"), (&right, "b"), (&right, "b")] {
        system.account_with("one", &upstream.url(), json!({"cache_domain": domain})).await;
    }
    let key = system.key("ci").create().await;
    for serial in 0..6 {
        let session = format!("session {serial}");
        let ask = async || {
            let request = key.message(message(MODEL, "hi", true).to_string());
            ClientResponse::to(request.header("x-claude-code-session-id", &session)).await.ok();
            (left.exchanges().len(), right.exchanges().len())
        };
        let before = (left.exchanges().len(), right.exchanges().len());
        let (at_left, at_right) = ask().await;
        let is_left = at_left > before.0;
        if is_left { &left } else { &right }.next("status:500");
        let expected = if is_left { (at_left + 2, at_right) } else { (at_left, at_right + 2) };
        assert_eq!(ask().await, expected, "an attempt left the cache domain");
    }
}

#[tokio::test]
async fn all_accounts_cooling_gets_503_with_time() {
    let system = TestSystem::empty().await;
    let both = pair(&system).await;
    both.first.next("error:spend_cap");
    both.second.next("error:rate_limit_final");
    let passed = both.key.ask("hi").await.status(429);
    assert_eq!(passed.header("retry-after"), None, "the wait is too long for a client");
    assert_eq!(passed.header("x-should-retry"), Some("false"));
    let answer = both.key.ask("hi").await.refused(503, "overloaded_error");
    assert_eq!(answer.header("retry-after"), None);
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    let (message, day) = (answer.message(), in_seconds(1_790).strftime("%Y-%m-%d").to_string());
    assert!(message.contains(&day) && message.contains("rate limited"), "{message}");
    assert!(!message.contains("acc_"), "the answer names an account");
    assert_eq!(both.counts(), (1, 1), "a cooling account is used");

    let soon = pair(&system).await;
    soon.first.next("status:429;header=retry-after:50");
    soon.second.next("status:429;header=retry-after:40");
    let passed = soon.key.ask("hi").await.status(429);
    assert!(matches!(passed.header("retry-after"), Some("39" | "40")), "{:?}", passed.headers);
    let answer = soon.key.ask("hi").await.refused(503, "overloaded_error");
    let wait: u64 = answer.header("retry-after").expect("retry-after").parse().expect("seconds");
    assert!((30..=40).contains(&wait), "the time of the account that is ready first: {wait}");
    assert_eq!(answer.header("x-should-retry"), None);
}

#[tokio::test]
async fn short_cooldown_of_last_account_is_waited_for() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    system.upstream.next("status:429;header=retry-after:1");
    key.ask("hi").await.status(429);
    key.ask("hi").await.ok();
    assert_eq!(system.upstream.exchanges().len(), 2);
}

#[tokio::test]
async fn model_family_limit_does_not_block_other_models() {
    let system = TestSystem::empty().await;
    let pair = pair(&system).await;
    let claim = "header=anthropic-ratelimit-unified-representative-claim:seven_day_opus";
    pair.first.next(&format!("status:429;header=retry-after:900;{claim}"));
    pair.key.ask_model("claude-opus-5-5", "hi").await.ok();
    eventually("opus cools down", SOON, async || {
        let account = account(&system, &pair.ids[0]).await;
        if account["cooling_models"]["opus"].is_object() { Ok(()) } else { Err(account) }
    })
    .await;
    pair.key.ask_model("claude-haiku-5-5", "hi").await.ok();
    assert_eq!(pair.counts(), (2, 1), "haiku is still served by the first account");
    pair.key.ask_model("claude-opus-5-5", "hi").await.ok();
    assert_eq!(pair.counts(), (2, 2));
}

#[tokio::test]
async fn upstream_utilization_is_shown() {
    let mut system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let unified = "header=anthropic-ratelimit-unified";
    system
        .upstream
        .next(&format!("text;{unified}-5h-utilization:0.42;{unified}-7d-utilization:0.07"));
    key.ask("hi").await.ok();
    eventually("it is shown", SOON, async || {
        let used =
            system.admin().get("/accounts").await.ok().json()["data"][0]["utilization"].clone();
        let same = used["five_hour"]["percent"] == 42 && used["seven_day"]["percent"] == 7;
        if same { Ok(()) } else { Err(used) }
    })
    .await;
    let listed = system.process().command(&["account", "list"]).stdout;
    assert!(listed.contains("42 %") && listed.contains("ready"), "{listed}");
}

#[tokio::test]
async fn cooling_account_is_shown_and_can_be_reset() {
    let mut system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let unified = "header=anthropic-ratelimit-unified-status:rejected";
    system.upstream.next(&format!("status:429;header=retry-after:1800;{unified}"));
    key.ask("hi").await.status(429);
    let account = system.admin().get("/accounts").await.ok().json()["data"][0].clone();
    assert_eq!(account["status"], "cooling", "{account}");
    assert!(account["cooling_until"].is_string(), "{account}");
    let listed = system.process().command(&["account", "list"]).stdout;
    assert!(listed.contains("cooling"), "{listed}");
    let id = account["id"].as_str().expect("an id");
    let reset = system.admin().post(&format!("/accounts/{id}/reset"), &json!({})).await.ok().json();
    assert_eq!((&reset["status"], &reset["cooling_until"]), (&json!("ready"), &Value::Null));
    key.ask("hi").await.ok();
}
