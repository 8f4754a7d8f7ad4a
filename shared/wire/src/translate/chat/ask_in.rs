//! A Chat Completions request, read.

use crate::json::Value;
use crate::translate::Untranslatable;
use crate::translate::ask::{
    Alias, Ask, Call, Choice, Format, Part, Role, Source, Tool, freeform_arguments,
};
use crate::translate::read::{Dropped, Object, list, text};

/// What the request means.
pub(in crate::translate) fn read(mut body: Object<'_>) -> Result<Ask<'_>, Untranslatable> {
    if body.number("n").is_some_and(|n| n > 1) {
        return Err(Untranslatable::field(
            "n",
            "this model gives one answer at a time: ask once for each",
        ));
    }
    if body.list("functions").next().is_some() {
        return Err(Untranslatable::field("functions", "use `tools` in its place"));
    }
    let mut ask = Ask {
        model: body.text("model").ok_or(Untranslatable::NoModel)?,
        max_tokens: body.number("max_completion_tokens").or_else(|| body.number("max_tokens")),
        temperature: body.digits("temperature"),
        top_p: body.digits("top_p"),
        parallel: body.flag("parallel_tool_calls"),
        stream: body.flag("stream").unwrap_or(false),
        effort: body.text("reasoning_effort"),
        user: body.words("safety_identifier").or_else(|| body.words("user")),
        ..Ask::default()
    };
    if let Some(mut options) = body.object("stream_options") {
        ask.include_usage = options.flag("include_usage").unwrap_or(false);
        ask.dropped.rest("stream_options", &options);
    }
    if let Some(stop) = body.raw("stop") {
        let many = || list(stop).into_iter().flatten().filter_map(text).collect();
        ask.stop = text(stop).map_or_else(many, |one| vec![one]);
    }
    let messages = body.raw("messages").and_then(list).ok_or(Untranslatable::NoMessages)?;
    for message in messages {
        read_message(Object::of(message).ok_or(Untranslatable::NoMessages)?, &mut ask);
    }
    for tool in body.objects("tools") {
        read_tool(tool, &mut ask);
    }
    if let Some(choice) = body.raw("tool_choice") {
        read_choice(choice, &mut ask);
    }
    read_format(&mut body, &mut ask);
    ask.settle_choice();
    ask.dropped.rest("", &body);
    Ok(ask)
}

fn read_message(mut message: Object<'_>, ask: &mut Ask<'_>) {
    let role = message.text("role").unwrap_or_default();
    let parts =
        message.raw("content").map(|value| content(value, &mut ask.dropped)).unwrap_or_default();
    match role.as_str() {
        "system" | "developer" => ask.say(Role::System, parts),
        "assistant" => {
            let mut all = Vec::new();
            let thoughts =
                message.words("reasoning_content").or_else(|| message.words("reasoning"));
            all.extend(thoughts.map(|text| Part::Thinking { text, signature: None }));
            all.extend(parts);
            all.extend(message.words("refusal").map(Part::Text));
            let calls = message.objects("tool_calls");
            all.extend(calls.filter_map(|call| read_call(call, &mut ask.dropped)));
            ask.say(Role::Assistant, all);
        }
        "tool" => {
            let id = message.text("tool_call_id").unwrap_or_default();
            ask.say(Role::User, vec![Part::Result { id, parts, is_error: false }]);
        }
        _ => ask.say(Role::User, parts),
    }
    ask.dropped.rest("messages[]", &message);
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
    let path = "messages[].content[]";
    let kind = part.text("type").unwrap_or_default();
    let read = match kind.as_str() {
        "text" => part.text("text").map(Part::Text),
        "refusal" => part.text("refusal").map(Part::Text),
        "image_url" => part.object("image_url").and_then(|mut image| {
            let url = image.text("url")?;
            dropped.rest("messages[].content[].image_url", &image);
            Some(Part::Image(Source::of_url(url)))
        }),
        "file" => part.object("file").and_then(|mut file| {
            let source = Source::of_url(file.text("file_data")?);
            Some(Part::Document { title: file.words("filename"), source })
        }),
        _ => None,
    };
    if read.is_some() {
        dropped.rest(path, &part);
    } else {
        dropped.add(format!("{path}({kind})"));
    }
    read
}

fn read_call(mut call: Object<'_>, dropped: &mut Dropped) -> Option<Part> {
    let id = call.text("id").unwrap_or_default();
    let part = if let Some(mut custom) = call.object("custom") {
        let arguments = freeform_arguments(&custom.text("input").unwrap_or_default());
        Call { id, name: custom.text("name")?, arguments }
    } else {
        let mut function = call.object("function")?;
        let arguments = function.text("arguments").unwrap_or_default();
        Call { id, name: function.text("name")?, arguments }
    };
    call.text("type");
    call.number("index");
    dropped.rest("messages[].tool_calls[]", &call);
    Some(Part::Call(part))
}

fn read_tool<'a>(mut tool: Object<'a>, ask: &mut Ask<'a>) {
    let kind = tool.text("type").unwrap_or_default();
    let inner = tool.object(if kind == "custom" { "custom" } else { "function" });
    let Some((mut inner, name)) =
        inner.and_then(|mut inner| inner.text("name").map(|name| (inner, name)))
    else {
        return ask.dropped.add(format!("tools[]({kind})"));
    };
    let description = inner.text("description");
    if kind == "custom" {
        let grammar = inner.object("format").and_then(|mut format| format.object("grammar"));
        let grammar = grammar.and_then(|mut grammar| grammar.text("definition"));
        let alias = Alias { freeform: true, name: name.clone(), namespace: None };
        ask.aliases.insert(name.clone(), alias);
        ask.tools.push(Tool::freeform(name, description, grammar.as_deref()));
    } else {
        ask.tools.push(Tool {
            name,
            description,
            schema: inner.raw("parameters").map(Value::raw),
            strict: inner.flag("strict"),
        });
    }
    ask.dropped.rest("tools[]", &inner);
}

fn read_choice(value: Value<'_>, ask: &mut Ask<'_>) {
    ask.choice = match text(value).as_deref() {
        Some("auto") => Some(Choice::Auto),
        Some("none") => Some(Choice::None),
        Some("required") => Some(Choice::Any),
        _ => None,
    };
    let Some(mut choice) = Object::of(value) else { return };
    let name = |object: Option<Object<'_>>| object.and_then(|mut object| object.text("name"));
    if let Some(mut allowed) = choice.object("allowed_tools") {
        let is_required = allowed.text("mode").as_deref() == Some("required");
        ask.choice = Some(if is_required { Choice::Any } else { Choice::Auto });
        let tools = allowed.objects("tools");
        let names = tools
            .filter_map(|mut tool| name(tool.object("function").or_else(|| tool.object("custom"))))
            .collect();
        ask.allow_only(&names);
    } else {
        let named = choice.object("function").or_else(|| choice.object("custom"));
        ask.choice = name(named).map(Choice::Named);
    }
}

fn read_format<'a>(body: &mut Object<'a>, ask: &mut Ask<'a>) {
    let Some(mut format) = body.object("response_format") else { return };
    ask.format = match format.text("type").as_deref() {
        Some("json_object") => Some(Format::Json("response_format")),
        Some("json_schema") => format.object("json_schema").and_then(|mut inner| {
            let schema = inner.raw("schema")?.raw();
            Some(Format::Schema { name: inner.text("name"), schema, strict: inner.flag("strict") })
        }),
        _ => None,
    };
}
