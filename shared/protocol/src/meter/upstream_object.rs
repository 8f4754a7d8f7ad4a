//! The JSON of an answer, as far as metering reads it.
//!
//! One type covers all objects with relevant content: Anthropic's events and messages, OpenAI's
//! chunks, completions and responses. A field of an unexpected type counts as absent, so that an
//! upstream's oddity in one field does not lose the usage in another. [`RawUsage`] has the counts.

use super::raw_fields::{RawFields, read_object};
use super::raw_usage::RawUsage;
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

impl UpstreamObject {
    /// Reads an object. `None` if the bytes are not exactly one.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        read_object(json, Self::read)
    }

    fn read(mut fields: RawFields<'_>) -> Self {
        Self {
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
        }
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

/// A value of the expected type, or `None`.
fn deserialize_or_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}
