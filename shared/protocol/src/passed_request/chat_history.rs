//! Fits the history of a Chat client to the account that goes on with it.
//!
//! A client returns an answer with all that its vendor added. Some vendors refuse a field that they
//! do not know, an id in another vendor's letters, or a call without a state of their own. An
//! upstream that is not known to refuse something gets all bytes as they are.

use super::{FilteredElement, has_field_text, join_list, replace_text};
use crate::json::JsonValue;
use crate::translate::{FOREIGN_CALL, STATE_PREFIX, fit_call_id};
use baton_domain::model_capabilities::{
    AcceptedHistoryFields, CallIds, ModelCapabilities, RequiredContinuation,
};
use memchr::memmem;

/// Fields in which vendors send thinking and data of their own.
const VENDOR_FIELDS: [&str; 2] = ["provider_specific_fields", "thinking_blocks"];
/// Fields of OpenAI's answers, which stand in those of many other vendors with `null`.
const OPENAI_FIELDS: [&str; 4] = ["refusal", "annotations", "audio", "function_call"];
/// Fields of a call that only its vendor reads.
const CALL_FIELDS: [&str; 2] = ["extra_content", "provider_specific_fields"];

/// Whether the history may need a change. It looks for names only, so it can be wrong about a body
/// that needs none.
pub(super) fn may_need_change(body: &[u8], capabilities: &ModelCapabilities) -> bool {
    if !capabilities.developer_role && contains_text(body, "\"developer\"") {
        return true;
    }
    // A conversation that begins has no answer.
    contains_text(body, "\"assistant\"")
        && (contains_text(body, &sealed_start())
            || may_have_refused_fields(body, capabilities.history_fields)
            || (!capabilities.thinking_parts && has_thinking_part(body))
            || may_have_refused_ids(body, capabilities.call_ids)
            || may_lack_state(body, capabilities.continuation))
}

pub(super) fn contains_text(body: &[u8], text: &str) -> bool {
    memmem::find(body, text.as_bytes()).is_some()
}

/// How a string begins that is a state of Baton's own.
fn sealed_start() -> String {
    format!("\"{STATE_PREFIX}")
}

/// What follows each occurrence of a text, without white space.
fn texts_after<'a>(body: &'a [u8], text: &'a str) -> impl Iterator<Item = &'a [u8]> {
    memmem::find_iter(body, text.as_bytes())
        .map(|at| body.get(at + text.len()..).unwrap_or_default().trim_ascii_start())
}

/// The beginnings of the values of all fields of this name.
pub(super) fn field_value_starts<'a>(
    body: &'a [u8],
    quoted_name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    let rests = texts_after(body, quoted_name).filter_map(|rest| rest.strip_prefix(b":"));
    rests.map(<[u8]>::trim_ascii_start)
}

fn may_have_refused_fields(body: &[u8], fields: AcceptedHistoryFields) -> bool {
    let any = |names: &[&str]| names.iter().any(|name| contains_text(body, &format!("\"{name}\"")));
    let is_refused_reasoning = |rest: &[u8]| {
        let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        let is_name = rest.get(end) == Some(&b'"');
        let is_accepted = match &rest[..end] {
            b"_effort" => true,
            b"" => fields == AcceptedHistoryFields::Reasoning,
            _ => false,
        };
        is_name && !is_accepted
    };
    let has_vendor_field = || {
        texts_after(body, "\"reasoning").any(is_refused_reasoning)
            || any(&VENDOR_FIELDS)
            || contains_text(body, "\"extra_content\"")
    };
    let is_empty = |value: &[u8]| {
        value.starts_with(b"null")
            || value
                .strip_prefix(b"[")
                .is_some_and(|rest| rest.trim_ascii_start().starts_with(b"]"))
    };
    match fields {
        AcceptedHistoryFields::All => false,
        AcceptedHistoryFields::Openai => {
            has_vendor_field()
                || field_value_starts(body, "\"index\"").any(is_digit)
                || field_value_starts(body, "\"tool_calls\"").any(is_empty)
        }
        AcceptedHistoryFields::Reasoning | AcceptedHistoryFields::Content => {
            has_vendor_field() || any(&OPENAI_FIELDS)
        }
    }
}

fn is_digit(value: &[u8]) -> bool {
    value.first().is_some_and(u8::is_ascii_digit)
}

/// Whether a value is `"thinking"`. As a name it is a setting of the request.
fn has_thinking_part(body: &[u8]) -> bool {
    texts_after(body, "\"thinking\"").any(|rest| !rest.starts_with(b":"))
}

fn may_have_refused_ids(body: &[u8], call_ids: CallIds) -> bool {
    let is_refused =
        |id: &[u8]| std::str::from_utf8(id).is_ok_and(|id| fit_call_id(id, call_ids).is_some());
    match call_ids {
        CallIds::Any => false,
        CallIds::Short | CallIds::Nine => {
            has_field_text(body, "id", is_refused)
                || has_field_text(body, "tool_call_id", is_refused)
        }
    }
}

fn may_lack_state(body: &[u8], continuation: RequiredContinuation) -> bool {
    const CALLS: &str = "\"tool_calls\"";
    let count = |text: &str| memmem::find_iter(body, text.as_bytes()).count();
    match continuation {
        RequiredContinuation::None | RequiredContinuation::ReasoningDetails => false,
        // A message has the field at most once.
        RequiredContinuation::ReasoningContent => {
            let reported = field_value_starts(body, "\"reasoning_content\"")
                .filter(|it| it.starts_with(b"\""));
            contains_text(body, CALLS) && reported.count() < count("\"assistant\"")
        }
        // The signature stands in the calls, before those of the next message.
        RequiredContinuation::ThoughtSignatures => {
            let starts: Vec<usize> = memmem::find_iter(body, CALLS.as_bytes()).collect();
            let ends = starts.iter().skip(1).copied().chain([body.len()]);
            starts.iter().zip(ends).any(|(start, end)| {
                let calls = body.get(*start..end).unwrap_or_default();
                !contains_text(calls, "\"thought_signature\"")
            })
        }
    }
}

/// Whether calls in the history lack the thinking that the model wants back, as with a client that
/// does not keep it. A client that keeps it returns some, and calls without it were made by other
/// models.
pub(super) fn has_lost_reasoning<'a>(
    messages: impl Iterator<Item = JsonValue<'a>>,
    capabilities: &ModelCapabilities,
) -> bool {
    if capabilities.continuation != RequiredContinuation::ReasoningContent {
        return false;
    }
    let mut is_lacking = false;
    for message in messages.filter(|it| it.field_text("role").as_deref() == Some("assistant")) {
        let has = |name| message.field_text(name).is_some_and(|text| !text.is_empty());
        if has("reasoning_content") || has("reasoning") {
            return false;
        }
        is_lacking |= lacks_reasoning(message);
    }
    is_lacking
}

/// Whether the message has calls, and not the thinking before them.
fn lacks_reasoning(message: JsonValue<'_>) -> bool {
    message.field("tool_calls").is_some_and(|calls| !is_empty(calls))
        && message.field_text("reasoning_content").is_none()
}

/// What the upstream accepts of a conversation.
pub(super) struct ChatHistory<'c> {
    capabilities: &'c ModelCapabilities,
    /// Whether calls without `reasoning_content` are refused.
    needs_reasoning: bool,
}

impl<'c> ChatHistory<'c> {
    /// The rules for a request that thinks, unless it switches that off.
    pub(super) fn new(is_thinking_off: bool, capabilities: &'c ModelCapabilities) -> Self {
        let needs_reasoning =
            capabilities.continuation == RequiredContinuation::ReasoningContent && !is_thinking_off;
        Self { capabilities, needs_reasoning }
    }

    /// Keeps what the upstream accepts of a message.
    pub(super) fn keep_message<'a>(&self, message: JsonValue<'a>) -> FilteredElement<'a> {
        match message.field_text("role").as_deref() {
            Some("assistant") => self.keep_answer(message),
            Some("tool") => replace_text(message, "tool_call_id", |id| self.fit_id(id)),
            Some("developer") if !self.capabilities.developer_role => {
                replace_text(message, "role", |_| Some("system".to_owned()))
            }
            _ => FilteredElement::Same(message.raw()),
        }
    }

    fn fit_id(&self, id: &str) -> Option<String> {
        fit_call_id(id, self.capabilities.call_ids)
    }

    fn keep_answer<'a>(&self, message: JsonValue<'a>) -> FilteredElement<'a> {
        let refusal = self.refusal_as_content(message);
        let (mut kept, mut has_content) = (FilteredFields::default(), false);
        for (name, value) in message.fields().into_iter().flatten() {
            let element = match name.as_ref() {
                "role" => FilteredElement::Same(value.raw()),
                "content" => {
                    has_content = true;
                    match refusal {
                        Some(refusal) => FilteredElement::Changed(refusal.raw().to_owned()),
                        None => self.keep_content(message, value),
                    }
                }
                "tool_calls" => self.keep_calls(value),
                "reasoning_content" if self.lacks_reasoning(message) => FilteredElement::Removed,
                name => self.keep_field(name, value),
            };
            kept.push(&name, &element);
        }
        if let Some(refusal) = refusal.filter(|_| !has_content) {
            kept.add("content", refusal.raw());
        }
        if self.lacks_reasoning(message) {
            let reported = message.field("reasoning").filter(|reported| reported.text().is_some());
            kept.add("reasoning_content", reported.map_or("\"\"", JsonValue::raw));
        }
        kept.into_element(message)
    }

    /// A refusal, if it is all that the message says and the upstream does not know its field.
    fn refusal_as_content<'a>(&self, message: JsonValue<'a>) -> Option<JsonValue<'a>> {
        let is_silent = message.field("content").is_none_or(is_empty);
        let refusal = message.field("refusal").filter(|refusal| refusal.text().is_some())?;
        (is_silent && self.refuses("refusal", refusal)).then_some(refusal)
    }

    /// Whether the message lacks the thinking that the upstream wants before calls.
    fn lacks_reasoning(&self, message: JsonValue<'_>) -> bool {
        self.needs_reasoning && lacks_reasoning(message)
    }

    /// Whether the upstream refuses this field of an answer.
    fn refuses(&self, name: &str, value: JsonValue<'_>) -> bool {
        let fields = self.capabilities.history_fields;
        let refuses_openai = match fields {
            AcceptedHistoryFields::All | AcceptedHistoryFields::Openai => false,
            AcceptedHistoryFields::Reasoning | AcceptedHistoryFields::Content => true,
        };
        match name {
            "reasoning" => {
                matches!(fields, AcceptedHistoryFields::Openai | AcceptedHistoryFields::Content)
            }
            "refusal" | "annotations" => refuses_openai,
            // Else they say something that must not be lost in silence.
            "audio" | "function_call" => refuses_openai && value.is_null(),
            name if name.starts_with("reasoning_") || VENDOR_FIELDS.contains(&name) => {
                fields != AcceptedHistoryFields::All
            }
            _ => false,
        }
    }

    fn keep_field<'a>(&self, name: &str, value: JsonValue<'a>) -> FilteredElement<'a> {
        if is_sealed(value) || self.refuses(name, value) {
            FilteredElement::Removed
        } else {
            FilteredElement::Same(value.raw())
        }
    }

    /// The content without the parts of thinking that the upstream does not know.
    fn keep_content<'a>(
        &self,
        message: JsonValue<'a>,
        content: JsonValue<'a>,
    ) -> FilteredElement<'a> {
        let Some(parts) = content.items() else { return FilteredElement::Same(content.raw()) };
        let is_kept = |part: &JsonValue<'_>| match part.field_text("type").as_deref() {
            Some("thinking" | "redacted_thinking") => {
                self.capabilities.thinking_parts && !is_sealed(*part)
            }
            // Mistral's citations ("Citations and references", 2026-11).
            Some("reference") => self.capabilities.thinking_parts,
            _ => true,
        };
        if parts.clone().all(|part| is_kept(&part)) {
            return FilteredElement::Same(content.raw());
        }
        let kept: Vec<FilteredElement<'_>> =
            parts.filter(is_kept).map(|part| FilteredElement::Same(part.raw())).collect();
        let has_calls = message.field("tool_calls").is_some_and(|calls| !is_empty(calls));
        FilteredElement::Changed(match (kept.is_empty(), has_calls) {
            (false, _) => join_list(&kept),
            (true, true) => "null".to_owned(),
            (true, false) => "\"\"".to_owned(),
        })
    }

    /// The calls as the upstream accepts them. OpenAI refuses the empty list that other vendors
    /// write ("Invalid 'messages[1].`tool_calls`': empty array", vllm-project/vllm, 2026-11).
    fn keep_calls<'a>(&self, calls: JsonValue<'a>) -> FilteredElement<'a> {
        let is_openai = self.capabilities.history_fields == AcceptedHistoryFields::Openai;
        if is_empty(calls) && is_openai {
            return FilteredElement::Removed;
        }
        let Some(items) = calls.items() else { return FilteredElement::Same(calls.raw()) };
        let kept: Vec<FilteredElement<'_>> =
            items.enumerate().map(|(index, call)| self.keep_call(call, index == 0)).collect();
        if kept.iter().all(|call| matches!(call, FilteredElement::Same(_))) {
            return FilteredElement::Same(calls.raw());
        }
        FilteredElement::Changed(join_list(&kept))
    }

    /// A call as the upstream accepts it. Gemini signs the first one of a turn and refuses it
    /// without a signature, or with one that it did not make.
    fn keep_call<'a>(&self, call: JsonValue<'a>, is_first: bool) -> FilteredElement<'a> {
        let fields = self.capabilities.history_fields;
        let needs_signature =
            self.capabilities.continuation == RequiredContinuation::ThoughtSignatures && is_first;
        let is_unsigned = needs_signature && !is_signed(call);
        let mut kept = FilteredFields::default();
        for (name, value) in call.fields().into_iter().flatten() {
            let element = match name.as_ref() {
                "id" => value.text().and_then(|id| self.fit_id(&id)).map_or_else(
                    || FilteredElement::Same(value.raw()),
                    |id| FilteredElement::Changed(serde_json::Value::from(id).to_string()),
                ),
                "extra_content" if is_unsigned => FilteredElement::Removed,
                name if CALL_FIELDS.contains(&name) => {
                    if fields != AcceptedHistoryFields::All || is_sealed(value) {
                        FilteredElement::Removed
                    } else {
                        FilteredElement::Same(value.raw())
                    }
                }
                // Its place in a stream ("Unknown parameter: 'messages[2].tool_calls[0].index'").
                "index" if fields == AcceptedHistoryFields::Openai => FilteredElement::Removed,
                "function" if fields != AcceptedHistoryFields::All => keep_function(value),
                _ => FilteredElement::Same(value.raw()),
            };
            kept.push(&name, &element);
        }
        if is_unsigned {
            kept.add("extra_content", FOREIGN_CALL);
        }
        kept.into_element(call)
    }
}

/// A function's call without the data of a router.
fn keep_function(function: JsonValue<'_>) -> FilteredElement<'_> {
    let mut kept = FilteredFields::default();
    for (name, value) in function.fields().into_iter().flatten() {
        let is_foreign = CALL_FIELDS.contains(&name.as_ref());
        let element =
            if is_foreign { FilteredElement::Removed } else { FilteredElement::Same(value.raw()) };
        kept.push(&name, &element);
    }
    kept.into_element(function)
}

/// Whether a call has a thought signature that Baton did not write.
fn is_signed(call: JsonValue<'_>) -> bool {
    let google = call.field("extra_content").and_then(|extra| extra.field("google"));
    let signature = google.and_then(|google| google.field_text("thought_signature"));
    signature.is_some_and(|it| !it.is_empty() && !it.starts_with(STATE_PREFIX))
}

/// Whether some string in the value is a state of Baton's own.
fn is_sealed(value: JsonValue<'_>) -> bool {
    contains_text(value.raw().as_bytes(), &sealed_start())
}

/// Whether a value says nothing.
fn is_empty(value: JsonValue<'_>) -> bool {
    value.is_null()
        || value.text().is_some_and(|text| text.is_empty())
        || value.items().is_some_and(|mut items| items.next().is_none())
}

/// The fields of an object that is written again if one of them changes.
#[derive(Default)]
struct FilteredFields {
    text: String,
    is_changed: bool,
}

impl FilteredFields {
    fn push(&mut self, name: &str, element: &FilteredElement<'_>) {
        match element {
            FilteredElement::Same(raw) => self.write(name, raw),
            FilteredElement::Changed(text) => self.add(name, text),
            FilteredElement::Removed => self.is_changed = true,
        }
    }

    fn add(&mut self, name: &str, value: &str) {
        self.is_changed = true;
        self.write(name, value);
    }

    fn write(&mut self, name: &str, value: &str) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(&serde_json::Value::from(name).to_string());
        self.text.push(':');
        self.text.push_str(value);
    }

    fn into_element(self, object: JsonValue<'_>) -> FilteredElement<'_> {
        if self.is_changed {
            FilteredElement::Changed(format!("{{{}}}", self.text))
        } else {
            FilteredElement::Same(object.raw())
        }
    }
}

#[cfg(test)]
mod tests;
