//! Sends requests over the fields that the vendors document to a model of an upstream that uses the
//! most that each field permits. The cost must be reserved, or the request refused with the name of
//! a field.
#![expect(clippy::unwrap_used, reason = "a test may")]

use baton_domain::money::PicoUsd;
use baton_domain::price::PriceTable;
use baton_domain::protocol::UpstreamProtocol;
use baton_domain::usage::{BilledUsage, TokenCounts, UsageIteration};
use baton_protocol::cost_scan::read_cost_factors;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use serde_json::{Map, Value, json};

const MODELS: [&str; 5] =
    ["claude-haiku-4-5", "claude-opus-5-5", "claude-opus-4-1", "claude-haiku-5-5", "gpt-5.5"];

/// The tokens that an upstream bills if a request sets no bound.
const OUTPUT_MAX: u64 = 128_000;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// A field with one of these values, or no such field.
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
        json!([{"type": "function", "name": "a", "parameters": {}}]),
        json!([{"type": "tool_search", "execution": "client"}]),
        json!([{"google_search": {}}]),
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

/// Parts of the prompt, in the form of each protocol.
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

/// A request with any fields, whether its protocol knows them or not.
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
        field("thread", vec![json!({"type": "create"}), json!({"type": "continue"})]),
        field("compaction", vec![json!({"type": "summarize"})]),
        field(
            "reasoning",
            vec![json!({"effort": "high"}), json!({"max_tokens": 90_000}), json!({"mode": "pro"})],
        ),
        field("enable_thinking", vec![json!(true), json!(false)]),
        field("thinking_budget", vec![json!(30_000)]),
        field("multi_agent", vec![json!({"enabled": true})]),
        field("x_new", vec![json!(1), json!(null)]),
    ];
    // Only a few fields at once, because a request with many is refused for one of them.
    let fields = prop::sample::subsequence(fields, 0..7).prop_flat_map(|fields| fields);
    let parts = prop::collection::vec(select(parts()), 0..4);
    (select(MODELS.to_vec()), fields, parts).prop_map(|(model, fields, parts)| {
        let mut body = Map::from_iter([("model".to_owned(), json!(model))]);
        body.extend(fields.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)));
        (Value::Object(body), parts)
    })
}

/// A positive number in a field, rounded up.
fn bound(body: &Value, name: &str) -> Option<u64> {
    let tokens = body[name].as_f64().filter(|number| *number > 0.0)?.ceil();
    format!("{tokens:.0}").parse().ok()
}

/// The most prompt tokens, and whether the upstream reads as much as the model supports. `None` if
/// the prompt has no list price.
fn prompt(
    body_protocol: UpstreamProtocol,
    body: &Value,
    parts: &[Value],
    length: u64,
) -> Option<(u64, bool)> {
    let (mut tokens, mut is_whole) = (length + 346, false);
    for part in parts {
        match part["type"].as_str().unwrap() {
            "input_audio" => return None,
            "image" | "image_url" | "input_image"
                if body_protocol == UpstreamProtocol::Messages =>
            {
                tokens += 4_784;
            }
            "image" | "image_url" | "input_image" => tokens += 48_169,
            "document" | "input_file" => is_whole = true,
            _ => {}
        }
    }
    let stored = ["previous_response_id", "conversation", "prompt"];
    let is_stored = match body_protocol {
        UpstreamProtocol::Messages => body["thread"]["type"] == "continue",
        UpstreamProtocol::Chat => false,
        UpstreamProtocol::Responses => stored.iter().any(|name| !body[*name].is_null()),
    };
    Some((tokens, is_whole || is_stored))
}

/// The most tokens of one answer.
fn answer(body_protocol: UpstreamProtocol, body: &Value) -> u64 {
    let bound = |name| bound(body, name);
    let own = match body_protocol {
        UpstreamProtocol::Messages => bound("max_tokens"),
        UpstreamProtocol::Chat => match (bound("max_tokens"), bound("max_completion_tokens")) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (Some(one), None) if body["max_completion_tokens"].is_null() => Some(one),
            (None, Some(one)) if body["max_tokens"].is_null() => Some(one),
            _ => None,
        },
        UpstreamProtocol::Responses => bound("max_output_tokens"),
    };
    let own = own.unwrap_or(OUTPUT_MAX);
    let budget = body["thinking"]["budget_tokens"].as_u64().unwrap_or_default();
    match body_protocol {
        UpstreamProtocol::Messages if budget >= own => own + budget,
        UpstreamProtocol::Chat => {
            let choices = bound("n").unwrap_or(1) * bound("best_of").unwrap_or(1);
            let predicted = body["prediction"]["content"].as_str().map_or(0, str::len);
            let thinking = [
                &body["thinking"]["budget_tokens"],
                &body["reasoning"]["max_tokens"],
                &body["thinking_budget"],
            ];
            let thinking: u64 = thinking.iter().filter_map(|tokens| tokens.as_u64()).sum();
            (own + thinking) * choices + predicted as u64
        }
        UpstreamProtocol::Responses => {
            own + body["reasoning"]["max_tokens"].as_u64().unwrap_or_default()
        }
        UpstreamProtocol::Messages => own,
    }
}

/// Whether a field of the request other than its tools has no list price.
fn has_no_price(body_protocol: UpstreamProtocol, body: &Value) -> bool {
    let is_there = |name: &str| !body[name].is_null();
    let has_audio = body["modalities"].as_array().is_some_and(|kinds| kinds.len() > 1);
    let is_on = |name: &str| !body[name].is_null() && body[name] != false;
    is_there("x_new")
        || match body_protocol {
            UpstreamProtocol::Messages => is_there("container") || is_there("mcp_servers"),
            UpstreamProtocol::Chat => {
                has_audio
                    || is_there("web_search_options")
                    || is_on("enable_thinking") && !is_there("thinking_budget")
            }
            UpstreamProtocol::Responses => {
                is_there("multi_agent") || body["reasoning"]["mode"] == "pro"
            }
        }
}

/// The model of one more pass if it differs, and whether it reads a full context window.
type Pass<'a> = (Option<&'a str>, bool);

/// The passes that tools cause: the model, and whether it reads a full context window. `None` if
/// they have no bound.
fn tool_passes(body_protocol: UpstreamProtocol, body: &Value) -> Option<(Vec<Pass<'_>>, u64)> {
    let (mut passes, mut searches) = (Vec::new(), 0);
    for tool in body["tools"].as_array().into_iter().flatten() {
        match (body_protocol, tool["type"].as_str().unwrap_or("custom")) {
            (_, "custom") if !tool["google_search"].is_null() => return None,
            (_, "custom" | "function")
            | (UpstreamProtocol::Messages, "bash_20250124")
            | (UpstreamProtocol::Responses, "tool_search") => {}
            (UpstreamProtocol::Messages, "web_search_20250305") => {
                searches = tool["max_uses"].as_u64()?;
                passes.extend((0..searches).map(|_| (None, true)));
            }
            (UpstreamProtocol::Messages, "web_fetch_20260309") => {
                passes.extend((0..10).map(|_| (None, true)));
            }
            (UpstreamProtocol::Messages, "advisor_20260301") => {
                passes.extend((0..10).map(|_| (tool["model"].as_str(), false)));
                passes.extend((0..10).map(|_| (None, false)));
            }
            _ => return None,
        }
    }
    Some((passes, searches))
}

/// The most usage that the request permits by each vendor's documentation, computed independently
/// of the code under test. `None` if the request does not bound it, or if it has no list price.
fn most(
    body_protocol: UpstreamProtocol,
    body: &Value,
    parts: &[Value],
    length: u64,
) -> Option<BilledUsage> {
    if has_no_price(body_protocol, body) {
        return None;
    }
    let (prompt, is_whole) = prompt(body_protocol, body, parts, length)?;
    let (tools, searches) = tool_passes(body_protocol, body)?;
    let output = answer(body_protocol, body);
    let mut passes = vec![(None, output, is_whole)];
    for fallback in body["fallbacks"].as_array().into_iter().flatten() {
        let tokens = fallback["max_tokens"].as_u64().unwrap_or(output);
        passes.push((fallback["model"].as_str(), tokens, is_whole));
    }
    let edits = &body["context_management"];
    let edits = edits["edits"].as_array().or(edits.as_array());
    let compacts = |edit: &Value| edit["type"].as_str().unwrap().starts_with("compact");
    let is_compaction =
        body_protocol == UpstreamProtocol::Messages && !body["compaction"].is_null();
    if is_compaction || edits.into_iter().flatten().any(compacts) {
        passes.push((None, OUTPUT_MAX, is_whole));
    }
    passes.extend(tools.into_iter().map(|(model, reads_all)| {
        let tokens = if model.is_some() { OUTPUT_MAX } else { output };
        (model, tokens, reads_all || is_whole)
    }));
    let is = |name: &str, word: &str| (body[name] == word).then(|| word.to_owned());
    // A fallback can be fast even if the request is not.
    let is_fast = body["fallbacks"].to_string().contains("fast");
    let mut usage = BilledUsage {
        speed: is("speed", "fast").or_else(|| is_fast.then(|| "fast".to_owned())),
        inference_geo: is("inference_geo", "us"),
        service_tier: is("service_tier", "priority"),
        web_searches: searches,
        ..BilledUsage::default()
    };
    let everything = format!("{body}{parts:?}");
    let caches_for_an_hour =
        body_protocol == UpstreamProtocol::Messages && everything.contains("1h");
    for (model, output, reads_all) in passes {
        let window =
            PriceTable::builtin().context_tokens(model.or(body["model"].as_str()).unwrap());
        // No model reads more than its context window.
        let prompt = if reads_all { window? } else { prompt.min(window.unwrap_or(prompt)) };
        let (five, hour) = if caches_for_an_hour { (0, prompt) } else { (prompt, 0) };
        let tokens = TokenCounts {
            output,
            cache_write_5m: five,
            cache_write_1h: hour,
            ..TokenCounts::default()
        };
        usage.tokens.add_counts(&tokens);
        let model = model.map(str::to_owned);
        usage.iterations.push(UsageIteration { kind: "message".to_owned(), model, tokens });
    }
    Some(usage)
}

/// An ordinary request of each protocol's clients: Claude Code, the SDKs, Codex.
fn ordinary(body_protocol: UpstreamProtocol, model: &str, tokens: u64) -> Value {
    let arguments = json!([{"role": "user", "content": "hi"}]);
    match body_protocol {
        UpstreamProtocol::Messages => json!({
            "model": model, "max_tokens": tokens, "stream": true, "messages": arguments,
            "metadata": {"user_id": "u", "model": "m"}, "tool_choice": {"type": "auto"},
            "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "service_tier": "auto", "temperature": 1, "safeguards": {}, "thread": {"type": "create"},
        }),
        UpstreamProtocol::Chat => json!({
            "model": model, "max_completion_tokens": tokens, "stream": true, "messages": arguments,
            "stream_options": {"include_usage": true}, "n": 1, "reasoning_effort": "high",
            "parallel_tool_calls": true, "store": false, "user": "u", "seed": 1, "top_p": 1,
            "response_format": {"type": "json_object"}, "service_tier": "auto",
        }),
        UpstreamProtocol::Responses => json!({
            "model": model, "max_output_tokens": tokens, "stream": true, "input": arguments,
            "reasoning": {"effort": "high", "summary": "auto"}, "parallel_tool_calls": true,
            "store": false, "include": ["reasoning.encrypted_content"], "client_metadata": {"a": "b"},
            "text": {"verbosity": "low"}, "truncation": "auto", "prompt_cache_key": "k",
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(14),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_cost_exceeds_its_reservation(
        (mut body, parts) in request(),
        reads in select(vec![UpstreamProtocol::Messages, UpstreamProtocol::Chat, UpstreamProtocol::Responses]),
    ) {
        let messages = json!([{"role": "user", "content": parts}]);
        let name = if reads == UpstreamProtocol::Responses { "input" } else { "messages" };
        body[name] = messages;
        let text = body.to_string();
        let demand = read_cost_factors(text.as_bytes(), reads).unwrap();
        let (table, model) = (PriceTable::builtin(), body["model"].as_str().unwrap());
        let refused = table.unbounded(&demand, model, now());
        match most(reads, &body, &parts, text.len() as u64) {
            None => prop_assert!(refused.is_some(), "nothing bounds this: {text}"),
            Some(usage) => {
                let cost = table.cost(&usage, model, now()).amount;
                let reserved = table.highest_cost(&demand, model, now()).amount;
                prop_assert!(refused.is_some() || cost <= reserved, "{cost} > {reserved}: {text}");
            }
        }
    }

    /// Ordinary requests are never refused.
    #[test]
    fn ordinary_request_is_bounded(
        model in select(MODELS.to_vec()),
        reads in select(vec![UpstreamProtocol::Messages, UpstreamProtocol::Chat, UpstreamProtocol::Responses]),
        tokens in 1_u64..100_000,
    ) {
        let body = ordinary(reads, model, tokens);
        let demand = read_cost_factors(body.to_string().as_bytes(), reads).unwrap();
        let table = PriceTable::builtin();
        prop_assert_eq!(table.unbounded(&demand, model, now()), None);
        prop_assert!(table.highest_cost(&demand, model, now()).amount > PicoUsd::ZERO);
    }
}

/// All recorded requests of real clients can be read. Only those without a list price are refused.
#[test]
fn recorded_requests_are_bounded() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/requests");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let request: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let target = request["target"].as_str().unwrap();
        let route = target.split('?').next().unwrap();
        let reads = match route.rsplit('/').next().unwrap() {
            "messages" => UpstreamProtocol::Messages,
            "completions" => UpstreamProtocol::Chat,
            "responses" if request["body"].is_object() => UpstreamProtocol::Responses,
            _ => continue,
        };
        count += 1;
        let cost_factors =
            read_cost_factors(request["body"].to_string().as_bytes(), reads).unwrap();
        // Codex and Cline offer OpenAI's own web search and image generation.
        let tools = request["body"]["tools"].to_string();
        let is_hosted = ["\"web_search\"", "\"image_generation\""].map(|kind| tools.contains(kind));
        let field = cost_factors.unbounded.map(|why| why.field).unwrap_or_default();
        let is_expected =
            field.is_empty() || is_hosted.contains(&true) && field.starts_with("tools (");
        assert!(is_expected, "{}: {field}", path.display());
        assert_eq!(cost_factors.models, [""; 0], "{}", path.display());
    }
    assert!(count > 30, "{count}");
}
