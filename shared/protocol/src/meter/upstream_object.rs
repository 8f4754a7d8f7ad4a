//! The JSON of an answer, as far as metering reads it.
//!
//! One type covers all objects with relevant content: Anthropic's events and messages, OpenAI's
//! chunks, completions and responses. A field of an unexpected type counts as absent, so that an
//! upstream's oddity in one field does not lose the usage in another.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object of an upstream's answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct UpstreamObject {
    #[serde(default, rename = "type", deserialize_with = "soft")]
    pub(super) kind: Option<String>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) model: Option<String>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) usage: Option<RawUsage>,
    /// From `message_start`.
    #[serde(default, deserialize_with = "soft")]
    pub(super) message: Option<NestedResponse>,
    /// From the Responses API's events.
    #[serde(default, deserialize_with = "soft")]
    pub(super) response: Option<NestedResponse>,
    /// From `message_delta`.
    #[serde(default, deserialize_with = "soft")]
    pub(super) delta: Option<StopDelta>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) stop_reason: Option<String>,
    /// From OpenAI's chat completions.
    #[serde(default, deserialize_with = "soft")]
    pub(super) choices: Option<Vec<FinishChoice>>,
    /// From a response: `completed`, `incomplete`, `failed`.
    #[serde(default, deserialize_with = "soft")]
    pub(super) status: Option<String>,
}

/// A message or a response inside an event.
#[derive(Debug, Deserialize)]
pub(super) struct NestedResponse {
    #[serde(default, deserialize_with = "soft")]
    pub(super) model: Option<String>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) usage: Option<RawUsage>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) status: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StopDelta {
    #[serde(default, deserialize_with = "soft")]
    pub(super) stop_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FinishChoice {
    #[serde(default, deserialize_with = "soft")]
    pub(super) finish_reason: Option<String>,
}

/// `usage`, with Anthropic's and OpenAI's names.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RawUsage {
    #[serde(default, deserialize_with = "count")]
    pub(super) input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub(super) output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub(super) cache_read_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub(super) cache_creation_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) cache_creation: Option<CacheCreation>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) server_tool_use: Option<ServerToolUse>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) service_tier: Option<String>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) inference_geo: Option<String>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) speed: Option<String>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) iterations: Option<Vec<RawIteration>>,
    #[serde(default, deserialize_with = "count")]
    prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "soft")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default, deserialize_with = "soft")]
    input_tokens_details: Option<PromptDetails>,
    #[serde(default, deserialize_with = "soft")]
    completion_tokens_details: Option<OutputDetails>,
    #[serde(default, deserialize_with = "soft")]
    output_tokens_details: Option<OutputDetails>,
    /// The part of the output that was thinking. It is filled from the details.
    #[serde(skip)]
    pub(super) thinking_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct CacheCreation {
    #[serde(default, deserialize_with = "count")]
    pub(super) ephemeral_5m_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub(super) ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ServerToolUse {
    #[serde(default, deserialize_with = "count")]
    pub(super) web_search_requests: Option<u64>,
}

/// One entry of `usage.iterations`. Its counts have the same names as in `usage`.
#[derive(Debug, Deserialize)]
pub(super) struct RawIteration {
    #[serde(default, rename = "type", deserialize_with = "soft")]
    pub(super) kind: Option<String>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) model: Option<String>,
    #[serde(default, deserialize_with = "count")]
    pub(super) input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub(super) output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub(super) cache_read_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub(super) cache_creation_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "soft")]
    pub(super) cache_creation: Option<CacheCreation>,
}

#[derive(Debug, Deserialize)]
struct PromptDetails {
    #[serde(default, deserialize_with = "count")]
    cached_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    cache_write_tokens: Option<u64>,
}

/// `thinking_tokens` is Anthropic's name, `reasoning_tokens` OpenAI's.
#[derive(Debug, Deserialize)]
struct OutputDetails {
    #[serde(default, alias = "thinking_tokens", deserialize_with = "count")]
    reasoning_tokens: Option<u64>,
}

impl UpstreamObject {
    /// Reads an object. `None` if the bytes are not exactly one.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(json).ok().map(|mut answer| {
            let inner = [&mut answer.message, &mut answer.response].into_iter().flatten();
            for usage in inner.map(|inner| &mut inner.usage).chain([&mut answer.usage]).flatten() {
                usage.normalize_to_anthropic();
            }
            answer
        })
    }

    /// Whether a chat completion or chunk has a finish reason.
    pub(super) fn is_finished(&self) -> bool {
        self.choices.iter().flatten().any(|choice| choice.finish_reason.is_some())
    }
}

impl RawUsage {
    /// Reads a usage object of any protocol.
    pub(super) fn parse(json: &str) -> Option<Self> {
        let mut usage: Self = serde_json::from_str(json).ok()?;
        usage.normalize_to_anthropic();
        Some(usage)
    }

    /// Converts OpenAI's prompt counts, which include tokens that were read from the cache and
    /// written to it, to Anthropic's, which do not (usage objects of the APIs' references, 2026-08;
    /// openai-python 3.54, `CompletionUsage`).
    fn normalize_to_anthropic(&mut self) {
        let details = self.prompt_tokens_details.take().or(self.input_tokens_details.take());
        self.input_tokens = self.input_tokens.or(self.prompt_tokens.take());
        self.output_tokens = self.output_tokens.or(self.completion_tokens.take());
        let outputs = self.completion_tokens_details.take().or(self.output_tokens_details.take());
        self.thinking_tokens = outputs.and_then(|details| details.reasoning_tokens);
        let Some(details) = details else { return };
        let caches = [
            (&mut self.cache_read_input_tokens, details.cached_tokens),
            (&mut self.cache_creation_input_tokens, details.cache_write_tokens),
        ];
        for (slot, count) in caches {
            if let (None, Some(count)) = (&slot, count) {
                // A part cannot be larger than the whole. The billed total stays as reported.
                let part = self.input_tokens.map_or(count, |all| count.min(all));
                *slot = Some(part);
                self.input_tokens = self.input_tokens.map(|all| all - part);
            }
        }
    }
}

/// A value of the expected type, or `None`.
fn soft<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// A whole number, also if it is in quotes or has a decimal point.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let raw = <&'de RawValue>::deserialize(deserializer)?.get().trim_matches('"');
    let whole = raw.split_once('.').filter(|(_, zeros)| zeros.bytes().all(|b| b == b'0'));
    Ok(whole.map_or(raw, |(whole, _)| whole).parse().ok())
}
