//! `baton doctor`, against a correct deployment and against proxies that each have one fault.

use baton_test_harness::faulty_proxy::{FaultyProxy, ProxyFault};
use baton_test_harness::system::{TestKey, TestSystem};
use jiff::SignedDuration;
use serde_json::Value;

/// Runs `baton doctor` on a relay. Returns its exit code and its report.
fn report(system: &mut TestSystem, arguments: &[&str]) -> (Option<i32>, Value) {
    let all = [&["doctor", "--json"], arguments].concat();
    let ended = system.process().command(&all);
    let value = serde_json::from_str(&ended.stdout);
    (ended.code, value.unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr)))
}

/// The state of one check, its text and its advice.
#[track_caller]
fn check<'a>(report: &'a Value, name: &str) -> (&'a str, &'a str, &'a str) {
    let mut checks = report["checks"].as_array().into_iter().flatten();
    let found = checks.find(|check| check["check"] == name);
    let found = found.unwrap_or_else(|| panic!("no check {name} in {report:#}"));
    let field = |name: &str| found[name].as_str().unwrap_or_else(|| panic!("{name}: {found}"));
    (field("state"), field("what"), field("advice"))
}

async fn system_with_key() -> (TestSystem, TestKey) {
    let system = TestSystem::open().await;
    system.upstream.always("text;events=6;pace=40");
    let key = system.key("doctor").create().await;
    (system, key)
}

/// The report on a proxy with this fault, with a paid request.
async fn behind(fault: ProxyFault) -> (Option<i32>, Value) {
    let (mut system, key) = system_with_key().await;
    let proxy = FaultyProxy::before(&system.relay_url(), fault);
    report(&mut system, &["--relay", &proxy.url(), "--key", &key.secret, "--paid"])
}

#[tokio::test]
async fn correct_deployment_passes_all_checks() {
    let (mut system, key) = system_with_key().await;
    let relay = system.relay_url();
    let (code, report) = report(&mut system, &["--relay", &relay, "--key", &key.secret, "--paid"]);
    assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report:#}");
    let all_checks = [
        "base URL",
        "key form",
        "relay",
        "relay version",
        "clock",
        "key",
        "models",
        "body size",
        "streaming",
        "admin API",
        "admin version",
    ];
    for name in all_checks {
        assert_eq!(check(&report, name).0, "ok", "{name}: {report:#}");
    }
    assert_eq!(system.upstream.exchanges_on("/v1/messages").len(), 1, "one paid request");
    let text = system.process().command(&["doctor", "--relay", &relay, "--key", &key.secret]);
    assert!(!text.stdout.contains(&key.secret) && !text.stderr.contains(&key.secret));
    assert!(text.stdout.contains("--paid"), "{}", text.stdout);
    assert_eq!(
        system.upstream.exchanges_on("/v1/messages").len(),
        1,
        "a second paid request was sent"
    );
}

#[tokio::test]
async fn correct_proxy_passes() {
    let (code, report) = behind(ProxyFault::None).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(check(&report, "body size").1, "bodies of 32 MiB pass");
}

#[tokio::test]
async fn buffering_proxy_fails() {
    let (code, report) = behind(ProxyFault::Buffers).await;
    let (state, what, advice) = check(&report, "streaming");
    assert_eq!((code, state), (Some(1), "fail"), "{report:#}");
    assert!(what.contains("at once") && advice.contains("proxy_buffering off"), "{what}: {advice}");
}

#[tokio::test]
async fn clock_difference_warns_in_both_directions() {
    for (seconds, words) in [(-300, "ahead of"), (300, "behind")] {
        let (code, report) = behind(ProxyFault::Skewed(SignedDuration::from_secs(seconds))).await;
        let (state, what, _) = check(&report, "clock");
        assert_eq!((code, state), (Some(0), "warn"), "{report:#}");
        assert!(what.contains(words), "{what}");
    }
    let (_, report) = behind(ProxyFault::Skewed(SignedDuration::from_secs(15))).await;
    assert_eq!(check(&report, "clock").0, "ok", "{report:#}");
}

#[tokio::test]
async fn body_limit_of_proxy_is_measured() {
    let (code, report) = behind(ProxyFault::Ceiling(1 << 20)).await;
    let (state, what, advice) = check(&report, "body size");
    assert_eq!((code, state), (Some(1), "fail"), "{report:#}");
    assert!(what.starts_with("bodies of 1 MiB pass, bodies of 5 MiB do not"), "{what}");
    assert!(advice.contains("client_max_body_size"), "{advice}");
    let (code, report) = behind(ProxyFault::Ceiling(6_000_000)).await;
    assert_eq!((code, check(&report, "body size").0), (Some(0), "warn"), "{report:#}");
}

#[tokio::test]
async fn body_limit_of_baton_is_measured() {
    let launch = TestSystem::builder().env("BATON_BODY_BYTES_MAX", "8000000");
    let mut system = launch.with_account("main").start().await;
    let (key, relay) = (system.key("k").create().await, system.relay_url());
    let (_, report) = report(&mut system, &["--relay", &relay, "--key", &key.secret]);
    let (state, what, advice) = check(&report, "body size");
    assert_eq!(state, "warn", "{report:#}");
    assert!(what.starts_with("bodies of 6 MiB pass, bodies of 16 MiB do not"), "{what}");
    assert!(advice.contains("BATON_BODY_BYTES_MAX"), "{advice}");
}

#[tokio::test]
async fn redirect_page_and_no_answer_have_different_reports() {
    let (code, report) = behind(ProxyFault::Redirects).await;
    let (state, what, advice) = check(&report, "relay");
    assert_eq!(
        (code, state, what),
        (Some(1), "fail", "the address redirects to https://elsewhere/")
    );
    assert!(advice.contains("drop the key"), "{advice}");
    assert_eq!(check(&report, "streaming").0, "skipped");

    let (_, report) = behind(ProxyFault::Page).await;
    assert!(check(&report, "relay").1.contains("not in Baton's form"), "{report:#}");

    let (mut system, _) = system_with_key().await;
    let (code, report) = self::report(&mut system, &["--relay", "http://127.0.0.1:1"]);
    let (state, what, advice) = check(&report, "relay");
    assert_eq!((code, state, what), (Some(1), "fail", "no answer: connection refused"));
    assert!(advice.contains("relay runs"), "{advice}");
    let encrypted = system.relay_url().replace("http:", "https:");
    let (_, report) = self::report(&mut system, &["--relay", &encrypted]);
    assert!(check(&report, "relay").2.contains("http, not https"), "{report:#}");
}

#[tokio::test]
async fn invalid_or_stripped_key_fails() {
    let (code, report) = behind(ProxyFault::EatsAuthorization).await;
    let (state, what, advice) = check(&report, "key");
    assert_eq!((code, state), (Some(1), "fail"), "{report:#}");
    assert!(
        what.contains("only in `authorization`") && advice.contains("removes"),
        "{what}: {advice}"
    );

    let (mut system, key) = system_with_key().await;
    let relay = system.relay_url();
    let cut = &key.secret[..key.secret.len() - 1];
    let (code, report) = self::report(&mut system, &["--relay", &relay, "--key", cut]);
    assert_eq!((code, check(&report, "key form").0), (Some(1), "fail"), "{report:#}");
    system.admin().delete(&format!("/keys/{}", key.id)).await;
    let (code, report) = self::report(&mut system, &["--relay", &relay, "--key", &key.secret]);
    assert_eq!((code, check(&report, "key").0), (Some(1), "fail"), "{report:#}");
    assert_eq!(check(&report, "key form").0, "ok");
}

#[tokio::test]
async fn base_url_with_extra_path_fails_and_other_checks_run() {
    let (mut system, key) = system_with_key().await;
    let base = format!("{}/v1/messages", system.relay_url());
    let (code, report) = report(&mut system, &["--relay", &base, "--key", &key.secret]);
    let (state, _, advice) = check(&report, "base URL");
    assert_eq!((code, state), (Some(1), "fail"), "{report:#}");
    assert_eq!(advice, format!("use {}", system.relay_url()));
    assert_eq!(check(&report, "key").0, "ok", "{report:#}");
}

#[tokio::test]
async fn wrong_admin_token_fails() {
    let (mut system, _) = system_with_key().await;
    let relay = system.relay_url();
    let (code, report) = report(&mut system, &["--relay", &relay, "--token", "wrong"]);
    let (state, _, advice) = check(&report, "admin API");
    assert_eq!((code, state), (Some(1), "fail"), "{report:#}");
    assert!(advice.contains("does not accept the admin token"), "{advice}");
}
