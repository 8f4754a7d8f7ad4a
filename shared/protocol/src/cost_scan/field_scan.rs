//! The settings of a request that bound its answer, multiply it, or raise its price.

use super::named_models::{ModelSearch, add_nested};
use super::{
    CostScan, CostScanError, OutputBound, UpstreamProtocol, find_call_price, parse_count, shown,
};
use baton_domain::price::ServiceTier;
use serde::de::DeserializeSeed;
use serde_json::Value;

const NO_PRICE: &str = "Baton has no price for it. Leave it out.";
const STORED: &str = "Send the whole conversation in the request body.";
/// The advice for a field that no list of known fields contains.
pub(super) const UNKNOWN: &str =
    "Baton does not know it. Leave it out, or ask your operator for a key without a spend limit.";

/// Reads a top-level field that affects the cost of the request.
pub(super) fn read_field(scan: &mut CostScan, name: &str, raw: &str) {
    if name == "prediction" && raw != "null" {
        find_nested_models(scan, name, raw);
        // Unused tokens of a prediction are billed as output. A byte is at most one token.
        scan.cost_factors.predicted_tokens = raw.len() as u64;
        return;
    }
    let value = scan.parse_value(name, raw);
    if value.is_null() {
        return;
    }
    if !matches!(name, "model" | "fallbacks") {
        find_models(scan, name, raw);
    }
    match (scan.body_protocol, name) {
        (_, "model") => read_model(scan, &value),
        (_, "service_tier") => read_tier(scan, &value),
        (_, "speed") if value == "fast" => scan.cost_factors.is_fast = true,
        (_, "speed") => read_word(scan, name, &value, &["standard"]),
        (_, "inference_geo") => read_word(scan, name, &value, &["global", "us"]),
        (_, "cache_control") => scan.read_cache_control(&value),
        (_, "fallbacks") => read_fallbacks(scan, &value),
        (_, "context_management") => read_context_management(scan, &value),
        (UpstreamProtocol::Messages | UpstreamProtocol::Chat, "max_tokens")
        | (UpstreamProtocol::Responses, "max_output_tokens") => {
            scan.max_tokens = read_bound(&value);
        }
        (UpstreamProtocol::Chat, "max_completion_tokens") => {
            scan.max_completion_tokens = read_bound(&value);
        }
        (_, "thinking") => read_thinking(scan, &value),
        (_, "thinking_budget") => match value.as_u64() {
            Some(tokens) => scan.thinking_budget = Some(tokens),
            None => scan.note_unbounded_field(name, NO_NUMBER),
        },
        (_, "enable_thinking") => scan.enables_thinking = value != false,
        (_, "reasoning") => read_reasoning(scan, &value),
        (UpstreamProtocol::Chat, "n" | "best_of")
        | (UpstreamProtocol::Messages, "num_generations" | "numResults") => {
            read_choices(scan, name, &value);
        }
        (UpstreamProtocol::Responses, "previous_response_id" | "conversation" | "prompt") => {
            scan.note_external_content(name, STORED);
        }
        (UpstreamProtocol::Messages, "thread") => {
            // `create` only stores this conversation so that a later request can continue it.
            if value["type"] != "create" {
                scan.note_external_content(name, STORED);
            }
        }
        (UpstreamProtocol::Messages, "compaction") => scan.compacts = true,
        (_, "mcp_servers" | "plugins") if value.as_array().is_some_and(Vec::is_empty) => {}
        (_, "enable_search") if value == false => {}
        (_, "modalities") => {
            let is_text = |kinds: &Vec<Value>| kinds.iter().all(|kind| kind == "text");
            if !value.as_array().is_some_and(is_text) {
                scan.note_unbounded_field(name, NO_PRICE);
            }
        }
        _ => scan.note_unbounded_field(name, NO_PRICE),
    }
}

/// Notes the models that a setting names.
pub(super) fn find_models(facts: &mut CostScan, name: &str, raw: &str) {
    let mut parser = serde_json::Deserializer::from_str(raw);
    if ModelSearch::new(&mut facts.models, name).deserialize(&mut parser).is_err() {
        facts.note(CostScanError::OddSetting(name.to_owned()));
    }
}

/// Notes the models that the objects in a documented value name.
pub(super) fn find_nested_models(scan: &mut CostScan, name: &str, raw: &str) {
    if add_nested(&mut scan.models, raw).is_err() {
        scan.note(CostScanError::OddSetting(shown(name)));
    }
}

const NO_NUMBER: &str = "The value must be a whole number.";

/// Reads the requested model.
fn read_model(scan: &mut CostScan, value: &Value) {
    if let Some(unbounded) = value.as_str().and_then(find_call_price) {
        scan.note_unbounded_field(unbounded.field, unbounded.advice);
    }
}

/// Reads the tier. A more expensive one has listed rates, or costs a usual factor of the others.
fn read_tier(scan: &mut CostScan, value: &Value) {
    scan.cost_factors.uses_project_tier &= value == "auto";
    let tier = match value.as_str().and_then(ServiceTier::from_word) {
        Some(tier @ (ServiceTier::Priority | ServiceTier::Ultrafast)) => tier,
        Some(ServiceTier::Flex | ServiceTier::Batch) | None => {
            return read_word(scan, "service_tier", value, &TIERS);
        }
    };
    scan.cost_factors.tier = Some(tier);
}

/// Tiers that cost at most the list price. `auto` is the default of a request without the field, and
/// leaves the tier to the upstream's project.
const TIERS: [&str; 6] = ["auto", "default", "standard", "standard_only", "flex", "batch"];

fn read_word(scan: &mut CostScan, name: &str, value: &Value, known: &[&str]) {
    if !value.as_str().is_some_and(|word| known.contains(&word)) {
        scan.note_unbounded_field(name, "Baton has no price for this value. Leave the field out.");
    }
}

/// Reads a bound of the answer's length. Only a positive whole number without a fraction or an
/// exponent is one. An upstream can refuse another value, round it, or answer without a bound, so
/// the most that the model can write is reserved for it.
fn read_bound(value: &Value) -> OutputBound {
    match value.as_u64() {
        Some(tokens) if tokens > 0 => OutputBound::Tokens(tokens),
        _ => OutputBound::Invalid,
    }
}

/// Reads `n` (answers to one prompt) and `best_of`. If both are given, their product counts.
fn read_choices(scan: &mut CostScan, name: &str, value: &Value) {
    match parse_count(value) {
        Some(number) => {
            let choices = &mut scan.cost_factors.choices;
            *choices = choices.saturating_mul(number.max(1));
        }
        None => scan.note_unbounded_field(name, NO_NUMBER),
    }
}

/// Reads Anthropic's `thinking`, which other vendors have adopted for Chat Completions. Anthropic's
/// budget is part of `max_tokens`. Other vendors can add theirs on top of it.
fn read_thinking(scan: &mut CostScan, value: &Value) {
    let Some(fields) = value.as_object() else {
        if value != false {
            scan.note_unbounded_field("thinking", "The value must be an object.");
        }
        return;
    };
    for (name, value) in fields {
        match name.as_str() {
            _ if value.is_null() => {}
            "type" => {
                let kinds = ["enabled", "disabled", "adaptive", "between_tools", "auto"];
                read_word(scan, "thinking.type", value, &kinds);
            }
            "budget_tokens" => match value.as_u64() {
                Some(tokens) => scan.thinking_tokens = scan.thinking_tokens.max(tokens),
                None => scan.note_unbounded_field("thinking.budget_tokens", NO_NUMBER),
            },
            "block_binding" | "clear_thinking" | "display" | "keep" => {}
            name => scan.note_unbounded_field(format!("thinking.{}", shown(name)), UNKNOWN),
        }
    }
}

/// Reads `reasoning`, which OpenAI has in Responses and OpenRouter in both APIs. Its
/// `max_tokens` can be on top of the answer's bound.
pub(super) fn read_reasoning(facts: &mut CostScan, value: &Value) {
    let Some(fields) = value.as_object() else {
        return facts.note_unbounded_field("reasoning", "The value must be an object.");
    };
    for (name, value) in fields {
        match name.as_str() {
            _ if value.is_null() => {}
            "max_tokens" => match value.as_u64() {
                Some(tokens) => facts.thinking_tokens = facts.thinking_tokens.max(tokens),
                None => facts.note_unbounded_field("reasoning.max_tokens", NO_NUMBER),
            },
            "mode" => read_word(facts, "reasoning.mode", value, &["standard"]),
            "effort" | "summary" | "generate_summary" | "context" | "exclude" | "enabled" => {}
            name => facts.note_unbounded_field(format!("reasoning.{}", shown(name)), UNKNOWN),
        }
    }
}

/// Reads the fallbacks. Each is one more pass with its own settings.
fn read_fallbacks(scan: &mut CostScan, value: &Value) {
    let Some(fallbacks) = value.as_array() else {
        // `default` means Anthropic's own choice of models.
        if value != "default" {
            add_texts(scan, value);
        }
        return scan.note_unbounded_field("fallbacks", "Name the models in a list.");
    };
    let iterations = scan.cost_factors.iterations.saturating_add(fallbacks.len() as u64);
    scan.cost_factors.iterations = iterations;
    for fallback in fallbacks {
        match fallback {
            Value::String(model) => scan.models.add(model),
            Value::Object(fields) => {
                for (name, value) in fields {
                    read_fallback(scan, name, value);
                }
            }
            other => {
                add_texts(scan, other);
                scan.note_unbounded_field("fallbacks", "Name the models in a list.");
            }
        }
    }
}

fn read_fallback(scan: &mut CostScan, name: &str, value: &Value) {
    match name {
        _ if value.is_null() => {}
        "max_tokens" | "max_completion_tokens" | "max_output_tokens" => match read_bound(value) {
            OutputBound::Tokens(tokens) => {
                scan.fallback_tokens = scan.fallback_tokens.max(tokens);
            }
            _ => scan.cost_factors.has_unbounded_pass = true,
        },
        "thinking" => {
            find_nested_models(scan, "fallbacks", &value.to_string());
            read_thinking(scan, value);
        }
        "speed" if value == "fast" => scan.cost_factors.is_fast = true,
        "speed" => read_word(scan, "fallbacks[].speed", value, &["standard"]),
        "output_config" => find_nested_models(scan, "fallbacks", &value.to_string()),
        "model" if value.is_string() => add_texts(scan, value),
        // LiteLLM maps a model to its substitutes: `{"gpt-5.5": ["o3"]}`.
        name => {
            add_texts(scan, value);
            scan.note_unbounded_field(format!("fallbacks[].{}", shown(name)), UNKNOWN);
        }
    }
}

/// Adds each text in a value as a model.
fn add_texts(scan: &mut CostScan, value: &Value) {
    match value {
        Value::String(model) => scan.models.add(model),
        Value::Array(values) => values.iter().for_each(|value| add_texts(scan, value)),
        Value::Object(fields) => fields.values().for_each(|value| add_texts(scan, value)),
        _ => {}
    }
}

/// Reads context management. Edits that clear parts of the prompt cost nothing. Edits that compact
/// the prompt add one pass.
fn read_context_management(scan: &mut CostScan, value: &Value) {
    let edits = value["edits"].as_array().or(value.as_array());
    for edit in edits.into_iter().flatten() {
        let kind = edit["type"].as_str().unwrap_or_default();
        if kind.starts_with("compact") {
            scan.compacts = true;
        } else if !kind.starts_with("clear_") {
            let field = "context_management.edits[].type";
            scan.note_unbounded_field(
                field,
                "Baton cannot compute the cost of this edit. Leave it out.",
            );
        }
    }
}

impl CostScan {
    /// Reads cache control. Writing a prompt to the cache for longer than five minutes has a higher
    /// price.
    pub(super) fn read_cache_control(&mut self, control: &Value) {
        let is_short = control["ttl"].is_null() || control["ttl"] == "5m";
        self.cost_factors.caches_for_an_hour |= !is_short;
    }
}
