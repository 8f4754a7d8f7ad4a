//! Reads whole answers of the Responses API, and the items that whole answers and streams share.

use crate::meter::{UsageTally, is_void_error};
use crate::translate::continuation::ReasoningItem;
use crate::translate::json_reader::{ObjectReader, parse_document};
use crate::translate::neutral_response::{PartStart, ResponseStep, StopReason};

/// Reads an answer of `model` that is not streamed. Returns whether it was one.
pub(in crate::translate) fn read_response(
    body: &str,
    model: &str,
    emit_step: &mut impl FnMut(ResponseStep<'_>),
) -> bool {
    let Ok(document) = parse_document(body.as_bytes()) else { return false };
    let Some(mut response) = ObjectReader::from_value(document.root()) else { return false };
    let end = ResponseEnd::take(&mut response);
    let is_answer = response.has_field("output") && end != ResponseEnd::Failed;
    if is_answer {
        let mut output = OutputReader::new(model);
        emit_step(ResponseStep::Start { id: response.take_id() });
        output.read_items(&mut response, emit_step);
        output.finish(&mut response, end == ResponseEnd::Incomplete, emit_step);
    }
    is_answer
}

/// How a response has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseEnd {
    Complete,
    Incomplete,
    Failed,
}

impl ResponseEnd {
    /// Reads the end from a response, which can have failed whatever the name of its event is.
    pub(super) fn take(response: &mut ObjectReader<'_>) -> Self {
        let has_error = response.take_value("error").is_some_and(|error| !is_void_error(error));
        match response.take_text("status").as_deref() {
            _ if has_error => Self::Failed,
            None | Some("completed") => Self::Complete,
            Some("incomplete") => Self::Incomplete,
            Some(_) => Self::Failed,
        }
    }
}

/// Reads the items of an answer and what they say about its end.
#[derive(Debug, Default)]
pub(super) struct OutputReader {
    model: String,
    tally: UsageTally,
    /// Whether a part has been opened.
    pub(super) has_parts: bool,
    pub(super) is_refused: bool,
    calls: usize,
}

impl OutputReader {
    pub(super) fn new(model: &str) -> Self {
        Self { model: model.to_owned(), ..Self::default() }
    }

    /// Reads all items of a response.
    pub(super) fn read_items(
        &mut self,
        response: &mut ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        for item in response.take_objects("output") {
            self.read_item(item, emit_step);
        }
    }

    /// Reads a whole item. Calls of the upstream's own tools are skipped, because no other protocol
    /// has them.
    pub(super) fn read_item(
        &mut self,
        mut item: ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        match item.take_text("type").as_deref() {
            Some("message") => {
                for mut part in item.take_objects("content") {
                    let (start, text) = match part.take_text("type").as_deref() {
                        Some("output_text") => (PartStart::Text, part.take_nonempty_text("text")),
                        Some("refusal") => {
                            self.is_refused = true;
                            (PartStart::Refusal, part.take_nonempty_text("refusal"))
                        }
                        _ => continue,
                    };
                    if let Some(text) = text {
                        self.open_part(start, emit_step);
                        emit_step(ResponseStep::Delta(&text));
                        emit_step(ResponseStep::Close);
                    }
                }
            }
            Some("reasoning") => {
                let signature = self.signature(&mut item);
                let text = reasoning_text(&mut item);
                if signature.is_none() && text.is_empty() {
                    return;
                }
                self.open_part(PartStart::Thinking, emit_step);
                if !text.is_empty() {
                    emit_step(ResponseStep::Delta(&text));
                }
                close_thinking(signature, emit_step);
            }
            Some("function_call") if self.open_call(&mut item, emit_step) => {
                emit_step(ResponseStep::Delta(&call_arguments(&mut item)));
                emit_step(ResponseStep::Close);
            }
            _ => {}
        }
    }

    pub(super) fn open_part(
        &mut self,
        start: PartStart,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        self.has_parts = true;
        emit_step(ResponseStep::Open(start));
    }

    /// Opens a call. Returns whether the item has the name that a call needs.
    pub(super) fn open_call(
        &mut self,
        item: &mut ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> bool {
        let Some(name) = item.take_nonempty_text("name") else { return false };
        let id = item.take_nonempty_text("call_id").or_else(|| item.take_nonempty_text("id"));
        let id = id.unwrap_or_else(|| format!("call_{}", self.calls));
        self.calls += 1;
        self.open_part(PartStart::Call { id, name }, emit_step);
        true
    }

    /// The signature that brings a reasoning item back to its model.
    pub(super) fn signature(&self, item: &mut ObjectReader<'_>) -> Option<String> {
        let encrypted_content = item.take_nonempty_text("encrypted_content")?;
        let id = item.take_text("id").unwrap_or_default();
        Some(ReasoningItem { id, encrypted_content }.seal(&self.model))
    }

    /// Reads why the answer ended, and its usage.
    pub(super) fn finish(
        &mut self,
        response: &mut ObjectReader<'_>,
        is_incomplete: bool,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        let details = response.take_object("incomplete_details");
        let reason = details.and_then(|mut details| details.take_text("reason"));
        emit_step(ResponseStep::Stop(match reason.as_deref() {
            _ if self.is_refused => StopReason::Refusal,
            Some("content_filter") => StopReason::Refusal,
            Some(_) => StopReason::MaxTokens,
            None if is_incomplete => StopReason::MaxTokens,
            None if self.calls > 0 => StopReason::ToolUse,
            None => StopReason::End,
        }));
        if let Some(usage) = response.take_value("usage") {
            self.tally.read_usage(usage.raw());
        }
        emit_step(ResponseStep::Usage(self.tally.reported_usage()));
    }
}

/// Ends thinking with its signature.
pub(super) fn close_thinking(
    signature: Option<String>,
    emit_step: &mut impl FnMut(ResponseStep<'_>),
) {
    if let Some(signature) = signature {
        emit_step(ResponseStep::Signature(&signature));
    }
    emit_step(ResponseStep::Close);
}

/// The arguments of a whole call, an object at least.
pub(super) fn call_arguments(item: &mut ObjectReader<'_>) -> String {
    let arguments = item.take_text("arguments");
    arguments.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| "{}".to_owned())
}

/// The text of a reasoning item: its summary, or its whole text, which only open models tell.
fn reasoning_text(item: &mut ObjectReader<'_>) -> String {
    let texts = ["summary", "content"].map(|name| {
        let parts = item.take_objects(name);
        let texts = parts.filter_map(|mut part| part.take_nonempty_text("text"));
        texts.collect::<Vec<String>>().join("\n\n")
    });
    texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}
