//! Reads from a request body, in the form that is sent upstream, the highest cost that it can
//! cause.
//!
//! The scan knows the fields, items, blocks and tools that an API documents ([`known`]) and what
//! each can cost. Anything else can cost any amount, so the request then has no cost bound. The
//! scan is one pass over the body and builds no tree: it skips long texts and unknown values
//! without copying them, and its work is linear in the length of the body. `domain::cost_factors`
//! computes the price of the result.

mod content_scan;
mod field_scan;
mod known;
mod named_models;
mod nested;
mod normalization;
mod strict_json;
mod tool_scan;

pub use named_models::{MODEL_BYTES_MAX, NAMED_MODELS_MAX};
pub use strict_json::SETTING_VALUES_MAX;

use crate::json::{DEPTH_MAX, is_json_within};
use baton_domain::cost_factors::{ChatBound, CostFactors, UnboundedField};
use baton_domain::model::is_claude;
use baton_domain::protocol::UpstreamProtocol;
use content_scan::ContentScanner;
use known::{FieldKind, has_call_price};
use named_models::{ModelSearch, NamedModels};
use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use strict_json::StrictJsonError;
use tool_scan::ToolScanner;

/// The highest number of prompt tokens for one image. Anthropic: 4,784 (vision page, 2026-11).
/// OpenAI: 48,169 on `gpt-4o-mini`, 2,833 + 8 × 5,667 (images and vision page, 2026-11). Gateways serve
/// other models than Anthropic's through the Messages API, too.
fn image_tokens(body_protocol: UpstreamProtocol, model: &str) -> u64 {
    match body_protocol {
        UpstreamProtocol::Messages if is_claude(model) => 5_000,
        UpstreamProtocol::Messages | UpstreamProtocol::Chat | UpstreamProtocol::Responses => 50_000,
    }
}

/// The highest number of passes over the prompt when an upstream runs its own tools. After ten
/// rounds the upstream hands the turn back (platform.claude.com, "Server tools", `pause_turn`,
/// 2026-11).
const SERVER_TOOL_PASSES: u64 = 11;

/// Why the highest cost of a body cannot be read. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CostScanError {
    /// The body is not an object, or is nested too deeply.
    #[error("The request body is not a JSON object, or is nested too deeply.")]
    Form,
    /// JSON parsers disagree about such a value: some refuse it, others read different values.
    #[error(
        "The request body has a value at line {line}, column {column} that JSON parsers read \
         differently. It is a number beyond the range of a double, or half of a surrogate pair. \
         Correct the value."
    )]
    OddValue {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
    },
    /// Like `OddValue`, for a value inside a setting.
    #[error(
        "{0}: the field contains a value that JSON parsers read differently. It is a number beyond \
         the range of a double, or half of a surrogate pair. Correct the value."
    )]
    OddSetting(String),
    /// Parsers disagree about which of the two values counts.
    #[error("{0}: the request has this field twice. Send it once.")]
    Twice(String),
    /// No API documents a setting with this many values.
    #[error("{0}: the field has too many values. At most {SETTING_VALUES_MAX} are accepted.")]
    ManyValues(String),
    /// A server that compares names less strictly reads it as another field.
    #[error("{name}: this field is not spelled as documented. Write it as `{known_name}`.")]
    Alike {
        /// The name as the client wrote it.
        name: String,
        /// The field that a server can mistake it for.
        known_name: &'static str,
    },
    /// The number is limited because each named model is checked and priced.
    #[error(
        "The request body names too many models in addition to `model`. At most {NAMED_MODELS_MAX} \
         are accepted, with at most {MODEL_BYTES_MAX} bytes each."
    )]
    ManyModels,
}

/// Reads a body as an upstream with the protocol `body_protocol` does.
///
/// # Errors
/// The body is not a JSON object, is nested more than [`DEPTH_MAX`] levels deep, has a field twice or in
/// another spelling than the documented one, names too many models, or has a value that parsers
/// read differently.
pub fn read_cost_factors(
    body: &[u8],
    body_protocol: UpstreamProtocol,
) -> Result<CostFactors, CostScanError> {
    let mut parser = serde_json::Deserializer::from_slice(body);
    let mut scan = CostScan::new(body_protocol, body.len() as u64);
    scan.cost_factors.prompt_tokens = normalization::growth(body);
    let scan = parser.deserialize_map(TopLevel(scan)).map_err(|error| reason(body, &error))?;
    parser.end().map_err(|_| CostScanError::Form)?;
    match scan.error {
        Some(error) => Err(error),
        None if scan.models.is_over => Err(CostScanError::ManyModels),
        None => Ok(scan.into_cost_factors()),
    }
}

/// The reason why a request for `model` has no cost bound, if each call of the model has a price in
/// addition to the tokens of the request.
pub fn find_call_price(model: &str) -> Option<UnboundedField> {
    has_call_price(model).then(|| UnboundedField {
        field: "model".to_owned(),
        advice: "Baton does not know the price of a call of this model. Use another model.",
    })
}

/// Finds out why a body was not read. If it is JSON and not too deep, it has a value that parsers
/// disagree about.
fn reason(body: &[u8], error: &serde_json::Error) -> CostScanError {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    if is_object && is_json_within(body, DEPTH_MAX) {
        CostScanError::OddValue { line: error.line(), column: error.column() }
    } else {
        CostScanError::Form
    }
}

/// The form in which an error repeats a client's name: short, and without control characters.
fn shown(name: &str) -> String {
    name.chars().take(60).flat_map(char::escape_debug).collect()
}

/// The findings of a scan so far.
struct CostScan {
    body_protocol: UpstreamProtocol,
    /// The JSON of `model`; empty if the body has none, as at Bedrock.
    model: String,
    cost_factors: CostFactors,
    /// Number of images. The cost of an image does not depend on its bytes.
    images: u64,
    /// Whether the upstream runs tools itself. It reads the prompt again after each.
    runs_tools: bool,
    /// Number of times that the upstream asks another model for advice.
    advices: u64,
    /// Whether the upstream compacts the prompt. Each compaction reads the prompt once more.
    compacts: bool,
    max_tokens: OutputBound,
    max_completion_tokens: OutputBound,
    /// A thinking budget. It depends on the vendor whether the answer's bound includes it.
    thinking_tokens: u64,
    /// A thinking budget on top of the answer's bound (Alibaba's `thinking_budget`).
    thinking_budget: Option<u64>,
    /// Whether thinking on top of the answer's bound is requested (Alibaba's `enable_thinking`).
    enables_thinking: bool,
    /// The largest bound that a fallback sets for itself.
    fallback_tokens: u64,
    /// The models that the request names in addition to `model`.
    models: NamedModels,
    /// The first reason why the body cannot be read.
    error: Option<CostScanError>,
}

/// A bound of the answer's length, as a field of the request gives it.
#[derive(Clone, Copy, Default)]
enum OutputBound {
    /// The field is missing or `null`.
    #[default]
    Absent,
    /// The number of tokens, at least one.
    Tokens(u64),
    /// A value that is not a bound, such as 0 or a text.
    Invalid,
}

impl OutputBound {
    fn tokens(self) -> Option<u64> {
        if let Self::Tokens(tokens) = self { Some(tokens) } else { None }
    }

    /// Which of the fields gave a bound, if `self` is `max_tokens`.
    fn chat_bound(self, max_completion_tokens: Self) -> ChatBound {
        match (self, max_completion_tokens) {
            (Self::Tokens(_), Self::Tokens(_)) => ChatBound::Both,
            (Self::Tokens(_), _) => ChatBound::MaxTokens,
            (_, Self::Tokens(_)) => ChatBound::MaxCompletionTokens,
            _ => ChatBound::None,
        }
    }

    /// The larger of two fields, for an upstream that reads one of them.
    fn larger_of(self, other: Self) -> Option<u64> {
        match (self, other) {
            (Self::Tokens(one), Self::Tokens(other)) => Some(one.max(other)),
            (Self::Absent, bound) | (bound, Self::Absent) => bound.tokens(),
            _ => None,
        }
    }
}

impl CostScan {
    fn new(body_protocol: UpstreamProtocol, bytes: u64) -> Self {
        let cost_factors = CostFactors {
            prompt_bytes: bytes,
            choices: 1,
            iterations: 1,
            caches_for_an_hour: body_protocol != UpstreamProtocol::Messages,
            uses_project_tier: body_protocol != UpstreamProtocol::Messages,
            ..CostFactors::default()
        };
        Self {
            body_protocol,
            model: String::new(),
            cost_factors,
            images: 0,
            runs_tools: false,
            advices: 0,
            compacts: false,
            max_tokens: OutputBound::Absent,
            max_completion_tokens: OutputBound::Absent,
            thinking_tokens: 0,
            thinking_budget: None,
            enables_thinking: false,
            fallback_tokens: 0,
            models: NamedModels::default(),
            error: None,
        }
    }

    /// Parses the value of a setting. If that fails, notes the reason.
    fn parse_value(&mut self, name: &str, raw: &str) -> Value {
        strict_json::parse_strict(raw).unwrap_or_else(|error| {
            let name = shown(name);
            self.note(match error {
                StrictJsonError::Twice => CostScanError::Twice(name),
                StrictJsonError::ManyValues => CostScanError::ManyValues(name),
                StrictJsonError::NotJson => CostScanError::OddSetting(name),
            });
            Value::Null
        })
    }

    fn note(&mut self, error: CostScanError) {
        self.error.get_or_insert(error);
    }

    fn note_duplicate(&mut self, name: &str) {
        self.note(CostScanError::Twice(shown(name)));
    }

    /// Notes a field without a bound. Only the first one is reported.
    fn note_unbounded_field(&mut self, field: impl Into<String>, advice: &'static str) {
        let found = &mut self.cost_factors.unbounded;
        found.get_or_insert_with(|| UnboundedField { field: field.into(), advice });
    }

    /// Notes a field that makes the upstream read content from outside the body.
    fn note_external_content(&mut self, field: impl Into<String>, advice: &'static str) {
        let found = &mut self.cost_factors.reads_beyond_body;
        found.get_or_insert_with(|| UnboundedField { field: field.into(), advice });
    }

    /// Notes an image. `data_bytes` is the length of its data if the body contains it.
    fn note_image(&mut self, data_bytes: usize) {
        self.images += 1;
        let bytes = &mut self.cost_factors.prompt_bytes;
        *bytes = bytes.saturating_sub(data_bytes as u64);
    }

    fn into_cost_factors(self) -> CostFactors {
        let mut cost_factors = self.cost_factors;
        let field = |field: &str, advice| Some(UnboundedField { field: field.to_owned(), advice });
        if self.models.names.iter().any(|model| has_call_price(model)) {
            let advice = "Baton does not know the price of a call of one of these models. Name \
                 other models.";
            cost_factors.unbounded = cost_factors.unbounded.or_else(|| field("models", advice));
        }
        if self.enables_thinking && self.thinking_budget.is_none() {
            let advice = "Set `thinking_budget`, or leave this field out.";
            cost_factors.unbounded =
                cost_factors.unbounded.or_else(|| field("enable_thinking", advice));
        }
        cost_factors.models = self.models.names;
        cost_factors.output_tokens = match self.body_protocol {
            // A vendor that speaks OpenAI's protocol reads one of the two, or only one is known to it
            // (`CostFactors::at_upstream`).
            UpstreamProtocol::Chat => self.max_tokens.larger_of(self.max_completion_tokens),
            UpstreamProtocol::Messages | UpstreamProtocol::Responses => self.max_tokens.tokens(),
        };
        if self.body_protocol == UpstreamProtocol::Chat && cost_factors.output_tokens.is_some() {
            cost_factors.chat_bound = self.max_tokens.chat_bound(self.max_completion_tokens);
        }
        cost_factors.has_thinking_budget = self.thinking_budget.is_some();
        if let Some(tokens) = cost_factors.output_tokens.as_mut() {
            *tokens = self.fallback_tokens.max(*tokens);
        }
        // Anthropic counts a thinking budget as part of the bound, except for a larger one, which
        // interleaved thinking allows. No source says the same of vendors that copied the field.
        let budget = self.thinking_tokens.saturating_add(self.thinking_budget.unwrap_or_default());
        if self.body_protocol != UpstreamProtocol::Messages && budget > 0 {
            cost_factors.thinking_tokens = budget;
            if let Some(tokens) = cost_factors.output_tokens.as_mut() {
                *tokens = tokens.saturating_add(budget);
            }
        } else if let Some(tokens) = cost_factors.output_tokens.as_mut()
            && budget >= *tokens
        {
            *tokens = tokens.saturating_add(budget);
        }
        if self.runs_tools {
            cost_factors.iterations = cost_factors.iterations.saturating_mul(SERVER_TOOL_PASSES);
            cost_factors.iterations = cost_factors.iterations.saturating_add(self.advices);
        }
        if self.compacts {
            cost_factors.iterations = cost_factors.iterations.saturating_mul(2);
            cost_factors.has_unbounded_pass = true;
        }
        let images = self.images.saturating_mul(image_tokens(self.body_protocol, &self.model));
        cost_factors.prompt_tokens = cost_factors.prompt_tokens.saturating_add(images);
        cost_factors
    }
}

struct TopLevel(CostScan);

impl<'de> Visitor<'de> for TopLevel {
    type Value = CostScan;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CostScan, A::Error> {
        let mut scan = self.0;
        let mut seen = HashSet::new();
        while let Some(FieldName(name)) = map.next_key()? {
            scan.read_top_level(&name, &mut map)?;
            if seen.len() < NAMES_MAX && !seen.insert(name.clone()) {
                scan.note_duplicate(&name);
            }
        }
        Ok(scan)
    }
}

impl CostScan {
    fn read_top_level<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match FieldKind::from_name(self.body_protocol, name) {
            FieldKind::Prompt => {
                let allows_references = matches!(name, "messages" | "input");
                map.next_value_seed(ContentScanner::for_field(self, name, allows_references))?;
            }
            FieldKind::Tools => map.next_value_seed(ToolScanner::new(self))?,
            FieldKind::FreeForm => drop(map.next_value::<IgnoredAny>()?),
            // Texts of any length, and fields without effect on the cost.
            FieldKind::Harmless => {
                let raw = map.next_value::<&RawValue>()?.get();
                if name == "model" {
                    self.model = raw.chars().take(MODEL_BYTES_MAX).collect();
                }
                field_scan::find_nested_models(self, name, raw);
            }
            FieldKind::Setting => {
                field_scan::read_field(self, name, map.next_value::<&RawValue>()?.get());
            }
            FieldKind::Models => {
                map.next_value_seed(ModelSearch::new(&mut self.models, name))?;
            }
            FieldKind::Alike(known_name) => {
                self.note(CostScanError::Alike { name: shown(name), known_name });
                map.next_value::<IgnoredAny>()?;
            }
            FieldKind::Unknown => {
                let found = map.next_value_seed(ModelSearch::new(&mut self.models, name))?;
                if !found.is_null {
                    self.note_unbounded_field(shown(name), field_scan::UNKNOWN);
                }
            }
        }
        Ok(())
    }
}

/// The highest number of names that are compared with each other. No real request has more.
const NAMES_MAX: usize = 1_000;

/// A field name, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct FieldName<'a>(#[serde(borrow)] Cow<'a, str>);

/// A count that an upstream can read from a value, which includes fractions and digits in a text. A
/// value above the largest count becomes the largest count.
fn parse_count(value: &Value) -> Option<u64> {
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
mod tests;
