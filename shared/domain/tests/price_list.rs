//! The list price of every model and class, written by hand, and the rules for applying it.
#![expect(clippy::unwrap_used, reason = "a test may")]

use baton_domain::cost_factors::CostFactors;
use baton_domain::money::PicoUsd;
use baton_domain::price::{ModelPrice, PriceTable};
use baton_domain::token_rates::TokenRates;
use baton_domain::usage::{BilledUsage, TokenCounts, UsageIteration};
use jiff::Timestamp;
use proptest::prelude::*;

const MILLION: u64 = 1_000_000;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn usage(tokens: TokenCounts) -> BilledUsage {
    BilledUsage { tokens, ..BilledUsage::default() }
}

/// `count` tokens of each class separately, in the order of [`TokenCounts`].
fn each_class(count: u64) -> [TokenCounts; 5] {
    let none = TokenCounts::default();
    [
        TokenCounts { input: count, ..none },
        TokenCounts { output: count, ..none },
        TokenCounts { cache_read: count, ..none },
        TokenCounts { cache_write_5m: count, ..none },
        TokenCounts { cache_write_1h: count, ..none },
    ]
}

fn usd(text: &str) -> PicoUsd {
    text.parse().unwrap()
}

fn amount(usage: &BilledUsage, model: &str, at: Timestamp) -> PicoUsd {
    PriceTable::builtin().cost(usage, model, at).amount
}

/// `prices` are dollars per million: input, output, cache read, 5-minute and 1-hour write.
fn check(model: &str, speed: Option<&str>, prices: [&str; 5]) {
    // A thousand tokens keep the prompt below every threshold for long prompts.
    for (tokens, price) in each_class(1_000).into_iter().zip(prices) {
        let usage = BilledUsage { speed: speed.map(str::to_owned), ..usage(tokens) };
        let cost = PriceTable::builtin().cost(&usage, model, now());
        assert_eq!(cost.amount.scale(1_000, 1), usd(price), "{model} {speed:?} {tokens:?}");
        assert!(cost.is_priced, "{model}");
    }
}

const LIST: [(&str, [&str; 5]); 21] = [
    ("claude-fable-5-2", ["8", "40", "0.2", "10", "16"]),
    ("claude-mythos-5-2", ["8", "40", "0.2", "10", "16"]),
    ("claude-fable-5-1", ["10", "50", "0.25", "12.5", "20"]),
    ("claude-fable-5", ["10", "50", "1", "12.5", "20"]),
    ("claude-mythos-5", ["10", "50", "1", "12.5", "20"]),
    ("claude-opus-5-5", ["4", "20", "0.2", "5", "8"]),
    ("claude-opus-5", ["5", "25", "0.5", "6.25", "10"]),
    ("claude-opus-4-8", ["5", "25", "0.5", "6.25", "10"]),
    ("claude-opus-4-7", ["5", "25", "0.5", "6.25", "10"]),
    ("claude-opus-4-6", ["5", "25", "0.5", "6.25", "10"]),
    ("claude-opus-4-5", ["5", "25", "0.5", "6.25", "10"]),
    ("claude-opus-4-1", ["15", "75", "1.5", "18.75", "30"]),
    ("claude-opus-4", ["15", "75", "1.5", "18.75", "30"]),
    ("claude-sonnet-5-5", ["2", "10", "0.1", "2.5", "4"]),
    ("claude-sonnet-5", ["2", "10", "0.2", "2.5", "4"]),
    ("claude-sonnet-4-6", ["3", "15", "0.3", "3.75", "6"]),
    ("claude-sonnet-4-5", ["3", "15", "0.3", "3.75", "6"]),
    ("claude-sonnet-4", ["3", "15", "0.3", "3.75", "6"]),
    ("claude-haiku-5-5", ["0.1", "0.5", "0.01", "0.125", "0.2"]),
    ("claude-haiku-4-5", ["1", "5", "0.1", "1.25", "2"]),
    ("claude-haiku-3-5", ["0.8", "4", "0.08", "1", "1.6"]),
];

const FAST: [(&str, [&str; 5]); 6] = [
    ("claude-fable-5-2", ["16", "80", "0.4", "20", "32"]),
    ("claude-mythos-5-2", ["16", "80", "0.4", "20", "32"]),
    ("claude-opus-5-5", ["8", "40", "0.4", "10", "16"]),
    ("claude-opus-5", ["10", "50", "1", "12.5", "20"]),
    ("claude-opus-4-8", ["10", "50", "1", "12.5", "20"]),
    ("claude-opus-4-7", ["30", "150", "3", "37.5", "60"]),
];

#[test]
fn each_model_and_token_class_has_its_price() {
    for (model, prices) in LIST {
        check(model, None, prices);
        check(model, Some("standard"), prices);
    }
    let table = PriceTable::builtin();
    assert_eq!(table.models().count(), LIST.len(), "a model without a row here");
    assert_eq!(table.version(), "2026-11-22");
}

#[test]
fn fast_mode_uses_its_listed_price() {
    for (model, prices) in FAST {
        check(model, Some("fast"), prices);
    }
    for (model, prices) in LIST {
        if FAST.iter().all(|(fast, _)| *fast != model) {
            check(model, Some("fast"), prices);
        }
    }
}

#[test]
fn cost_matches_the_official_client() {
    let file = include_str!("../../../tests/fixtures/observed/client_price_table.json");
    let seen: serde_json::Value = serde_json::from_str(file).unwrap();
    for (model, row) in seen["usd_per_million"].as_object().unwrap() {
        if model == "claude-haiku-3-5" {
            continue; // The client does not know it and takes another model's price.
        }
        let seen = |field: &str| usd(&row[field].to_string());
        let names = ["input", "output", "cache_read", "cache_write_5m", "cache_write_1h"];
        // The test uses 100,000 tokens, which are not above any threshold.
        for (tokens, name) in each_class(100_000).into_iter().zip(names) {
            let ours = amount(&usage(tokens), model, now());
            assert_eq!(ours.scale(10, 1), seen(name), "{model} {name}");
        }
        let long = usage(TokenCounts { input: 300_000, ..TokenCounts::default() });
        assert_eq!(amount(&long, model, now()).scale(10, 3), seen("input_at_300k_prompt"));
        let searches = BilledUsage { web_searches: 1_000, ..BilledUsage::default() };
        assert_eq!(amount(&searches, model, now()), seen("web_search_per_1000"));
        the_client_s_fast_and_geo(model, seen("fast_input"), seen("inference_geo_us_input"));
    }
}

fn the_client_s_fast_and_geo(model: &str, fast_input: PicoUsd, us_input: PicoUsd) {
    let tokens = TokenCounts { input: 100_000, ..TokenCounts::default() };
    // The client alone has a fast price for Opus 4.6; the pages of August 2026 have none.
    if model != "claude-opus-4-6" {
        let fast = BilledUsage { speed: Some("fast".into()), ..usage(tokens) };
        assert_eq!(amount(&fast, model, now()).scale(10, 1), fast_input, "{model}");
    }
    // The client adds the tenth to every model, the pages from 4.6 on.
    if !model.ends_with("-4-5") {
        let us = BilledUsage { inference_geo: Some("us".into()), ..usage(tokens) };
        assert_eq!(amount(&us, model, now()).scale(10, 1), us_input, "{model}");
    }
}

#[test]
fn cost_of_one_token_is_exact_under_every_factor() {
    let one = TokenCounts { cache_read: 1, ..TokenCounts::default() };
    let check = |model, geo: &str, tier: &str, expect| {
        let terms = BilledUsage {
            inference_geo: Some(geo.into()),
            service_tier: Some(tier.into()),
            ..usage(one)
        };
        assert_eq!(amount(&terms, model, now()).to_string(), expect, "{model} {geo} {tier}");
    };
    check("claude-haiku-5-5", "global", "standard", "0.000000010000");
    check("claude-haiku-5-5", "us", "standard", "0.000000011000");
    check("claude-haiku-5-5", "us", "batch", "0.000000005500");
    check("claude-haiku-5-5", "global", "batch", "0.000000005000");
    check("claude-haiku-4-5", "us", "standard", "0.000000100000");
    check("claude-opus-4-6", "us", "priority", "0.000000550000");
}

#[test]
fn factors_divide_every_built_in_rate() {
    let all = |rates: &TokenRates| {
        let TokenRates { input, output, cache_read, cache_write_5m, cache_write_1h } = *rates;
        [input, output, cache_read, cache_write_5m, cache_write_1h]
    };
    for (model, prices) in PriceTable::builtin().models() {
        for price in prices {
            let long = price.above.map(|long_prompt| long_prompt.rates);
            for rates in [Some(price.standard), price.fast, long].iter().flatten() {
                assert!(all(rates).iter().all(|rate| rate % 20 == 0 && *rate > 0), "{model}");
            }
        }
    }
}

#[test]
fn long_prompts_use_the_higher_rates() {
    let check = |cache_read, expect| {
        let tokens = TokenCounts { input: 1_000, output: 10, cache_read, ..TokenCounts::default() };
        let usage = usage(tokens);
        assert_eq!(amount(&usage, "claude-haiku-5-5", now()).to_string(), expect);
    };
    // 1,000 × 0.1 + 10 × 0.5 + 99,000 × 0.01 per million.
    check(99_000, "0.001095000000");
    // 1,000 × 0.5 + 10 × 2.5 + 99,001 × 0.05 per million.
    check(99_001, "0.005475050000");
}

#[test]
fn price_applies_from_its_effective_date() {
    let read = usage(TokenCounts { cache_read: MILLION, ..TokenCounts::default() });
    let check = |at: &str, expect| {
        assert_eq!(amount(&read, "claude-sonnet-5-5", at.parse().unwrap()), usd(expect), "{at}");
    };
    check("2020-01-01T00:00:00Z", "0.2");
    check("2026-10-06T23:59:59.999Z", "0.2");
    check("2026-10-07T00:00:00Z", "0.1");
    check("2030-01-01T00:00:00Z", "0.1");
}

#[test]
fn model_ids_in_every_format_find_their_price() {
    let input = usage(TokenCounts { input: MILLION, ..TokenCounts::default() });
    let check = |model, expect| {
        let cost = PriceTable::builtin().cost(&input, model, now());
        assert_eq!((cost.amount, cost.is_priced), (usd(expect), true), "{model}");
        assert_eq!(cost.version, "2026-11-22");
    };
    check("claude-sonnet-4-5-20250929", "3");
    check("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3");
    check("anthropic/claude-opus-5-5", "4");
    check("claude-opus-4-20250514", "15");
    check("claude-opus-4-0", "15");
    check("claude-3-5-haiku-20241022", "0.8");
}

#[test]
fn unknown_model_is_never_free() {
    let check = |model, prices: [&str; 5]| {
        for (tokens, price) in each_class(MILLION).into_iter().zip(prices) {
            let cost = PriceTable::builtin().cost(&usage(tokens), model, now());
            assert_eq!(cost.amount, usd(price), "{model} {tokens:?}");
            assert_eq!((cost.is_priced, cost.version.as_str()), (false, "2026-11-22?"), "{model}");
        }
    };
    check("claude-opus-9", ["15", "75", "1.5", "18.75", "30"]);
    check("Claude-Opus-9", ["15", "75", "1.5", "18.75", "30"]);
    check("claude-sonnet-9-20270101", ["3", "15", "0.3", "3.75", "6"]);
    check("claude-haiku-9", ["1", "5", "0.1", "1.25", "2"]);
    check("claude-fable-9", ["10", "50", "1", "12.5", "20"]);
    check("own-model", ["5", "25", "0.5", "6.25", "10"]);
    check("llama3:8b", ["5", "25", "0.5", "6.25", "10"]);
    check("", ["5", "25", "0.5", "6.25", "10"]);
}

/// Costs of tiers, long prompts and searches, from the vendors' pages. Each row: model, tier, tokens
/// (input, cache read, cache write, output), searches, dollars.
#[test]
fn cost_of_tiers_and_long_prompts_is_that_of_the_vendors_page() {
    let rows: [(&str, &str, [u64; 4], u64, &str); 9] = [
        // developers.openai.com, "Pricing", standard, priority, flex and batch, 2026-11.
        ("gpt-5.2", "default", [1_000, 0, 0, 100], 0, "0.00315"),
        ("gpt-5.2", "priority", [1_000, 0, 0, 100], 0, "0.0063"),
        ("gpt-5.2", "flex", [1_000, 0, 0, 100], 0, "0.001575"),
        ("gpt-5.2", "batch", [1_000, 0, 0, 100], 0, "0.001575"),
        // The priority tier of GPT-5.5 costs 2.5 times as much.
        ("gpt-5.5", "priority", [1_000, 1_000, 0, 100], 0, "0.02125"),
        // Prompts of more than 272,000 tokens, and cache writes from GPT-5.6 on.
        ("gpt-5.6", "default", [272_000, 0, 0, 0], 0, "1.088"),
        ("gpt-5.6", "default", [271_000, 1_000, 1_000, 100], 0, "2.1818"),
        // "Web search": 10 dollars for a thousand calls.
        ("gpt-5.2", "default", [1_000, 0, 0, 100], 2, "0.02315"),
        // ai.google.dev, "Gemini API pricing", prompts above 200,000 tokens, 2026-11.
        ("gemini-2.5-pro", "", [200_001, 0, 0, 10], 0, "0.5001525"),
    ];
    for (model, tier, [input, cache_read, cache_write_5m, output], web_searches, expect) in rows {
        let tokens =
            TokenCounts { input, output, cache_read, cache_write_5m, ..TokenCounts::default() };
        let usage =
            BilledUsage { service_tier: Some(tier.to_owned()), web_searches, ..usage(tokens) };
        let cost = PriceTable::builtin().cost(&usage, model, now());
        assert_eq!((cost.amount, cost.is_priced), (usd(expect), true), "{model} {tier}");
    }
}

/// A price without tiers: twice and half, as at `OpenAI`; Claude's priority tier is paid in advance.
#[test]
fn tiers_that_a_price_does_not_list_have_the_usual_factor() {
    let mut table = PriceTable::builtin().clone();
    let rate = 2 * MILLION;
    let standard = TokenRates { input: rate, output: rate, ..TokenRates::default() };
    table.set("gpt-lab", ModelPrice { standard, ..ModelPrice::default() });
    for (tier, expect) in [("priority", "4"), ("fast", "4"), ("flex", "1"), ("default", "2")] {
        let tokens = TokenCounts { input: MILLION, ..TokenCounts::default() };
        let usage = BilledUsage { service_tier: Some(tier.to_owned()), ..usage(tokens) };
        assert_eq!(table.cost(&usage, "gpt-lab", now()).amount, usd(expect), "{tier}");
    }
}

#[test]
fn iterations_use_the_price_of_their_model() {
    let pass = |kind: &str, model: Option<&str>, input, output| UsageIteration {
        kind: kind.into(),
        model: model.map(str::to_owned),
        tokens: TokenCounts { input, output, ..TokenCounts::default() },
    };
    let totals = |input, output| TokenCounts { input, output, ..TokenCounts::default() };
    let check = |totals, passes: Vec<UsageIteration>, expect| {
        let usage = BilledUsage::from_iterations(totals, passes);
        let cost = PriceTable::builtin().cost(&usage, "claude-opus-5-5", now());
        assert_eq!((cost.amount.to_string().as_str(), cost.is_priced), (expect, true));
    };
    // 154,000 × 4 + 3,050 × 20 per million.
    let compaction = pass("compaction", None, 150_000, 3_000);
    let message = pass("message", Some("claude-opus-5-5"), 4_000, 50);
    check(totals(4_000, 50), vec![compaction, message], "0.677000000000");
    // 500 × 4 + 5 × 20 + 500 × 2 + 40 × 10 per million.
    let refused = pass("message", Some("claude-opus-5-5"), 500, 5);
    let fallback = pass("fallback_message", Some("claude-sonnet-5-5"), 500, 40);
    check(totals(500, 40), vec![refused, fallback], "0.003500000000");
}

#[test]
fn own_price_overrides_the_built_in_price() {
    let mut table = PriceTable::builtin().clone();
    let rate = 7 * MILLION;
    let standard = TokenRates {
        input: rate,
        output: rate,
        cache_read: rate,
        cache_write_5m: rate,
        cache_write_1h: rate,
    };
    let price = ModelPrice {
        from: "2026-11-01T00:00:00Z".parse().unwrap(),
        standard,
        version: "ours-1".into(),
        ..ModelPrice::default()
    };
    for model in ["claude-opus-5-5", "house-model"] {
        table.set(model, price.clone());
        table.set(model, price.clone());
    }
    let input = usage(TokenCounts { input: MILLION, ..TokenCounts::default() });
    let check = |model, at: &str, expect, version| {
        let cost = table.cost(&input, model, at.parse().unwrap());
        assert_eq!((cost.amount, cost.version.as_str()), (usd(expect), version), "{model} {at}");
    };
    check("claude-opus-5-5", "2026-10-31T23:00:00Z", "4", "2026-11-22");
    check("claude-opus-5-5", "2026-11-01T00:00:00Z", "7", "ours-1");
    check("house-model", "2026-01-01T00:00:00Z", "7", "ours-1");
    let json = serde_json::to_string(&price).unwrap();
    assert_eq!(serde_json::from_str::<ModelPrice>(&json).unwrap(), price);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However the prompt, the place and the tier vary, the reserved amount is enough.
    #[test]
    fn no_cost_exceeds_its_estimate(
        model in prop::sample::select(LIST.map(|(model, _)| model).to_vec()),
        stranger: bool,
        parts: [u16; 4],
        output in 0_u64..200_000,
        fast: bool,
        us: bool,
        batch: bool,
    ) {
        let model = if stranger { "claude-opus-99" } else { model };
        let [input, cache_read, five, hour] = parts.map(u64::from);
        let tokens =
            TokenCounts { input, output, cache_read, cache_write_5m: five, cache_write_1h: hour };
        let word = |is: bool, word: &str| is.then(|| word.to_owned());
        let usage = BilledUsage {
            speed: word(fast, "fast"),
            inference_geo: word(us, "us"),
            service_tier: word(batch, "batch"),
            ..usage(tokens)
        };
        let demand = CostFactors {
            prompt_bytes: tokens.prompt_tokens(),
            output_tokens: Some(output),
            is_fast: fast,
            caches_for_an_hour: hour > 0,
            ..CostFactors::default()
        };
        let table = PriceTable::builtin();
        let reserved = table.highest_cost(&demand, model, now()).amount;
        prop_assert!(table.cost(&usage, model, now()).amount <= reserved);
    }
}
