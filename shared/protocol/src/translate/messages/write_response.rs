//! Writes answers for clients of the Messages API, as events or whole.

use crate::meter::ReportedUsage;
use crate::translate::ResponseContext;
use crate::translate::json_writer::{ObjectWriter, write_event, write_object};
use crate::translate::neutral_response::{
    NeutralResponse, PartStart, ResponsePart, ResponseStep, StopReason,
};

/// Writes a stream.
#[derive(Debug, Default)]
pub(in crate::translate) struct MessagesWriter {
    /// The number of blocks that are closed.
    index: u64,
    is_thinking: bool,
    is_call: bool,
    stop_reason: StopReason,
    usage: ReportedUsage,
    held: HeldThinking,
}

impl MessagesWriter {
    pub(in crate::translate) fn write_step(
        &mut self,
        context: &ResponseContext,
        step: &ResponseStep<'_>,
        out: &mut Vec<u8>,
    ) {
        if !context.shows_thinking {
            if self.held.hold(step) {
                return;
            }
            if matches!(step, ResponseStep::Open(PartStart::Call { .. })) {
                self.write_held(context, out);
            }
        }
        self.write_visible_step(context, step, out);
    }

    /// Writes the thinking that was held. The client has to return it together with the calls.
    fn write_held(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        for (text, signature) in std::mem::take(&mut self.held.parts) {
            self.write_visible_step(context, &ResponseStep::Open(PartStart::Thinking), out);
            if !text.is_empty() {
                self.write_visible_step(context, &ResponseStep::Delta(&text), out);
            }
            if !signature.is_empty() {
                self.write_visible_step(context, &ResponseStep::Signature(&signature), out);
            }
            self.write_visible_step(context, &ResponseStep::Close, out);
        }
    }

    fn write_visible_step(
        &mut self,
        context: &ResponseContext,
        step: &ResponseStep<'_>,
        out: &mut Vec<u8>,
    ) {
        match step {
            ResponseStep::Start { id } => write_event(out, "message_start", |data| {
                data.object("message", |message| {
                    write_head(message, context, id.as_deref());
                    message.list("content", |_| {});
                    message.null("stop_reason");
                    message.null("stop_sequence");
                    write_usage(message, &ReportedUsage::default());
                });
            }),
            ResponseStep::Open(part_start) => {
                self.is_thinking = *part_start == PartStart::Thinking;
                self.is_call = matches!(part_start, PartStart::Call { .. });
                write_event(out, "content_block_start", |data| {
                    data.number("index", self.index);
                    let part = ResponsePart::from(part_start.clone());
                    data.object("content_block", |fields| write_block(fields, context, &part));
                });
            }
            ResponseStep::Delta(delta) => self.write_delta(out, delta),
            ResponseStep::Signature(signature) => write_event(out, "content_block_delta", |data| {
                data.number("index", self.index);
                data.object("delta", |fields| {
                    fields.text("type", "signature_delta");
                    fields.text("signature", signature);
                });
            }),
            ResponseStep::Close => {
                write_event(out, "content_block_stop", |data| data.number("index", self.index));
                self.index += 1;
            }
            ResponseStep::Stop(reason) => self.stop_reason = reason.clone(),
            ResponseStep::Usage(reported_usage) => self.usage = *reported_usage,
            ResponseStep::Ping => write_event(out, "ping", |_| {}),
        }
    }

    fn write_delta(&self, out: &mut Vec<u8>, delta: &str) {
        let (kind, field) = match (self.is_call, self.is_thinking) {
            (true, _) => ("input_json_delta", "partial_json"),
            (_, true) => ("thinking_delta", "thinking"),
            _ => ("text_delta", "text"),
        };
        write_event(out, "content_block_delta", |data| {
            data.number("index", self.index);
            data.object("delta", |fields| {
                fields.text("type", kind);
                fields.text(field, delta);
            });
        });
    }

    /// Ends the stream normally.
    pub(in crate::translate) fn write_end(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        if self.held.has_called {
            self.write_held(context, out);
        }
        write_event(out, "message_delta", |data| {
            data.object("delta", |delta| write_stop(delta, context, &self.stop_reason));
            write_usage(data, &self.usage);
        });
        write_event(out, "message_stop", |_| {});
    }
}

/// Thinking that the client did not ask for. Many clients read the first block as the answer, so
/// such thinking is left out, unless calls follow: some upstreams want it back together with the
/// results, and it then stands directly before the calls.
#[derive(Debug, Default)]
struct HeldThinking {
    /// The text and the signature of each part.
    parts: Vec<(String, String)>,
    is_open: bool,
    has_called: bool,
}

impl HeldThinking {
    /// Returns whether the step is held.
    fn hold(&mut self, step: &ResponseStep<'_>) -> bool {
        match step {
            ResponseStep::Open(part_start) => {
                self.is_open = *part_start == PartStart::Thinking;
                self.has_called |= matches!(part_start, PartStart::Call { .. });
                if self.is_open {
                    self.parts.push(Default::default());
                }
                self.is_open
            }
            ResponseStep::Delta(more) | ResponseStep::Signature(more) if self.is_open => {
                if let Some((text, signature)) = self.parts.last_mut() {
                    let is_text = matches!(step, ResponseStep::Delta(_));
                    if is_text { text } else { signature }.push_str(more);
                }
                true
            }
            ResponseStep::Close => std::mem::take(&mut self.is_open),
            _ => false,
        }
    }
}

/// The parts of a whole answer in the order in which a stream would have them.
fn shown_parts<'a>(
    context: &ResponseContext,
    response: &'a NeutralResponse,
) -> Vec<&'a ResponsePart> {
    if context.shows_thinking {
        return response.parts.iter().collect();
    }
    let (mut shown, mut held, mut has_called) = (Vec::new(), Vec::new(), false);
    for part in &response.parts {
        match part {
            ResponsePart::Thinking { .. } => held.push(part),
            ResponsePart::Call(_) => {
                shown.append(&mut held);
                shown.push(part);
                has_called = true;
            }
            ResponsePart::Text(_) | ResponsePart::Refusal(_) | ResponsePart::Redacted(_) => {
                shown.push(part);
            }
        }
    }
    if has_called {
        shown.append(&mut held);
    }
    shown
}

/// Writes the whole answer.
pub(in crate::translate) fn write_message(
    context: &ResponseContext,
    response: &NeutralResponse,
) -> Vec<u8> {
    let mut out = Vec::new();
    write_object(&mut out, |message| {
        write_head(message, context, response.id.as_deref());
        message.list("content", |blocks| {
            for part in shown_parts(context, response) {
                blocks.object(|fields| write_block(fields, context, part));
            }
        });
        write_stop(message, context, &response.stop_reason);
        write_usage(message, &response.usage);
    });
    out
}

fn write_head(message: &mut ObjectWriter<'_>, context: &ResponseContext, id: Option<&str>) {
    message.text("id", id.unwrap_or(&context.id));
    message.text("type", "message");
    message.text("role", "assistant");
    message.text("model", &context.model);
}

fn write_block(fields: &mut ObjectWriter<'_>, context: &ResponseContext, part: &ResponsePart) {
    match part {
        ResponsePart::Text(text) | ResponsePart::Refusal(text) => {
            fields.text("type", "text");
            fields.text("text", text);
        }
        ResponsePart::Thinking { text, signature } => {
            fields.text("type", "thinking");
            fields.text("thinking", text);
            fields.text("signature", signature.as_deref().unwrap_or_default());
        }
        ResponsePart::Redacted(data) => {
            fields.text("type", "redacted_thinking");
            fields.text("data", data);
        }
        ResponsePart::Call(call) => {
            fields.text("type", "tool_use");
            fields.text("id", &call.id);
            fields.text("name", context.tool_name(&call.name));
            fields.json("input", &call.arguments_object());
        }
    }
}

/// Writes why the model stopped. A stop sequence is reported only if the client asked for it,
/// because vendors send various values together with `stop`.
fn write_stop(fields: &mut ObjectWriter<'_>, context: &ResponseContext, stop_reason: &StopReason) {
    let (reason, sequence) = match stop_reason {
        StopReason::Sequence(Some(sequence)) if context.stops.contains(sequence) => {
            ("stop_sequence", Some(sequence.as_str()))
        }
        StopReason::End | StopReason::Sequence(_) => ("end_turn", None),
        StopReason::MaxTokens => ("max_tokens", None),
        StopReason::ToolUse => ("tool_use", None),
        StopReason::Refusal => ("refusal", None),
        StopReason::Pause => ("pause_turn", None),
        StopReason::Window => ("model_context_window_exceeded", None),
    };
    fields.text("stop_reason", reason);
    fields.text_or_null("stop_sequence", sequence);
}

fn write_usage(fields: &mut ObjectWriter<'_>, reported_usage: &ReportedUsage) {
    fields.object("usage", |usage| {
        usage.number("input_tokens", reported_usage.input);
        usage.number("cache_creation_input_tokens", reported_usage.cache_write);
        usage.number("cache_read_input_tokens", reported_usage.cache_read);
        usage.number("output_tokens", reported_usage.output);
        if let Some(thinking) = reported_usage.thinking {
            usage.object("output_tokens_details", |details| {
                details.number("thinking_tokens", thinking);
            });
        }
    });
}
