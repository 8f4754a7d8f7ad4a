//! The JSON of an answer, as far as metering reads it.
//!
//! One type covers all objects with relevant content: Anthropic's events and messages, OpenAI's
//! chunks, completions and responses. A field of an unexpected type counts as absent, so that an
//! upstream's oddity in one field does not lose the usage in another. Counts that are not plain
//! numbers are noted in [`UsageFaults`].

use super::raw_fields::{RawFields, UsageFaults};
use baton_domain::protocol::UpstreamProtocol;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object of an upstream's answer.
#[derive(Debug, Default)]
pub(super) struct UpstreamObject {
    pub(super) id: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) model: Option<String>,
    pub(super) usage: Option<RawUsage>,
    /// From `message_start`.
    pub(super) message: Option<NestedResponse>,
    /// From the Responses API's events.
    pub(super) response: Option<NestedResponse>,
    /// From an object that reports an error.
    pub(super) error: Option<NestedResponse>,
    /// From `message_delta`.
    pub(super) delta: Option<StopDelta>,
    pub(super) stop_reason: Option<String>,
    /// From OpenAI's chat completions.
    pub(super) choices: Option<Vec<FinishChoice>>,
    /// From a response: `completed`, `incomplete`, `failed`.
    pub(super) status: Option<String>,
    /// OpenAI's tier, which is a field of the answer and not of the usage.
    pub(super) service_tier: Option<String>,
    /// The billed searches in the `output` of a response.
    pub(super) web_searches: Option<u64>,
    /// Whether `content` has a block.
    pub(super) has_content: bool,
    pub(super) answer_fields: PresentAnswerFields,
}

/// The fields of which each protocol documents one for its whole answers. `null` counts as absent,
/// and any other value as an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PresentAnswerFields {
    /// Of Messages.
    content: bool,
    /// Of Chat.
    pub(super) choices: bool,
    /// Of Responses.
    output: bool,
}

impl PresentAnswerFields {
    fn read(fields: &RawFields<'_>) -> Self {
        let is_given = |name| fields.raw(name).is_some_and(|raw| raw != "null");
        let (content, choices) = (is_given("content"), is_given("choices"));
        Self { content, choices, output: is_given("output") }
    }

    /// Whether the answer has the field of any protocol.
    pub(super) fn any(self) -> bool {
        self.content || self.choices || self.output
    }

    /// Whether the answer has the field of this protocol.
    pub(super) fn has(self, protocol: UpstreamProtocol) -> bool {
        match protocol {
            UpstreamProtocol::Messages => self.content,
            UpstreamProtocol::Chat => self.choices,
            UpstreamProtocol::Responses => self.output,
        }
    }
}

/// A message or a response inside an event.
#[derive(Debug)]
pub(super) struct NestedResponse {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) usage: Option<RawUsage>,
    pub(super) status: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) web_searches: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StopDelta {
    #[serde(default, deserialize_with = "deserialize_or_none")]
    pub(super) stop_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FinishChoice {
    #[serde(default, deserialize_with = "deserialize_or_none")]
    pub(super) index: Option<u64>,
    #[serde(default, deserialize_with = "deserialize_or_none")]
    finish_reason: Option<String>,
}

impl FinishChoice {
    /// Whether the choice has ended. Some servers send an empty reason until then.
    pub(super) fn has_finished(&self) -> bool {
        self.finish_reason.as_ref().is_some_and(|reason| !reason.is_empty())
    }
}

/// `usage`, with Anthropic's names. OpenAI's counts are converted.
#[derive(Debug, Default)]
pub(super) struct RawUsage {
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) cache_read_input_tokens: Option<u64>,
    pub(super) cache_creation_input_tokens: Option<u64>,
    pub(super) cache_creation: Option<CacheCreation>,
    pub(super) web_search_requests: Option<u64>,
    pub(super) service_tier: Option<String>,
    pub(super) inference_geo: Option<String>,
    pub(super) speed: Option<String>,
    pub(super) iterations: Option<Vec<RawIteration>>,
    /// The part of the output that was thinking.
    pub(super) thinking_tokens: Option<u64>,
    pub(super) faults: UsageFaults,
}

#[derive(Debug, Default)]
pub(super) struct CacheCreation {
    pub(super) ephemeral_5m_input_tokens: Option<u64>,
    pub(super) ephemeral_1h_input_tokens: Option<u64>,
}

/// One entry of `usage.iterations`. Its counts have the same names as in `usage`.
#[derive(Debug)]
pub(super) struct RawIteration {
    pub(super) kind: Option<String>,
    pub(super) model: Option<String>,
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) cache_read_input_tokens: Option<u64>,
    pub(super) cache_creation_input_tokens: Option<u64>,
    pub(super) cache_creation: Option<CacheCreation>,
}

impl UpstreamObject {
    /// Reads an object. `None` if the bytes are not exactly one.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let mut fields: RawFields<'_> = serde_json::from_slice(json).ok()?;
        Some(Self {
            id: fields.value("id"),
            kind: fields.value("type"),
            model: fields.value("model"),
            usage: RawUsage::take(&mut fields),
            message: fields.object("message").map(NestedResponse::read),
            response: fields.object("response").map(NestedResponse::read),
            error: fields.object("error").map(NestedResponse::read),
            delta: fields.value("delta"),
            stop_reason: fields.value("stop_reason"),
            choices: read_choices(&fields),
            answer_fields: PresentAnswerFields::read(&fields),
            status: fields.value("status"),
            service_tier: fields.value("service_tier"),
            web_searches: web_searches(&fields),
            has_content: fields.raw("content").is_some_and(|raw| {
                raw != "null" && raw.bytes().any(|byte| !b"[] \t\r\n".contains(&byte))
            }),
        })
    }

    /// Reads an object, or the first one of a list. Google's OpenAI-compatible endpoint sends each
    /// error in a list (2026-11).
    pub(super) fn parse_error(json: &[u8]) -> Option<Self> {
        Self::parse(json).or_else(|| {
            let items: Vec<&RawValue> = serde_json::from_slice(json).ok()?;
            Self::parse(items.first()?.get().as_bytes())
        })
    }
}

/// The elements of `choices` that are objects.
fn read_choices(fields: &RawFields<'_>) -> Option<Vec<FinishChoice>> {
    let choices: Vec<&RawValue> = fields.value("choices")?;
    let choices = choices.into_iter().filter_map(|raw| serde_json::from_str(raw.get()).ok());
    Some(choices.collect())
}

impl NestedResponse {
    fn read(mut fields: RawFields<'_>) -> Self {
        Self {
            id: fields.value("id"),
            model: fields.value("model"),
            usage: RawUsage::take(&mut fields),
            status: fields.value("status"),
            service_tier: fields.value("service_tier"),
            web_searches: web_searches(&fields),
        }
    }
}

/// The billed web searches among the items of a response. Each call that searches has a price;
/// opening a page and finding text in it have none (developers.openai.com, "Web search", actions of
/// `web_search_call`, read 2026-11). An item without an action is a search.
fn web_searches(fields: &RawFields<'_>) -> Option<u64> {
    let raw = fields.raw("output").filter(|raw| raw.contains("web_search_call"))?;
    let items: Vec<RawFields<'_>> = serde_json::from_str(raw).ok()?;
    let is_search = |item: &RawFields<'_>| {
        let action = item.object("action").and_then(|action| action.value::<String>("type"));
        item.value::<String>("type").as_deref() == Some("web_search_call")
            && action.is_none_or(|action| action == "search")
    };
    u64::try_from(items.iter().filter(|item| is_search(item)).count()).ok()
}

impl RawUsage {
    /// Reads a usage object of any protocol.
    pub(super) fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self::read)
    }

    /// Takes the usage out of an answer's fields. Two usage objects that differ are a fault of the
    /// one that counts.
    fn take(fields: &mut RawFields<'_>) -> Option<Self> {
        let mut usage = fields.object("usage").map(Self::read)?;
        usage.faults.has_unreadable_count |= fields.is_given_twice("usage");
        Some(usage)
    }

    /// Reads the fields. OpenAI's prompt counts include tokens that were read from the cache and
    /// written to it. Anthropic's do not (usage objects of the APIs' references, 2026-08;
    /// openai-python 3.54, `CompletionUsage`).
    fn read(mut fields: RawFields<'_>) -> Self {
        let input = (fields.count("input_tokens"), fields.count("prompt_tokens"));
        let output = (fields.count("output_tokens"), fields.count("completion_tokens"));
        let mut usage = Self {
            input_tokens: input.0.or(input.1),
            output_tokens: output.0.or(output.1),
            cache_read_input_tokens: fields.count("cache_read_input_tokens"),
            cache_creation_input_tokens: fields.count("cache_creation_input_tokens"),
            cache_creation: CacheCreation::take(&mut fields),
            service_tier: fields.value("service_tier"),
            inference_geo: fields.value("inference_geo"),
            speed: fields.value("speed"),
            ..Self::default()
        };
        let total = fields.count("total_tokens");
        if let Some(mut tools) = fields.read_usage_part("server_tool_use") {
            usage.web_search_requests = tools.count("web_search_requests");
            fields.faults.add(tools.faults);
        }
        usage.iterations = fields.read_usage_list("iterations").map(|passes| {
            passes.into_iter().map(|pass| RawIteration::read(pass, &mut fields.faults)).collect()
        });
        let outputs = ["completion_tokens_details", "output_tokens_details"];
        if let Some(mut details) = outputs.iter().find_map(|name| fields.read_usage_part(name)) {
            // `thinking_tokens` is Anthropic's name, `reasoning_tokens` OpenAI's.
            usage.thinking_tokens =
                details.count("thinking_tokens").or(details.count("reasoning_tokens"));
            fields.faults.add(details.faults);
        }
        let prompts = ["prompt_tokens_details", "input_tokens_details"];
        if let Some(mut details) = prompts.iter().find_map(|name| fields.read_usage_part(name)) {
            let parts = (details.count("cached_tokens"), details.count("cache_write_tokens"));
            usage.split_prompt(parts.0, parts.1, total);
            fields.faults.add(details.faults);
        }
        usage.add_separate_thinking(total);
        usage.faults = fields.faults;
        usage
    }

    /// Whether any count is above 0, so that the upstream bills something.
    pub(super) fn has_counts(&self) -> bool {
        let counts = [Some(self.prompt_tokens()), self.output_tokens, self.web_search_requests];
        counts.into_iter().flatten().any(|count| count > 0) || self.faults.has_excessive_count
    }

    /// The tokens of the prompt, whatever their class.
    fn prompt_tokens(&self) -> u64 {
        [self.input_tokens, self.cache_read_input_tokens, self.cache_creation_input_tokens]
            .into_iter()
            .flatten()
            .fold(0, u64::saturating_add)
    }

    /// Some upstreams do not count thinking as part of the answer (xAI's `reasoning_tokens`, docs.x.ai,
    /// "Reasoning", read 2026-11). The total tells: it has exactly that many tokens more.
    fn add_separate_thinking(&mut self, total: Option<u64>) {
        if let (Some(total), Some(output), Some(thinking)) =
            (total, self.output_tokens, self.thinking_tokens.filter(|count| *count > 0))
            && total == self.prompt_tokens().saturating_add(output).saturating_add(thinking)
        {
            self.output_tokens = Some(output.saturating_add(thinking));
        }
    }

    /// Takes the tokens that were read from the cache and written to it out of the prompt. Some
    /// upstreams do not count them as part of the prompt; then the total has exactly that many tokens more.
    fn split_prompt(&mut self, read: Option<u64>, written: Option<u64>, total: Option<u64>) {
        let cache_total = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
        let counted = [self.input_tokens, self.output_tokens, Some(cache_total)];
        let all = counted.into_iter().flatten().fold(0, u64::saturating_add);
        let with_thinking = all.saturating_add(self.thinking_tokens.unwrap_or(0));
        let is_inside = cache_total == 0
            || self.cache_read_input_tokens.is_some()
            || self.cache_creation_input_tokens.is_some()
            || total.is_none_or(|total| total != all && total != with_thinking)
            // With as many cached as thinking tokens, the usual way of counting is assumed.
            || (self.thinking_tokens == Some(cache_total) && total == Some(all));
        if !is_inside {
            self.cache_read_input_tokens = read;
            self.cache_creation_input_tokens = written;
            return;
        }
        let caches = [
            (&mut self.cache_read_input_tokens, read),
            (&mut self.cache_creation_input_tokens, written),
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

impl CacheCreation {
    fn take(fields: &mut RawFields<'_>) -> Option<Self> {
        let mut split = fields.read_usage_part("cache_creation")?;
        let read = Self {
            ephemeral_5m_input_tokens: split.count("ephemeral_5m_input_tokens"),
            ephemeral_1h_input_tokens: split.count("ephemeral_1h_input_tokens"),
        };
        fields.faults.add(split.faults);
        Some(read)
    }
}

impl RawIteration {
    fn read(mut fields: RawFields<'_>, faults: &mut UsageFaults) -> Self {
        let read = Self {
            kind: fields.value("type"),
            model: fields.value("model"),
            input_tokens: fields.count("input_tokens"),
            output_tokens: fields.count("output_tokens"),
            cache_read_input_tokens: fields.count("cache_read_input_tokens"),
            cache_creation_input_tokens: fields.count("cache_creation_input_tokens"),
            cache_creation: CacheCreation::take(&mut fields),
        };
        faults.add(fields.faults);
        read
    }
}

/// A value of the expected type, or `None`.
fn deserialize_or_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}
