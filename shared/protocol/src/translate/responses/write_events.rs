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

/// Writes a stream. It keeps the answer, since the last event repeats it.
#[derive(Debug, Default)]
pub(in crate::translate) struct ResponsesWriter {
    number: u64,
    response: NeutralResponse,
}

impl ResponsesWriter {
    pub(in crate::translate) fn write_step(
        &mut self,
        context: &ResponseContext,
        step: &ResponseStep<'_>,
        out: &mut Vec<u8>,
    ) {
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
            ResponseStep::Close => self.write_close(context, out),
            ResponseStep::Signature(_) | ResponseStep::Stop(_) | ResponseStep::Usage(_) => {}
            // Real clients take a `ping` event for an event of the response, so a comment is sent.
            ResponseStep::Ping => out.extend_from_slice(b": ping\n\n"),
        }
    }

    /// Ends the stream normally.
    pub(in crate::translate) fn write_end(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        if self.response.lacks_refusal() {
            let open = ResponseStep::Open(PartStart::Refusal);
            for step in [open, ResponseStep::Delta(REFUSED), ResponseStep::Close] {
                self.write_step(context, &step, out);
            }
        }
        let name = match incomplete_reason(&self.response.stop_reason) {
            Some(_) => "response.incomplete",
            None => "response.completed",
        };
        self.write_state(context, out, name, ResponseState::Over);
    }

    /// Ends the stream with an error.
    pub(in crate::translate) fn write_failure(
        &mut self,
        context: &ResponseContext,
        error: &NeutralError,
        out: &mut Vec<u8>,
    ) {
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
            Some(ResponsePart::Thinking { .. }) => "response.reasoning_summary_text.delta",
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

    fn write_close(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        match self.response.parts.last() {
            Some(ResponsePart::Text(_)) => self.close_text(context, out),
            Some(ResponsePart::Refusal(_)) => self.close_refusal(context, out),
            Some(ResponsePart::Thinking { text, .. }) if !text.is_empty() => {
                self.close_summary(context, out);
            }
            Some(ResponsePart::Call(call)) if context.is_freeform(&call.name) => {
                let input = freeform_input(&call.arguments);
                for (end, field) in [("delta", "delta"), ("done", "input")] {
                    let name = format!("response.custom_tool_call_input.{end}");
                    self.write_part_event(context, out, &name, |data, _| data.text(field, &input));
                }
            }
            Some(ResponsePart::Call(_)) => {
                self.write_part_event(
                    context,
                    out,
                    "response.function_call_arguments.done",
                    |data, piece| {
                        if let ResponsePart::Call(call) = piece {
                            data.text("arguments", &call.arguments);
                        }
                    },
                );
            }
            _ => {}
        }
        self.write_item_event(context, out, "response.output_item.done", true);
    }

    fn close_text(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        self.write_part_event(context, out, "response.output_text.done", |data, piece| {
            if let ResponsePart::Text(text) = piece {
                data.text("text", text);
                data.list("logprobs", |_| {});
            }
        });
        self.write_part_event(context, out, "response.content_part.done", |data, piece| {
            if let ResponsePart::Text(text) = piece {
                data.object("part", |part| item::write_text_part(part, text));
            }
        });
    }

    fn close_refusal(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        self.write_part_event(context, out, "response.refusal.done", |data, piece| {
            if let ResponsePart::Refusal(text) = piece {
                data.text("refusal", text);
            }
        });
        self.write_part_event(context, out, "response.content_part.done", |data, piece| {
            if let ResponsePart::Refusal(text) = piece {
                data.object("part", |part| item::write_refusal_part(part, text));
            }
        });
    }

    fn close_summary(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        self.write_part_event(
            context,
            out,
            "response.reasoning_summary_text.done",
            |data, piece| {
                if let ResponsePart::Thinking { text, .. } = piece {
                    data.text("text", text);
                }
            },
        );
        self.write_part_event(
            context,
            out,
            "response.reasoning_summary_part.done",
            |data, piece| {
                if let ResponsePart::Thinking { text, .. } = piece {
                    data.object("part", |part| item::write_summary_part(part, text));
                }
            },
        );
    }
}
