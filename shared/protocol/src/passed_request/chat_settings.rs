//! Fits the settings of a Chat client to the account that gets its request.
//!
//! Clients send settings of the model that they ask for, and an account of another vendor refuses
//! some of them. Only a target that is known to refuse a setting gets it changed.

use super::chat_history::{contains_text, field_value_starts, has_lost_reasoning};
use super::{FilteredElement, find_span};
use crate::json::{DEPTH_MAX, JsonDocument, JsonValue};
use crate::translate::{PassedSettings, TranslationError};
use baton_domain::model_capabilities::{EffortLevel, EffortLevels, ModelCapabilities};
use std::ops::Range;

/// Fields that have another name at vendors that refuse OpenAI's (docs.mistral.ai, "Chat completion
/// endpoints", 2026-11).
const OTHER_NAMES: [(&str, &str); 2] =
    [("max_completion_tokens", "max_tokens"), ("seed", "random_seed")];

const THINKING_OFF: &str = r#"{"type":"disabled"}"#;

/// Whether a setting may need a change. It looks for names and the beginnings of values only, so it
/// can be wrong about a body that needs none.
pub(super) fn may_need_change(body: &[u8], capabilities: &ModelCapabilities) -> bool {
    let ModelCapabilities { refused_fields, efforts, effort_words, .. } = *capabilities;
    let is_refused_effort = |value: &[u8]| {
        let is_level = |level: EffortLevel| {
            let word =
                value.strip_prefix(b"\"").and_then(|it| it.strip_prefix(level.as_str().as_bytes()));
            word.is_some_and(|rest| rest.starts_with(b"\""))
        };
        let accepted = || efforts.levels().chain(effort_words.levels());
        value.starts_with(b"\"") && !accepted().any(is_level)
    };
    let is_forced = |value: &[u8]| value.starts_with(b"{") || value.starts_with(b"\"required\"");
    refused_fields
        .iter()
        .any(|name| field_value_starts(body, &format!("\"{name}\"")).next().is_some())
        || (efforts != EffortLevels::ALL
            && field_value_starts(body, "\"reasoning_effort\"").any(is_refused_effort))
        || (!capabilities.structured_outputs && contains_text(body, "\"json_schema\""))
        || (capabilities.thinking_switch
            && field_value_starts(body, "\"tool_choice\"").any(is_forced))
}

/// The changes that fit the settings of a request.
pub(super) struct ChatSettings {
    /// The changes of fields outside of the conversation.
    pub(super) edits: Vec<(Range<usize>, String)>,
    /// What the system has to say in addition.
    instruction: Option<String>,
    /// Whether the request switches thinking off, changed or not.
    pub(super) is_thinking_off: bool,
}

impl ChatSettings {
    /// Fits the settings of the request `root`, which is the whole of `body`.
    ///
    /// # Errors
    /// The upstream refuses a field without which the answer would be another.
    pub(super) fn fit(
        root: JsonValue<'_>,
        body: &[u8],
        capabilities: &ModelCapabilities,
    ) -> Result<Self, TranslationError> {
        let thinking = root.field("thinking").and_then(|thinking| thinking.field_text("type"));
        let is_off = thinking.as_deref() == Some("disabled");
        let messages = root.field("messages").and_then(JsonValue::items).into_iter().flatten();
        let has_lost_thinking = !is_off && has_lost_reasoning(messages, capabilities);
        let fitted = PassedSettings::fit(root, capabilities, has_lost_thinking)?;
        let mut edits = FieldEdits::new(root, body);
        let mut is_thinking_told = false;
        for (name, value) in root.fields().into_iter().flatten() {
            let change = match name.as_ref() {
                "reasoning_effort" => fitted.effort_change(value),
                "response_format" if fitted.instruction.is_some() => {
                    Some(FieldChange::Replaced(r#"{"type":"json_object"}"#.to_owned()))
                }
                "thinking" if fitted.is_thinking_off => {
                    is_thinking_told = true;
                    (!is_off).then(|| FieldChange::Replaced(THINKING_OFF.to_owned()))
                }
                name if capabilities.refused_fields.contains(&name) => {
                    let other = OTHER_NAMES.iter().find(|(refused, _)| *refused == name);
                    let other = other.filter(|(_, other)| root.field(other).is_none());
                    Some(
                        other
                            .map_or(FieldChange::Removed, |(_, other)| FieldChange::Renamed(other)),
                    )
                }
                _ => None,
            };
            edits.push(value, change);
        }
        if fitted.is_thinking_off && !is_thinking_told {
            edits.add("thinking", THINKING_OFF);
        }
        let is_thinking_off = fitted.is_thinking_off || is_off;
        Ok(Self { edits: edits.edits, instruction: fitted.instruction, is_thinking_off })
    }

    /// Adds the instruction to the system's message above the conversation.
    pub(super) fn instruct(&self, messages: &mut Vec<FilteredElement<'_>>) {
        let Some(instruction) = &self.instruction else { return };
        let first = messages.first().and_then(FilteredElement::text);
        let document =
            first.and_then(|first| JsonDocument::parse(first.as_bytes(), DEPTH_MAX).ok());
        let told = document.and_then(|document| add_text(document.root(), instruction));
        if let (Some(told), Some(first)) = (told, messages.first_mut()) {
            *first = FilteredElement::Changed(told);
        } else {
            let message = serde_json::json!({"role": "system", "content": instruction});
            messages.insert(0, FilteredElement::Changed(message.to_string()));
        }
    }
}

/// The system's message with a further paragraph, or `None` if it is another's or has no content.
fn add_text(message: JsonValue<'_>, text: &str) -> Option<String> {
    let is_system = matches!(message.field_text("role").as_deref(), Some("system" | "developer"));
    let content = message.field("content").filter(|_| is_system)?;
    let added = if content.text().is_some() {
        let text = serde_json::Value::from(format!("\n\n{text}")).to_string();
        text.strip_prefix('"')?.to_owned()
    } else {
        let comma = if content.items()?.next().is_some() { "," } else { "" };
        format!("{comma}{}]", serde_json::json!({"type": "text", "text": text}))
    };
    let raw = message.raw();
    let span = find_span(raw.as_bytes(), content.raw());
    Some(format!("{}{added}{}", &raw[..span.end - 1], &raw[span.end..]))
}

impl PassedSettings {
    /// The change of the effort that the request states. Anything but a text is left to the upstream.
    fn effort_change(&self, stated: JsonValue<'_>) -> Option<FieldChange> {
        let stated = stated.text()?;
        match &self.effort {
            None => Some(FieldChange::Removed),
            Some(effort) => {
                (*effort != stated).then(|| FieldChange::Replaced(format!("\"{effort}\"")))
            }
        }
    }
}

/// A change of a field.
enum FieldChange {
    Removed,
    Renamed(&'static str),
    Replaced(String),
}

/// Changes of the fields of a body. All other bytes stay.
struct FieldEdits<'a> {
    root: JsonValue<'a>,
    body: &'a [u8],
    edits: Vec<(Range<usize>, String)>,
    /// Where the last field ends, or the opening brace.
    end: usize,
    /// Whether a field before this one stays.
    has_kept: bool,
}

impl<'a> FieldEdits<'a> {
    fn new(root: JsonValue<'a>, body: &'a [u8]) -> Self {
        let end = find_span(body, root.raw()).start + 1;
        Self { root, body, edits: Vec::new(), end, has_kept: false }
    }

    /// Takes the next field, which has this value.
    fn push(&mut self, value: JsonValue<'a>, change: Option<FieldChange>) {
        let span = find_span(self.body, value.raw());
        let start = std::mem::replace(&mut self.end, span.end);
        if matches!(change, Some(FieldChange::Removed)) {
            self.edits.push((start..span.end, String::new()));
            return;
        }
        // The comma belongs to the field behind it.
        let before = self.body.get(start..span.start).unwrap_or_default();
        let comma = before.iter().position(|byte| *byte == b',');
        if let Some(comma) = comma.filter(|_| !self.has_kept) {
            self.edits.push((start + comma..start + comma + 1, String::new()));
        }
        self.has_kept = true;
        match change {
            Some(FieldChange::Replaced(text)) => self.edits.push((span, text)),
            Some(FieldChange::Renamed(name)) => {
                if let Some(quote) = before.iter().position(|byte| *byte == b'"') {
                    self.edits.push((start + quote..span.start, format!("\"{name}\":")));
                }
            }
            Some(FieldChange::Removed) | None => {}
        }
    }

    /// Adds a field behind the last one.
    fn add(&mut self, name: &str, value: &str) {
        let end = find_span(self.body, self.root.raw()).end - 1;
        let comma = if self.has_kept { "," } else { "" };
        self.edits.push((end..end, format!("{comma}\"{name}\":{value}")));
    }
}

#[cfg(test)]
mod tests;
