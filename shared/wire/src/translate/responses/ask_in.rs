//! A Responses request, read.
//!
//! Nothing is stored here, so what points to an earlier response is refused, and what an answer
//! must be continued with travels in its items.

use crate::json::Value;
use crate::translate::Untranslatable;
use crate::translate::ask::{
    Alias, Ask, Call, Choice, Format, Part, Role, Source, Tool, freeform_arguments,
};
use crate::translate::read::{Dropped, NESTED_CONTENT_MAX, Object, list, parse, text};

/// What would need a store, and what to do without one.
const STORED: [(&str, &str); 4] = [
    (
        "previous_response_id",
        "responses are not stored here: send the whole conversation as `input`",
    ),
    ("conversation", "conversations are not stored here: send the whole conversation as `input`"),
    ("prompt", "prompts are not stored here: send the text as `instructions`"),
    ("background", "nothing runs in the background here: ask without it"),
];

/// Fields that mean the same in Chat Completions.
const SHARED: [&str; 7] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "top_logprobs",
    "verbosity",
];

/// Fields that a response repeats.
const ECHO: [&str; 5] =
    ["max_output_tokens", "metadata", "parallel_tool_calls", "temperature", "top_p"];

/// What the request means.
pub(in crate::translate) fn read(mut body: Object<'_>) -> Result<Ask<'_>, Untranslatable> {
    for (name, advice) in STORED {
        if body.raw(name).is_some_and(|value| value.raw() != "false") {
            return Err(Untranslatable::field(name, advice));
        }
    }
    let echo = body.copies(&ECHO);
    let mut ask = Ask {
        model: body.text("model").ok_or(Untranslatable::NoModel)?,
        max_tokens: body.number("max_output_tokens"),
        temperature: body.digits("temperature"),
        top_p: body.digits("top_p"),
        parallel: body.flag("parallel_tool_calls"),
        stream: body.flag("stream").unwrap_or(false),
        include_usage: true,
        user: body.words("user"),
        echo,
        ..Ask::default()
    };
    ask.dropped = read_settings(&mut body, &mut ask);
    if let Some(instructions) = body.text("instructions") {
        ask.say(Role::System, vec![Part::Text(instructions)]);
    }
    let input = body.raw("input").ok_or(Untranslatable::NoMessages)?;
    if let Some(text) = text(input) {
        ask.say(Role::User, vec![Part::Text(text)]);
    } else {
        for item in list(input).ok_or(Untranslatable::NoMessages)? {
            let item = Object::of(item).ok_or(Untranslatable::NoMessages)?;
            read_item(item, &mut ask)?;
        }
    }
    for tool in body.objects("tools") {
        read_tool(tool, None, &mut ask, 1)?;
    }
    if let Some(choice) = body.raw("tool_choice") {
        ask.echo.push(("tool_choice", choice.raw()));
        read_choice(choice, &mut ask);
    }
    ask.settle_choice();
    ask.dropped.rest("", &body);
    Ok(ask)
}

fn read_settings<'a>(body: &mut Object<'a>, ask: &mut Ask<'a>) -> Dropped {
    let mut dropped = Dropped::default();
    if let Some(mut reasoning) = body.object("reasoning") {
        ask.effort = reasoning.text("effort");
        let summary = reasoning.text("summary").or_else(|| reasoning.text("generate_summary"));
        ask.summary = summary.is_some();
        dropped.rest("reasoning", &reasoning);
    }
    if let Some(mut settings) = body.object("text") {
        ask.shared.extend(settings.raw("verbosity").map(|value| ("verbosity", value.raw())));
        let format = settings.object("format");
        ask.format = format.and_then(|mut format| match format.text("type").as_deref() {
            Some("json_object") => Some(Format::Json("text.format")),
            Some("json_schema") => {
                let schema = format.raw("schema")?.raw();
                let strict = format.flag("strict");
                Some(Format::Schema { name: format.text("name"), schema, strict })
            }
            _ => None,
        });
        dropped.rest("text", &settings);
    }
    for name in SHARED {
        ask.shared.extend(body.raw(name).map(|value| (name, value.raw())));
    }
    // Asked for or not, reasoning can be continued; stored it is never.
    let includes = body.list("include").filter_map(text);
    for include in includes.filter(|name| name != "reasoning.encrypted_content") {
        dropped.add(format!("include[]({include})"));
    }
    if body.flag("store") == Some(true) {
        dropped.add("store");
    }
    dropped
}

fn read_item<'a>(mut item: Object<'a>, ask: &mut Ask<'a>) -> Result<(), Untranslatable> {
    let kind = item.text("type").unwrap_or_else(|| "message".to_owned());
    let call_id = item.text("call_id").unwrap_or_default();
    match kind.as_str() {
        "message" => {
            let role = match item.text("role").as_deref() {
                Some("assistant") => Role::Assistant,
                Some("system" | "developer") => Role::System,
                _ => Role::User,
            };
            let parts = item.raw("content").map(|value| content(value, &mut ask.dropped));
            ask.say(role, parts.unwrap_or_default());
        }
        "function_call" | "custom_tool_call" => {
            let arguments = match item.text("input") {
                Some(input) => freeform_arguments(&input),
                None => item.text("arguments").unwrap_or_default(),
            };
            let name = item.text("name").unwrap_or_default();
            let name = full_name(item.words("namespace").as_deref(), &name);
            ask.say(Role::Assistant, vec![Part::Call(Call { id: call_id, name, arguments })]);
        }
        "function_call_output" | "custom_tool_call_output" => {
            let parts = item.raw("output").map(|value| content(value, &mut ask.dropped));
            let parts = parts.unwrap_or_default();
            ask.say(Role::User, vec![Part::Result { id: call_id, parts, is_error: false }]);
        }
        "reasoning" => match read_reasoning(&mut item) {
            Some(part) => ask.say(Role::Assistant, vec![part]),
            None => ask.dropped.add("input[](reasoning)"),
        },
        "additional_tools" => {
            for tool in item.objects("tools") {
                read_tool(tool, None, ask, 1)?;
            }
        }
        "item_reference" => {
            return Err(Untranslatable::field(
                "input[](item_reference)",
                "items are not stored here: send the item itself",
            ));
        }
        _ => ask.dropped.add(format!("input[]({kind})")),
    }
    Ok(())
}

/// Reasoning of an earlier answer. Ours carries the upstream's own block, signature and all, as
/// its encrypted content; another's is of use for its summary alone.
fn read_reasoning(item: &mut Object<'_>) -> Option<Part> {
    let sealed = item.text("encrypted_content").unwrap_or_default();
    let document = parse(sealed.as_bytes()).ok();
    if let Some(mut block) = document.as_ref().and_then(|document| Object::of(document.root())) {
        return match block.text("type").as_deref() {
            Some("thinking") => Some(Part::Thinking {
                text: block.text("thinking")?,
                signature: block.words("signature"),
            }),
            Some("redacted_thinking") => block.text("data").map(Part::Redacted),
            _ => None,
        };
    }
    let texts = item.objects("content").chain(item.objects("summary"));
    let text: Vec<String> = texts.filter_map(|mut part| part.words("text")).collect();
    (!text.is_empty()).then(|| Part::Thinking { text: text.join("\n\n"), signature: None })
}

/// Content is a string or a list of parts.
fn content(value: Value<'_>, dropped: &mut Dropped) -> Vec<Part> {
    if let Some(text) = text(value) {
        return vec![Part::Text(text)];
    }
    let parts = list(value).into_iter().flatten();
    parts.filter_map(|part| read_part(Object::of(part)?, dropped)).collect()
}

fn read_part(mut part: Object<'_>, dropped: &mut Dropped) -> Option<Part> {
    let kind = part.text("type").unwrap_or_default();
    let read = match kind.as_str() {
        "input_text" | "output_text" | "text" => part.text("text").map(Part::Text),
        "refusal" => part.text("refusal").map(Part::Text),
        "input_image" => part.text("image_url").map(|url| Part::Image(Source::of_url(url))),
        "input_file" => {
            let url = part.text("file_data").or_else(|| part.text("file_url"));
            let title = part.words("filename");
            url.map(|url| Part::Document { title, source: Source::of_url(url) })
        }
        _ => None,
    };
    if read.is_none() {
        dropped.add(format!("input[].content[]({kind})"));
    }
    read
}

/// The name under which the model sees a tool of a namespace.
fn full_name(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| name.to_owned(), |space| format!("{space}__{name}"))
}

/// A tool, or a namespace of tools: `level` says how many of those are inside each other.
fn read_tool<'a>(
    mut tool: Object<'a>,
    namespace: Option<&str>,
    ask: &mut Ask<'a>,
    level: usize,
) -> Result<(), Untranslatable> {
    if level > NESTED_CONTENT_MAX {
        return Err(Untranslatable::NestedContent);
    }
    let kind = tool.text("type").unwrap_or_default();
    let Some(name) =
        tool.text("name").filter(|_| ["function", "custom", "namespace"].contains(&kind.as_str()))
    else {
        ask.dropped.add(format!("tools[]({kind})"));
        return Ok(());
    };
    if kind == "namespace" {
        let mut tools = tool.objects("tools");
        return tools.try_for_each(|inner| read_tool(inner, Some(&name), ask, level + 1));
    }
    let full = full_name(namespace, &name);
    let freeform = kind == "custom";
    if freeform || namespace.is_some() {
        let alias = Alias { freeform, name, namespace: namespace.map(str::to_owned) };
        ask.aliases.insert(full.clone(), alias);
    }
    let description = tool.text("description");
    if freeform {
        let grammar = tool.object("format").and_then(|mut format| format.text("definition"));
        ask.tools.push(Tool::freeform(full, description, grammar.as_deref()));
    } else {
        let schema = tool.raw("parameters").map(Value::raw);
        ask.tools.push(Tool { name: full, description, schema, strict: tool.flag("strict") });
    }
    ask.dropped.rest("tools[]", &tool);
    Ok(())
}

fn read_choice(value: Value<'_>, ask: &mut Ask<'_>) {
    ask.choice = match text(value).as_deref() {
        Some("auto") => Some(Choice::Auto),
        Some("none") => Some(Choice::None),
        Some("required") => Some(Choice::Any),
        _ => None,
    };
    let Some(mut choice) = Object::of(value) else { return };
    match choice.text("type").as_deref() {
        Some("function" | "custom") => ask.choice = choice.text("name").map(Choice::Named),
        Some("allowed_tools") => {
            let is_required = choice.text("mode").as_deref() == Some("required");
            ask.choice = Some(if is_required { Choice::Any } else { Choice::Auto });
            let tools = choice.objects("tools");
            let names = tools.filter_map(|mut tool| tool.text("name")).collect();
            ask.allow_only(&names);
        }
        _ => ask.dropped.add("tool_choice"),
    }
}
