//! What a request may make its upstream do at most, read from the body as it is sent upstream.
//!
//! Each protocol's own fields count, and no other's: an upstream ignores a field that it does not
//! know. One pass over the body, without a tree of it: long texts are skipped, not copied. What the
//! result costs is `domain::demand`'s business.
//!
//! Sources, read 2026-11-28: the parameter types of Anthropic's and OpenAI's Python SDKs (Messages
//! beta, Chat Completions, Responses, their tools), Amazon's page on Anthropic's models in
//! `InvokeModel`, `OpenRouter`'s and vLLM's parameters beside OpenAI's.

mod content;
mod fields;
mod strict;
mod tools;

use baton_domain::demand::{Demand, Unbounded};
use content::Content;
use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use tools::Tools;

/// What the upstream that gets the body speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reads {
    /// Anthropic's Messages, also in Bedrock's form.
    Messages,
    /// OpenAI's Chat Completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
}

impl Reads {
    /// The most prompt tokens that one image can be. Anthropic: 4,784 (vision page, 2026-11).
    /// OpenAI: 48,169 on `gpt-4o-mini`, 2,833 + 8 × 5,667 (images and vision page, 2026-11).
    fn image_tokens(self) -> u64 {
        match self {
            Self::Messages => 5_000,
            Self::Chat | Self::Responses => 50_000,
        }
    }
}

/// The longest path of an upstream's own tools: after ten rounds it hands the turn back
/// (platform.claude.com, "Server tools", `pause_turn`, 2026-11).
const SERVER_TOOL_PASSES: u64 = 11;

/// The body cannot be read for what it may cost. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not an object, or nested too deeply.
    #[error("the request body is not a JSON object, or is nested too deeply")]
    Form,
    /// Which of two values counts is for each parser to say.
    #[error("{0}: field given twice")]
    Twice(String),
}

/// Reads a body as an upstream that speaks `reads` does.
///
/// # Errors
/// It is no JSON object, is nested more than 127 levels deep, or has a field twice.
pub fn read(body: &[u8], reads: Reads) -> Result<Demand, Unreadable> {
    let mut parser = serde_json::Deserializer::from_slice(body);
    let facts = Facts::new(reads, body.len() as u64);
    let facts = parser.deserialize_map(TopLevel(facts)).map_err(|_| Unreadable::Form)?;
    parser.end().map_err(|_| Unreadable::Form)?;
    match facts.twice {
        Some(field) => Err(Unreadable::Twice(field)),
        None => Ok(facts.into_demand()),
    }
}

/// What was found so far.
struct Facts {
    reads: Reads,
    demand: Demand,
    /// Images, which count by number and not by their bytes.
    images: u64,
    /// Tools that the upstream runs itself: it reads the prompt again after each.
    runs_tools: bool,
    /// Answers of other models that the upstream asks for advice.
    advices: u64,
    /// Compactions, each of which reads the prompt once more.
    compacts: bool,
    max_tokens: Bound,
    max_completion_tokens: Bound,
    thinking_tokens: u64,
    /// The largest bound that a fallback sets for itself.
    fallback_tokens: u64,
    twice: Option<String>,
}

/// A bound of the answer's length.
#[derive(Clone, Copy, Default)]
enum Bound {
    /// The field is not there, or `null`.
    #[default]
    Absent,
    /// So many tokens, at least one.
    Tokens(u64),
    /// Something that bounds nothing, such as 0 or a text.
    Odd,
}

impl Bound {
    fn tokens(self) -> Option<u64> {
        if let Self::Tokens(tokens) = self { Some(tokens) } else { None }
    }

    /// The larger of two fields of which an upstream may read either.
    fn or_larger(self, other: Self) -> Option<u64> {
        match (self, other) {
            (Self::Tokens(one), Self::Tokens(other)) => Some(one.max(other)),
            (Self::Absent, bound) | (bound, Self::Absent) => bound.tokens(),
            _ => None,
        }
    }
}

impl Facts {
    fn new(reads: Reads, bytes: u64) -> Self {
        let demand = Demand {
            prompt_bytes: bytes,
            choices: 1,
            passes: 1,
            caches_for_an_hour: reads != Reads::Messages,
            ..Demand::default()
        };
        Self {
            reads,
            demand,
            images: 0,
            runs_tools: false,
            advices: 0,
            compacts: false,
            max_tokens: Bound::Absent,
            max_completion_tokens: Bound::Absent,
            thinking_tokens: 0,
            fallback_tokens: 0,
            twice: None,
        }
    }

    /// A small value, whatever it is; `name` is noted where a field in it is given twice.
    fn value(&mut self, name: &str, raw: &str) -> Value {
        strict::read(raw).unwrap_or_else(|| {
            self.note_twice(name);
            Value::Null
        })
    }

    fn note_twice(&mut self, name: &str) {
        self.twice.get_or_insert_with(|| name.to_owned());
    }

    /// Notes a field that nothing bounds; the first one is told.
    fn unbounded(&mut self, field: impl Into<String>, advice: &'static str) {
        let found = &mut self.demand.unbounded;
        found.get_or_insert_with(|| Unbounded { field: field.into(), advice });
    }

    /// Notes a field that has the upstream read what is not in the body.
    fn reads_beyond_body(&mut self, field: impl Into<String>, advice: &'static str) {
        let found = &mut self.demand.reads_beyond_body;
        found.get_or_insert_with(|| Unbounded { field: field.into(), advice });
    }

    /// Notes an image whose data, if it is in the body, has so many bytes.
    fn image(&mut self, data_bytes: usize) {
        self.images += 1;
        let bytes = &mut self.demand.prompt_bytes;
        *bytes = bytes.saturating_sub(data_bytes as u64);
    }

    fn into_demand(self) -> Demand {
        let mut demand = self.demand;
        demand.output_tokens = match self.reads {
            // A vendor that speaks OpenAI's dialect reads one of the two.
            Reads::Chat => self.max_tokens.or_larger(self.max_completion_tokens),
            Reads::Messages | Reads::Responses => self.max_tokens.tokens(),
        };
        if let Some(tokens) = demand.output_tokens.as_mut() {
            *tokens = self.fallback_tokens.max(*tokens);
        }
        // A budget is part of the bound; a larger one, which interleaved thinking allows, is not.
        if let Some(tokens) = demand.output_tokens.as_mut()
            && self.thinking_tokens >= *tokens
        {
            *tokens = tokens.saturating_add(self.thinking_tokens);
        }
        if self.runs_tools {
            demand.passes = demand.passes.saturating_mul(SERVER_TOOL_PASSES);
            demand.passes = demand.passes.saturating_add(self.advices);
        }
        if self.compacts {
            demand.passes = demand.passes.saturating_mul(2);
            demand.has_unbounded_pass = true;
        }
        let images = self.images.saturating_mul(self.reads.image_tokens());
        demand.prompt_tokens = demand.prompt_tokens.saturating_add(images);
        demand
    }
}

struct TopLevel(Facts);

impl<'de> Visitor<'de> for TopLevel {
    type Value = Facts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Facts, A::Error> {
        let mut facts = self.0;
        let mut seen = HashSet::new();
        while let Some(Name(name)) = map.next_key()? {
            match name.as_ref() {
                "messages" | "input" | "system" | "instructions" => {
                    let is_list = matches!(name.as_ref(), "messages" | "input");
                    map.next_value_seed(Content::of(&mut facts, &name, is_list))?;
                }
                "tools" => map.next_value_seed(Tools::of(&mut facts))?,
                // A text of any length, or what has no effect on the cost.
                name if fields::is_free(name) => drop(map.next_value::<IgnoredAny>()?),
                name => {
                    let raw = map.next_value::<&RawValue>()?.get();
                    fields::read(&mut facts, name, raw);
                }
            }
            if seen.len() < NAMES_MAX && !seen.insert(name.clone()) {
                facts.note_twice(&name);
            }
        }
        Ok(facts)
    }
}

/// Names that are compared with each other; no request has so many.
const NAMES_MAX: usize = 1_000;

/// A key, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A count that an upstream may read out of a value: also a fraction, or digits in a text. What is
/// larger than any count is the largest one.
fn count(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) if number.is_u64() => return number.as_u64(),
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        _ => return None,
    };
    if number.is_nan() {
        None
    } else if number <= 0.0 {
        Some(0)
    } else {
        Some(format!("{:.0}", number.ceil()).parse().unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
#[path = "demand/table.rs"]
mod table;
