//! The settings of a request: what bounds its answer, multiplies it, or makes it dearer.

use super::known::has_call_price;
use super::named_models::ModelSearch;
use super::{Bound, Facts, Reads, Unreadable, count, shown};
use serde::de::DeserializeSeed;
use serde_json::Value;

const NO_PRICE: &str = "Baton knows no price for it: leave it out";
const STORED: &str = "send the whole conversation in the body";
/// What to do about a field that no list of known ones has.
pub(super) const UNKNOWN: &str =
    "Baton does not know it: leave it out, or ask for a key without a spend limit";

/// Reads a top-level field that decides what the request may cost.
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
    if !matches!(name, "model" | "fallbacks") {
        find_models(facts, name, raw);
    }
    match (facts.reads, name) {
        (_, "model") => read_model(facts, &value),
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
        (_, "thinking") => read_thinking(facts, &value),
        (_, "thinking_budget") => match count(&value) {
            Some(tokens) => facts.thinking_budget = Some(tokens),
            None => facts.unbounded(name, NO_NUMBER),
        },
        (_, "enable_thinking") => facts.enables_thinking = value != false,
        (_, "reasoning") => read_reasoning(facts, &value),
        (Reads::Chat, "n" | "best_of") | (Reads::Messages, "num_generations" | "numResults") => {
            read_choices(facts, name, &value);
        }
        (Reads::Responses, "previous_response_id" | "conversation" | "prompt") => {
            facts.reads_beyond_body(name, STORED);
        }
        (Reads::Messages, "thread") => {
            // `create` only has this conversation kept, for a later request to go on with.
            if value["type"] != "create" {
                facts.reads_beyond_body(name, STORED);
            }
        }
        (Reads::Messages, "compaction") => facts.compacts = true,
        (_, "mcp_servers" | "plugins") if value.as_array().is_some_and(Vec::is_empty) => {}
        (_, "enable_search") if value == false => {}
        (_, "modalities") => {
            let is_text = |kinds: &Vec<Value>| kinds.iter().all(|kind| kind == "text");
            if !value.as_array().is_some_and(is_text) {
                facts.unbounded(name, NO_PRICE);
            }
        }
        _ => facts.unbounded(name, NO_PRICE),
    }
}

/// Notes the models that a setting names.
fn find_models(facts: &mut Facts, name: &str, raw: &str) {
    let mut parser = serde_json::Deserializer::from_str(raw);
    if ModelSearch::new(&mut facts.models, name).deserialize(&mut parser).is_err() {
        facts.note(Unreadable::OddSetting(name.to_owned()));
    }
}

const NO_NUMBER: &str = "it must be a whole number";

/// The model that is asked for.
fn read_model(facts: &mut Facts, value: &Value) {
    if value.as_str().is_some_and(has_call_price) {
        facts.unbounded("model", "each of its calls has a price that Baton does not know");
    }
}

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
        None => facts.unbounded(name, NO_NUMBER),
    }
}

/// Anthropic's `thinking`, which other vendors have taken over for Chat Completions. Anthropic's
/// budget is a part of `max_tokens`; other vendors' may be on top of it.
fn read_thinking(facts: &mut Facts, value: &Value) {
    let Some(fields) = value.as_object() else {
        if value != false {
            facts.unbounded("thinking", "it must be an object");
        }
        return;
    };
    for (name, value) in fields {
        match name.as_str() {
            _ if value.is_null() => {}
            "type" => {
                let kinds = ["enabled", "disabled", "adaptive", "between_tools", "auto"];
                read_word(facts, "thinking.type", value, &kinds);
            }
            "budget_tokens" => match count(value) {
                Some(tokens) => facts.thinking_tokens = facts.thinking_tokens.max(tokens),
                None => facts.unbounded("thinking.budget_tokens", NO_NUMBER),
            },
            "block_binding" | "clear_thinking" | "display" | "keep" => {}
            name => facts.unbounded(format!("thinking.{}", shown(name)), UNKNOWN),
        }
    }
}

/// `OpenAI`'s `reasoning` in Responses, `OpenRouter`'s in both: its `max_tokens` may be on top of the
/// answer's bound.
fn read_reasoning(facts: &mut Facts, value: &Value) {
    let Some(fields) = value.as_object() else {
        return facts.unbounded("reasoning", "it must be an object");
    };
    for (name, value) in fields {
        match name.as_str() {
            _ if value.is_null() => {}
            "max_tokens" => match count(value) {
                Some(tokens) => facts.thinking_tokens = facts.thinking_tokens.max(tokens),
                None => facts.unbounded("reasoning.max_tokens", NO_NUMBER),
            },
            "mode" => read_word(facts, "reasoning.mode", value, &["standard"]),
            "effort" | "summary" | "generate_summary" | "context" | "exclude" | "enabled" => {}
            name => facts.unbounded(format!("reasoning.{}", shown(name)), UNKNOWN),
        }
    }
}

/// Each fallback is one more pass, with settings of its own.
fn read_fallbacks(facts: &mut Facts, value: &Value) {
    let Some(fallbacks) = value.as_array() else {
        // `default`: Anthropic's own choice of models.
        if value != "default" {
            add_texts(facts, value);
        }
        return facts.unbounded("fallbacks", "name the models in a list");
    };
    let passes = facts.demand.passes.saturating_add(fallbacks.len() as u64);
    facts.demand.passes = passes;
    for fallback in fallbacks {
        match fallback {
            Value::String(model) => facts.models.add(model),
            Value::Object(fields) => {
                for (name, value) in fields {
                    read_fallback(facts, name, value);
                }
            }
            other => {
                add_texts(facts, other);
                facts.unbounded("fallbacks", "name the models in a list");
            }
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
        "thinking" => read_thinking(facts, value),
        "speed" if value == "fast" => facts.demand.is_fast = true,
        "speed" => read_word(facts, "fallbacks[].speed", value, &["standard"]),
        "output_config" => {}
        "model" if value.is_string() => add_texts(facts, value),
        // LiteLLM names a model and those that stand in for it: `{"gpt-5.5": ["o3"]}`.
        name => {
            add_texts(facts, value);
            facts.unbounded(format!("fallbacks[].{}", shown(name)), UNKNOWN);
        }
    }
}

/// Adds every text in a value as a model.
fn add_texts(facts: &mut Facts, value: &Value) {
    match value {
        Value::String(model) => facts.models.add(model),
        Value::Array(values) => values.iter().for_each(|value| add_texts(facts, value)),
        Value::Object(fields) => fields.values().for_each(|value| add_texts(facts, value)),
        _ => {}
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

impl Facts {
    /// A prompt that is cached for longer than five minutes is dearer to write.
    pub(super) fn read_cache_control(&mut self, control: &Value) {
        let is_short = control["ttl"].is_null() || control["ttl"] == "5m";
        self.demand.caches_for_an_hour |= !is_short;
    }
}
