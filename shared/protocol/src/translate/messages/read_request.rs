//! Reads Messages requests.

use super::client_tools::{client_tool, is_computer};
use crate::json::JsonValue;
use crate::translate::TranslationError;
use crate::translate::fit::schema::is_strict_at_openai;
use crate::translate::json_reader::{
    DroppedFields, NESTED_CONTENT_MAX, ObjectReader, to_items, to_text,
};
use crate::translate::neutral_request::{
    FILE_IS_ELSEWHERE, MediaSource, NO_SUCH_CONTENT, NeutralRequest, OutputFormat, STOPS_MAX,
    ToolCall, ToolChoice, ToolDefinition, TurnPart, TurnRole,
};

/// The start of Claude Code's first system block, which only Anthropic uses and which differs from
/// version to version (fixture `cc_messages_tool_result`).
const BILLING_HEADER: &str = "x-anthropic-billing-header:";

/// Reads the meaning of the request.
pub(in crate::translate) fn read_request(
    mut body: ObjectReader<'_>,
) -> Result<NeutralRequest<'_>, TranslationError> {
    if body.take_value("thread").is_some() {
        return Err(TranslationError::Thread);
    }
    let mut request = NeutralRequest {
        model: body.take_text("model").ok_or(TranslationError::NoModel)?,
        max_tokens: body.take_number("max_tokens"),
        temperature: body.take_digits("temperature"),
        top_p: body.take_digits("top_p"),
        stop_sequences: body
            .take_items("stop_sequences")
            .filter_map(to_text)
            .take(STOPS_MAX + 1)
            .collect(),
        stream: body.take_bool("stream").unwrap_or(false),
        include_usage: true,
        ..NeutralRequest::default()
    };
    if let Some(system) = body.take_value("system") {
        let parts = read_content(system, "system[]", &mut request.dropped, 1)?;
        request.add_parts(
            TurnRole::System,
            parts.into_iter().filter(|part| !is_billing_block(part)).collect(),
        );
    }
    let messages =
        body.take_value("messages").and_then(to_items).ok_or(TranslationError::NoMessages)?;
    for message in messages {
        let mut message = ObjectReader::from_value(message).ok_or(TranslationError::NoMessages)?;
        let role = match message.take_text("role").as_deref() {
            Some("assistant") => TurnRole::Assistant,
            Some("system") => TurnRole::System,
            _ => TurnRole::User,
        };
        let parts = match message.take_value("content") {
            Some(value) => read_content(value, "messages[].content[]", &mut request.dropped, 1)?,
            None => Vec::new(),
        };
        request.dropped.add_remaining("messages[]", &message);
        request.add_parts(role, parts);
    }
    for tool in body.take_objects("tools") {
        read_tool(tool, &mut request);
    }
    read_choice(&mut body, &mut request);
    if body.take_items("mcp_servers").next().is_some() {
        request.dropped.add_path("tools[](mcp_servers)");
    }
    read_thinking(&mut body, &mut request);
    request.dropped.add_remaining("", &body);
    Ok(request)
}

fn is_billing_block(part: &TurnPart) -> bool {
    matches!(part, TurnPart::Text(text) if text.starts_with(BILLING_HEADER))
}

/// Reads content, which is a string or a list of blocks. Some blocks contain content again; `level`
/// is the nesting depth of this one.
fn read_content(
    value: JsonValue<'_>,
    path: &str,
    dropped: &mut DroppedFields,
    level: usize,
) -> Result<Vec<TurnPart>, TranslationError> {
    if level > NESTED_CONTENT_MAX {
        return Err(TranslationError::NestedContent);
    }
    if let Some(text) = to_text(value) {
        return Ok(vec![TurnPart::Text(text)]);
    }
    let mut parts = Vec::new();
    for block in to_items(value).into_iter().flatten() {
        read_block(block, path, dropped, level, &mut parts)?;
    }
    Ok(parts)
}

fn read_block(
    value: JsonValue<'_>,
    path: &str,
    dropped: &mut DroppedFields,
    level: usize,
    parts: &mut Vec<TurnPart>,
) -> Result<(), TranslationError> {
    let Some(mut block) = ObjectReader::from_value(value) else {
        dropped.add_path(path);
        return Ok(());
    };
    let kind = block.take_text("type").unwrap_or_default();
    let inner = |block: &mut ObjectReader<'_>, dropped: &mut DroppedFields| match block
        .take_value("content")
    {
        Some(value) => read_content(value, path, dropped, level + 1),
        None => Ok(Vec::new()),
    };
    let part = match kind.as_str() {
        "text" => block.take_text("text").map(TurnPart::Text),
        "image" => read_source(&mut block).map(|source| TurnPart::from_media(None, source, true)),
        "thinking" => Some(TurnPart::Thinking {
            text: block.take_text("thinking").unwrap_or_default(),
            signature: block.take_nonempty_text("signature"),
        }),
        "redacted_thinking" => block.take_text("data").map(TurnPart::Redacted),
        "tool_use" => Some(TurnPart::Call(ToolCall {
            id: block.take_text("id").unwrap_or_default(),
            name: block.take_text("name").unwrap_or_default(),
            arguments: block.take_value("input").map_or("{}", JsonValue::raw).to_owned(),
        })),
        "tool_result" => Some(TurnPart::Result {
            id: block.take_text("tool_use_id").unwrap_or_default(),
            is_error: block.take_bool("is_error").unwrap_or(false),
            parts: inner(&mut block, dropped)?,
        }),
        "document" => return read_document(block, path, dropped, level, parts),
        "search_result" => {
            parts.extend(inner(&mut block, dropped)?);
            dropped.add_remaining(path, &block);
            return Ok(());
        }
        // The summary of everything before it.
        "compaction" => block.take_text("content").map(TurnPart::Text),
        // A tool that a search has found. Its definition is among the request's tools.
        "tool_reference" => block
            .take_text("tool_name")
            .map(|name| TurnPart::Text(format!("The tool `{name}` is available."))),
        _ => None,
    };
    if part.is_some() {
        dropped.add_remaining(path, &block);
    } else {
        leave_out(&kind, path, dropped);
    }
    parts.extend(part);
    Ok(())
}

/// Leaves out a block that was not read. What the upstream's own tools said in an earlier answer is
/// only history. Without any other block, the answer would be another.
fn leave_out(kind: &str, path: &str, dropped: &mut DroppedFields) {
    let path = format!("{path}({kind})");
    let is_of_server_tool = matches!(kind, "server_tool_use" | "mcp_tool_use" | "fallback")
        || kind.ends_with("_tool_result");
    match kind {
        "image" | "document" | "container_upload" => dropped.refuse(path, FILE_IS_ELSEWHERE),
        // A compaction that has failed, and thinking without its data, say nothing.
        "compaction" | "redacted_thinking" | "text" => dropped.add_path(path),
        _ if is_of_server_tool => dropped.add_path(path),
        _ => dropped.refuse(path, NO_SUCH_CONTENT),
    }
}

/// Reads the source of an image or a PDF. A file id means nothing to another upstream.
fn read_source(block: &mut ObjectReader<'_>) -> Option<MediaSource> {
    let mut source = block.take_object("source")?;
    if let Some(url) = source.take_text("url") {
        return Some(MediaSource::Url(url));
    }
    let data = source.take_text("data")?;
    Some(MediaSource::Data { media_type: source.take_text("media_type")?, data })
}

/// Reads a document, which becomes a file or, if it is text, a text part.
fn read_document(
    mut block: ObjectReader<'_>,
    path: &str,
    dropped: &mut DroppedFields,
    level: usize,
    parts: &mut Vec<TurnPart>,
) -> Result<(), TranslationError> {
    let title = block.take_nonempty_text("title");
    let mut source = block.take_object("source").unwrap_or_default();
    let document = |source| TurnPart::from_media(title, source, false);
    let read = match source.take_text("type").as_deref() {
        Some("text") => source.take_text("data").map(|data| vec![TurnPart::Text(data)]),
        Some("content") => match source.take_value("content") {
            Some(value) => Some(read_content(value, path, dropped, level + 1)?),
            None => None,
        },
        Some("url") => source.take_text("url").map(|url| vec![document(MediaSource::Url(url))]),
        Some("base64") => source.take_text("data").map(|data| {
            let media_type = source.take_text("media_type").unwrap_or_default();
            vec![document(MediaSource::Data { media_type, data })]
        }),
        _ => None,
    };
    if read.is_some() {
        dropped.add_remaining(path, &block);
    } else {
        dropped.refuse(format!("{path}(document)"), FILE_IS_ELSEWHERE);
    }
    parts.extend(read.unwrap_or_default());
    Ok(())
}

/// Reads a tool. Tools that Anthropic defines have a dated type and no schema. The client runs some
/// of them, the upstream the others.
fn read_tool<'a>(mut tool: ObjectReader<'a>, request: &mut NeutralRequest<'a>) {
    let kind = tool.take_text("type");
    let schema = tool.take_value("input_schema");
    let name = match tool.take_text("name") {
        Some(name) => match request.accept_name("tools[].name", name) {
            Some(name) => Some(name),
            None => return,
        },
        None => None,
    };
    match (name, kind.as_deref()) {
        (Some(name), None | Some("custom")) => request.tools.push(ToolDefinition {
            name,
            schema: schema.map(JsonValue::raw),
            description: tool.take_text("description").map(Into::into),
            // OpenAI refuses optional properties in strict mode.
            strict: tool.take_bool("strict").filter(|strict| {
                !strict || schema.is_some_and(|schema| is_strict_at_openai(schema.raw()))
            }),
        }),
        (name, kind) => {
            let kind = kind.unwrap_or_default();
            let known = client_tool(kind);
            if let (Some(name), Some(known)) = (name, known) {
                request.tools.push(ToolDefinition {
                    name,
                    description: Some(known.description.into()),
                    schema: Some(known.schema),
                    strict: None,
                });
            } else if is_computer(kind) {
                request.dropped.refuse(format!("tools[]({kind})"), NO_SUCH_CONTENT);
            } else {
                request.dropped.add_path(format!("tools[]({kind})"));
            }
            return;
        }
    }
    request.dropped.add_remaining("tools[]", &tool);
}

fn read_choice(body: &mut ObjectReader<'_>, request: &mut NeutralRequest<'_>) {
    let Some(mut choice) = body.take_object("tool_choice") else { return };
    request.tool_choice = match choice.take_text("type").as_deref() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("any") => Some(ToolChoice::Any),
        Some("none") => Some(ToolChoice::None),
        Some("tool") => choice.take_text("name").map(ToolChoice::Named),
        _ => None,
    };
    request.parallel_tool_calls =
        choice.take_bool("disable_parallel_tool_use").map(|disabled| !disabled);
    request.dropped.add_remaining("tool_choice", &choice);
}

/// Reads the form of the answer. The API guarantees it, and OpenAI does the same in strict mode,
/// where that accepts the schema.
fn read_format(mut format: ObjectReader<'_>) -> Option<OutputFormat<'_>> {
    let schema = format.take_value("schema")?.raw();
    let strict = is_strict_at_openai(schema).then_some(true);
    Some(OutputFormat::Schema { name: None, schema: schema.into(), strict })
}

/// Reads how much to think. Effort says it best, and a budget alone is about equivalent. Adaptive
/// thinking leaves it to the upstream.
fn read_thinking<'a>(body: &mut ObjectReader<'a>, request: &mut NeutralRequest<'a>) {
    if let Some(mut config) = body.take_object("output_config") {
        request.effort = config.take_text("effort");
        request.format = config.take_object("format").and_then(read_format);
        request.dropped.add_remaining("output_config", &config);
    }
    // The name that structured outputs had in their beta (platform.claude.com, "Structured
    // outputs", 2025-11).
    if let Some(format) = body.take_object("output_format") {
        request.format = request.format.take().or_else(|| read_format(format));
    }
    let Some(mut thinking) = body.take_object("thinking") else { return };
    let budget = thinking.take_number("budget_tokens");
    let is_off = thinking.take_text("type").as_deref() == Some("disabled");
    request.shows_thinking = !is_off;
    request.wants_summary = thinking.take_text("display").as_deref() == Some("summarized");
    if request.effort.is_none() {
        request.effort = match budget {
            _ if is_off => Some("none"),
            Some(0..=4_096) => Some("low"),
            Some(4_097..=16_384) => Some("medium"),
            Some(_) => Some("high"),
            None => None,
        }
        .map(str::to_owned);
    }
    request.dropped.add_remaining("thinking", &thinking);
}
