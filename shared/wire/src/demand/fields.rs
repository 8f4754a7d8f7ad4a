//! The settings of a request: what bounds its answer, multiplies it, or makes it dearer.

use super::{Bound, Facts, Reads, count};
use crate::envelope::is_alike;
use serde_json::Value;

const NO_PRICE: &str = "Baton knows no price for it: leave it out";
const STORED: &str = "send the whole conversation in the body";

/// Deeper in a field nobody looks for names of models.
const DEPTH_MAX: u8 = 16;

/// Whether a field has no effect on what a request costs, whatever it says: it may hold long texts,
/// schemas, or names that are nobody's model.
pub(super) fn is_free(name: &str) -> bool {
    matches!(
        name,
        "model"
            | "stream"
            | "metadata"
            | "output_config"
            | "output_format"
            | "response_format"
            | "text"
            | "functions"
            | "tool_choice"
            | "function_call"
            | "stop"
            | "stop_sequences"
            | "logit_bias"
            | "include"
            | "user"
    )
}

/// Reads a top-level field.
pub(super) fn read(facts: &mut Facts, name: &str, raw: &str) {
    if name == "prediction" && raw != "null" {
        // What of a prediction is not used is billed as output, a token for a byte at most.
        facts.demand.predicted_tokens = raw.len() as u64;
        return;
    }
    let value = facts.value(name, raw);
    if value.is_null() {
        return;
    }
    match (facts.reads, name) {
        (_, "service_tier") => read_word(facts, name, &value, &TIERS),
        (_, "speed") if value == "fast" => facts.demand.is_fast = true,
        (_, "speed") => read_word(facts, name, &value, &["standard"]),
        (_, "inference_geo") => read_word(facts, name, &value, &["global", "us"]),
        (_, "cache_control") => facts.read_cache_control(&value),
        (_, "fallbacks") => read_fallbacks(facts, &value),
        (_, "context_management") => read_context_management(facts, &value),
        (Reads::Messages | Reads::Chat, "max_tokens") | (Reads::Responses, "max_output_tokens") => {
            facts.max_tokens = bound(&value);
        }
        (Reads::Chat, "max_completion_tokens") => facts.max_completion_tokens = bound(&value),
        (Reads::Messages, "thinking") => {
            facts.thinking_tokens = count(&value["budget_tokens"]).unwrap_or_default();
        }
        (Reads::Chat, "n" | "best_of") | (Reads::Messages, "num_generations" | "numResults") => {
            read_choices(facts, name, &value);
        }
        (Reads::Responses, "previous_response_id" | "conversation" | "prompt") => {
            facts.reads_beyond_body(name, STORED);
        }
        (_, "mcp_servers" | "plugins") if value.as_array().is_some_and(Vec::is_empty) => {}
        (_, "enable_search") if value == false => {}
        (Reads::Messages, "mcp_servers" | "container")
        | (Reads::Chat, "audio" | "web_search_options" | "search_parameters" | "plugins")
        | (_, "enable_search") => facts.unbounded(name, NO_PRICE),
        (_, "modalities") => {
            let is_text = |kinds: &Vec<Value>| kinds.iter().all(|kind| kind == "text");
            if !value.as_array().is_some_and(is_text) {
                facts.unbounded(name, NO_PRICE);
            }
        }
        _ if !KNOWN.contains(&name) && KNOWN.iter().any(|known| is_alike(known, name)) => {
            facts.unbounded(name, "write the field as the documentation has it");
        }
        _ => read_models(facts, name, &value, 0),
    }
}

/// Fields that decide what a request costs. A server that compares names less strictly would read
/// one in another spelling, too.
const KNOWN: [&str; 22] = [
    "audio",
    "best_of",
    "container",
    "context_management",
    "conversation",
    "fallbacks",
    "inference_geo",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "mcp_servers",
    "modalities",
    "model",
    "models",
    "n",
    "plugins",
    "prediction",
    "previous_response_id",
    "service_tier",
    "speed",
    "thinking",
    "web_search_options",
];

/// Tiers that cost the list price at most. `auto` is what a request without the field gets.
const TIERS: [&str; 6] = ["auto", "default", "standard", "standard_only", "flex", "batch"];

fn read_word(facts: &mut Facts, name: &str, value: &Value, known: &[&str]) {
    if !value.as_str().is_some_and(|word| known.contains(&word)) {
        facts.unbounded(name, "Baton knows no price for this value: leave the field out");
    }
}

fn bound(value: &Value) -> Bound {
    match count(value) {
        Some(tokens) if tokens > 0 && value.is_number() => Bound::Tokens(tokens),
        _ => Bound::Odd,
    }
}

/// `n` answers to one prompt, or the best of so many; where both are given, the product.
fn read_choices(facts: &mut Facts, name: &str, value: &Value) {
    match count(value) {
        Some(number) => {
            let choices = &mut facts.demand.choices;
            *choices = choices.saturating_mul(number.max(1));
        }
        None => facts.unbounded(name, "it must be a whole number"),
    }
}

/// Each fallback is one more pass, with settings of its own.
fn read_fallbacks(facts: &mut Facts, value: &Value) {
    let Some(fallbacks) = value.as_array() else {
        return facts.unbounded("fallbacks", "name the models in a list");
    };
    let passes = facts.demand.passes.saturating_add(fallbacks.len() as u64);
    facts.demand.passes = passes;
    for fallback in fallbacks {
        match fallback {
            Value::String(model) => facts.add_model(model),
            Value::Object(fields) => {
                for (name, value) in fields {
                    read_fallback(facts, name, value);
                }
            }
            _ => facts.unbounded("fallbacks", "name the models in a list"),
        }
    }
}

fn read_fallback(facts: &mut Facts, name: &str, value: &Value) {
    match name {
        _ if value.is_null() => {}
        "max_tokens" | "max_completion_tokens" | "max_output_tokens" => match bound(value) {
            Bound::Tokens(tokens) => facts.fallback_tokens = facts.fallback_tokens.max(tokens),
            _ => facts.demand.has_unbounded_pass = true,
        },
        "thinking" => {
            let tokens = count(&value["budget_tokens"]).unwrap_or_default();
            facts.thinking_tokens = facts.thinking_tokens.max(tokens);
        }
        "speed" if value == "fast" => facts.demand.is_fast = true,
        "speed" => read_word(facts, "fallbacks[].speed", value, &["standard"]),
        "output_config" => {}
        name => read_models(facts, name, value, 0),
    }
}

/// What clears parts of the prompt costs nothing; what compacts it is one more pass for each.
fn read_context_management(facts: &mut Facts, value: &Value) {
    let edits = value["edits"].as_array().or(value.as_array());
    for edit in edits.into_iter().flatten() {
        let kind = edit["type"].as_str().unwrap_or_default();
        if kind.starts_with("compact") {
            facts.compacts = true;
        } else if !kind.starts_with("clear_") {
            let field = "context_management.edits[].type";
            facts.unbounded(field, "Baton cannot tell what this edit may cost: leave it out");
        }
    }
}

/// Finds the models that a field names, at any depth: each may run instead of, or beside, the one
/// that is asked for.
pub(super) fn read_models(facts: &mut Facts, name: &str, value: &Value, depth: u8) {
    match value {
        Value::String(model) if matches!(name, "model" | "models" | "fallback_models") => {
            facts.add_model(model);
        }
        Value::Array(values) if depth < DEPTH_MAX => {
            for value in values {
                read_models(facts, name, value, depth + 1);
            }
        }
        Value::Object(fields) if depth < DEPTH_MAX => {
            for (name, value) in fields {
                read_models(facts, name, value, depth + 1);
            }
        }
        Value::Array(_) | Value::Object(_) => {
            facts.unbounded(name, "it is nested too deeply: leave it out");
        }
        _ => {}
    }
}

impl Facts {
    fn add_model(&mut self, model: &str) {
        let models = &mut self.demand.models;
        if !models.iter().any(|known| known == model) {
            models.push(model.to_owned());
        }
    }

    /// A prompt that is cached for longer than five minutes is dearer to write.
    pub(super) fn read_cache_control(&mut self, control: &Value) {
        let is_short = control["ttl"].is_null() || control["ttl"] == "5m";
        self.demand.caches_for_an_hour |= !is_short;
    }
}
