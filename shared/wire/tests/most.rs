//! Requests over the fields that the vendors document, and an upstream that uses the most that each
//! permits: what that costs is reserved, or the request is refused by the name of a field.
#![expect(clippy::unwrap_used, reason = "a test may")]

use baton_domain::money::PicoUsd;
use baton_domain::price::PriceTable;
use baton_domain::usage::{Iteration, Tokens, Usage};
use baton_wire::demand::{Reads, read};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use serde_json::{Map, Value, json};

const MODELS: [&str; 5] =
    ["claude-haiku-4-5", "claude-opus-5-5", "claude-opus-4-1", "claude-haiku-5-5", "gpt-5.5"];

/// What an upstream bills where a request sets no bound.
const OUTPUT_MAX: u64 = 128_000;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// A field with one of these values, or without the field.
fn field(name: &'static str, values: Vec<Value>) -> BoxedStrategy<Option<(&'static str, Value)>> {
    prop::option::of(select(values).prop_map(move |value| (name, value))).boxed()
}

fn bounds() -> Vec<Value> {
    vec![
        json!(1),
        json!(16),
        json!(4_000),
        json!(64_000),
        json!(0),
        json!(null),
        json!("9"),
        json!(2.5),
    ]
}

fn tools() -> Vec<Value> {
    vec![
        json!([]),
        json!([{"name": "a", "input_schema": {"type": "object"}}]),
        json!([{"type": "function", "name": "a"}]),
        json!([{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]),
        json!([{"type": "web_search_20250305", "name": "web_search"}]),
        json!([{"type": "web_fetch_20260309", "name": "web_fetch"}]),
        json!([{"type": "code_execution_20260120", "name": "code"}]),
        json!([{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-1"}]),
        json!([{"type": "web_search"}]),
        json!([{"type": "file_search", "vector_store_ids": ["v"]}]),
        json!([{"type": "image_generation", "model": "gpt-image-2"}]),
        json!([{"type": "mcp", "server_url": "https://x"}]),
        json!([{"type": "bash_20250124", "name": "bash"}]),
    ]
}

/// One part of the prompt, in the words of every protocol.
fn parts() -> Vec<Value> {
    let image = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    vec![
        json!({"type": "text", "text": "0123456789".repeat(40)}),
        json!({"type": "image", "source": image}),
        json!({"type": "image", "source": {"type": "url", "url": "https://x"}}),
        json!({"type": "document", "source": {"type": "file", "file_id": "f"}}),
        json!({"type": "document", "source": {"type": "url", "url": "https://x"}}),
        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
        json!({"type": "input_image", "image_url": "https://x"}),
        json!({"type": "input_file", "file_id": "f"}),
        json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}),
    ]
}

/// A request: every field with every protocol, whether it knows it or not.
fn request() -> impl Strategy<Value = (Value, Vec<Value>)> {
    let fields: Vec<BoxedStrategy<Option<(&'static str, Value)>>> = vec![
        field("max_tokens", bounds()),
        field("max_completion_tokens", bounds()),
        field("max_output_tokens", bounds()),
        field("n", vec![json!(1), json!(4), json!(128), json!(null)]),
        field("best_of", vec![json!(1), json!(3)]),
        field("speed", vec![json!("fast"), json!("standard")]),
        field("inference_geo", vec![json!("us"), json!("global")]),
        field(
            "service_tier",
            ["auto", "default", "flex", "priority", "standard_only"].map(Value::from).into(),
        ),
        field(
            "thinking",
            vec![
                json!({"type": "enabled", "budget_tokens": 1_024}),
                json!({"type": "enabled", "budget_tokens": 90_000}),
                json!({"type": "adaptive"}),
            ],
        ),
        field(
            "fallbacks",
            vec![
                json!([{"model": "claude-opus-4-1"}]),
                json!([{"model": "claude-opus-5-5", "speed": "fast", "max_tokens": 50_000}]),
                json!([{"model": "claude-haiku-4-5"}, {"model": "claude-opus-4-1", "max_tokens": 9}]),
            ],
        ),
        field(
            "context_management",
            vec![
                json!({"edits": [{"type": "compact_20260112"}]}),
                json!({"edits": [{"type": "clear_tool_uses_20250919"}]}),
                json!([{"type": "compaction", "compact_threshold": 1_000}]),
            ],
        ),
        field("tools", tools()),
        field("mcp_servers", vec![json!([{"type": "url", "url": "https://x"}])]),
        field("container", vec![json!("c"), json!(null)]),
        field("prediction", vec![json!({"type": "content", "content": "x".repeat(500)})]),
        field("previous_response_id", vec![json!("resp_1"), json!(null)]),
        field("conversation", vec![json!("conv_1"), json!({"id": "conv_1"})]),
        field("prompt", vec![json!({"id": "pmpt_1"})]),
        field("modalities", vec![json!(["text"]), json!(["text", "audio"])]),
        field("web_search_options", vec![json!({})]),
        field("cache_control", vec![json!({"type": "ephemeral", "ttl": "1h"})]),
    ];
    let parts = prop::collection::vec(select(parts()), 0..4);
    (select(MODELS.to_vec()), fields, parts).prop_map(|(model, fields, parts)| {
        let mut body = Map::from_iter([("model".to_owned(), json!(model))]);
        body.extend(fields.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)));
        (Value::Object(body), parts)
    })
}

/// What the request permits at most, read independently of what is tested: as each vendor's
/// documentation has it. `None`: nothing in the request bounds it, or it has no list price.
fn most(reads: Reads, body: &Value, parts: &[Value], length: u64) -> Option<Usage> {
    let number = |value: &Value| value.as_f64().filter(|number| *number > 0.0);
    let bound = |name: &str| {
        let tokens = number(&body[name])?.ceil();
        format!("{tokens:.0}").parse::<u64>().ok()
    };
    if body["service_tier"] == "priority" {
        return None;
    }
    let model = body["model"].as_str().unwrap();
    let context = PriceTable::builtin().context_tokens(model);
    let mut prompt = length + 346;
    for part in parts {
        let kind = part["type"].as_str().unwrap();
        match kind {
            "input_audio" => return None,
            "image" | "image_url" | "input_image" if reads == Reads::Messages => prompt += 4_784,
            "image" | "image_url" | "input_image" => prompt += 48_169,
            "document" | "input_file" => prompt = prompt.max(context?),
            _ => {}
        }
    }
    let mut output = match reads {
        Reads::Messages => bound("max_tokens"),
        Reads::Chat => match (bound("max_tokens"), bound("max_completion_tokens")) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (Some(one), None) if body["max_completion_tokens"].is_null() => Some(one),
            (None, Some(one)) if body["max_tokens"].is_null() => Some(one),
            _ => None,
        },
        Reads::Responses => bound("max_output_tokens"),
    }
    .unwrap_or(OUTPUT_MAX);
    let mut usage = Usage::default();
    let is = |name: &str, word: &str| (body[name] == word).then(|| word.to_owned());
    usage.speed = is("speed", "fast");
    usage.inference_geo = is("inference_geo", "us");
    match reads {
        Reads::Messages => {
            let budget = body["thinking"]["budget_tokens"].as_u64().unwrap_or_default();
            if budget >= output {
                output += budget;
            }
            if !body["container"].is_null() || !body["mcp_servers"].is_null() {
                return None;
            }
        }
        Reads::Chat => {
            let choices = bound("n").unwrap_or(1) * bound("best_of").unwrap_or(1);
            output = output * choices
                + body["prediction"]["content"].as_str().map_or(0, str::len) as u64;
            let has_audio = body["modalities"].as_array().is_some_and(|kinds| kinds.len() > 1);
            if has_audio || !body["web_search_options"].is_null() {
                return None;
            }
        }
        Reads::Responses => {
            let stored = ["previous_response_id", "conversation", "prompt"];
            if stored.iter().any(|name| !body[*name].is_null()) {
                prompt = prompt.max(context?);
            }
        }
    }
    let hour =
        body.to_string().contains("1h") || parts.iter().any(|part| part.to_string().contains("1h"));
    let tokens = |prompt: u64, output: u64| {
        let (five, one) = if hour && reads == Reads::Messages { (0, prompt) } else { (prompt, 0) };
        Tokens { output, cache_write_5m: five, cache_write_1h: one, ..Tokens::default() }
    };
    let asked = model;
    let mut pass = |model: Option<&str>, prompt: u64, output: u64| {
        // No model reads more than its context window.
        let window = PriceTable::builtin().context_tokens(model.unwrap_or(asked));
        let prompt = prompt.min(window.unwrap_or(prompt).max(length + 200_000));
        let model = model.map(str::to_owned);
        let tokens = tokens(prompt, output);
        usage.tokens.add(&tokens);
        usage.iterations.push(Iteration { kind: "message".to_owned(), model, tokens });
    };
    pass(None, prompt, output);
    for fallback in body["fallbacks"].as_array().into_iter().flatten() {
        let tokens = fallback["max_tokens"].as_u64().unwrap_or(output.min(OUTPUT_MAX * 128));
        pass(fallback["model"].as_str(), prompt, tokens);
    }
    let edits = &body["context_management"];
    let edits = edits["edits"].as_array().or(edits.as_array());
    if edits.into_iter().flatten().any(|edit| edit["type"].as_str().unwrap().starts_with("compact"))
    {
        pass(None, prompt, OUTPUT_MAX);
    }
    let mut searches = 0;
    for tool in body["tools"].as_array().into_iter().flatten() {
        let kind = tool["type"].as_str().unwrap_or("custom");
        match (reads, kind) {
            (_, "custom" | "function") | (Reads::Messages, "bash_20250124") => {}
            (Reads::Messages, "web_search_20250305") => {
                searches = tool["max_uses"].as_u64()?;
                (0..searches).for_each(|_| pass(None, context.unwrap_or_default(), output));
                context?;
            }
            (Reads::Messages, "web_fetch_20260309") => {
                context?;
                (0..10).for_each(|_| pass(None, context.unwrap_or_default(), output));
            }
            (Reads::Messages, "advisor_20260301") => {
                (0..5).for_each(|_| pass(tool["model"].as_str(), prompt, OUTPUT_MAX));
                (0..5).for_each(|_| pass(None, prompt, output));
            }
            _ => return None,
        }
    }
    usage.web_searches = searches;
    // A fallback may be fast where the request is not.
    if body["fallbacks"].to_string().contains("fast") {
        usage.speed = Some("fast".to_owned());
    }
    Some(usage)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(14),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_request_costs_more_than_is_reserved(
        (mut body, parts) in request(),
        reads in select(vec![Reads::Messages, Reads::Chat, Reads::Responses]),
    ) {
        let messages = json!([{"role": "user", "content": parts}]);
        let name = if reads == Reads::Responses { "input" } else { "messages" };
        body[name] = messages;
        let text = body.to_string();
        let demand = read(text.as_bytes(), reads).unwrap();
        let (table, model) = (PriceTable::builtin(), body["model"].as_str().unwrap());
        let refused = table.unbounded(&demand, model, now());
        match most(reads, &body, &parts, text.len() as u64) {
            None => prop_assert!(refused.is_some(), "nothing bounds this: {text}"),
            Some(usage) => {
                let cost = table.cost(&usage, model, now()).amount;
                let reserved = table.estimate(&demand, model, now()).amount;
                prop_assert!(refused.is_some() || cost <= reserved, "{cost} > {reserved}: {text}");
            }
        }
    }

    /// What everybody sends is never refused.
    #[test]
    fn an_ordinary_request_is_bounded(
        model in select(MODELS.to_vec()),
        reads in select(vec![Reads::Messages, Reads::Chat, Reads::Responses]),
        tokens in 1_u64..100_000,
    ) {
        let name = match reads {
            Reads::Messages => "max_tokens",
            Reads::Chat => "max_completion_tokens",
            Reads::Responses => "max_output_tokens",
        };
        let body = json!({
            "model": model, name: tokens, "stream": true, "temperature": 1, "metadata": {"user_id": "u"},
            "messages": [{"role": "user", "content": "hi"}], "tool_choice": {"type": "auto"},
            "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"},
            "reasoning": {"effort": "high", "summary": "auto"}, "service_tier": "auto", "n": 1,
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "parallel_tool_calls": true, "store": false, "include": ["reasoning.encrypted_content"],
        });
        let demand = read(body.to_string().as_bytes(), reads).unwrap();
        let table = PriceTable::builtin();
        prop_assert_eq!(table.unbounded(&demand, model, now()), None);
        prop_assert!(table.estimate(&demand, model, now()).amount > PicoUsd::ZERO);
    }
}
