//! Reads Responses requests.
//!
//! Nothing is stored here. References to an earlier response are therefore refused, and items carry
//! everything that is needed to continue an answer.

use super::item::REASONING_ID_PREFIX;
use crate::json::JsonValue;
use crate::translate::TranslationError;
use crate::translate::continuation::is_baton_state;
use crate::translate::json_reader::{
    DroppedFields, NESTED_CONTENT_MAX, ObjectReader, parse_document, to_items, to_text,
};
use crate::translate::neutral_request::{
    FILE_IS_ELSEWHERE, MediaSource, NO_SUCH_CONTENT, NeutralRequest, OutputFormat, ToolAlias,
    ToolCall, ToolChoice, ToolDefinition, TurnPart, TurnRole, freeform_arguments,
};
use std::sync::Arc;

/// Fields that would need a store, with what to do without one.
const STORED: [(&str, &str); 4] = [
    (
        "previous_response_id",
        "responses are not stored for this model. Send the whole conversation in `input`.",
    ),
    (
        "conversation",
        "conversations are not stored for this model. Send the whole conversation in `input`.",
    ),
    ("prompt", "prompts are not stored for this model. Send the text in `instructions`."),
    (
        "background",
        "background requests are not supported for this model. Send the request without \
         this field.",
    ),
];

const NOT_STORED: &str = "items are not stored for this model. Send the item itself, as clients do \
     with `store: false`.";

const CLIENT_TOOL: &str =
    "models of other vendors do not know this tool. Declare it as a function or as a custom tool.";

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

/// Reads the meaning of the request.
pub(in crate::translate) fn read_request(
    mut body: ObjectReader<'_>,
) -> Result<NeutralRequest<'_>, TranslationError> {
    for (name, advice) in STORED {
        if body.take_value(name).is_some_and(|value| value.raw() != "false") {
            return Err(TranslationError::field(name, advice));
        }
    }
    let echo = body.copy_fields(&ECHO);
    let mut request = NeutralRequest {
        model: body.take_text("model").ok_or(TranslationError::NoModel)?,
        max_tokens: body.take_number("max_output_tokens"),
        temperature: body.take_digits("temperature"),
        top_p: body.take_digits("top_p"),
        parallel_tool_calls: body.take_bool("parallel_tool_calls"),
        stream: body.take_bool("stream").unwrap_or(false),
        include_usage: true,
        user: body.take_nonempty_text("user"),
        echo,
        ..NeutralRequest::default()
    };
    request.dropped = read_settings(&mut body, &mut request);
    if let Some(instructions) = body.take_text("instructions") {
        request.add_parts(TurnRole::System, vec![TurnPart::Text(instructions)]);
    }
    let input = body.take_value("input").ok_or(TranslationError::NoMessages)?;
    if let Some(text) = to_text(input) {
        request.add_parts(TurnRole::User, vec![TurnPart::Text(text)]);
    } else {
        for item in to_items(input).ok_or(TranslationError::NoMessages)? {
            let item = ObjectReader::from_value(item).ok_or(TranslationError::NoMessages)?;
            read_item(item, &mut request)?;
        }
    }
    for tool in body.take_objects("tools") {
        read_tool(tool, None, &mut request, 1)?;
    }
    if let Some(choice) = body.take_value("tool_choice") {
        request.echo.push(("tool_choice", choice.raw()));
        read_choice(choice, &mut request);
    }
    request.dropped.add_remaining("", &body);
    Ok(request)
}

fn read_settings<'a>(
    body: &mut ObjectReader<'a>,
    request: &mut NeutralRequest<'a>,
) -> DroppedFields {
    let mut dropped = DroppedFields::default();
    if let Some(mut reasoning) = body.take_object("reasoning") {
        request.effort = reasoning.take_text("effort");
        let summary =
            reasoning.take_text("summary").or_else(|| reasoning.take_text("generate_summary"));
        request.wants_summary = summary.is_some();
        request.shows_thinking = request.wants_summary;
        dropped.add_remaining("reasoning", &reasoning);
    }
    if let Some(mut settings) = body.take_object("text") {
        request
            .shared
            .extend(settings.take_value("verbosity").map(|value| ("verbosity", value.raw())));
        let format = settings.take_object("format");
        request.format = format.and_then(|mut format| match format.take_text("type").as_deref() {
            Some("json_object") => Some(OutputFormat::Json),
            Some("json_schema") => {
                let schema = format.take_value("schema")?.raw().into();
                let strict = format.take_bool("strict");
                Some(OutputFormat::Schema { name: format.take_text("name"), schema, strict })
            }
            _ => None,
        });
        dropped.add_remaining("text", &settings);
    }
    for name in SHARED {
        request.shared.extend(body.take_value(name).map(|value| (name, value.raw())));
    }
    // Reasoning can always be continued and is never stored, whether the client asks for it or not.
    let includes = body.take_items("include").filter_map(to_text);
    for include in includes.filter(|name| name != "reasoning.encrypted_content") {
        let path = format!("include[]({include})");
        if include == "message.output_text.logprobs" {
            dropped.refuse(path, NO_SUCH_CONTENT);
        } else {
            dropped.add_path(path);
        }
    }
    if body.take_bool("store") == Some(true) {
        dropped.add_path("store");
    }
    dropped
}

fn read_item<'a>(
    mut item: ObjectReader<'a>,
    request: &mut NeutralRequest<'a>,
) -> Result<(), TranslationError> {
    let kind = item.take_text("type").unwrap_or_else(|| "message".to_owned());
    let call_id = item.take_text("call_id").unwrap_or_default();
    match kind.as_str() {
        "message" => {
            let role = match item.take_text("role").as_deref() {
                Some("assistant") => TurnRole::Assistant,
                Some("system" | "developer") => TurnRole::System,
                _ => TurnRole::User,
            };
            let parts =
                item.take_value("content").map(|value| read_content(value, &mut request.dropped));
            request.add_parts(role, parts.unwrap_or_default());
        }
        "function_call" | "custom_tool_call" => {
            let arguments = match item.take_text("input") {
                Some(input) => freeform_arguments(&input),
                None => item.take_text("arguments").unwrap_or_default(),
            };
            let name = item.take_text("name").unwrap_or_default();
            let name = full_name(item.take_nonempty_text("namespace").as_deref(), &name);
            request.add_parts(
                TurnRole::Assistant,
                vec![TurnPart::Call(ToolCall { id: call_id, name, arguments })],
            );
        }
        "function_call_output" | "custom_tool_call_output" => {
            let parts =
                item.take_value("output").map(|value| read_content(value, &mut request.dropped));
            let parts = parts.unwrap_or_default();
            request.add_parts(
                TurnRole::User,
                vec![TurnPart::Result { id: call_id, parts, is_error: false }],
            );
        }
        "reasoning" => match read_reasoning(&mut item) {
            Some(part) => request.add_parts(TurnRole::Assistant, vec![part]),
            None => request.dropped.add_path("input[](reasoning)"),
        },
        "additional_tools" => {
            for tool in item.take_objects("tools") {
                read_tool(tool, None, request, 1)?;
            }
        }
        "item_reference" => {
            // The model can answer without its earlier reasoning, but not without anything else.
            let id = item.take_text("id").unwrap_or_default();
            if !id.starts_with(REASONING_ID_PREFIX) {
                return Err(TranslationError::field("input[](item_reference)", NOT_STORED));
            }
            request.dropped.add_path("input[](item_reference)");
        }
        _ => leave_out(&kind, request),
    }
    Ok(())
}

/// Leaves out an item that was not read. What the upstream's own tools did in an earlier answer is
/// only history. Without any other item, the answer would be another.
fn leave_out(kind: &str, request: &mut NeutralRequest<'_>) {
    const OF_SERVER_TOOLS: [&str; 9] = [
        "code_interpreter_call",
        "file_search_call",
        "image_generation_call",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "tool_search_call",
        "web_search_call",
    ];
    let path = format!("input[]({kind})");
    if OF_SERVER_TOOLS.contains(&kind) || kind == "tool_search_output" {
        request.dropped.add_path(path);
    } else {
        request.dropped.refuse(path, NO_SUCH_CONTENT);
    }
}

/// Reads the reasoning of an earlier answer. If Baton wrote it, its encrypted content is the
/// upstream's own block with the signature. Otherwise only its summary is usable.
fn read_reasoning(item: &mut ObjectReader<'_>) -> Option<TurnPart> {
    let sealed = item.take_text("encrypted_content").unwrap_or_default();
    if is_baton_state(&sealed) {
        return Some(TurnPart::Thinking { text: read_summary(item), signature: Some(sealed) });
    }
    let document = parse_document(sealed.as_bytes()).ok();
    if let Some(mut block) =
        document.as_ref().and_then(|document| ObjectReader::from_value(document.root()))
    {
        return match block.take_text("type").as_deref() {
            Some("thinking") => Some(TurnPart::Thinking {
                text: block.take_text("thinking")?,
                signature: block.take_nonempty_text("signature"),
            }),
            Some("redacted_thinking") => block.take_text("data").map(TurnPart::Redacted),
            _ => None,
        };
    }
    let text = read_summary(item);
    (!text.is_empty()).then_some(TurnPart::Thinking { text, signature: None })
}

/// The text of a reasoning item, as far as the client has it.
fn read_summary(item: &mut ObjectReader<'_>) -> String {
    let texts = item.take_objects("content").chain(item.take_objects("summary"));
    let text: Vec<String> = texts.filter_map(|mut part| part.take_nonempty_text("text")).collect();
    text.join("\n\n")
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
    let kind = part.take_text("type").unwrap_or_default();
    let read = match kind.as_str() {
        "input_text" | "output_text" | "text" => part.take_text("text").map(TurnPart::Text),
        "refusal" => part.take_text("refusal").map(TurnPart::Text),
        "input_image" => part
            .take_text("image_url")
            .map(|url| TurnPart::from_media(None, MediaSource::parse(url), true)),
        "input_file" => {
            let url = part.take_text("file_data").or_else(|| part.take_text("file_url"));
            let title = part.take_nonempty_text("filename");
            url.map(|url| TurnPart::from_media(title, MediaSource::parse(url), false))
        }
        _ => None,
    };
    let path = || format!("input[].content[]({kind})");
    match kind.as_str() {
        _ if read.is_some() => {}
        "input_text" | "output_text" | "text" | "refusal" => dropped.add_path(path()),
        "input_image" | "input_file" => dropped.refuse(path(), FILE_IS_ELSEWHERE),
        _ => dropped.refuse(path(), NO_SUCH_CONTENT),
    }
    read
}

/// The name that the model sees for a tool in a namespace.
fn full_name(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| name.to_owned(), |space| format!("{space}__{name}"))
}

/// Reads a tool or a namespace of tools. `level` is the nesting depth of namespaces.
fn read_tool<'a>(
    mut tool: ObjectReader<'a>,
    namespace: Option<&Arc<str>>,
    request: &mut NeutralRequest<'a>,
    level: usize,
) -> Result<(), TranslationError> {
    if level > NESTED_CONTENT_MAX {
        return Err(TranslationError::NestedContent);
    }
    let kind = tool.take_text("type").unwrap_or_default();
    let Some(name) = tool
        .take_text("name")
        .filter(|_| ["function", "custom", "namespace"].contains(&kind.as_str()))
    else {
        let path = format!("tools[]({kind})");
        // The client runs these tools, and expects calls in forms of their own.
        let is_of_client = matches!(kind.as_str(), "shell" | "local_shell" | "apply_patch")
            || kind.starts_with("computer");
        if is_of_client {
            request.dropped.refuse(path, CLIENT_TOOL);
        } else {
            request.dropped.add_path(path);
        }
        return Ok(());
    };
    let Some(name) = request.accept_name("tools[].name", name) else { return Ok(()) };
    if kind == "namespace" {
        let name = Arc::from(name);
        let mut tools = tool.take_objects("tools");
        return tools.try_for_each(|inner| read_tool(inner, Some(&name), request, level + 1));
    }
    if namespace.is_some_and(|namespace| !request.accept_namespace_use(namespace)) {
        return Ok(());
    }
    let full = full_name(namespace.map(AsRef::as_ref), &name);
    let freeform = kind == "custom";
    if freeform || namespace.is_some() {
        let alias = ToolAlias { freeform, name, namespace: namespace.cloned() };
        request.aliases.insert(full.clone(), alias);
    }
    let description = tool.take_text("description");
    if freeform {
        let grammar =
            tool.take_object("format").and_then(|mut format| format.take_text("definition"));
        request.tools.push(ToolDefinition::from_freeform(full, description, grammar.as_deref()));
    } else {
        let schema = tool.take_value("parameters").map(JsonValue::raw);
        request.tools.push(ToolDefinition {
            name: full,
            description: description.map(Into::into),
            schema,
            strict: tool.take_bool("strict"),
        });
    }
    request.dropped.add_remaining("tools[]", &tool);
    Ok(())
}

fn read_choice(value: JsonValue<'_>, request: &mut NeutralRequest<'_>) {
    request.tool_choice = match to_text(value).as_deref() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("none") => Some(ToolChoice::None),
        Some("required") => Some(ToolChoice::Any),
        _ => None,
    };
    let Some(mut choice) = ObjectReader::from_value(value) else { return };
    match choice.take_text("type").as_deref() {
        Some("function" | "custom") => {
            request.tool_choice = choice.take_text("name").map(ToolChoice::Named);
        }
        Some("allowed_tools") => {
            let is_required = choice.take_text("mode").as_deref() == Some("required");
            request.tool_choice =
                Some(if is_required { ToolChoice::Any } else { ToolChoice::Auto });
            let tools = choice.take_objects("tools");
            let names = tools.filter_map(|mut tool| tool.take_text("name")).collect();
            request.retain_tools(&names);
        }
        _ => request.dropped.add_path("tool_choice"),
    }
}
