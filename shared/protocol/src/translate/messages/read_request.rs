//! Reads Messages requests.

use crate::json::JsonValue;
use crate::translate::TranslationError;
use crate::translate::json_reader::{
    DroppedFields, NESTED_CONTENT_MAX, ObjectReader, to_items, to_text,
};
use crate::translate::neutral_request::{
    MediaSource, NeutralRequest, OutputFormat, STOPS_MAX, ToolCall, ToolChoice, ToolDefinition,
    TurnPart, TurnRole,
};

/// The start of Claude Code's first system block, which only Anthropic uses and which differs from
/// version to version (fixture `cc_messages_tool_result`).
const BILLING_HEADER: &str = "x-anthropic-billing-header:";

/// Reads the meaning of the request.
pub(in crate::translate) fn read_request(
    mut body: ObjectReader<'_>,
) -> Result<NeutralRequest<'_>, TranslationError> {
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
    read_thinking(&mut body, &mut request);
    request.drop_missing_choice();
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
        read_block(block, path, (dropped, level), &mut parts)?;
    }
    Ok(parts)
}

fn read_block(
    value: JsonValue<'_>,
    path: &str,
    (dropped, level): (&mut DroppedFields, usize),
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
        "image" => read_source(&mut block).map(TurnPart::Image),
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
        "document" => return read_document(block, path, (dropped, level), parts),
        "search_result" => {
            parts.extend(inner(&mut block, dropped)?);
            dropped.add_remaining(path, &block);
            return Ok(());
        }
        _ => None,
    };
    if part.is_some() {
        dropped.add_remaining(path, &block);
    } else {
        dropped.add_path(format!("{path}({kind})"));
    }
    parts.extend(part);
    Ok(())
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
    (dropped, level): (&mut DroppedFields, usize),
    parts: &mut Vec<TurnPart>,
) -> Result<(), TranslationError> {
    let title = block.take_nonempty_text("title");
    let mut source = block.take_object("source").unwrap_or_default();
    let document = |source| TurnPart::Document { title, source };
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
        dropped.add_path(format!("{path}(document)"));
    }
    parts.extend(read.unwrap_or_default());
    Ok(())
}

/// Reads a tool. Tools that the upstream itself runs have a dated type and no schema.
fn read_tool<'a>(mut tool: ObjectReader<'a>, request: &mut NeutralRequest<'a>) {
    let kind = tool.take_text("type");
    let schema = tool.take_value("input_schema");
    let name = tool.take_text("name");
    match (name, kind.as_deref()) {
        (Some(name), None | Some("custom")) => request.tools.push(ToolDefinition {
            name,
            schema: schema.map(|raw| raw.raw().into()),
            description: tool.take_text("description"),
            strict: tool.take_bool("strict"),
        }),
        (_, kind) => {
            request.dropped.add_path(format!("tools[]({})", kind.unwrap_or_default()));
            return;
        }
    }
    request.dropped.add_remaining("tools[]", &tool);
}

fn read_choice(body: &mut ObjectReader<'_>, request: &mut NeutralRequest<'_>) {
    let Some(mut choice) = body.take_object("tool_choice") else { return };
    request.choice = match choice.take_text("type").as_deref() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("any") => Some(ToolChoice::Any),
        Some("none") => Some(ToolChoice::None),
        Some("tool") => choice.take_text("name").map(ToolChoice::Named),
        _ => None,
    };
    request.parallel = choice.take_bool("disable_parallel_tool_use").map(|disabled| !disabled);
    request.dropped.add_remaining("tool_choice", &choice);
}

/// Reads how much to think. Effort says it best, and a budget alone is about equivalent. Adaptive
/// thinking leaves it to the upstream.
fn read_thinking<'a>(body: &mut ObjectReader<'a>, request: &mut NeutralRequest<'a>) {
    if let Some(mut config) = body.take_object("output_config") {
        request.effort = config.take_text("effort");
        request.format = config.take_object("format").and_then(|mut format| {
            let schema = format.take_value("schema")?.raw().into();
            Some(OutputFormat::Schema { name: None, schema, strict: None })
        });
        request.dropped.add_remaining("output_config", &config);
    }
    let Some(mut thinking) = body.take_object("thinking") else { return };
    let budget = thinking.take_number("budget_tokens");
    let is_off = thinking.take_text("type").as_deref() == Some("disabled");
    request.shows_thinking = !is_off;
    request.summary = thinking.take_text("display").as_deref() == Some("summarized");
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
