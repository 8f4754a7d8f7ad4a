//! Responses: everything but the input.

use super::chat::check_schema_format;
use super::model::{Gpt, is_default};
use super::{Complaint, check_common, check_name, items, schema_complaint};
use crate::chat_shape::{text_of, unknown_field};
use crate::request::{AcceptedRequest, Dialect, ForcedTool, OfferedTool, VendorRequest};
use crate::schema::{check_openai_parameters, check_openai_strict};
use crate::state::TwinState;
use serde_json::{Value, json};

/// `CreateResponse`, and what Codex 0.171.0 sends beside (recorded 2026-11-28).
const FIELDS: [&str; 32] = [
    "background",
    "client_metadata",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// The tools (`Tool` in the document).
const TOOLS: [&str; 16] = [
    "function",
    "custom",
    "namespace",
    "tool_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "file_search",
    "code_interpreter",
    "computer",
    "computer_use_preview",
    "image_generation",
    "local_shell",
    "shell",
    "apply_patch",
    "mcp",
];

pub(super) fn check(
    request: &VendorRequest,
    gpt: Gpt,
    model: &str,
    state: &TwinState,
) -> Result<AcceptedRequest, Complaint> {
    if let Some(name) = unknown_field(&request.body, &FIELDS) {
        return Err(Complaint::unknown(name));
    }
    check_common(request)?;
    check_reasoning(request, gpt)?;
    check_bounds(request, gpt)?;
    check_tools(request)?;
    check_text(request, gpt)?;
    let mut conversation = before(request, state)?;
    let input = items::read(&request.body["input"])?;
    if input.is_empty()
        && request.field("previous_response_id").is_none()
        && request.field("prompt").is_none()
    {
        return Err(Complaint::new(
            "One of \"input\" or \"previous_response_id\" or 'prompt' or \
                                   'conversation_id' must be provided.",
        )
        .with("input", Some("missing_required_parameter")));
    }
    conversation.extend(input.iter().map(|item| resolve(item, request, state).clone()));
    items::check(&input, &conversation, request, state)?;
    let effort = request.body["reasoning"]["effort"].as_str();
    let heard = AcceptedRequest::new(Dialect::Responses, request, model).hearing(&conversation);
    let is_instruction = |item: &Value| item["role"] == "system" || item["role"] == "developer";
    let last = conversation.iter().rfind(|item| !is_instruction(item));
    let last = last.filter(|item| item["role"] == "user");
    let last = last.map(|item| text_of(&item["content"]));
    let includes = request.body["include"].as_array().into_iter().flatten();
    let format = &request.body["text"]["format"];
    Ok(AcceptedRequest {
        last_text: last,
        tools: offered(request),
        forced_tool: forced(request),
        thinks: gpt.reasons_with(effort),
        answer_schema: match format["type"].as_str() {
            Some("json_schema") => Some(format["schema"].clone()),
            Some("json_object") => Some(json!({"type": "object"})),
            _ => None,
        },
        conversation,
        is_stored: request.body["store"] != false,
        encrypts_reasoning: includes.into_iter().any(|name| name == "reasoning.encrypted_content"),
        ..heard
    })
}

/// The stored item that a reference names, or the item itself.
fn resolve<'a>(item: &'a Value, request: &VendorRequest, state: &'a TwinState) -> &'a Value {
    if item["type"] != "item_reference" {
        return item;
    }
    let own = state.responses.iter().filter(|((account, _), _)| account == request.account());
    let mut stored = own.flat_map(|(_, items)| items);
    stored.find(|stored| stored["id"] == item["id"]).unwrap_or(item)
}

/// The conversation of the response before, which belongs to one account ("Conversation state",
/// 2026-11; router-for-me/CLIProxyAPI #1382).
fn before(request: &VendorRequest, state: &TwinState) -> Result<Vec<Value>, Complaint> {
    let Some(id) = request.text("previous_response_id") else { return Ok(Vec::new()) };
    let key = (request.account().to_owned(), id.to_owned());
    state.responses.get(&key).cloned().ok_or_else(|| {
        Complaint::new(format!("Previous response with id '{id}' not found."))
            .with("previous_response_id", Some("previous_response_not_found"))
    })
}

fn check_reasoning(request: &VendorRequest, gpt: Gpt) -> Result<(), Complaint> {
    let reasoning = &request.body["reasoning"];
    let known = ["effort", "summary", "generate_summary", "mode", "context"];
    if let Some(name) = unknown_field(reasoning, &known) {
        return Err(Complaint::unknown(&format!("reasoning.{name}")));
    }
    if let Some(effort) = reasoning["effort"].as_str() {
        let known = gpt.efforts();
        if known.is_empty() {
            return Err(Complaint::unsupported("reasoning.effort"));
        }
        if !known.contains(&effort) {
            let known = known.iter().map(|it| format!("'{it}'")).collect::<Vec<_>>().join(", ");
            return Err(Complaint::new(format!(
                "Unsupported value: '{effort}' is not supported with the '{}' model. Supported values \
                 are: {known}.",
                request.text("model").unwrap_or_default()
            ))
            .with("reasoning.effort", Some("unsupported_value")));
        }
    }
    if reasoning["summary"].is_string() && !gpt.reasons() {
        return Err(Complaint::unsupported("reasoning.summary"));
    }
    let includes = request.body["include"].as_array().into_iter().flatten();
    let is_encrypted = includes.into_iter().any(|name| name == "reasoning.encrypted_content");
    if is_encrypted && !gpt.reasons() {
        return Err(Complaint::new("Encrypted content is not supported with this model.")
            .with("include", None));
    }
    let is_reasoning = gpt.reasons_with(reasoning["effort"].as_str());
    for name in ["temperature", "top_p", "top_logprobs"] {
        if request.field(name).is_some_and(|value| is_reasoning && !is_default(name, value)) {
            return Err(Complaint::unsupported(name));
        }
    }
    Ok(())
}

fn check_bounds(request: &VendorRequest, gpt: Gpt) -> Result<(), Complaint> {
    let Some(value) = request.field("max_output_tokens") else { return Ok(()) };
    let given = value.as_u64().unwrap_or(0);
    if given < 16 {
        return Err(Complaint::new(format!(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but \
             got {value} instead."
        ))
        .with("max_output_tokens", Some("integer_below_min_value")));
    }
    let most = gpt.max_tokens();
    if given > most {
        return Err(Complaint::new(format!(
            "Invalid 'max_output_tokens': integer above maximum value. Expected a value <= {most}, but \
             got {given} instead."
        ))
        .with("max_output_tokens", Some("integer_above_max_value")));
    }
    Ok(())
}

fn check_tools(request: &VendorRequest) -> Result<(), Complaint> {
    for (index, tool) in request.body["tools"].as_array().into_iter().flatten().enumerate() {
        let at = format!("tools[{index}]");
        let kind = tool["type"].as_str().unwrap_or_default();
        if !TOOLS.contains(&kind) {
            let known = TOOLS.iter().map(|it| format!("'{it}'")).collect::<Vec<_>>().join(", ");
            return Err(Complaint::value(&format!("{at}.type"), kind, &known));
        }
        if kind == "custom" {
            check_name(&tool["name"], &format!("{at}.name"))?;
        }
        if kind != "function" {
            continue;
        }
        let known = [
            "type",
            "name",
            "description",
            "parameters",
            "output_schema",
            "strict",
            "defer_loading",
            "allowed_callers",
        ];
        if let Some(name) = unknown_field(tool, &known) {
            return Err(Complaint::unknown(&format!("{at}.{name}")));
        }
        check_name(&tool["name"], &format!("{at}.name"))?;
        let Some(parameters) = tool.get("parameters").filter(|it| !it.is_null()) else { continue };
        let checked = check_openai_parameters(parameters).and_then(|()| {
            if tool["strict"] == true { check_openai_strict(parameters) } else { Ok(()) }
        });
        let of = format!("function '{}'", tool["name"].as_str().unwrap_or_default());
        checked.map_err(|why| schema_complaint(&of, &why, &format!("{at}.parameters")))?;
    }
    Ok(())
}

fn check_text(request: &VendorRequest, gpt: Gpt) -> Result<(), Complaint> {
    let text = &request.body["text"];
    if let Some(name) = unknown_field(text, &["format", "verbosity"]) {
        return Err(Complaint::unknown(&format!("text.{name}")));
    }
    let verbosity = text["verbosity"].as_str();
    if verbosity.is_some_and(|word| word != "medium" && !gpt.has_verbosity()) {
        return Err(Complaint::unsupported("text.verbosity"));
    }
    let format = &text["format"];
    match format["type"].as_str() {
        None | Some("text") => Ok(()),
        Some("json_schema") => check_schema_format(format, "text.format"),
        Some("json_object") => {
            if request.body["input"].to_string().to_lowercase().contains("json") {
                return Ok(());
            }
            Err(Complaint::new(
                "Response input messages must contain the word 'json' in some form to \
                                use 'text.format' of type 'json_object'.",
            )
            .with("input", None))
        }
        Some(kind) => Err(Complaint::value(
            "text.format.type",
            kind,
            "'text', 'json_object', and 'json_schema'",
        )),
    }
}

fn offered(request: &VendorRequest) -> Vec<OfferedTool> {
    if request.body["tool_choice"] == "none" {
        return Vec::new();
    }
    let tools = request.body["tools"].as_array().into_iter().flatten();
    let tools = tools.filter_map(|tool| {
        let is_custom = match tool["type"].as_str() {
            Some("function") => false,
            Some("custom") => true,
            _ => return None,
        };
        let schema = tool.get("parameters").cloned().unwrap_or_else(|| json!({}));
        let name = tool["name"].as_str()?.to_owned();
        Some(OfferedTool { name, schema: (!is_custom).then_some(schema) })
    });
    tools.collect()
}

fn forced(request: &VendorRequest) -> Option<ForcedTool> {
    match &request.body["tool_choice"] {
        Value::String(word) if word == "required" => Some(ForcedTool::Any),
        choice if ["function", "custom"].iter().any(|kind| choice["type"] == *kind) => {
            choice["name"].as_str().map(|name| ForcedTool::Named(name.to_owned()))
        }
        _ => None,
    }
}
