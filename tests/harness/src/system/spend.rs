//! The amounts that count against a key's limits, as its owner sees them.

use serde_json::{Value, json};

use super::{SOON, TestKey, TestSystem};
use crate::eventually::eventually;

/// The period of `GET /v1/usage` with this name.
pub async fn spend(key: &TestKey, period: &str) -> Value {
    let usage = key.get("/v1/usage").await.ok().json();
    let rows = usage["spend"].as_array().unwrap_or_else(|| panic!("no spend: {usage}"));
    rows.iter().find(|row| row["period"] == period).unwrap_or_else(|| panic!("{usage}")).clone()
}

/// An amount as pico-dollars.
pub fn pico(value: &Value) -> i128 {
    let text = value.as_str().unwrap_or_else(|| panic!("not an amount: {value}"));
    text.replace('.', "").parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Pico-dollars in the form of the API.
pub fn usd(pico: i128) -> String {
    format!("{}.{:012}", pico / 1_000_000_000_000, pico % 1_000_000_000_000)
}

/// Waits until no request of the key is open or unsettled.
pub async fn settled(key: &TestKey) -> Value {
    eventually("everything is settled", SOON, async || {
        let usage = key.get("/v1/usage").await.ok().json();
        if usage["open_requests"] == 0 { Ok(()) } else { Err(usage) }
    })
    .await;
    spend(key, "total").await
}

/// A key whose daily limit is spent: the limit was lowered below the cost of the key's one request.
pub async fn spent_key(system: &TestSystem, name: &str) -> TestKey {
    let key = system.key(name).limit_usd_daily("100").create().await;
    key.ask("hi").await.ok();
    settled(&key).await;
    let limits = json!({"limits": {"usd_daily": TINY_USD}});
    system.admin().patch(&format!("/keys/{}", key.id), &limits).await.ok();
    key
}

/// A limit that every request exceeds.
pub const TINY_USD: &str = "0.000000000001";

/// Keeps one request open and returns the amount that is reserved for it.
pub async fn estimate(system: &TestSystem, text: &str) -> i128 {
    let probe = system.key("probe").limit_usd_daily("1000").create().await;
    let gate = system.upstream.gate("probe");
    system.upstream.next("text;gate=probe");
    let asking = tokio::spawn({
        let (probe, text) = (probe.clone(), text.to_owned());
        async move { probe.ask(&text).await }
    });
    gate.reached(1).await;
    let reserved = pico(&spend(&probe, "total").await["reserved_usd"]);
    gate.open();
    asking.await.expect("an answer").ok();
    reserved
}

/// The limits of a scope that applies to the key, from `GET /v1/usage`.
pub async fn scope(key: &TestKey, kind: &str) -> Value {
    let usage = key.get("/v1/usage").await.ok().json();
    let scopes = usage["scopes"].as_array().unwrap_or_else(|| panic!("no scopes: {usage}"));
    scopes.iter().find(|row| row["scope"] == kind).unwrap_or_else(|| panic!("{usage}")).clone()
}

/// The row for one period.
pub fn period(scope: &Value, period: &str) -> Value {
    let rows = scope["spend"].as_array().unwrap_or_else(|| panic!("no spend: {scope}"));
    rows.iter().find(|row| row["period"] == period).unwrap_or_else(|| panic!("{scope}")).clone()
}
