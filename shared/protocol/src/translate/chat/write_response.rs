//! Writes answers for clients of Chat Completions, as chunks or whole.

use crate::meter::ReportedUsage;
use crate::translate::ResponseContext;
use crate::translate::json_writer::{ObjectWriter, write_event, write_object};
use crate::translate::neutral_request::{ToolCall, freeform_input};
use crate::translate::neutral_response::{
    NeutralResponse, PartStart, ResponsePart, ResponseStep, StopReason,
};

/// Writes a stream.
#[derive(Debug, Default)]
pub(in crate::translate) struct ChatWriter {
    id: Option<String>,
    /// The number of calls so far.
    calls: u64,
    open: Option<PartStart>,
    /// The arguments of a call whose text the client receives when the call ends.
    held: String,
    stop: StopReason,
    usage: ReportedUsage,
}

impl ChatWriter {
    pub(in crate::translate) fn write_step(
        &mut self,
        asked: &ResponseContext,
        step: &ResponseStep<'_>,
        out: &mut Vec<u8>,
    ) {
        match step {
            ResponseStep::Start { id } => {
                self.id.clone_from(id);
                self.write_delta(asked, out, |delta| {
                    delta.text("role", "assistant");
                    delta.text("content", "");
                });
            }
            ResponseStep::Open(opening) => {
                self.open = Some(opening.clone());
                if let PartStart::Call { id, name } = opening
                    && !asked.is_freeform(name)
                {
                    let call =
                        ToolCall { id: id.clone(), name: name.clone(), arguments: String::new() };
                    self.write_call_delta(asked, out, |fields| write_call(fields, asked, &call));
                }
            }
            ResponseStep::Delta(text) => match &self.open {
                Some(PartStart::Text) => {
                    self.write_delta(asked, out, |delta| delta.text("content", text));
                }
                Some(PartStart::Thinking) => {
                    self.write_delta(asked, out, |delta| delta.text("reasoning_content", text));
                }
                Some(PartStart::Call { name, .. }) if asked.is_freeform(name) => {
                    self.held.push_str(text);
                }
                Some(PartStart::Call { .. }) => self.write_call_delta(asked, out, |fields| {
                    fields.object("function", |function| function.text("arguments", text));
                }),
                Some(PartStart::Redacted(_)) | None => {}
            },
            ResponseStep::Signature(_) => {}
            ResponseStep::Close => self.close_part(asked, out),
            ResponseStep::Stop(reason) => self.stop = reason.clone(),
            ResponseStep::Usage(told) => self.usage = *told,
            // Real clients take a `ping` event for a chunk (observed 2026-11-22), so a comment is
            // sent.
            ResponseStep::Ping => out.extend_from_slice(b": ping\n\n"),
        }
    }

    fn close_part(&mut self, asked: &ResponseContext, out: &mut Vec<u8>) {
        let Some(PartStart::Call { id, name }) = self.open.take() else { return };
        if asked.is_freeform(&name) {
            let call = ToolCall { id, name, arguments: std::mem::take(&mut self.held) };
            self.write_call_delta(asked, out, |fields| write_freeform(fields, asked, &call));
        }
        self.calls += 1;
    }

    fn write_call_delta(
        &self,
        asked: &ResponseContext,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut ObjectWriter<'_>),
    ) {
        self.write_delta(asked, out, |delta| {
            delta.list("tool_calls", |calls| {
                calls.object(|call| {
                    call.number("index", self.calls);
                    fill(call);
                });
            });
        });
    }

    fn write_delta(
        &self,
        asked: &ResponseContext,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut ObjectWriter<'_>),
    ) {
        self.write_choice(asked, out, None, fill);
    }

    fn write_choice(
        &self,
        asked: &ResponseContext,
        out: &mut Vec<u8>,
        finish: Option<&str>,
        fill: impl FnOnce(&mut ObjectWriter<'_>),
    ) {
        self.write_chunk(asked, out, |chunk| {
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

    fn write_chunk(
        &self,
        asked: &ResponseContext,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut ObjectWriter<'_>),
    ) {
        write_event(out, "", |chunk| {
            write_head(chunk, asked, self.id.as_deref(), "chat.completion.chunk");
            fill(chunk);
        });
    }

    /// Ends the stream normally.
    pub(in crate::translate) fn write_end(&self, asked: &ResponseContext, out: &mut Vec<u8>) {
        self.write_choice(asked, out, Some(finish_reason(&self.stop)), |_| {});
        if asked.include_usage {
            self.write_chunk(asked, out, |chunk| {
                chunk.list("choices", |_| {});
                write_usage(chunk, &self.usage);
            });
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

/// Writes the whole answer.
pub(in crate::translate) fn write_completion(
    asked: &ResponseContext,
    answer: &NeutralResponse,
) -> Vec<u8> {
    let mut out = Vec::new();
    write_object(&mut out, |completion| {
        write_head(completion, asked, answer.id.as_deref(), "chat.completion");
        completion.list("choices", |choices| {
            choices.object(|choice| {
                choice.number("index", 0);
                choice.object("message", |message| write_message(message, asked, answer));
                choice.null("logprobs");
                choice.text("finish_reason", finish_reason(&answer.stop));
            });
        });
        write_usage(completion, &answer.usage);
    });
    out
}

fn write_message(
    message: &mut ObjectWriter<'_>,
    asked: &ResponseContext,
    answer: &NeutralResponse,
) {
    let (mut content, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for piece in &answer.pieces {
        match piece {
            ResponsePart::Text(text) => content.push_str(text),
            ResponsePart::Thinking { text, .. } => thoughts.push_str(text),
            ResponsePart::Call(call) => calls.push(call),
            ResponsePart::Redacted(_) => {}
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

fn write_any_call(fields: &mut ObjectWriter<'_>, asked: &ResponseContext, call: &ToolCall) {
    if asked.is_freeform(&call.name) {
        write_freeform(fields, asked, call);
    } else {
        write_call(fields, asked, call);
    }
}

fn write_call(fields: &mut ObjectWriter<'_>, asked: &ResponseContext, call: &ToolCall) {
    fields.text("id", &call.id);
    fields.text("type", "function");
    fields.object("function", |function| {
        function.text("name", asked.tool_name(&call.name));
        function.text("arguments", &call.arguments);
    });
}

fn write_freeform(fields: &mut ObjectWriter<'_>, asked: &ResponseContext, call: &ToolCall) {
    fields.text("id", &call.id);
    fields.text("type", "custom");
    fields.object("custom", |custom| {
        custom.text("name", asked.tool_name(&call.name));
        custom.text("input", &freeform_input(&call.arguments));
    });
}

fn write_head(
    fields: &mut ObjectWriter<'_>,
    asked: &ResponseContext,
    id: Option<&str>,
    object: &str,
) {
    fields.text("id", id.unwrap_or(&asked.id));
    fields.text("object", object);
    fields.number("created", asked.created);
    fields.text("model", &asked.model);
}

fn finish_reason(stop: &StopReason) -> &'static str {
    match stop {
        StopReason::End | StopReason::Sequence(_) | StopReason::Pause => "stop",
        StopReason::MaxTokens | StopReason::Window => "length",
        StopReason::ToolUse => "tool_calls",
        StopReason::Refusal => "content_filter",
    }
}

fn write_usage(fields: &mut ObjectWriter<'_>, told: &ReportedUsage) {
    fields.object("usage", |usage| {
        usage.number("prompt_tokens", told.prompt_tokens());
        usage.number("completion_tokens", told.output);
        usage.number("total_tokens", told.prompt_tokens().saturating_add(told.output));
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
