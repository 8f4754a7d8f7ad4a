//! The items of a response.

use crate::translate::ResponseContext;
use crate::translate::chat::is_cut_object;
use crate::translate::continuation::is_baton_state;
use crate::translate::json_writer::{ObjectWriter, object_to_string};
use crate::translate::neutral_request::{ToolCall, freeform_input};
use crate::translate::neutral_response::ResponsePart;

/// How the id of a reasoning item begins, here and at OpenAI (OpenAPI document, examples of
/// `ReasoningItem`, 2026-11).
pub(crate) const REASONING_ID_PREFIX: &str = "rs_";

/// An item's id. It is derived from the answer's id, since the upstream's parts have none.
pub(super) fn item_id(
    response_id: &str,
    index: usize,
    part: &ResponsePart,
    context: &ResponseContext,
) -> String {
    let kind = match part {
        ResponsePart::Text(_) | ResponsePart::Refusal(_) => "msg",
        ResponsePart::Thinking { .. } | ResponsePart::Redacted(_) => "rs",
        ResponsePart::Call(call) if context.is_freeform(&call.name) => "ctc",
        ResponsePart::Call(_) => "fc",
    };
    format!("{kind}_{response_id}_{index}")
}

/// Writes an item. If not `is_complete`, its content is still empty.
pub(super) fn write_item(
    fields: &mut ObjectWriter<'_>,
    context: &ResponseContext,
    id: &str,
    response_part: &ResponsePart,
    is_complete: bool,
) {
    fields.text("id", id);
    let status = if is_complete { "completed" } else { "in_progress" };
    match response_part {
        ResponsePart::Text(text) | ResponsePart::Refusal(text) => {
            let is_refusal = matches!(response_part, ResponsePart::Refusal(_));
            let write = if is_refusal { write_refusal_part } else { write_text_part };
            fields.text("type", "message");
            fields.text("status", status);
            fields.text("role", "assistant");
            fields.list("content", |content| {
                if is_complete {
                    content.object(|part| write(part, text));
                }
            });
        }
        ResponsePart::Thinking { text, signature } => {
            fields.text("type", "reasoning");
            fields.list("summary", |summary| {
                if is_complete && context.shows_thinking && !text.is_empty() {
                    summary.object(|part| write_summary_part(part, text));
                }
            });
            let signature = signature.as_deref().filter(|_| is_complete);
            fields.text_or_null(
                "encrypted_content",
                signature.map(|it| seal_thinking(text, it, context.shows_thinking)).as_deref(),
            );
        }
        ResponsePart::Redacted(data) => {
            fields.text("type", "reasoning");
            fields.list("summary", |_| {});
            let block = object_to_string(|block| {
                block.text("type", "redacted_thinking");
                block.text("data", data);
            });
            fields.text("encrypted_content", &block);
        }
        ResponsePart::Call(call) => write_call(fields, context, call, is_complete),
    }
}

/// Encodes the upstream's thinking block so that the next request can return it unchanged, because
/// nothing is stored here. The client treats it as opaque, like OpenAI's encrypted content. The state of a
/// chat upstream is complete in itself if the summary has the text.
fn seal_thinking(text: &str, signature: &str, is_shown: bool) -> String {
    if is_baton_state(signature) && (is_shown || text.is_empty()) {
        return signature.to_owned();
    }
    object_to_string(|block| {
        block.text("type", "thinking");
        block.text("thinking", text);
        block.text("signature", signature);
    })
}

fn write_call(
    fields: &mut ObjectWriter<'_>,
    context: &ResponseContext,
    call: &ToolCall,
    is_complete: bool,
) {
    let alias = context.aliases.get(&call.name);
    let freeform = alias.is_some_and(|alias| alias.freeform);
    fields.text("type", if freeform { "custom_tool_call" } else { "function_call" });
    // The answer can end inside the arguments. Clients must not run such a call.
    let status = match is_complete {
        false => "in_progress",
        true if is_cut_object(&call.arguments) => "incomplete",
        true => "completed",
    };
    fields.text("status", status);
    fields.text("call_id", &call.id);
    fields.text("name", alias.map_or(&call.name, |alias| &alias.name));
    if let Some(namespace) = alias.and_then(|alias| alias.namespace.as_deref()) {
        fields.text("namespace", namespace);
    }
    match (is_complete, freeform) {
        (false, true) => fields.text("input", ""),
        (true, true) => fields.text("input", &freeform_input(&call.arguments)),
        (false, false) => fields.text("arguments", ""),
        (true, false) => fields.text("arguments", &call.arguments),
    }
}

pub(super) fn write_text_part(part: &mut ObjectWriter<'_>, text: &str) {
    part.text("type", "output_text");
    part.text("text", text);
    part.list("annotations", |_| {});
    part.list("logprobs", |_| {});
}

pub(super) fn write_refusal_part(part: &mut ObjectWriter<'_>, text: &str) {
    part.text("type", "refusal");
    part.text("refusal", text);
}

pub(super) fn write_summary_part(part: &mut ObjectWriter<'_>, text: &str) {
    part.text("type", "summary_text");
    part.text("text", text);
}
