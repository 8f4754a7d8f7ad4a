//! An answer for a client of the Messages API, written: as events and whole.

use crate::meter::Told;
use crate::translate::Asked;
use crate::translate::answer::{Answer, Opening, Piece, Step, Stop};
use crate::translate::write::{Fields, event, object};

/// Writes a stream.
#[derive(Debug, Default)]
pub(in crate::translate) struct Writer {
    /// Blocks that are over.
    index: u64,
    is_thinking: bool,
    is_call: bool,
    stop: Stop,
    usage: Told,
}

impl Writer {
    pub(in crate::translate) fn step(&mut self, asked: &Asked, step: &Step<'_>, out: &mut Vec<u8>) {
        match step {
            Step::Start { id } => event(out, "message_start", |data| {
                data.object("message", |message| {
                    head(message, asked, id.as_deref());
                    message.list("content", |_| {});
                    message.null("stop_reason");
                    message.null("stop_sequence");
                    usage(message, &Told::default());
                });
            }),
            Step::Open(opening) => {
                self.is_thinking = *opening == Opening::Thinking;
                self.is_call = matches!(opening, Opening::Call { .. });
                event(out, "content_block_start", |data| {
                    data.number("index", self.index);
                    let begun = Piece::from(opening.clone());
                    data.object("content_block", |fields| block(fields, asked, &begun));
                });
            }
            Step::Delta(delta) => self.delta(out, delta),
            Step::Signature(signature) => event(out, "content_block_delta", |data| {
                data.number("index", self.index);
                data.object("delta", |fields| {
                    fields.text("type", "signature_delta");
                    fields.text("signature", signature);
                });
            }),
            Step::Close => {
                event(out, "content_block_stop", |data| data.number("index", self.index));
                self.index += 1;
            }
            Step::Stop(reason) => self.stop = reason.clone(),
            Step::Usage(told) => self.usage = *told,
            Step::Ping => event(out, "ping", |_| {}),
        }
    }

    fn delta(&self, out: &mut Vec<u8>, delta: &str) {
        let (kind, field) = match (self.is_call, self.is_thinking) {
            (true, _) => ("input_json_delta", "partial_json"),
            (_, true) => ("thinking_delta", "thinking"),
            _ => ("text_delta", "text"),
        };
        event(out, "content_block_delta", |data| {
            data.number("index", self.index);
            data.object("delta", |fields| {
                fields.text("type", kind);
                fields.text(field, delta);
            });
        });
    }

    /// Ends the stream well.
    pub(in crate::translate) fn end(&self, asked: &Asked, out: &mut Vec<u8>) {
        event(out, "message_delta", |data| {
            data.object("delta", |delta| stop(delta, asked, &self.stop));
            usage(data, &self.usage);
        });
        event(out, "message_stop", |_| {});
    }
}

/// The answer whole.
pub(in crate::translate) fn whole(asked: &Asked, answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    object(&mut out, |message| {
        head(message, asked, answer.id.as_deref());
        message.list("content", |blocks| {
            answer
                .pieces
                .iter()
                .for_each(|piece| blocks.object(|fields| block(fields, asked, piece)));
        });
        stop(message, asked, &answer.stop);
        usage(message, &answer.usage);
    });
    out
}

fn head(message: &mut Fields<'_>, asked: &Asked, id: Option<&str>) {
    message.text("id", id.unwrap_or(&asked.id));
    message.text("type", "message");
    message.text("role", "assistant");
    message.text("model", &asked.model);
}

fn block(fields: &mut Fields<'_>, asked: &Asked, piece: &Piece) {
    match piece {
        Piece::Text(text) => {
            fields.text("type", "text");
            fields.text("text", text);
        }
        Piece::Thinking { text, signature } => {
            fields.text("type", "thinking");
            fields.text("thinking", text);
            fields.text("signature", signature.as_deref().unwrap_or_default());
        }
        Piece::Redacted(data) => {
            fields.text("type", "redacted_thinking");
            fields.text("data", data);
        }
        Piece::Call(call) => {
            fields.text("type", "tool_use");
            fields.text("id", &call.id);
            fields.text("name", asked.tool_name(&call.name));
            fields.json("input", call.input());
        }
    }
}

/// A stop sequence is one only if it was asked for: what vendors say beside `stop` may be anything.
fn stop(fields: &mut Fields<'_>, asked: &Asked, stop: &Stop) {
    let (reason, sequence) = match stop {
        Stop::Sequence(Some(sequence)) if asked.stops.contains(sequence) => {
            ("stop_sequence", Some(sequence.as_str()))
        }
        Stop::End | Stop::Sequence(_) => ("end_turn", None),
        Stop::MaxTokens => ("max_tokens", None),
        Stop::ToolUse => ("tool_use", None),
        Stop::Refusal => ("refusal", None),
        Stop::Pause => ("pause_turn", None),
        Stop::Window => ("model_context_window_exceeded", None),
    };
    fields.text("stop_reason", reason);
    fields.text_or_null("stop_sequence", sequence);
}

fn usage(fields: &mut Fields<'_>, told: &Told) {
    fields.object("usage", |usage| {
        usage.number("input_tokens", told.input);
        usage.number("cache_creation_input_tokens", told.cache_write);
        usage.number("cache_read_input_tokens", told.cache_read);
        usage.number("output_tokens", told.output);
        if let Some(thinking) = told.thinking {
            usage.object("output_tokens_details", |details| {
                details.number("thinking_tokens", thinking);
            });
        }
    });
}
