//! Prices in the console, with the rates of the fast mode and of long prompts.

use baton_test_harness::console_client::ConsoleClient;
use serde_json::{Value, json};

const CLASSES: [&str; 5] = ["input", "output", "cache_read", "cache_write_5m", "cache_write_1h"];

fn rates(prefix: &str, first: u32) -> Vec<(String, String)> {
    let each = CLASSES.iter().zip(first..);
    each.map(|(class, usd)| (format!("{prefix}.{class}"), format!("{usd}.50"))).collect()
}

fn expected_rates(first: u32) -> Value {
    let each = CLASSES.iter().zip(first..);
    each.map(|(class, usd)| ((*class).to_owned(), json!(format!("{usd}.500000")))).collect()
}

#[tokio::test]
async fn price_has_fast_and_long_prompt_rates() {
    let console = ConsoleClient::open().await;
    let set = async |fields: &[(String, String)]| {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, it)| (name.as_str(), it.as_str())).collect();
        console.post("/console/prices", &fields).await
    };
    let named = [("model", "own-model"), ("effective_from", "2026-11-01T00:00")];
    let mut fields = named.map(|(name, it)| (name.to_owned(), it.to_owned())).to_vec();
    fields.extend(rates("standard", 1));
    fields.extend(rates("fast", 10));
    fields.extend(rates("above.rates", 20));

    // Rates of long prompts without their length are refused and stay in the form.
    let refused = set(&fields).await.well_formed();
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("(tokens)” is missing"), "{}", refused.text());
    assert_eq!(refused.field("create", "above.rates.input"), "20.50");

    fields.push(("above.prompt_tokens".to_owned(), "200000".to_owned()));
    let made = set(&fields).await;
    assert_eq!(made.status, 303, "{}", made.text());
    let stored = console.api("GET", "/prices/own-model", &json!({})).await;
    let stored = &stored["data"][0];
    assert_eq!((&stored["standard"], &stored["fast"]), (&expected_rates(1), &expected_rates(10)));
    assert_eq!(stored["above"], json!({"prompt_tokens": 200_000, "rates": expected_rates(20)}));

    let list = console.get("/console/prices?q=own-model").await.ok();
    for text in ["fast 10.50", "long 20.50", "long above 200,000 tokens"] {
        assert!(list.text().contains(text), "{text}: {}", list.text());
    }
    // The form for the next price starts with these values.
    let href = list.html.split("href=\"").find(|part| part.starts_with("/console/prices/new?"));
    let href = href.and_then(|part| part.split('"').next()).expect("a way to the form");
    let form = console.get(&href.replace("&#38;", "&").replace("&amp;", "&")).await.ok();
    for (name, value) in &fields[2..] {
        assert_eq!(&form.field("create", name), value, "{name}");
    }
    assert_eq!(form.field("create", "model"), "own-model");
    assert_eq!(form.field("create", "effective_from"), "");
}

#[tokio::test]
async fn price_without_fast_and_long_prompt_rates() {
    let console = ConsoleClient::open().await;
    let fields = [vec![("model".to_owned(), "plain".to_owned())], rates("standard", 1)].concat();
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, it)| (name.as_str(), it.as_str())).collect();
    let empty = [("fast.input", ""), ("above.prompt_tokens", ""), ("above.rates.input", "")];
    let made = console.post("/console/prices", &[&fields[..], &empty].concat()).await;
    assert_eq!(made.status, 303, "{}", made.text());
    let stored = console.api("GET", "/prices/plain", &json!({})).await;
    assert_eq!(
        (&stored["data"][0]["fast"], &stored["data"][0]["above"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(console.get("/console/prices/new?model=nobody-knows").await.status, 404);
}
