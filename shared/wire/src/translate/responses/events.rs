//! The events of a streamed response, each with its number.

use super::answer_out::{State, id, incomplete, write};
use super::item;
use crate::translate::Asked;
use crate::translate::answer::{Answer, Piece, Step};
use crate::translate::ask::freeform_input;
use crate::translate::error::Fault;
use crate::translate::write::{Fields, event};

/// Writes a stream. It keeps the answer, which the last event repeats.
#[derive(Debug, Default)]
pub(in crate::translate) struct Writer {
    number: u64,
    answer: Answer,
}

impl Writer {
    pub(in crate::translate) fn step(&mut self, asked: &Asked, step: &Step<'_>, out: &mut Vec<u8>) {
        let is_first_delta = self.is_silent();
        self.answer.take(step);
        match step {
            Step::Start { .. } => {
                for name in ["response.created", "response.in_progress"] {
                    self.state(asked, out, name, State::InProgress);
                }
            }
            Step::Open(_) => self.open(asked, out),
            Step::Delta(delta) => self.delta(asked, out, delta, is_first_delta),
            Step::Close => self.close(asked, out),
            Step::Signature(_) | Step::Stop(_) | Step::Usage(_) => {}
            // A `ping` event would be taken for one of the response's (facts: real clients).
            Step::Ping => out.extend_from_slice(b": ping\n\n"),
        }
    }

    /// Ends the stream well.
    pub(in crate::translate) fn end(&mut self, asked: &Asked, out: &mut Vec<u8>) {
        let name = match incomplete(&self.answer.stop) {
            Some(_) => "response.incomplete",
            None => "response.completed",
        };
        self.state(asked, out, name, State::Over);
    }

    /// Ends the stream with an error.
    pub(in crate::translate) fn fail(&mut self, asked: &Asked, fault: &Fault, out: &mut Vec<u8>) {
        if self.number == 0 {
            // The SDKs take nothing before it.
            self.state(asked, out, "response.created", State::InProgress);
        }
        self.state(asked, out, "response.failed", State::Failed(fault));
    }

    fn state(&mut self, asked: &Asked, out: &mut Vec<u8>, name: &str, state: State<'_>) {
        let number = self.next();
        event(out, name, |data| {
            data.number("sequence_number", number);
            data.object("response", |response| write(response, asked, &self.answer, state));
        });
    }

    fn next(&mut self) -> u64 {
        let number = self.number;
        self.number += 1;
        number
    }

    /// Whether the part that is open has said nothing yet.
    fn is_silent(&self) -> bool {
        match self.answer.pieces.last() {
            Some(Piece::Text(text) | Piece::Thinking { text, .. }) => text.is_empty(),
            _ => false,
        }
    }

    /// The item that is open: its number, its id, and itself.
    fn current(&self, asked: &Asked) -> Option<(usize, String, &Piece)> {
        let index = self.answer.pieces.len().checked_sub(1)?;
        let piece = self.answer.pieces.last()?;
        Some((index, item::id(id(asked, &self.answer), index, piece, asked), piece))
    }

    /// An event about the open item as a whole.
    fn item(&mut self, asked: &Asked, out: &mut Vec<u8>, name: &str, done: bool) {
        let number = self.next();
        let Some((index, id, piece)) = self.current(asked) else { return };
        event(out, name, |data| {
            data.number("sequence_number", number);
            data.number("output_index", index as u64);
            data.object("item", |fields| item::write(fields, asked, &id, piece, done));
        });
    }

    /// An event about something inside the open item.
    fn inside(
        &mut self,
        asked: &Asked,
        out: &mut Vec<u8>,
        name: &str,
        fill: impl FnOnce(&mut Fields<'_>, &Piece),
    ) {
        let number = self.next();
        let Some((index, id, piece)) = self.current(asked) else { return };
        event(out, name, |data| {
            data.number("sequence_number", number);
            data.text("item_id", &id);
            data.number("output_index", index as u64);
            match piece {
                Piece::Text(_) => data.number("content_index", 0),
                Piece::Thinking { .. } => data.number("summary_index", 0),
                Piece::Redacted(_) | Piece::Call(_) => {}
            }
            fill(data, piece);
        });
    }

    fn open(&mut self, asked: &Asked, out: &mut Vec<u8>) {
        self.item(asked, out, "response.output_item.added", false);
        if let Some(Piece::Text(_)) = self.answer.pieces.last() {
            self.inside(asked, out, "response.content_part.added", |data, _| {
                data.object("part", |part| item::text_part(part, ""));
            });
        }
    }

    fn delta(&mut self, asked: &Asked, out: &mut Vec<u8>, delta: &str, is_first: bool) {
        let name = match self.answer.pieces.last() {
            Some(Piece::Text(_)) => "response.output_text.delta",
            Some(Piece::Thinking { .. }) => "response.reasoning_summary_text.delta",
            Some(Piece::Call(call)) if !asked.is_freeform(&call.name) => {
                "response.function_call_arguments.delta"
            }
            // Free text is told at its end, when it can be read out of the arguments.
            _ => return,
        };
        if is_first && name.starts_with("response.reasoning") {
            self.inside(asked, out, "response.reasoning_summary_part.added", |data, _| {
                data.object("part", |part| item::summary_part(part, ""));
            });
        }
        self.inside(asked, out, name, |data, piece| {
            data.text("delta", delta);
            if matches!(piece, Piece::Text(_)) {
                data.list("logprobs", |_| {});
            }
        });
    }

    fn close(&mut self, asked: &Asked, out: &mut Vec<u8>) {
        match self.answer.pieces.last() {
            Some(Piece::Text(_)) => self.close_text(asked, out),
            Some(Piece::Thinking { text, .. }) if !text.is_empty() => {
                self.close_summary(asked, out);
            }
            Some(Piece::Call(call)) if asked.is_freeform(&call.name) => {
                let input = freeform_input(&call.arguments);
                for (end, field) in [("delta", "delta"), ("done", "input")] {
                    let name = format!("response.custom_tool_call_input.{end}");
                    self.inside(asked, out, &name, |data, _| data.text(field, &input));
                }
            }
            Some(Piece::Call(_)) => {
                self.inside(asked, out, "response.function_call_arguments.done", |data, piece| {
                    if let Piece::Call(call) = piece {
                        data.text("arguments", &call.arguments);
                    }
                });
            }
            _ => {}
        }
        self.item(asked, out, "response.output_item.done", true);
    }

    fn close_text(&mut self, asked: &Asked, out: &mut Vec<u8>) {
        self.inside(asked, out, "response.output_text.done", |data, piece| {
            if let Piece::Text(text) = piece {
                data.text("text", text);
                data.list("logprobs", |_| {});
            }
        });
        self.inside(asked, out, "response.content_part.done", |data, piece| {
            if let Piece::Text(text) = piece {
                data.object("part", |part| item::text_part(part, text));
            }
        });
    }

    fn close_summary(&mut self, asked: &Asked, out: &mut Vec<u8>) {
        self.inside(asked, out, "response.reasoning_summary_text.done", |data, piece| {
            if let Piece::Thinking { text, .. } = piece {
                data.text("text", text);
            }
        });
        self.inside(asked, out, "response.reasoning_summary_part.done", |data, piece| {
            if let Piece::Thinking { text, .. } = piece {
                data.object("part", |part| item::summary_part(part, text));
            }
        });
    }
}
