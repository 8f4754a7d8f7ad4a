//! Writes Chat Completions requests.

use crate::translate::WriteOptions;
use crate::translate::continuation::ReturnedState;
use crate::translate::json_reader::DroppedFields;
use crate::translate::json_writer::{ArrayWriter, ObjectWriter, write_object_within};
use crate::translate::neutral_request::{
    ConversationTurn, MediaSource, NeutralRequest, OutputFormat, ToolCall, ToolChoice,
    ToolDefinition, TurnPart, TurnRole, join_texts,
};

/// The text of a tool message that would otherwise be empty, which several vendors refuse.
const SEE_IMAGE: &str = "The result follows as an image.";

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
        body.list("messages", |messages| {
            for turn in &request.turns {
                match turn.role {
                    TurnRole::System => write_system(messages, &turn.parts),
                    TurnRole::User => write_user(messages, &turn.parts, &mut dropped),
                    TurnRole::Assistant => write_assistant(messages, turn, options, &mut dropped),
                }
            }
        });
        write_tools(body, request);
        write_settings(body, request, options);
    });
    request.dropped = dropped;
    out
}

/// Writes one string with a paragraph for each block, since not every vendor accepts a list here.
fn write_system(messages: &mut ArrayWriter<'_>, parts: &[TurnPart]) {
    let texts: Vec<&str> = parts
        .iter()
        .filter_map(|part| if let TurnPart::Text(text) = part { Some(text.as_str()) } else { None })
        .collect();
    if !texts.is_empty() {
        messages.object(|message| {
            message.text("role", "system");
            message.text("content", &texts.join("\n\n"));
        });
    }
}

/// Writes a user's turn: first each tool result as a message, then the rest. Tool messages accept
/// only text, so images in results come with the rest.
fn write_user(messages: &mut ArrayWriter<'_>, parts: &[TurnPart], dropped: &mut DroppedFields) {
    let mut shown = Vec::new();
    for part in parts {
        let TurnPart::Result { id, parts, is_error } = part else { continue };
        let text = join_texts(parts);
        let images = parts.iter().filter(|part| !matches!(part, TurnPart::Text(_)));
        let before = shown.len();
        shown.extend(images);
        let has_image = shown.len() > before;
        messages.object(|message| {
            message.text("role", "tool");
            message.text("tool_call_id", id);
            let text = if text.is_empty() && has_image { SEE_IMAGE } else { &text };
            message.text("content", text);
        });
        if *is_error {
            dropped.add_path("messages[].content[].is_error");
        }
    }
    shown.extend(parts.iter().filter(|part| !matches!(part, TurnPart::Result { .. })));
    match shown.as_slice() {
        [] => {}
        [TurnPart::Text(text)] => messages.object(|message| {
            message.text("role", "user");
            message.text("content", text);
        }),
        shown => messages.object(|message| {
            message.text("role", "user");
            message.list("content", |content| {
                for part in shown {
                    write_part(content, part, dropped);
                }
            });
        }),
    }
}

fn write_part(content: &mut ArrayWriter<'_>, part: &TurnPart, dropped: &mut DroppedFields) {
    match part {
        TurnPart::Text(text) => content.object(|fields| {
            fields.text("type", "text");
            fields.text("text", text);
        }),
        TurnPart::Image(source) => content.object(|fields| {
            fields.text("type", "image_url");
            fields.object("image_url", |image| image.text("url", &source.to_url()));
        }),
        TurnPart::Document {
            title,
            source: source @ (MediaSource::Data { .. } | MediaSource::Text(_)),
        } => {
            content.object(|fields| {
                fields.text("type", "file");
                fields.object("file", |file| {
                    file.text("filename", title.as_deref().unwrap_or("document.pdf"));
                    file.text("file_data", &source.to_url());
                });
            });
        }
        // The protocol has no files by URL. The model can perhaps still open the address.
        TurnPart::Document { title, source: MediaSource::Url(url) } => content.object(|fields| {
            fields.text("type", "text");
            let title = title.as_deref().unwrap_or("Document");
            fields.text("text", &format!("{title}: {url}"));
        }),
        TurnPart::Thinking { .. }
        | TurnPart::Redacted(_)
        | TurnPart::Call(_)
        | TurnPart::Result { .. } => {
            dropped.add_path("messages[].content[](out of place)");
        }
    }
}

fn write_assistant(
    messages: &mut ArrayWriter<'_>,
    turn: &ConversationTurn,
    options: &WriteOptions<'_>,
    dropped: &mut DroppedFields,
) {
    let calls: Vec<&ToolCall> = turn
        .parts
        .iter()
        .filter_map(|part| if let TurnPart::Call(call) = part { Some(call) } else { None })
        .collect();
    let mut state = returned_state(turn, options);
    let text = join_texts(&turn.parts);
    messages.object(|message| {
        message.text("role", "assistant");
        if text.is_empty() && !calls.is_empty() {
            message.null("content");
        } else {
            message.text("content", &text);
        }
        if let Some((field, text)) = &state.reasoning {
            message.text(field.as_str(), text);
        }
        message.raw("reasoning_details", state.details.as_deref());
        if !calls.is_empty() {
            message.list("tool_calls", |items| {
                let mut write = |(index, call): (usize, &&ToolCall)| {
                    items.object(|fields| write_call(fields, call, &mut state, index));
                };
                calls.iter().enumerate().for_each(&mut write);
            });
        }
    });
    if state.is_foreign_dropped {
        dropped.add_path("messages[].content[](thinking)");
    }
    let is_silent = |part: &TurnPart| matches!(part, TurnPart::Redacted(_));
    if turn.parts.iter().any(is_silent) {
        dropped.add_path("messages[].content[](redacted_thinking)");
    }
    if turn.parts.iter().any(|part| matches!(part, TurnPart::Image(_) | TurnPart::Document { .. }))
    {
        dropped.add_path("messages[].content[](image of an assistant)");
    }
}

/// The state of the upstream's model in a turn.
fn returned_state(turn: &ConversationTurn, options: &WriteOptions<'_>) -> ReturnedState {
    let thinking = turn.parts.iter().filter_map(|part| match part {
        TurnPart::Thinking { text, signature } => Some((text.as_str(), signature.as_deref())),
        _ => None,
    });
    let WriteOptions { translation, .. } = options;
    ReturnedState::new(translation.model, translation.takes_reasoning, thinking)
}

/// Writes the call with this number in its turn.
fn write_call(
    fields: &mut ObjectWriter<'_>,
    call: &ToolCall,
    state: &mut ReturnedState,
    index: usize,
) {
    fields.text("id", &call.id);
    fields.text("type", "function");
    fields.object("function", |function| {
        function.text("name", &call.name);
        let is_empty = call.arguments.trim().is_empty();
        function.text("arguments", if is_empty { "{}" } else { &call.arguments });
    });
    fields.raw("extra_content", state.take_extra_of_call(&call.id, index == 0).as_deref());
}

/// Writes the tools. A request without tools must not have a tool choice.
fn write_tools(body: &mut ObjectWriter<'_>, request: &NeutralRequest<'_>) {
    if request.tools.is_empty() {
        return;
    }
    body.list("tools", |tools| {
        for tool in &request.tools {
            tools.object(|fields| {
                fields.text("type", "function");
                fields.object("function", |function| write_function(function, tool));
            });
        }
    });
    match &request.tool_choice {
        None => {}
        Some(ToolChoice::Auto) => body.text("tool_choice", "auto"),
        Some(ToolChoice::Any) => body.text("tool_choice", "required"),
        Some(ToolChoice::None) => body.text("tool_choice", "none"),
        Some(ToolChoice::Named(name)) => body.object("tool_choice", |choice| {
            choice.text("type", "function");
            choice.object("function", |function| function.text("name", name));
        }),
    }
    if let Some(parallel) = request.parallel_tool_calls {
        body.flag("parallel_tool_calls", parallel);
    }
}

fn write_function(function: &mut ObjectWriter<'_>, tool: &ToolDefinition<'_>) {
    function.text("name", &tool.name);
    if let Some(description) = &tool.description {
        function.text("description", description);
    }
    function.json("parameters", tool.schema.unwrap_or(r#"{"type":"object"}"#));
    if tool.strict == Some(true) {
        function.flag("strict", true);
    }
}

fn write_settings(
    body: &mut ObjectWriter<'_>,
    request: &NeutralRequest<'_>,
    options: &WriteOptions<'_>,
) {
    if let Some(tokens) = request.max_tokens {
        let is_renamed = options.capabilities.names_completion_tokens;
        body.number(if is_renamed { "max_completion_tokens" } else { "max_tokens" }, tokens);
    }
    body.raw("temperature", request.temperature);
    body.raw("top_p", request.top_p);
    if !request.stop_sequences.is_empty() {
        body.list("stop", |stops| {
            request.stop_sequences.iter().for_each(|stop_sequence| stops.text(stop_sequence));
        });
    }
    if let Some(effort) = &request.effort {
        body.text("reasoning_effort", effort);
    }
    match &request.format {
        None => {}
        Some(OutputFormat::Json) => {
            body.object("response_format", |format| format.text("type", "json_object"));
        }
        Some(OutputFormat::Schema { name, schema, strict }) => {
            body.object("response_format", |format| {
                format.text("type", "json_schema");
                format.object("json_schema", |inner| {
                    inner.text("name", name.as_deref().unwrap_or("answer"));
                    inner.json("schema", schema);
                    if let Some(strict) = strict {
                        inner.flag("strict", *strict);
                    }
                });
            });
        }
    }
    if let Some(user) = &request.user {
        body.text("user", user);
    }
    for (name, value) in &request.shared {
        body.raw(name, Some(value));
    }
    if request.is_thinking_off {
        body.object("thinking", |thinking| thinking.text("type", "disabled"));
    }
    if request.stream {
        body.flag("stream", true);
        if options.capabilities.stream_options {
            body.object("stream_options", |stream| stream.flag("include_usage", true));
        }
    }
}
