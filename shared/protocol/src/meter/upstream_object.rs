//! The JSON of an answer, as far as metering reads it.
//!
//! One type covers all objects with relevant content: Anthropic's events and messages, OpenAI's
//! chunks, completions and responses. A field of an unexpected type counts as absent, so that an
//! upstream's oddity in one field does not lose the usage in another. [`RawUsage`] has the counts.

use super::choice_progress::CHOICES_MAX;
use super::raw_fields::{RawFields, read_object};
use super::raw_usage::RawUsage;
use crate::json::JsonValue;
use baton_domain::protocol::UpstreamProtocol;
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

#[derive(Debug)]
pub(super) struct StopDelta {
    pub(super) stop_reason: Option<String>,
}

impl StopDelta {
    fn read(fields: &RawFields<'_>) -> Self {
        Self { stop_reason: fields.text("stop_reason") }
    }
}

#[derive(Debug)]
pub(super) struct FinishChoice {
    pub(super) index: Option<u64>,
    /// Whether the choice has ended. Some servers send an empty reason until then.
    pub(super) has_finished: bool,
}

impl FinishChoice {
    fn read(fields: &RawFields<'_>) -> Self {
        let has_finished = fields.text("finish_reason").is_some_and(|reason| !reason.is_empty());
        Self { index: fields.value("index"), has_finished }
    }
}

impl UpstreamObject {
    /// Reads an object. `None` if the bytes are not exactly one.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        read_object(json, Self::read)
    }

    fn read(mut fields: RawFields<'_>) -> Self {
        Self {
            id: fields.text("id"),
            kind: fields.text("type"),
            model: fields.text("model"),
            usage: RawUsage::take(&mut fields),
            message: fields.object("message").map(NestedResponse::read),
            response: fields.object("response").map(NestedResponse::read),
            error: fields.object("error").map(NestedResponse::read),
            delta: fields.object("delta").map(|delta| StopDelta::read(&delta)),
            stop_reason: fields.text("stop_reason"),
            choices: read_choices(&fields),
            answer_fields: PresentAnswerFields::read(&fields),
            status: fields.text("status"),
            service_tier: fields.text("service_tier"),
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
            let list: &RawValue = serde_json::from_slice(json).ok()?;
            let first = JsonValue::from_checked(list.get().as_bytes()).items()?.next()?;
            Self::parse(first.raw().as_bytes())
        })
    }
}

/// The elements of `choices` that are objects, as many as are followed.
fn read_choices(fields: &RawFields<'_>) -> Option<Vec<FinishChoice>> {
    let choices = fields.items("choices")?.take(CHOICES_MAX).filter_map(RawFields::from_item);
    Some(choices.map(|choice| FinishChoice::read(&choice)).collect())
}

impl NestedResponse {
    fn read(mut fields: RawFields<'_>) -> Self {
        Self {
            id: fields.text("id"),
            model: fields.text("model"),
            usage: RawUsage::take(&mut fields),
            status: fields.text("status"),
            service_tier: fields.text("service_tier"),
            web_searches: web_searches(&fields),
        }
    }
}

/// The billed web searches among the items of a response. Each call that searches has a price;
/// opening a page and finding text in it have none (developers.openai.com, "Web search", actions of
/// `web_search_call`, read 2026-11). An item without an action is a search.
fn web_searches(fields: &RawFields<'_>) -> Option<u64> {
    fields.raw("output").filter(|raw| raw.contains("web_search_call"))?;
    let is_search = |item: &RawFields<'_>| {
        let action = item.object("action").and_then(|action| action.text("type"));
        item.text("type").as_deref() == Some("web_search_call")
            && action.is_none_or(|action| action == "search")
    };
    let items = fields.items("output")?.filter_map(RawFields::from_item);
    u64::try_from(items.filter(is_search).count()).ok()
}
