//! Reads Chat Completions requests.

use crate::json::JsonValue;
use crate::translate::TranslationError;
use crate::translate::json_reader::{DroppedFields, ObjectReader, to_items, to_text};
use crate::translate::neutral_request::{
    FILE_IS_ELSEWHERE, MediaSource, NO_SUCH_CONTENT, NeutralRequest, OutputFormat, STOPS_MAX,
    ToolAlias, ToolCall, ToolChoice, ToolDefinition, TurnPart, TurnRole, freeform_arguments,
};

/// Fields that mean the same in Responses (openai-python 3.54.0, `types`, 2026-11).
const SHARED: [&str; 5] =
    ["metadata", "prompt_cache_key", "prompt_cache_retention", "service_tier", "verbosity"];

/// Reads the meaning of the request.
pub(in crate::translate) fn read_request(
    mut body: ObjectReader<'_>,
) -> Result<NeutralRequest<'_>, TranslationError> {
    if body.take_number("n").is_some_and(|n| n > 1) {
        return Err(TranslationError::field(
            "n",
            "this model gives one answer for each request. Send one request for each answer.",
        ));
    }
    if body.take_items("functions").next().is_some() {
        return Err(TranslationError::field(
            "functions",
            "this field is not supported. Use `tools` instead.",
        ));
    }
    let mut request = NeutralRequest {
        model: body.take_text("model").ok_or(TranslationError::NoModel)?,
        max_tokens: body
            .take_number("max_completion_tokens")
            .or_else(|| body.take_number("max_tokens")),
        temperature: body.take_digits("temperature"),
        top_p: body.take_digits("top_p"),
        parallel_tool_calls: body.take_bool("parallel_tool_calls"),
        stream: body.take_bool("stream").unwrap_or(false),
        effort: body.take_text("reasoning_effort"),
        user: body
            .take_nonempty_text("safety_identifier")
            .or_else(|| body.take_nonempty_text("user")),
        ..NeutralRequest::default()
    };
    for name in SHARED {
        request.shared.extend(body.take_value(name).map(|value| (name, value.raw())));
    }
    if let Some(mut options) = body.take_object("stream_options") {
        request.include_usage = options.take_bool("include_usage").unwrap_or(false);
        request.dropped.add_remaining("stream_options", &options);
    }
    if let Some(stop) = body.take_value("stop") {
        let many = || {
            let texts = to_items(stop).into_iter().flatten().filter_map(to_text);
            texts.take(STOPS_MAX + 1).collect()
        };
        request.stop_sequences = to_text(stop).map_or_else(many, |one| vec![one]);
    }
    let messages =
        body.take_value("messages").and_then(to_items).ok_or(TranslationError::NoMessages)?;
    for message in messages {
        read_message(
            ObjectReader::from_value(message).ok_or(TranslationError::NoMessages)?,
            &mut request,
        );
    }
    for tool in body.take_objects("tools") {
        read_tool(tool, &mut request);
    }
    if let Some(choice) = body.take_value("tool_choice") {
        read_choice(choice, &mut request);
    }
    read_format(&mut body, &mut request);
    refuse_other_answers(&mut body, &mut request, |_| true);
    request.dropped.add_remaining("", &body);
    Ok(request)
}

/// Reads the settings that depend on each other in a model's rules, and refuses what asks for an
/// answer of another form by a field that the upstream refuses.
pub(in crate::translate) fn read_passed_settings<'a>(
    body: &mut ObjectReader<'a>,
    refused_fields: &[&str],
) -> NeutralRequest<'a> {
    let effort = body.take_text("reasoning_effort");
    let mut request = NeutralRequest { effort, ..NeutralRequest::default() };
    if let Some(choice) = body.take_value("tool_choice") {
        read_choice(choice, &mut request);
    }
    read_format(body, &mut request);
    refuse_other_answers(body, &mut request, |name| refused_fields.contains(&name));
    request
}

/// Refuses fields that ask for an answer of another form, if the upstream does not have them.
fn refuse_other_answers(
    body: &mut ObjectReader<'_>,
    request: &mut NeutralRequest<'_>,
    is_missing: impl Fn(&str) -> bool,
) {
    let mut modalities = body.take_items("modalities").filter_map(to_text);
    if let Some(modality) = modalities.find(|modality| modality != "text")
        && is_missing("modalities")
    {
        request.dropped.refuse(format!("modalities[]({modality})"), NO_SUCH_CONTENT);
    }
    for name in ["audio", "web_search_options"] {
        if body.take_value(name).is_some() && is_missing(name) {
            request.dropped.refuse(name, NO_SUCH_CONTENT);
        }
    }
    if body.take_bool("logprobs") == Some(true) && is_missing("logprobs") {
        request.dropped.refuse("logprobs", NO_SUCH_CONTENT);
    }
}

fn read_message(mut message: ObjectReader<'_>, request: &mut NeutralRequest<'_>) {
    let role = message.take_text("role").unwrap_or_default();
    let parts = message
        .take_value("content")
        .map(|value| read_content(value, &mut request.dropped))
        .unwrap_or_default();
    match role.as_str() {
        "system" | "developer" => request.add_parts(TurnRole::System, parts),
        "assistant" => {
            let mut all = Vec::new();
            let reasoning = message
                .take_nonempty_text("reasoning_content")
                .or_else(|| message.take_nonempty_text("reasoning"));
            all.extend(reasoning.map(|text| TurnPart::Thinking { text, signature: None }));
            all.extend(parts);
            all.extend(message.take_nonempty_text("refusal").map(TurnPart::Text));
            let calls = message.take_objects("tool_calls");
            all.extend(calls.filter_map(|call| read_call(call, &mut request.dropped)));
            request.add_parts(TurnRole::Assistant, all);
        }
        "tool" => {
            let id = message.take_text("tool_call_id").unwrap_or_default();
            request
                .add_parts(TurnRole::User, vec![TurnPart::Result { id, parts, is_error: false }]);
        }
        _ => request.add_parts(TurnRole::User, parts),
    }
    request.dropped.add_remaining("messages[]", &message);
}

/// Reads content, which is a string or a list of parts.
fn read_content(value: JsonValue<'_>, dropped: &mut DroppedFields) -> Vec<TurnPart> {
    if let Some(text) = to_text(value) {
        return vec![TurnPart::Text(text)];
    }
    let parts = to_items(value).into_iter().flatten();
    parts.filter_map(|part| read_part(ObjectReader::from_value(part)?, dropped)).collect()
}

fn read_part(mut part: ObjectReader<'_>, dropped: &mut DroppedFields) -> Option<TurnPart> {
    let path = "messages[].content[]";
    let kind = part.take_text("type").unwrap_or_default();
    let read = match kind.as_str() {
        "text" => part.take_text("text").map(TurnPart::Text),
        "refusal" => part.take_text("refusal").map(TurnPart::Text),
        "image_url" => read_image_url(&mut part, dropped)
            .map(|url| TurnPart::from_media(None, MediaSource::parse(url), true)),
        "file" => part.take_object("file").and_then(|mut file| {
            let source = MediaSource::parse(file.take_text("file_data")?);
            Some(TurnPart::from_media(file.take_nonempty_text("filename"), source, false))
        }),
        _ => None,
    };
    match kind.as_str() {
        _ if read.is_some() => dropped.add_remaining(path, &part),
        "text" | "refusal" => dropped.add_path(format!("{path}({kind})")),
        "file" => dropped.refuse(format!("{path}({kind})"), FILE_IS_ELSEWHERE),
        _ => dropped.refuse(format!("{path}({kind})"), NO_SUCH_CONTENT),
    }
    read
}

/// Reads the address of an image, which some clients send without the object around it.
fn read_image_url(part: &mut ObjectReader<'_>, dropped: &mut DroppedFields) -> Option<String> {
    if let Some(url) = part.take_text("image_url") {
        return Some(url);
    }
    let mut image = part.take_object("image_url")?;
    let url = image.take_text("url")?;
    dropped.add_remaining("messages[].content[].image_url", &image);
    Some(url)
}

fn read_call(mut call: ObjectReader<'_>, dropped: &mut DroppedFields) -> Option<TurnPart> {
    let id = call.take_text("id").unwrap_or_default();
    let part = if let Some(mut custom) = call.take_object("custom") {
        let arguments = freeform_arguments(&custom.take_text("input").unwrap_or_default());
        ToolCall { id, name: custom.take_text("name")?, arguments }
    } else {
        let mut function = call.take_object("function")?;
        let arguments = function.take_value("arguments");
        // Some clients send the arguments as an object.
        let arguments = arguments.map(|raw| to_text(raw).unwrap_or_else(|| raw.raw().to_owned()));
        let arguments = arguments.unwrap_or_default();
        ToolCall { id, name: function.take_text("name")?, arguments }
    };
    call.take_text("type");
    call.take_number("index");
    dropped.add_remaining("messages[].tool_calls[]", &call);
    Some(TurnPart::Call(part))
}

fn read_tool<'a>(mut tool: ObjectReader<'a>, request: &mut NeutralRequest<'a>) {
    let kind = tool.take_text("type").unwrap_or_default();
    let inner = tool.take_object(if kind == "custom" { "custom" } else { "function" });
    // The form of the Responses API, without the object around the function.
    let is_flat = matches!(kind.as_str(), "function" | "custom" | "");
    let inner = inner.or_else(|| is_flat.then(|| std::mem::take(&mut tool)));
    let Some((mut inner, name)) =
        inner.and_then(|mut inner| inner.take_text("name").map(|name| (inner, name)))
    else {
        return request.dropped.add_path(format!("tools[]({kind})"));
    };
    let Some(name) = request.accept_name("tools[].function.name", name) else { return };
    let description = inner.take_text("description");
    if kind == "custom" {
        let grammar = inner.take_object("format").and_then(|mut format| {
            let held = format.take_object("grammar");
            held.unwrap_or(format).take_text("definition")
        });
        let alias = ToolAlias { freeform: true, name: name.clone(), namespace: None };
        request.aliases.insert(name.clone(), alias);
        request.tools.push(ToolDefinition::from_freeform(name, description, grammar.as_deref()));
    } else {
        request.tools.push(ToolDefinition {
            name,
            description: description.map(Into::into),
            schema: inner.take_value("parameters").map(JsonValue::raw),
            strict: inner.take_bool("strict"),
        });
    }
    request.dropped.add_remaining("tools[]", &inner);
}

fn read_choice(value: JsonValue<'_>, request: &mut NeutralRequest<'_>) {
    request.tool_choice = match to_text(value).as_deref() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("none") => Some(ToolChoice::None),
        Some("required") => Some(ToolChoice::Any),
        _ => None,
    };
    let Some(mut choice) = ObjectReader::from_value(value) else { return };
    let name =
        |object: Option<ObjectReader<'_>>| object.and_then(|mut object| object.take_text("name"));
    if let Some(mut allowed) = choice.take_object("allowed_tools") {
        let is_required = allowed.take_text("mode").as_deref() == Some("required");
        request.tool_choice = Some(if is_required { ToolChoice::Any } else { ToolChoice::Auto });
        let tools = allowed.take_objects("tools");
        let names = tools
            .filter_map(|mut tool| {
                name(tool.take_object("function").or_else(|| tool.take_object("custom")))
            })
            .collect();
        request.retain_tools(&names);
    } else {
        let named_tool = choice.take_object("function").or_else(|| choice.take_object("custom"));
        request.tool_choice = name(named_tool).map(ToolChoice::Named);
    }
}

fn read_format<'a>(body: &mut ObjectReader<'a>, request: &mut NeutralRequest<'a>) {
    let Some(mut format) = body.take_object("response_format") else { return };
    request.format = match format.take_text("type").as_deref() {
        Some("json_object") => Some(OutputFormat::Json),
        Some("json_schema") => format.take_object("json_schema").and_then(|mut inner| {
            let schema = inner.take_value("schema")?.raw().into();
            Some(OutputFormat::Schema {
                name: inner.take_text("name"),
                schema,
                strict: inner.take_bool("strict"),
            })
        }),
        _ => None,
    };
}
