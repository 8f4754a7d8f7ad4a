//! `/metrics` counts the served requests, in Prometheus' text format and with few labels.

use std::collections::{BTreeMap, BTreeSet};

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{MODEL, SOON, TestKey, TestSystem, message};
use baton_test_harness::upstream::FakeUpstream;
use prometheus_parse::{Sample, Scrape, Value};
use serde_json::json;

const TOKEN: &str = "metrics-token-0123456789";

async fn system() -> TestSystem {
    TestSystem::builder().env("BATON_METRICS_TOKEN", TOKEN).start().await
}

async fn get_metrics(system: &TestSystem, token: &str) -> ClientResponse {
    ClientResponse::to(system.admin().with_token(token).request_at_root("GET", "/metrics")).await
}

/// The samples of the page, after a check of its form.
async fn scrape(system: &TestSystem) -> Vec<Sample> {
    let page = get_metrics(system, TOKEN).await.ok();
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = page.text();
    well_formed(&text);
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    Scrape::parse(lines).expect("Prometheus' text form").samples
}

/// The checks of `promtool check metrics`: names, one help and one type before the samples of each
/// family, each family in one piece, counters ending in `_total`, each series once with a number,
/// and whole lines.
fn well_formed(text: &str) {
    let (mut family, mut seen) = (String::new(), BTreeSet::new());
    let mut series = BTreeSet::new();
    assert!(text.ends_with('\n'), "the last line has no end");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            assert!(!help.is_empty() && seen.insert(name.to_owned()), "twice, or no help: {line}");
            name.clone_into(&mut family);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, family, "a type without its help");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let name = line.split(['{', ' ']).next().expect("a name");
            let rest = name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} in {family}"));
            assert!(["", "_bucket", "_sum", "_count"].contains(&rest), "{line} in {family}");
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(name.starts_with("baton_") && name.chars().all(plain), "{line}");
            let (one, number) = line.rsplit_once(' ').expect("a value");
            assert!(series.insert(one.to_owned()), "twice: {line}");
            assert!(number.parse::<f64>().is_ok_and(f64::is_finite), "no number: {line}");
        }
    }
}

/// The value of the sample with exactly these labels, or 0.
fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: BTreeMap<_, _> = labels.iter().copied().collect();
    let has = |sample: &&Sample| {
        let own: BTreeMap<_, _> =
            sample.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        sample.metric == name && own == wanted
    };
    let found: Vec<&Sample> = samples.iter().filter(has).collect();
    match found[..] {
        [] => 0.0,
        [sample] => match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
            ref other => panic!("{other:?}"),
        },
        _ => panic!("more than one {name} {labels:?}"),
    }
}

fn requests(samples: &[Sample], status: &str, outcome: &str) -> f64 {
    let labels = [("protocol", "anthropic_messages"), ("status", status), ("outcome", outcome)];
    value(samples, "baton_requests_total", &labels)
}

#[tokio::test]
async fn served_requests_are_counted() {
    let system = system().await;
    let second = FakeUpstream::start();
    system.account_with("main", &system.upstream.url(), json!({"priority": 1})).await;
    system.account_with("other", &second.url(), json!({"priority": 2})).await;
    let key = system.key("ci").create().await;
    let mut cost = 0.0;
    let before = scrape(&system).await;
    assert!(
        requests(&before, "200", "complete").abs() < 1e-9,
        "there are requests before the first one"
    );
    key.ask("hi").await.ok();
    system.upstream.next("status:429;header=retry-after:60");
    key.ask("hi").await.ok();
    second.next("error:invalid_request");
    key.ask("hi").await.status(400);
    TestKey::found("bt_nonsense", &system.relay_url()).ask("hi").await.status(401);
    let count = message(MODEL, "hi", false).to_string();
    let count = key.request("POST", "/v1/messages/count_tokens").body(count);
    ClientResponse::to(count).await.ok();
    let events = system.events_of(&key, 3).await;
    let tokens: u64 = events.iter().map(|event| event["tokens"]["output"].as_u64().unwrap()).sum();
    for event in &events {
        cost += event["cost_usd"].as_str().unwrap().parse::<f64>().unwrap();
    }

    let samples = scrape(&system).await;
    let is = |name: &str, labels: &[(&str, &str)], expected: f64| {
        let value = value(&samples, name, labels);
        assert!((value - expected).abs() < 1e-9, "{name} {labels:?}: {value}, not {expected}");
    };
    // Two streams and a free token count.
    assert!((requests(&samples, "200", "complete") - 3.0).abs() < 1e-9);
    assert!((requests(&samples, "400", "upstream_error") - 1.0).abs() < 1e-9);
    assert!((requests(&samples, "401", "refused") - 1.0).abs() < 1e-9);
    #[expect(clippy::cast_precision_loss, reason = "a few tokens")]
    is("baton_tokens_total", &[("kind", "output"), ("model", MODEL)], tokens as f64);
    is("baton_spend_usd_total", &[("model", MODEL)], cost);
    for (name, field) in
        [("baton_ttft_seconds", "ttft_ms"), ("baton_duration_seconds", "duration_ms")]
    {
        let times: Vec<f64> = events.iter().filter_map(|event| event[field].as_f64()).collect();
        #[expect(clippy::cast_precision_loss, reason = "a few requests")]
        is(&format!("{name}_count"), &[], times.len() as f64);
        is(&format!("{name}_sum"), &[], times.iter().sum::<f64>() / 1000.0);
    }
    let attempts = |result| [("provider", "anthropic"), ("result", result)];
    is("baton_upstream_attempts_total", &attempts("ok"), 3.0);
    is("baton_upstream_attempts_total", &attempts("rate_limit"), 1.0);
    is("baton_upstream_attempts_total", &attempts("client_error"), 1.0);
    is("baton_failovers_total", &[("cause", "rate_limit")], 1.0);
    // The model is limited, not the account.
    is("baton_accounts", &[("state", "ready")], 2.0);
    is("baton_usage_pending", &[], 0.0);
    is("baton_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let ttft = samples.iter().find(|sample| sample.metric == "baton_ttft_seconds");
    let Value::Histogram(buckets) = &ttft.expect("a histogram").value else { panic!("{ttft:?}") };
    assert!(buckets.is_sorted_by(|a, b| a.less_than < b.less_than && a.count <= b.count));
    assert!(buckets.last().is_some_and(|last| last.less_than.is_infinite() && last.count >= 2.0));
}

#[tokio::test]
async fn streams_open_counts_running_answers() {
    let system = system().await;
    system.account("main", &system.upstream.url()).await;
    let key = system.key("ci").create().await;
    let gate = system.upstream.gate("held");
    gate.release(2);
    system.upstream.next("fixture:text;size=300;gate=held");
    let live = key.open("hi").await;
    assert!((value(&scrape(&system).await, "baton_streams_open", &[]) - 1.0).abs() < 1e-9);
    gate.open();
    live.finish().await.ok();
    eventually("the answer is no longer open", SOON, async || {
        let open = value(&scrape(&system).await, "baton_streams_open", &[]);
        if open.abs() < 1e-9 { Ok(()) } else { Err(open) }
    })
    .await;
}

#[tokio::test]
async fn metrics_need_token_and_have_no_ids() {
    let system = system().await;
    system.account("main", &system.upstream.url()).await;
    let key = system.key("ci").create().await;
    key.ask_model("a-name-that-a-client-made-up", "hi").await;
    key.ask("hi").await.ok();
    system.events_of(&key, 2).await;
    get_metrics(&system, "wrong").await.refused(401, "authentication_error");
    let token = system.admin();
    ClientResponse::to(token.request_at_root("GET", "/metrics")).await.ok();
    // The metrics token gives no access to the admin API.
    token.with_token(TOKEN).get("/accounts").await.refused(401, "authentication_error");
    let text = get_metrics(&system, TOKEN).await.ok().text();
    for part in ["key_", "acc_", "grp_", "req_", "made-up", key.id.as_str()] {
        assert!(!text.contains(part), "{part} is on the page");
    }
}
