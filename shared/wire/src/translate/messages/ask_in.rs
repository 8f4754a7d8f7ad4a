//! A Messages request, read.

use crate::translate::Untranslatable;
use crate::translate::ask::{Ask, Call, Choice, Format, Part, Role, Source, Tool};
use crate::translate::read::{Dropped, Object, list, text};
use serde_json::value::RawValue;

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
        stop: body.list("stop_sequences").into_iter().filter_map(text).collect(),
        stream: body.flag("stream").unwrap_or(false),
        include_usage: true,
        ..Ask::default()
    };
    if let Some(system) = body.raw("system") {
        let parts = content(system, "system[]", &mut ask.dropped);
        ask.say(Role::System, parts.into_iter().filter(|part| !is_billing(part)).collect());
    }
    let messages = body.raw("messages").and_then(list).ok_or(Untranslatable::NoMessages)?;
    for message in messages {
        let mut message = Object::read(message.get()).ok_or(Untranslatable::NoMessages)?;
        let role = match message.text("role").as_deref() {
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => Role::User,
        };
        let parts = message
            .raw("content")
            .map(|raw| content(raw, "messages[].content[]", &mut ask.dropped));
        ask.dropped.rest("messages[]", &message);
        ask.say(role, parts.unwrap_or_default());
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

/// Content is a string or a list of blocks.
fn content(raw: &RawValue, path: &str, dropped: &mut Dropped) -> Vec<Part> {
    if let Some(text) = text(raw) {
        return vec![Part::Text(text)];
    }
    let blocks = list(raw).unwrap_or_default();
    blocks.into_iter().flat_map(|block| read_block(block, path, dropped)).collect()
}

fn read_block(raw: &RawValue, path: &str, dropped: &mut Dropped) -> Vec<Part> {
    let Some(mut block) = Object::read(raw.get()) else {
        dropped.add(path);
        return Vec::new();
    };
    let kind = block.text("type").unwrap_or_default();
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
            arguments: block.raw("input").map_or("{}", RawValue::get).to_owned(),
        })),
        "tool_result" => Some(Part::Result {
            id: block.text("tool_use_id").unwrap_or_default(),
            is_error: block.flag("is_error").unwrap_or(false),
            parts: block.raw("content").map(|raw| content(raw, path, dropped)).unwrap_or_default(),
        }),
        "document" => return read_document(block, path, dropped),
        "search_result" => {
            let parts = block.raw("content").map(|raw| content(raw, path, dropped));
            dropped.rest(path, &block);
            return parts.unwrap_or_default();
        }
        _ => None,
    };
    if part.is_some() {
        dropped.rest(path, &block);
    } else {
        dropped.add(format!("{path}({kind})"));
    }
    part.into_iter().collect()
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
fn read_document(mut block: Object<'_>, path: &str, dropped: &mut Dropped) -> Vec<Part> {
    let title = block.words("title");
    let mut source = block.object("source").unwrap_or_default();
    let parts = match source.text("type").as_deref() {
        Some("text") => source.text("data").map(|data| vec![Part::Text(data)]),
        Some("content") => source.raw("content").map(|raw| content(raw, path, dropped)),
        Some("url") => source
            .text("url")
            .map(|url| vec![Part::Document { title: title.clone(), source: Source::Url(url) }]),
        Some("base64") => source.text("data").map(|data| {
            let media_type = source.text("media_type").unwrap_or_default();
            let source = Source::Data { media_type, data };
            vec![Part::Document { title: title.clone(), source }]
        }),
        _ => None,
    };
    if parts.is_some() {
        dropped.rest(path, &block);
    } else {
        dropped.add(format!("{path}(document)"));
    }
    parts.unwrap_or_default()
}

/// Tools that the upstream itself runs have a dated type and no schema.
fn read_tool<'a>(mut tool: Object<'a>, ask: &mut Ask<'a>) {
    let kind = tool.text("type");
    let schema = tool.raw("input_schema");
    let name = tool.text("name");
    match (name, kind.as_deref()) {
        (Some(name), None | Some("custom")) => ask.tools.push(Tool {
            name,
            schema: schema.map(RawValue::get),
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
            let schema = format.raw("schema")?;
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
