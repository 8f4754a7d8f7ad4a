//! A Messages request, read.

use crate::json::Value;
use crate::translate::Untranslatable;
use crate::translate::ask::{Ask, Call, Choice, Format, Part, Role, Source, Tool};
use crate::translate::read::{Dropped, NESTED_CONTENT_MAX, Object, list, text};

/// Claude Code's first system block, which counts for Anthropic only and differs from version to
/// version (fixture `cc_messages_tool_result`).
const BILLING_HEADER: &str = "x-anthropic-billing-header:";

/// What the request means.
pub(in crate::translate) fn read(mut body: Object<'_>) -> Result<Ask<'_>, Untranslatable> {
    let mut ask = Ask {
        model: body.text("model").ok_or(Untranslatable::NoModel)?,
        max_tokens: body.number("max_tokens"),
        temperature: body.digits("temperature"),
        top_p: body.digits("top_p"),
        stop: body.list("stop_sequences").filter_map(text).collect(),
        stream: body.flag("stream").unwrap_or(false),
        include_usage: true,
        ..Ask::default()
    };
    if let Some(system) = body.raw("system") {
        let parts = content(system, "system[]", &mut ask.dropped, 1)?;
        ask.say(Role::System, parts.into_iter().filter(|part| !is_billing(part)).collect());
    }
    let messages = body.raw("messages").and_then(list).ok_or(Untranslatable::NoMessages)?;
    for message in messages {
        let mut message = Object::of(message).ok_or(Untranslatable::NoMessages)?;
        let role = match message.text("role").as_deref() {
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => Role::User,
        };
        let parts = match message.raw("content") {
            Some(value) => content(value, "messages[].content[]", &mut ask.dropped, 1)?,
            None => Vec::new(),
        };
        ask.dropped.rest("messages[]", &message);
        ask.say(role, parts);
    }
    for tool in body.objects("tools") {
        read_tool(tool, &mut ask);
    }
    read_choice(&mut body, &mut ask);
    read_thinking(&mut body, &mut ask);
    ask.settle_choice();
    ask.dropped.rest("", &body);
    Ok(ask)
}

fn is_billing(part: &Part) -> bool {
    matches!(part, Part::Text(text) if text.starts_with(BILLING_HEADER))
}

/// Content is a string or a list of blocks, some of which hold content again: this one is number
/// `level` of those inside each other.
fn content(
    value: Value<'_>,
    path: &str,
    dropped: &mut Dropped,
    level: usize,
) -> Result<Vec<Part>, Untranslatable> {
    if level > NESTED_CONTENT_MAX {
        return Err(Untranslatable::NestedContent);
    }
    if let Some(text) = text(value) {
        return Ok(vec![Part::Text(text)]);
    }
    let mut parts = Vec::new();
    for block in list(value).into_iter().flatten() {
        read_block(block, path, (dropped, level), &mut parts)?;
    }
    Ok(parts)
}

fn read_block(
    value: Value<'_>,
    path: &str,
    (dropped, level): (&mut Dropped, usize),
    parts: &mut Vec<Part>,
) -> Result<(), Untranslatable> {
    let Some(mut block) = Object::of(value) else {
        dropped.add(path);
        return Ok(());
    };
    let kind = block.text("type").unwrap_or_default();
    let inner = |block: &mut Object<'_>, dropped: &mut Dropped| match block.raw("content") {
        Some(value) => content(value, path, dropped, level + 1),
        None => Ok(Vec::new()),
    };
    let part = match kind.as_str() {
        "text" => block.text("text").map(Part::Text),
        "image" => read_source(&mut block).map(Part::Image),
        "thinking" => Some(Part::Thinking {
            text: block.text("thinking").unwrap_or_default(),
            signature: block.words("signature"),
        }),
        "redacted_thinking" => block.text("data").map(Part::Redacted),
        "tool_use" => Some(Part::Call(Call {
            id: block.text("id").unwrap_or_default(),
            name: block.text("name").unwrap_or_default(),
            arguments: block.raw("input").map_or("{}", Value::raw).to_owned(),
        })),
        "tool_result" => Some(Part::Result {
            id: block.text("tool_use_id").unwrap_or_default(),
            is_error: block.flag("is_error").unwrap_or(false),
            parts: inner(&mut block, dropped)?,
        }),
        "document" => return read_document(block, path, (dropped, level), parts),
        "search_result" => {
            parts.extend(inner(&mut block, dropped)?);
            dropped.rest(path, &block);
            return Ok(());
        }
        _ => None,
    };
    if part.is_some() {
        dropped.rest(path, &block);
    } else {
        dropped.add(format!("{path}({kind})"));
    }
    parts.extend(part);
    Ok(())
}

/// Where an image or a PDF is; a file id means nothing elsewhere.
fn read_source(block: &mut Object<'_>) -> Option<Source> {
    let mut source = block.object("source")?;
    if let Some(url) = source.text("url") {
        return Some(Source::Url(url));
    }
    let data = source.text("data")?;
    Some(Source::Data { media_type: source.text("media_type")?, data })
}

/// A document is a file, or text that can stand for itself.
fn read_document(
    mut block: Object<'_>,
    path: &str,
    (dropped, level): (&mut Dropped, usize),
    parts: &mut Vec<Part>,
) -> Result<(), Untranslatable> {
    let title = block.words("title");
    let mut source = block.object("source").unwrap_or_default();
    let document = |source| Part::Document { title, source };
    let read = match source.text("type").as_deref() {
        Some("text") => source.text("data").map(|data| vec![Part::Text(data)]),
        Some("content") => match source.raw("content") {
            Some(value) => Some(content(value, path, dropped, level + 1)?),
            None => None,
        },
        Some("url") => source.text("url").map(|url| vec![document(Source::Url(url))]),
        Some("base64") => source.text("data").map(|data| {
            let media_type = source.text("media_type").unwrap_or_default();
            vec![document(Source::Data { media_type, data })]
        }),
        _ => None,
    };
    if read.is_some() {
        dropped.rest(path, &block);
    } else {
        dropped.add(format!("{path}(document)"));
    }
    parts.extend(read.unwrap_or_default());
    Ok(())
}

/// Tools that the upstream itself runs have a dated type and no schema.
fn read_tool<'a>(mut tool: Object<'a>, ask: &mut Ask<'a>) {
    let kind = tool.text("type");
    let schema = tool.raw("input_schema");
    let name = tool.text("name");
    match (name, kind.as_deref()) {
        (Some(name), None | Some("custom")) => ask.tools.push(Tool {
            name,
            schema: schema.map(Value::raw),
            description: tool.text("description"),
            strict: tool.flag("strict"),
        }),
        (_, kind) => {
            ask.dropped.add(format!("tools[]({})", kind.unwrap_or_default()));
            return;
        }
    }
    ask.dropped.rest("tools[]", &tool);
}

fn read_choice(body: &mut Object<'_>, ask: &mut Ask<'_>) {
    let Some(mut choice) = body.object("tool_choice") else { return };
    ask.choice = match choice.text("type").as_deref() {
        Some("auto") => Some(Choice::Auto),
        Some("any") => Some(Choice::Any),
        Some("none") => Some(Choice::None),
        Some("tool") => choice.text("name").map(Choice::Named),
        _ => None,
    };
    ask.parallel = choice.flag("disable_parallel_tool_use").map(|disabled| !disabled);
    ask.dropped.rest("tool_choice", &choice);
}

/// Effort says it best. A budget alone says about the same; thinking that adapts leaves it to the
/// upstream.
fn read_thinking<'a>(body: &mut Object<'a>, ask: &mut Ask<'a>) {
    if let Some(mut config) = body.object("output_config") {
        ask.effort = config.text("effort");
        ask.format = config.object("format").and_then(|mut format| {
            let schema = format.raw("schema")?.raw();
            Some(Format::Schema { name: None, schema, strict: None })
        });
        ask.dropped.rest("output_config", &config);
    }
    let Some(mut thinking) = body.object("thinking") else { return };
    let budget = thinking.number("budget_tokens");
    let is_off = thinking.text("type").as_deref() == Some("disabled");
    ask.summary = thinking.text("display").as_deref() == Some("summarized");
    if ask.effort.is_none() {
        ask.effort = match budget {
            _ if is_off => Some("none"),
            Some(0..=4_096) => Some("low"),
            Some(4_097..=16_384) => Some("medium"),
            Some(_) => Some("high"),
            None => None,
        }
        .map(str::to_owned);
    }
    ask.dropped.rest("thinking", &thinking);
}
