//! An answer for a client of Chat Completions, written: as chunks and whole.

use crate::meter::Told;
use crate::translate::Asked;
use crate::translate::answer::{Answer, Opening, Piece, Step, Stop};
use crate::translate::ask::{Call, freeform_input};
use crate::translate::write::{Fields, event, object};

/// Writes a stream.
#[derive(Debug, Default)]
pub(in crate::translate) struct Writer {
    id: Option<String>,
    /// Calls so far.
    calls: u64,
    open: Option<Opening>,
    /// The arguments of a call whose text the client gets at its end.
    held: String,
    stop: Stop,
    usage: Told,
}

impl Writer {
    pub(in crate::translate) fn step(&mut self, asked: &Asked, step: &Step<'_>, out: &mut Vec<u8>) {
        match step {
            Step::Start { id } => {
                self.id.clone_from(id);
                self.delta(asked, out, |delta| {
                    delta.text("role", "assistant");
                    delta.text("content", "");
                });
            }
            Step::Open(opening) => {
                self.open = Some(opening.clone());
                if let Opening::Call { id, name } = opening
                    && !asked.is_freeform(name)
                {
                    let call =
                        Call { id: id.clone(), name: name.clone(), arguments: String::new() };
                    self.call(asked, out, |fields| write_call(fields, asked, &call));
                }
            }
            Step::Delta(text) => match &self.open {
                Some(Opening::Text) => self.delta(asked, out, |delta| delta.text("content", text)),
                Some(Opening::Thinking) => {
                    self.delta(asked, out, |delta| delta.text("reasoning_content", text));
                }
                Some(Opening::Call { name, .. }) if asked.is_freeform(name) => {
                    self.held.push_str(text);
                }
                Some(Opening::Call { .. }) => self.call(asked, out, |fields| {
                    fields.object("function", |function| function.text("arguments", text));
                }),
                Some(Opening::Redacted(_)) | None => {}
            },
            Step::Signature(_) => {}
            Step::Close => self.close(asked, out),
            Step::Stop(reason) => self.stop = reason.clone(),
            Step::Usage(told) => self.usage = *told,
            // A `ping` event would be taken for a chunk (facts: real clients, 2026-11-22).
            Step::Ping => out.extend_from_slice(b": ping\n\n"),
        }
    }

    fn close(&mut self, asked: &Asked, out: &mut Vec<u8>) {
        let Some(Opening::Call { id, name }) = self.open.take() else { return };
        if asked.is_freeform(&name) {
            let call = Call { id, name, arguments: std::mem::take(&mut self.held) };
            self.call(asked, out, |fields| write_freeform(fields, asked, &call));
        }
        self.calls += 1;
    }

    fn call(&self, asked: &Asked, out: &mut Vec<u8>, fill: impl FnOnce(&mut Fields<'_>)) {
        self.delta(asked, out, |delta| {
            delta.list("tool_calls", |calls| {
                calls.object(|call| {
                    call.number("index", self.calls);
                    fill(call);
                });
            });
        });
    }

    fn delta(&self, asked: &Asked, out: &mut Vec<u8>, fill: impl FnOnce(&mut Fields<'_>)) {
        self.choice(asked, out, None, fill);
    }

    fn choice(
        &self,
        asked: &Asked,
        out: &mut Vec<u8>,
        finish: Option<&str>,
        fill: impl FnOnce(&mut Fields<'_>),
    ) {
        self.chunk(asked, out, |chunk| {
            chunk.list("choices", |choices| {
                choices.object(|choice| {
                    choice.number("index", 0);
                    choice.object("delta", fill);
                    choice.null("logprobs");
                    choice.text_or_null("finish_reason", finish);
                });
            });
        });
    }

    fn chunk(&self, asked: &Asked, out: &mut Vec<u8>, fill: impl FnOnce(&mut Fields<'_>)) {
        event(out, "", |chunk| {
            head(chunk, asked, self.id.as_deref(), "chat.completion.chunk");
            fill(chunk);
        });
    }

    /// Ends the stream well.
    pub(in crate::translate) fn end(&self, asked: &Asked, out: &mut Vec<u8>) {
        self.choice(asked, out, Some(finish_reason(&self.stop)), |_| {});
        if asked.include_usage {
            self.chunk(asked, out, |chunk| {
                chunk.list("choices", |_| {});
                usage(chunk, &self.usage);
            });
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

/// The answer whole.
pub(in crate::translate) fn whole(asked: &Asked, answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    object(&mut out, |completion| {
        head(completion, asked, answer.id.as_deref(), "chat.completion");
        completion.list("choices", |choices| {
            choices.object(|choice| {
                choice.number("index", 0);
                choice.object("message", |message| write_message(message, asked, answer));
                choice.null("logprobs");
                choice.text("finish_reason", finish_reason(&answer.stop));
            });
        });
        usage(completion, &answer.usage);
    });
    out
}

fn write_message(message: &mut Fields<'_>, asked: &Asked, answer: &Answer) {
    let (mut content, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for piece in &answer.pieces {
        match piece {
            Piece::Text(text) => content.push_str(text),
            Piece::Thinking { text, .. } => thoughts.push_str(text),
            Piece::Call(call) => calls.push(call),
            Piece::Redacted(_) => {}
        }
    }
    message.text("role", "assistant");
    let is_silent = content.is_empty() && !calls.is_empty();
    message.text_or_null("content", (!is_silent).then_some(&content));
    message.null("refusal");
    if !thoughts.is_empty() {
        message.text("reasoning_content", &thoughts);
    }
    if !calls.is_empty() {
        message.list("tool_calls", |items| {
            for call in calls {
                items.object(|fields| write_any_call(fields, asked, call));
            }
        });
    }
}

fn write_any_call(fields: &mut Fields<'_>, asked: &Asked, call: &Call) {
    if asked.is_freeform(&call.name) {
        write_freeform(fields, asked, call);
    } else {
        write_call(fields, asked, call);
    }
}

fn write_call(fields: &mut Fields<'_>, asked: &Asked, call: &Call) {
    fields.text("id", &call.id);
    fields.text("type", "function");
    fields.object("function", |function| {
        function.text("name", asked.tool_name(&call.name));
        function.text("arguments", &call.arguments);
    });
}

fn write_freeform(fields: &mut Fields<'_>, asked: &Asked, call: &Call) {
    fields.text("id", &call.id);
    fields.text("type", "custom");
    fields.object("custom", |custom| {
        custom.text("name", asked.tool_name(&call.name));
        custom.text("input", &freeform_input(&call.arguments));
    });
}

fn head(fields: &mut Fields<'_>, asked: &Asked, id: Option<&str>, object: &str) {
    fields.text("id", id.unwrap_or(&asked.id));
    fields.text("object", object);
    fields.number("created", asked.created);
    fields.text("model", &asked.model);
}

fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) | Stop::Pause => "stop",
        Stop::MaxTokens | Stop::Window => "length",
        Stop::ToolUse => "tool_calls",
        Stop::Refusal => "content_filter",
    }
}

fn usage(fields: &mut Fields<'_>, told: &Told) {
    fields.object("usage", |usage| {
        usage.number("prompt_tokens", told.prompt());
        usage.number("completion_tokens", told.output);
        usage.number("total_tokens", told.prompt().saturating_add(told.output));
        usage.object("prompt_tokens_details", |details| {
            details.number("cached_tokens", told.cache_read);
            details.number("cache_write_tokens", told.cache_write);
        });
        if let Some(thinking) = told.thinking {
            usage.object("completion_tokens_details", |details| {
                details.number("reasoning_tokens", thinking);
            });
        }
    });
}
