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
    open_part: Option<PartStart>,
    /// The arguments of a call whose text the client receives when the call ends.
    buffered_text: String,
    stop_reason: StopReason,
    usage: ReportedUsage,
}

impl ChatWriter {
    pub(in crate::translate) fn write_step(
        &mut self,
        context: &ResponseContext,
        step: &ResponseStep<'_>,
        out: &mut Vec<u8>,
    ) {
        match step {
            ResponseStep::Start { id } => {
                self.id.clone_from(id);
                self.write_delta(context, out, |delta| {
                    delta.text("role", "assistant");
                    delta.text("content", "");
                });
            }
            ResponseStep::Open(part_start) => {
                self.open_part = Some(part_start.clone());
                if let PartStart::Call { id, name } = part_start
                    && !context.is_freeform(name)
                {
                    let call =
                        ToolCall { id: id.clone(), name: name.clone(), arguments: String::new() };
                    self.write_call_delta(context, out, |fields| {
                        write_call(fields, context, &call);
                    });
                }
            }
            ResponseStep::Delta(text) => match &self.open_part {
                Some(PartStart::Text) => {
                    self.write_delta(context, out, |delta| delta.text("content", text));
                }
                Some(PartStart::Refusal) => {
                    self.write_delta(context, out, |delta| delta.text("refusal", text));
                }
                Some(PartStart::Thinking) => {
                    self.write_delta(context, out, |delta| delta.text("reasoning_content", text));
                }
                Some(PartStart::Call { name, .. }) if context.is_freeform(name) => {
                    self.buffered_text.push_str(text);
                }
                Some(PartStart::Call { .. }) => self.write_call_delta(context, out, |fields| {
                    fields.object("function", |function| function.text("arguments", text));
                }),
                Some(PartStart::Redacted(_)) | None => {}
            },
            ResponseStep::Signature(_) => {}
            ResponseStep::Close => self.close_part(context, out),
            ResponseStep::Stop(reason) => self.stop_reason = reason.clone(),
            ResponseStep::Usage(reported_usage) => self.usage = *reported_usage,
            // Real clients take a `ping` event for a chunk (observed 2026-11-22), so a comment is
            // sent.
            ResponseStep::Ping => out.extend_from_slice(b": ping\n\n"),
        }
    }

    fn close_part(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        let Some(PartStart::Call { id, name }) = self.open_part.take() else { return };
        if context.is_freeform(&name) {
            let call = ToolCall { id, name, arguments: std::mem::take(&mut self.buffered_text) };
            self.write_call_delta(context, out, |fields| write_freeform(fields, context, &call));
        }
        self.calls += 1;
    }

    fn write_call_delta(
        &self,
        context: &ResponseContext,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut ObjectWriter<'_>),
    ) {
        self.write_delta(context, out, |delta| {
            delta.list("tool_calls", |calls| {
                calls.object(|call| {
                    call.number("index", self.calls);
                    write(call);
                });
            });
        });
    }

    fn write_delta(
        &self,
        context: &ResponseContext,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut ObjectWriter<'_>),
    ) {
        self.write_choice(context, out, None, write);
    }

    fn write_choice(
        &self,
        context: &ResponseContext,
        out: &mut Vec<u8>,
        finish: Option<&str>,
        write: impl FnOnce(&mut ObjectWriter<'_>),
    ) {
        self.write_chunk(context, out, |chunk| {
            chunk.list("choices", |choices| {
                choices.object(|choice| {
                    choice.number("index", 0);
                    choice.object("delta", write);
                    choice.null("logprobs");
                    choice.text_or_null("finish_reason", finish);
                });
            });
        });
    }

    fn write_chunk(
        &self,
        context: &ResponseContext,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut ObjectWriter<'_>),
    ) {
        write_event(out, "", |chunk| {
            write_head(chunk, context, self.id.as_deref(), "chat.completion.chunk");
            write(chunk);
        });
    }

    /// Ends the stream normally.
    pub(in crate::translate) fn write_end(&self, context: &ResponseContext, out: &mut Vec<u8>) {
        self.write_choice(context, out, Some(finish_reason(&self.stop_reason)), |_| {});
        if context.include_usage {
            self.write_chunk(context, out, |chunk| {
                chunk.list("choices", |_| {});
                write_usage(chunk, &self.usage);
            });
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

/// Writes the whole answer.
pub(in crate::translate) fn write_completion(
    context: &ResponseContext,
    response: &NeutralResponse,
) -> Vec<u8> {
    let mut out = Vec::new();
    write_object(&mut out, |completion| {
        write_head(completion, context, response.id.as_deref(), "chat.completion");
        completion.list("choices", |choices| {
            choices.object(|choice| {
                choice.number("index", 0);
                choice.object("message", |message| write_message(message, context, response));
                choice.null("logprobs");
                choice.text("finish_reason", finish_reason(&response.stop_reason));
            });
        });
        write_usage(completion, &response.usage);
    });
    out
}

fn write_message(
    message: &mut ObjectWriter<'_>,
    context: &ResponseContext,
    response: &NeutralResponse,
) {
    let (mut text, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
    let mut refusal: Option<String> = None;
    for part in &response.parts {
        match part {
            ResponsePart::Text(part) => text.push_str(part),
            ResponsePart::Refusal(part) => refusal.get_or_insert_default().push_str(part),
            ResponsePart::Thinking { text: part, .. } => reasoning.push_str(part),
            ResponsePart::Call(call) => calls.push(call),
            ResponsePart::Redacted(_) => {}
        }
    }
    message.text("role", "assistant");
    let is_silent = text.is_empty() && (!calls.is_empty() || refusal.is_some());
    message.text_or_null("content", (!is_silent).then_some(&text));
    message.text_or_null("refusal", refusal.as_deref());
    if !reasoning.is_empty() {
        message.text("reasoning_content", &reasoning);
    }
    if !calls.is_empty() {
        message.list("tool_calls", |items| {
            for call in calls {
                items.object(|fields| write_any_call(fields, context, call));
            }
        });
    }
}

fn write_any_call(fields: &mut ObjectWriter<'_>, context: &ResponseContext, call: &ToolCall) {
    if context.is_freeform(&call.name) {
        write_freeform(fields, context, call);
    } else {
        write_call(fields, context, call);
    }
}

fn write_call(fields: &mut ObjectWriter<'_>, context: &ResponseContext, call: &ToolCall) {
    fields.text("id", &call.id);
    fields.text("type", "function");
    fields.object("function", |function| {
        function.text("name", context.tool_name(&call.name));
        function.text("arguments", &call.arguments);
    });
}

fn write_freeform(fields: &mut ObjectWriter<'_>, context: &ResponseContext, call: &ToolCall) {
    fields.text("id", &call.id);
    fields.text("type", "custom");
    fields.object("custom", |custom| {
        custom.text("name", context.tool_name(&call.name));
        custom.text("input", &freeform_input(&call.arguments));
    });
}

fn write_head(
    fields: &mut ObjectWriter<'_>,
    context: &ResponseContext,
    id: Option<&str>,
    object: &str,
) {
    fields.text("id", id.unwrap_or(&context.id));
    fields.text("object", object);
    fields.number("created", context.created);
    fields.text("model", &context.model);
}

fn finish_reason(stop_reason: &StopReason) -> &'static str {
    match stop_reason {
        StopReason::End | StopReason::Sequence(_) | StopReason::Pause => "stop",
        StopReason::MaxTokens | StopReason::Window => "length",
        StopReason::ToolUse => "tool_calls",
        StopReason::Refusal => "content_filter",
    }
}

fn write_usage(fields: &mut ObjectWriter<'_>, reported_usage: &ReportedUsage) {
    fields.object("usage", |usage| {
        usage.number("prompt_tokens", reported_usage.prompt_tokens());
        usage.number("completion_tokens", reported_usage.output);
        usage.number(
            "total_tokens",
            reported_usage.prompt_tokens().saturating_add(reported_usage.output),
        );
        usage.object("prompt_tokens_details", |details| {
            details.number("cached_tokens", reported_usage.cache_read);
            details.number("cache_write_tokens", reported_usage.cache_write);
        });
        if let Some(thinking) = reported_usage.thinking {
            usage.object("completion_tokens_details", |details| {
                details.number("reasoning_tokens", thinking);
            });
        }
    });
}
