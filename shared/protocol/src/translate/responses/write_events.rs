//! Writes the numbered events of a streamed response.

use super::item;
use super::write_response::{ResponseState, incomplete_reason, response_id, write_response};
use crate::translate::ResponseContext;
use crate::translate::error::NeutralError;
use crate::translate::json_writer::{ObjectWriter, write_event};
use crate::translate::neutral_request::freeform_input;
use crate::translate::neutral_response::{
    NeutralResponse, PartStart, REFUSED, ResponsePart, ResponseStep,
};
use std::collections::VecDeque;

/// Writes a stream. It keeps the answer, since the last event repeats it.
#[derive(Debug, Default)]
pub(in crate::translate) struct ResponsesWriter {
    number: u64,
    response: NeutralResponse,
    pending: VecDeque<ClosingEvent>,
}

/// Writes a part with its text.
type WritePart = fn(&mut ObjectWriter<'_>, &str);

/// An event that repeats the text of the last item, or of all. Each can be long, so they are written
/// one at a time.
#[derive(Debug, Clone, Copy)]
enum ClosingEvent {
    /// The whole input of a call with free text, which has one delta.
    InputDelta,
    ContentDone,
    PartDone,
    ItemDone,
    ResponseOver,
}

impl ResponsesWriter {
    /// Whether events are still to be written.
    pub(in crate::translate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes the next pending event.
    pub(in crate::translate) fn write_pending(
        &mut self,
        context: &ResponseContext,
        out: &mut Vec<u8>,
    ) {
        match self.pending.pop_front() {
            None => {}
            Some(ClosingEvent::InputDelta) => {
                let name = "response.custom_tool_call_input.delta";
                self.write_input(context, out, name, "delta");
            }
            Some(ClosingEvent::ContentDone) => self.write_content_done(context, out),
            Some(ClosingEvent::PartDone) => self.write_part_done(context, out),
            Some(ClosingEvent::ItemDone) => {
                self.write_item_event(context, out, "response.output_item.done", true);
            }
            Some(ClosingEvent::ResponseOver) => {
                let name = match incomplete_reason(&self.response.stop_reason) {
                    Some(_) => "response.incomplete",
                    None => "response.completed",
                };
                self.write_state(context, out, name, ResponseState::Over);
            }
        }
    }

    fn write_all_pending(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        while self.has_pending() {
            self.write_pending(context, out);
        }
    }

    /// Writes the events of a step. The last ones of an item stay pending until the next step.
    pub(in crate::translate) fn write_step(
        &mut self,
        context: &ResponseContext,
        step: &ResponseStep<'_>,
        out: &mut Vec<u8>,
    ) {
        // The others write no numbered event, so the pending ones can stay so.
        if matches!(
            step,
            ResponseStep::Start { .. } | ResponseStep::Open(_) | ResponseStep::Delta(_)
        ) {
            self.write_all_pending(context, out);
        }
        let is_first_delta = self.is_open_part_empty();
        self.response.apply_step(step);
        match step {
            ResponseStep::Start { .. } => {
                for name in ["response.created", "response.in_progress"] {
                    self.write_state(context, out, name, ResponseState::InProgress);
                }
            }
            ResponseStep::Open(_) => self.write_open(context, out),
            ResponseStep::Delta(delta) => self.write_delta(context, out, delta, is_first_delta),
            ResponseStep::Close => self.pending.extend(self.closing_events(context)),
            ResponseStep::Signature(_) | ResponseStep::Stop(_) | ResponseStep::Usage(_) => {}
            // Real clients take a `ping` event for an event of the response, so a comment is sent.
            ResponseStep::Ping => out.extend_from_slice(b": ping\n\n"),
        }
    }

    /// Ends the stream normally. The last events stay pending.
    pub(in crate::translate) fn write_end(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        if self.response.lacks_refusal() {
            let open = ResponseStep::Open(PartStart::Refusal);
            for step in [open, ResponseStep::Delta(REFUSED), ResponseStep::Close] {
                self.write_step(context, &step, out);
            }
        }
        self.pending.push_back(ClosingEvent::ResponseOver);
    }

    /// Ends the stream with an error.
    pub(in crate::translate) fn write_failure(
        &mut self,
        context: &ResponseContext,
        error: &NeutralError,
        out: &mut Vec<u8>,
    ) {
        self.write_all_pending(context, out);
        if self.number == 0 {
            // The SDKs accept no event before this one.
            self.write_state(context, out, "response.created", ResponseState::InProgress);
        }
        self.write_state(context, out, "response.failed", ResponseState::Failed(error));
    }

    fn write_state(
        &mut self,
        context: &ResponseContext,
        out: &mut Vec<u8>,
        name: &str,
        state: ResponseState<'_>,
    ) {
        let number = self.next_number();
        write_event(out, name, |data| {
            data.number("sequence_number", number);
            data.object("response", |response| {
                write_response(response, context, &self.response, state);
            });
        });
    }

    fn next_number(&mut self) -> u64 {
        let number = self.number;
        self.number += 1;
        number
    }

    /// Whether the open part is still empty.
    fn is_open_part_empty(&self) -> bool {
        match self.response.parts.last() {
            Some(ResponsePart::Text(text) | ResponsePart::Thinking { text, .. }) => text.is_empty(),
            _ => false,
        }
    }

    /// The number, the id and the content of the open item.
    fn current_item(&self, context: &ResponseContext) -> Option<(usize, String, &ResponsePart)> {
        let index = self.response.parts.len().checked_sub(1)?;
        let part = self.response.parts.last()?;
        Some((
            index,
            item::item_id(response_id(context, &self.response), index, part, context),
            part,
        ))
    }

    /// Writes an event about the open item as a whole.
    fn write_item_event(
        &mut self,
        context: &ResponseContext,
        out: &mut Vec<u8>,
        name: &str,
        is_complete: bool,
    ) {
        let number = self.next_number();
        let Some((index, id, part)) = self.current_item(context) else { return };
        write_event(out, name, |data| {
            data.number("sequence_number", number);
            data.number("output_index", index as u64);
            data.object("item", |fields| item::write_item(fields, context, &id, part, is_complete));
        });
    }

    /// Writes an event about something inside the open item.
    fn write_part_event(
        &mut self,
        context: &ResponseContext,
        out: &mut Vec<u8>,
        name: &str,
        write: impl FnOnce(&mut ObjectWriter<'_>, &ResponsePart),
    ) {
        let number = self.next_number();
        let Some((index, id, part)) = self.current_item(context) else { return };
        write_event(out, name, |data| {
            data.number("sequence_number", number);
            data.text("item_id", &id);
            data.number("output_index", index as u64);
            match part {
                ResponsePart::Text(_) | ResponsePart::Refusal(_) => {
                    data.number("content_index", 0);
                }
                ResponsePart::Thinking { .. } => data.number("summary_index", 0),
                ResponsePart::Redacted(_) | ResponsePart::Call(_) => {}
            }
            write(data, part);
        });
    }

    fn write_open(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        self.write_item_event(context, out, "response.output_item.added", false);
        let write_empty = match self.response.parts.last() {
            Some(ResponsePart::Text(_)) => item::write_text_part,
            Some(ResponsePart::Refusal(_)) => item::write_refusal_part,
            _ => return,
        };
        self.write_part_event(context, out, "response.content_part.added", |data, _| {
            data.object("part", |part| write_empty(part, ""));
        });
    }

    fn write_delta(
        &mut self,
        context: &ResponseContext,
        out: &mut Vec<u8>,
        delta: &str,
        is_first: bool,
    ) {
        let name = match self.response.parts.last() {
            Some(ResponsePart::Text(_)) => "response.output_text.delta",
            Some(ResponsePart::Refusal(_)) => "response.refusal.delta",
            Some(ResponsePart::Thinking { .. }) if context.shows_thinking => {
                "response.reasoning_summary_text.delta"
            }
            Some(ResponsePart::Call(call)) if !context.is_freeform(&call.name) => {
                "response.function_call_arguments.delta"
            }
            // Free text is written when the call ends, because only then the arguments can be
            // parsed.
            _ => return,
        };
        if is_first && name.starts_with("response.reasoning") {
            self.write_part_event(
                context,
                out,
                "response.reasoning_summary_part.added",
                |data, _| {
                    data.object("part", |part| item::write_summary_part(part, ""));
                },
            );
        }
        self.write_part_event(context, out, name, |data, piece| {
            data.text("delta", delta);
            if matches!(piece, ResponsePart::Text(_)) {
                data.list("logprobs", |_| {});
            }
        });
    }

    /// The events that end the open item.
    fn closing_events(&self, context: &ResponseContext) -> &'static [ClosingEvent] {
        use ClosingEvent::{ContentDone, InputDelta, ItemDone, PartDone};
        match self.response.parts.last() {
            Some(ResponsePart::Text(_) | ResponsePart::Refusal(_)) => {
                &[ContentDone, PartDone, ItemDone]
            }
            Some(ResponsePart::Thinking { text, .. })
                if context.shows_thinking && !text.is_empty() =>
            {
                &[ContentDone, PartDone, ItemDone]
            }
            Some(ResponsePart::Call(call)) if context.is_freeform(&call.name) => {
                &[InputDelta, ContentDone, ItemDone]
            }
            Some(ResponsePart::Call(_)) => &[ContentDone, ItemDone],
            Some(ResponsePart::Thinking { .. } | ResponsePart::Redacted(_)) | None => &[ItemDone],
        }
    }

    fn write_content_done(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        let (name, field) = match self.response.parts.last() {
            Some(ResponsePart::Text(_)) => ("response.output_text.done", "text"),
            Some(ResponsePart::Refusal(_)) => ("response.refusal.done", "refusal"),
            Some(ResponsePart::Thinking { .. }) => ("response.reasoning_summary_text.done", "text"),
            Some(ResponsePart::Call(call)) if context.is_freeform(&call.name) => {
                return self.write_input(
                    context,
                    out,
                    "response.custom_tool_call_input.done",
                    "input",
                );
            }
            Some(ResponsePart::Call(_)) => ("response.function_call_arguments.done", "arguments"),
            Some(ResponsePart::Redacted(_)) | None => return,
        };
        self.write_part_event(context, out, name, |data, part| {
            data.text(field, part.text());
            if matches!(part, ResponsePart::Text(_)) {
                data.list("logprobs", |_| {});
            }
        });
    }

    /// Writes the whole input of a call with free text.
    fn write_input(
        &mut self,
        context: &ResponseContext,
        out: &mut Vec<u8>,
        name: &str,
        field: &str,
    ) {
        self.write_part_event(context, out, name, |data, part| {
            data.text(field, &freeform_input(part.text()));
        });
    }

    fn write_part_done(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        let (name, write) = match self.response.parts.last() {
            Some(ResponsePart::Text(_)) => {
                ("response.content_part.done", item::write_text_part as WritePart)
            }
            Some(ResponsePart::Refusal(_)) => {
                ("response.content_part.done", item::write_refusal_part as WritePart)
            }
            Some(ResponsePart::Thinking { .. }) => {
                ("response.reasoning_summary_part.done", item::write_summary_part as WritePart)
            }
            Some(ResponsePart::Redacted(_) | ResponsePart::Call(_)) | None => return,
        };
        self.write_part_event(context, out, name, |data, part| {
            data.object("part", |fields| write(fields, part.text()));
        });
    }
}
