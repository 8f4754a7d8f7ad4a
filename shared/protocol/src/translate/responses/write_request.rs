//! Writes Responses requests.
//!
//! Nothing is stored at the upstream: each request has the whole conversation, and encrypted
//! reasoning comes back as items of it (developers.openai.com, "Reasoning models", encrypted
//! reasoning items, 2026-11).

use crate::translate::WriteOptions;
use crate::translate::continuation::ReasoningItem;
use crate::translate::json_reader::DroppedFields;
use crate::translate::json_writer::{ArrayWriter, ObjectWriter, write_object_within};
use crate::translate::neutral_request::{
    ConversationTurn, MediaSource, NeutralRequest, OutputFormat, ToolChoice, ToolDefinition,
    TurnPart, TurnRole, join_texts, shorten_name,
};
use baton_domain::model_capabilities::EffortLevels;
use std::borrow::Cow;

/// The smallest `max_output_tokens` ("integer below minimum value. Expected a value >= 16":
/// earendil-works/pi #6265, 2026-07).
const OUTPUT_TOKENS_MIN: u64 = 16;

/// The longest id of a call ("string too long. Expected a string with maximum length 64":
/// AnswerDotAI/fastllm #45, 2026-06).
const CALL_ID_MAX: usize = 64;

/// Writes the request for `options.model`. Fields that the upstream does not support are added to
/// `request.dropped`.
pub(in crate::translate) fn write_request(
    request: &mut NeutralRequest<'_>,
    options: &WriteOptions<'_>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(request.output_capacity());
    let mut dropped = std::mem::take(&mut request.dropped);
    write_object_within(&mut out, request.output_bytes_max(), |body| {
        body.text("model", options.translation.model);
        let (instructions, turns) = split_instructions(&request.turns);
        if !instructions.is_empty() {
            body.text("instructions", &instructions.join("\n\n"));
        }
        body.list("input", |items| {
            for turn in turns {
                write_turn(items, turn, options.translation.model, &mut dropped);
            }
        });
        write_tools(body, request);
        write_reasoning(body, request, options);
        write_settings(body, request, &mut dropped);
    });
    request.dropped = dropped;
    out
}

/// The system's texts before the conversation, and the conversation. Without a conversation, they
/// are the input, since the API requires one.
fn split_instructions(turns: &[ConversationTurn]) -> (Vec<&str>, &[ConversationTurn]) {
    let start = turns.iter().position(|turn| turn.role != TurnRole::System);
    let (before, turns) = turns.split_at(start.unwrap_or_default());
    (before.iter().flat_map(texts).collect(), turns)
}

/// The texts of a turn that are not empty.
fn texts(turn: &ConversationTurn) -> impl Iterator<Item = &str> {
    let texts = turn.parts.iter().filter_map(|part| match part {
        TurnPart::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.filter(|text| !text.is_empty())
}

fn write_turn(
    items: &mut ArrayWriter<'_>,
    turn: &ConversationTurn,
    model: &str,
    dropped: &mut DroppedFields,
) {
    match turn.role {
        TurnRole::System => {
            let texts: Vec<&str> = texts(turn).collect();
            if !texts.is_empty() {
                write_text_message(items, "system", &texts.join("\n\n"));
            }
        }
        TurnRole::User => write_user(items, &turn.parts, dropped),
        TurnRole::Assistant => write_assistant(items, &turn.parts, model, dropped),
    }
}

fn write_text_message(items: &mut ArrayWriter<'_>, role: &str, text: &str) {
    items.object(|message| {
        message.text("type", "message");
        message.text("role", role);
        message.text("content", text);
    });
}

/// Writes a user's turn: first the results of calls, then the rest.
fn write_user(items: &mut ArrayWriter<'_>, parts: &[TurnPart], dropped: &mut DroppedFields) {
    let mut rest = Vec::new();
    for part in parts {
        match part {
            TurnPart::Result { id, parts, is_error } => {
                items.object(|item| write_result(item, id, parts, dropped));
                if *is_error {
                    dropped.add_path("messages[].content[].is_error");
                }
            }
            _ => rest.push(part),
        }
    }
    match rest.as_slice() {
        [] => {}
        [TurnPart::Text(text)] => write_text_message(items, "user", text),
        rest => items.object(|message| {
            message.text("type", "message");
            message.text("role", "user");
            write_parts(message, "content", rest.iter().copied(), dropped);
        }),
    }
}

fn write_result(
    item: &mut ObjectWriter<'_>,
    id: &str,
    parts: &[TurnPart],
    dropped: &mut DroppedFields,
) {
    item.text("type", "function_call_output");
    item.text("call_id", &call_id(id));
    if parts.iter().all(|part| matches!(part, TurnPart::Text(_))) {
        item.text("output", &join_texts(parts));
    } else {
        write_parts(item, "output", parts.iter(), dropped);
    }
}

fn write_parts<'p>(
    holder: &mut ObjectWriter<'_>,
    name: &str,
    parts: impl Iterator<Item = &'p TurnPart>,
    dropped: &mut DroppedFields,
) {
    holder.list(name, |content| {
        for part in parts {
            write_part(content, part, dropped);
        }
    });
}

fn write_part(content: &mut ArrayWriter<'_>, part: &TurnPart, dropped: &mut DroppedFields) {
    match part {
        TurnPart::Text(text) => content.object(|fields| {
            fields.text("type", "input_text");
            fields.text("text", text);
        }),
        TurnPart::Image(source) => content.object(|fields| {
            fields.text("type", "input_image");
            fields.text("image_url", &source.to_url());
            fields.text("detail", "auto");
        }),
        TurnPart::Document { title, source } => content.object(|fields| {
            fields.text("type", "input_file");
            match source {
                MediaSource::Data { .. } | MediaSource::Text(_) => {
                    fields.text("filename", title.as_deref().unwrap_or("document.pdf"));
                    fields.text("file_data", &source.to_url());
                }
                MediaSource::Url(url) => fields.text("file_url", url),
            }
        }),
        TurnPart::Thinking { .. }
        | TurnPart::Redacted(_)
        | TurnPart::Call(_)
        | TurnPart::Result { .. } => {
            dropped.add_path("messages[].content[](out of place)");
        }
    }
}

/// Writes an answer item by item. Adjacent texts become one message.
fn write_assistant(
    items: &mut ArrayWriter<'_>,
    parts: &[TurnPart],
    model: &str,
    dropped: &mut DroppedFields,
) {
    let mut text = String::new();
    let last_said = parts.iter().rposition(can_follow_reasoning);
    for (index, part) in parts.iter().enumerate() {
        if let TurnPart::Text(piece) = part {
            text.push_str(piece);
            continue;
        }
        flush_text(items, &mut text);
        match part {
            TurnPart::Text(_) => {}
            TurnPart::Thinking { text, signature } => {
                let item = signature.as_deref().and_then(|it| ReasoningItem::open(it, model));
                // The API refuses reasoning "without its required following item"
                // (openai/openai-node #1567, 2025-07).
                match item.filter(|_| last_said > Some(index)) {
                    Some(item) => items.object(|fields| write_reasoning_item(fields, &item, text)),
                    None => dropped.add_path("messages[].content[](thinking)"),
                }
            }
            TurnPart::Redacted(_) => dropped.add_path("messages[].content[](redacted_thinking)"),
            TurnPart::Call(call) => items.object(|fields| {
                fields.text("type", "function_call");
                fields.text("call_id", &call_id(&call.id));
                fields.text("name", &call.name);
                let is_empty = call.arguments.trim().is_empty();
                fields.text("arguments", if is_empty { "{}" } else { &call.arguments });
            }),
            TurnPart::Image(_) | TurnPart::Document { .. } => {
                dropped.add_path("messages[].content[](image of an assistant)");
            }
            TurnPart::Result { .. } => dropped.add_path("messages[].content[](out of place)"),
        }
    }
    flush_text(items, &mut text);
}

/// Writes the collected text, if there is any.
fn flush_text(items: &mut ArrayWriter<'_>, text: &mut String) {
    if !text.is_empty() {
        write_text_message(items, "assistant", text);
        text.clear();
    }
}

/// Whether a part of an answer becomes an item that can follow reasoning.
fn can_follow_reasoning(part: &TurnPart) -> bool {
    match part {
        TurnPart::Text(text) => !text.is_empty(),
        TurnPart::Call(_) => true,
        TurnPart::Image(_)
        | TurnPart::Document { .. }
        | TurnPart::Thinking { .. }
        | TurnPart::Redacted(_)
        | TurnPart::Result { .. } => false,
    }
}

fn write_reasoning_item(fields: &mut ObjectWriter<'_>, item: &ReasoningItem, text: &str) {
    fields.text("type", "reasoning");
    fields.text("id", &item.id);
    fields.list("summary", |summary| {
        if !text.is_empty() {
            summary.object(|part| super::item::write_summary_part(part, text));
        }
    });
    fields.text("encrypted_content", &item.encrypted_content);
}

/// The id of a call. A call and its result are shortened alike.
fn call_id(id: &str) -> Cow<'_, str> {
    if id.len() > CALL_ID_MAX { shorten_name(id, CALL_ID_MAX).into() } else { id.into() }
}

/// Writes the tools. A request without tools must not have a tool choice.
fn write_tools(body: &mut ObjectWriter<'_>, request: &NeutralRequest<'_>) {
    if request.tools.is_empty() {
        return;
    }
    body.list("tools", |tools| {
        request.tools.iter().for_each(|tool| tools.object(|fields| write_tool(fields, tool)));
    });
    match &request.tool_choice {
        None => {}
        Some(ToolChoice::Auto) => body.text("tool_choice", "auto"),
        Some(ToolChoice::Any) => body.text("tool_choice", "required"),
        Some(ToolChoice::None) => body.text("tool_choice", "none"),
        Some(ToolChoice::Named(name)) => body.object("tool_choice", |choice| {
            choice.text("type", "function");
            choice.text("name", name);
        }),
    }
    if let Some(parallel) = request.parallel_tool_calls {
        body.flag("parallel_tool_calls", parallel);
    }
}

/// Writes a tool. The API takes a tool for strict unless the request says otherwise, and refuses
/// schemas with optional properties then ("Function calling", strict mode, 2026-11).
fn write_tool(fields: &mut ObjectWriter<'_>, tool: &ToolDefinition<'_>) {
    fields.text("type", "function");
    fields.text("name", &tool.name);
    if let Some(description) = &tool.description {
        fields.text("description", description);
    }
    fields.json("parameters", tool.schema.unwrap_or(r#"{"type":"object","properties":{}}"#));
    fields.flag("strict", tool.strict == Some(true));
}

/// Writes the effort, and whether a summary of the reasoning is requested: only for a client that
/// asks for one, because OpenAI refuses it to organizations that are not verified
/// (continuedev/continue #12031, 2026-04).
fn write_reasoning(
    body: &mut ObjectWriter<'_>,
    request: &NeutralRequest<'_>,
    options: &WriteOptions<'_>,
) {
    let is_known = options.capabilities.efforts != EffortLevels::ALL;
    let fit = |effort| if is_known { effort } else { accepted_effort(effort) };
    let effort = request.effort.as_deref().map(fit);
    if effort.is_some() || request.wants_summary {
        body.object("reasoning", |reasoning| {
            if let Some(effort) = effort {
                reasoning.text("effort", effort);
            }
            if request.wants_summary {
                reasoning.text("summary", "auto");
            }
        });
    }
    body.list("include", |include| include.text("reasoning.encrypted_content"));
    body.flag("store", false);
}

/// The effort of an unknown model, in a word that every model accepts that has to be called through this API:
/// `minimal` ended with gpt-5 (anomalyco/opencode #4451, 2025-11), and gpt-5.4 ends at `xhigh`
/// (RayBytes/ChatMock #101, 2026-03).
fn accepted_effort(effort: &str) -> &str {
    match effort {
        "minimal" => "low",
        "max" => "xhigh",
        other => other,
    }
}

fn write_settings(
    body: &mut ObjectWriter<'_>,
    request: &NeutralRequest<'_>,
    dropped: &mut DroppedFields,
) {
    if let Some(tokens) = request.max_tokens {
        body.number("max_output_tokens", tokens.max(OUTPUT_TOKENS_MIN));
    }
    body.raw("temperature", request.temperature);
    body.raw("top_p", request.top_p);
    // The API has no stop sequences.
    if !request.stop_sequences.is_empty() {
        dropped.add_path("stop");
    }
    write_text_settings(body, request);
    if let Some(user) = &request.user {
        body.text("user", user);
    }
    for (name, value) in request.shared.iter().filter(|(name, _)| *name != "verbosity") {
        body.raw(name, Some(value));
    }
    if request.stream {
        body.flag("stream", true);
    }
}

fn write_text_settings(body: &mut ObjectWriter<'_>, request: &NeutralRequest<'_>) {
    let verbosity = request.shared.iter().find(|(name, _)| *name == "verbosity");
    if request.format.is_none() && verbosity.is_none() {
        return;
    }
    body.object("text", |text| {
        match &request.format {
            None => {}
            Some(OutputFormat::Json) => {
                text.object("format", |format| format.text("type", "json_object"));
            }
            Some(OutputFormat::Schema { name, schema, strict }) => {
                text.object("format", |format| {
                    format.text("type", "json_schema");
                    format.text("name", name.as_deref().unwrap_or("answer"));
                    format.json("schema", schema);
                    format.flag("strict", strict.unwrap_or(false));
                });
            }
        }
        text.raw("verbosity", verbosity.map(|(_, value)| *value));
    });
}
