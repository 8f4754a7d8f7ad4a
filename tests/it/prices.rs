//! Prices that an operator sets: they are listed with the built-in ones, the relay uses them, and
//! records name them.

use baton_test_harness::system::{MODEL, TestSystem, pico, spend};
use serde_json::{Value, json};

fn rates(input: &str, output: &str) -> Value {
    json!({
        "input": input, "output": output, "cache_read": "0", "cache_write_5m": "0",
        "cache_write_1h": "0",
    })
}

async fn last_event(
    system: &TestSystem,
    key: &baton_test_harness::system::TestKey,
    count: usize,
) -> Value {
    system.events_of(key, count).await.swap_remove(0)
}

#[tokio::test]
async fn relay_charges_own_price() {
    let system = TestSystem::open().await;
    let (admin, key) = (system.admin(), system.key("ci").create().await);
    key.ask("hi").await.ok();
    let before = last_event(&system, &key, 1).await;
    let own =
        json!({"model": MODEL, "effective_from": "2020-01-01", "standard": rates("1000", "2000")});
    let made = admin.post("/prices", &own).await.status(201).json();
    assert_eq!(made["source"], "own", "{made}");
    key.ask("hi").await.ok();
    let after = last_event(&system, &key, 2).await;
    assert_eq!(after["price_version"], made["price_version"]);
    assert_ne!(after["price_version"], before["price_version"]);
    let count = |class: &str| after["tokens"][class].as_u64().expect("tokens");
    // Dollars per million tokens are micro-dollars per token.
    let micros = 1000 * count("input") + 2000 * count("output");
    let expected = format!("{}.{:06}000000", micros / 1_000_000, micros % 1_000_000);
    assert_eq!(after["cost_usd"], expected.as_str(), "{after}");

    admin.delete(&format!("/prices/{MODEL}?effective_from=2020-01-01")).await.status(204);
    key.ask("hi").await.ok();
    assert_eq!(last_event(&system, &key, 3).await["price_version"], before["price_version"]);
}

#[tokio::test]
async fn own_prices_are_listed_with_built_in_prices() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let all = admin.get("/prices?limit=1000").await.ok().json();
    let builtin = all["data"].as_array().expect("data").len();
    assert!(builtin > 5 && all["next_cursor"].is_null(), "{all}");
    let path = format!("/prices/{MODEL}");
    let first = admin.get(&path).await.ok().json();
    assert_eq!(first["data"][0]["source"], "builtin", "{first}");
    let own = json!({
        "model": MODEL, "effective_from": "2030-05-01", "standard": rates("2.5", "10.000001"),
        "fast": rates("5", "20"), "above": {"prompt_tokens": 200_000, "rates": rates("3", "4")},
        "us_geo": true,
    });
    let made = admin.post("/prices", &own).await.status(201).json();
    assert_eq!(made["effective_from"], "2030-05-01T00:00:00Z");
    assert_eq!(made["standard"]["output"], "10.000001");
    assert_eq!(made["above"]["rates"]["input"], "3.000000", "{made}");
    let listed = admin.get(&path).await.ok().json();
    assert_eq!(listed["data"].as_array().and_then(|rows| rows.last()), Some(&made));
    admin.post("/prices", &own).await.refused(409, "conflict_error");

    let (mut seen, mut page) = (0, "/prices?limit=4".to_owned());
    loop {
        let body = admin.get(&page).await.ok().json();
        seen += body["data"].as_array().expect("data").len();
        let Some(cursor) = body["next_cursor"].as_str() else { break };
        page = format!("/prices?limit=4&cursor={cursor}");
    }
    assert_eq!(seen, builtin + 1);
    let rows = admin.get("/audit?action=create&actor=admin_token").await.ok().json();
    assert_eq!(rows["data"][0]["target"], format!("{MODEL}@2030-05-01T00:00:00Z"), "{rows}");
}

#[tokio::test]
async fn invalid_price_is_refused() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    for bad in [
        json!({"model": MODEL}),
        json!({"model": "claude-*", "standard": rates("1", "1")}),
        json!({"model": "", "standard": rates("1", "1")}),
        json!({"model": MODEL, "standard": rates("-1", "1")}),
        json!({"model": MODEL, "standard": rates("1.0000001", "1")}),
        json!({"model": MODEL, "standard": rates("10000000", "1")}),
        json!({"model": MODEL, "standard": rates("1", "1"), "effective_from": "soon"}),
    ] {
        admin.post("/prices", &bad).await.refused(400, "invalid_request_error");
    }
    admin.get("/prices?cursor=nonsense").await.refused(400, "invalid_request_error");
    admin.get("/prices/unknown").await.refused(404, "not_found_error");
    admin.delete(&format!("/prices/{MODEL}")).await.refused(400, "invalid_request_error");
    // Built-in prices cannot be deleted.
    let builtin = admin.get(&format!("/prices/{MODEL}")).await.ok().json();
    let from = builtin["data"][0]["effective_from"].as_str().expect("a time");
    let gone = admin.delete(&format!("/prices/{MODEL}?effective_from={from}")).await;
    gone.refused(404, "not_found_error");
}

/// A contracted price counts in the reservation and in the settlement.
#[tokio::test]
async fn account_pays_its_contracted_price() {
    let system = TestSystem::empty().await;
    let (admin, url) = (system.admin(), system.upstream.url());
    let mut amounts = Vec::new();
    for (name, multiplier) in [("list", None), ("half", Some("0.5")), ("double", Some("2"))] {
        let group = system.group(name).await;
        let account = system.account_with(name, &url, json!({"groups": [group]})).await;
        if let Some(multiplier) = multiplier {
            let own = json!({
                "model": "all", "account_id": account, "multiplier": multiplier,
                "effective_from": "2020-01-01",
            });
            let made = admin.post("/prices", &own).await.status(201).json();
            assert_eq!(made["model"], format!("{account}/all"), "{made}");
        }
        let key = system.key(name).group(&group).limit_usd_daily("1000").create().await;
        let held = system.upstream.gate(name);
        system.upstream.next(&format!("text;gate={name}"));
        let asking = tokio::spawn({
            let key = key.clone();
            async move { key.ask("hi").await }
        });
        held.reached(1).await;
        let reserved = pico(&spend(&key, "total").await["reserved_usd"]);
        held.open();
        asking.await.expect("an answer").ok();
        let event = last_event(&system, &key, 1).await;
        amounts.push((reserved, pico(&event["cost_usd"])));
    }
    let [list, half, double] = amounts.try_into().expect("three accounts");
    let times = |(reserved, cost): (i128, i128), factor: i128| (reserved * factor, cost * factor);
    assert!(list.0 > 0 && list.1 > 0, "{list:?}");
    assert_eq!(times(half, 2), list);
    assert_eq!(double, times(list, 2));
}

/// What is stated about a model is stored, shown and kept when a price is set again.
#[tokio::test]
async fn stated_capabilities_are_shown_with_the_model() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let own = json!({
        "model": "openai/gpt-lab", "standard": rates("1", "2"), "context_tokens": 64_000,
        "per_request": "5", "capabilities": {"images": false, "efforts": ["low", "high"]},
    });
    let made = admin.post("/prices", &own).await.status(201).json();
    let shown = admin.get("/models/gpt-lab").await.ok().json();
    assert_eq!(shown["data"], json!([made]));
    assert_eq!(made["capabilities"], own["capabilities"]);
    assert_eq!(made["per_request"], "5.000000", "{made}");
    let listed = admin.get("/models?q=openai/gpt-lab").await.ok().json();
    assert_eq!(listed["data"], json!([made]));
    let catalog = admin.get("/models/gpt-5.4").await.ok().json();
    assert_eq!(catalog["data"][0]["capabilities"]["images"], true, "{catalog}");
    for bad in [json!({"images": "no"}), json!({"efforts": ["much"]}), json!({"sight": true})] {
        let mut own = own.clone();
        own["capabilities"] = bad;
        admin.post("/prices", &own).await.refused(400, "invalid_request_error");
    }
}

/// A model without a price is counted in sums until it has one.
#[tokio::test]
async fn requests_without_a_price_are_counted() {
    let system = TestSystem::open().await;
    let (admin, key) = (system.admin(), system.key("ci").create().await);
    let counts = async || {
        let sums = admin.get("/usage/summary?by=model").await.ok().json();
        let rows = sums["data"].as_array().expect("rows").clone();
        let count = |row: &Value| {
            (row["group"]["model"].as_str().map(str::to_owned), row["unpriced_requests"].as_u64())
        };
        rows.iter().map(count).collect::<Vec<_>>()
    };
    key.ask_model("made-up", "hi").await.ok();
    key.ask("hi").await.ok();
    system.events_of(&key, 2).await;
    let expected = vec![(Some(MODEL.to_owned()), Some(0)), (Some("made-up".to_owned()), Some(1))];
    assert_eq!(counts().await, expected);
}
