//! `baton doctor`, against a Baton that is well and against fronts that each do one thing wrong.

use baton_tests::faulty_proxy::{FaultyProxy, ProxyFault};
use baton_tests::house::{LaunchOptions, TestKey, TestSystem};
use jiff::SignedDuration;
use serde_json::Value;

/// What it says of a relay: its exit code and its report.
fn report(house: &mut TestSystem, arguments: &[&str]) -> (Option<i32>, Value) {
    let all = [&["doctor", "--json"], arguments].concat();
    let ended = house.process().command(&all);
    let value = serde_json::from_str(&ended.stdout);
    (ended.code, value.unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr)))
}

/// The state of one check, its words and its advice.
#[track_caller]
fn check<'a>(report: &'a Value, name: &str) -> (&'a str, &'a str, &'a str) {
    let mut checks = report["checks"].as_array().into_iter().flatten();
    let found = checks.find(|check| check["check"] == name);
    let found = found.unwrap_or_else(|| panic!("no check {name} in {report:#}"));
    let field = |name: &str| found[name].as_str().unwrap_or_else(|| panic!("{name}: {found}"));
    (field("state"), field("what"), field("advice"))
}

async fn house_with_key() -> (TestSystem, TestKey) {
    let house = TestSystem::open().await;
    house.upstream.always("text;events=6;pace=40");
    let key = house.key("doctor").create().await;
    (house, key)
}

/// The report on a front with this fault, paid.
async fn behind(fault: ProxyFault) -> (Option<i32>, Value) {
    let (mut house, key) = house_with_key().await;
    let front = FaultyProxy::before(&house.relay_url(), fault);
    report(&mut house, &["--relay", &front.url(), "--key", &key.secret, "--paid"])
}

#[tokio::test]
async fn a_deployment_that_is_well_passes_everything() {
    let (mut house, key) = house_with_key().await;
    let relay = house.relay_url();
    let (code, report) = report(&mut house, &["--relay", &relay, "--key", &key.secret, "--paid"]);
    assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report:#}");
    let well = [
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
    for name in well {
        assert_eq!(check(&report, name).0, "ok", "{name}: {report:#}");
    }
    assert_eq!(house.upstream.exchanges_on("/v1/messages").len(), 1, "one paid request");
    let text = house.process().command(&["doctor", "--relay", &relay, "--key", &key.secret]);
    assert!(!text.stdout.contains(&key.secret) && !text.stderr.contains(&key.secret));
    assert!(text.stdout.contains("--paid"), "{}", text.stdout);
    assert_eq!(house.upstream.exchanges_on("/v1/messages").len(), 1, "nothing more is paid for");
}

#[tokio::test]
async fn a_front_that_does_nothing_wrong_passes() {
    let (code, report) = behind(ProxyFault::None).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(check(&report, "body size").1, "bodies of 32 MB pass");
}

#[tokio::test]
async fn a_proxy_that_buffers_is_found() {
    let (code, report) = behind(ProxyFault::Buffers).await;
    let (state, what, advice) = check(&report, "streaming");
    assert_eq!((code, state), (Some(1), "fail"), "{report:#}");
    assert!(what.contains("at once") && advice.contains("proxy_buffering off"), "{what}: {advice}");
}

#[tokio::test]
async fn a_clock_that_is_off_is_found_in_either_direction() {
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
async fn a_ceiling_for_bodies_is_found_and_weighed() {
    let (code, report) = behind(ProxyFault::Ceiling(1 << 20)).await;
    let (state, what, advice) = check(&report, "body size");
    assert_eq!((code, state), (Some(1), "fail"), "{report:#}");
    assert!(what.starts_with("bodies of 1 MB pass, bodies of 5 MB do not"), "{what}");
    assert!(advice.contains("client_max_body_size"), "{advice}");
    let (code, report) = behind(ProxyFault::Ceiling(6_000_000)).await;
    assert_eq!((code, check(&report, "body size").0), (Some(0), "warn"), "{report:#}");
}

#[tokio::test]
async fn baton_s_own_ceiling_is_found_too() {
    let launch = LaunchOptions::new().env("BATON_BODY_BYTES_MAX", "8000000");
    let mut house = TestSystem::launched(launch).await;
    house.account("main", &house.upstream.url()).await;
    let (key, relay) = (house.key("k").create().await, house.relay_url());
    let (_, report) = report(&mut house, &["--relay", &relay, "--key", &key.secret]);
    let (state, what, advice) = check(&report, "body size");
    assert_eq!(state, "warn", "{report:#}");
    assert!(what.starts_with("bodies of 6 MB pass, bodies of 16 MB do not"), "{what}");
    assert!(advice.contains("BATON_BODY_BYTES_MAX"), "{advice}");
}

#[tokio::test]
async fn a_redirect_a_page_and_silence_are_told_apart() {
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

    let (mut house, _) = house_with_key().await;
    let (code, report) = self::report(&mut house, &["--relay", "http://127.0.0.1:1"]);
    let (state, what, advice) = check(&report, "relay");
    assert_eq!((code, state, what), (Some(1), "fail", "no answer: connection refused"));
    assert!(advice.contains("relay runs"), "{advice}");
    let encrypted = house.relay_url().replace("http:", "https:");
    let (_, report) = self::report(&mut house, &["--relay", &encrypted]);
    assert!(check(&report, "relay").2.contains("http, not https"), "{report:#}");
}

#[tokio::test]
async fn a_key_that_is_wrong_or_eaten_is_found() {
    let (code, report) = behind(ProxyFault::EatsAuthorization).await;
    let (state, what, advice) = check(&report, "key");
    assert_eq!((code, state), (Some(1), "fail"), "{report:#}");
    assert!(
        what.contains("only in `authorization`") && advice.contains("removes"),
        "{what}: {advice}"
    );

    let (mut house, key) = house_with_key().await;
    let relay = house.relay_url();
    let cut = &key.secret[..key.secret.len() - 1];
    let (code, report) = self::report(&mut house, &["--relay", &relay, "--key", cut]);
    assert_eq!((code, check(&report, "key form").0), (Some(1), "fail"), "{report:#}");
    house.admin().delete(&format!("/keys/{}", key.id)).await;
    let (code, report) = self::report(&mut house, &["--relay", &relay, "--key", &key.secret]);
    assert_eq!((code, check(&report, "key").0), (Some(1), "fail"), "{report:#}");
    assert_eq!(check(&report, "key form").0, "ok");
}

#[tokio::test]
async fn a_base_with_a_path_too_many_is_found_and_the_rest_is_looked_at() {
    let (mut house, key) = house_with_key().await;
    let base = format!("{}/v1/messages", house.relay_url());
    let (code, report) = report(&mut house, &["--relay", &base, "--key", &key.secret]);
    let (state, _, advice) = check(&report, "base URL");
    assert_eq!((code, state), (Some(1), "fail"), "{report:#}");
    assert_eq!(advice, format!("use {}", house.relay_url()));
    assert_eq!(check(&report, "key").0, "ok", "{report:#}");
}

#[tokio::test]
async fn an_admin_token_that_is_wrong_is_found() {
    let (mut house, _) = house_with_key().await;
    let relay = house.relay_url();
    let (code, report) = report(&mut house, &["--relay", &relay, "--token", "wrong"]);
    let (state, _, advice) = check(&report, "admin API");
    assert_eq!((code, state), (Some(1), "fail"), "{report:#}");
    assert!(advice.contains("does not accept the admin token"), "{advice}");
}
