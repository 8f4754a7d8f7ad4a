//! Gemini's OpenAI-compatible endpoint (ai.google.dev, "OpenAI compatibility", 2026-11). Each error
//! is a list with one object.

use crate::chat_shape::{accept, calls, messages, role, text_of, unknown_field};
use crate::request::{AcceptedRequest, VendorError, VendorRequest};
use crate::state::seal;
use serde_json::{Value, json};

/// The fields of the body. Others are an "Unknown name" (ed-donner/agents #45, 2025-05-23: `store` and
/// `metadata`; MinLL/SkyrimNet-GamePlugin #77, 2025-08-04: `reasoning`, `top_k` and unknown bodies).
const FIELDS: [&str; 21] = [
    "model",
    "messages",
    "audio",
    "extra_body",
    "frequency_penalty",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "modalities",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
];
/// More of them.
const OPTIONS: [&str; 4] = ["top_logprobs", "top_p", "user", "web_search_options"];

/// The prefix of thought signatures.
pub(crate) const SIGNATURE: &str = "CoYB";
/// The placeholders for calls that Gemini did not make ("Thought signatures", questions, 2026-11).
const PLACEHOLDERS: [&str; 2] =
    ["skip_thought_signature_validator", "context_engineering_is_the_way_to_go"];

/// Judges a request as Gemini's endpoint does.
pub(crate) fn judge(request: &VendorRequest) -> Result<AcceptedRequest, VendorError> {
    let route = request.route();
    if !["/v1/chat/completions", "/v1beta/openai/chat/completions"].contains(&route) {
        return Err(error(404, "NOT_FOUND", "Requested entity was not found."));
    }
    let model = request.text("model").unwrap_or_default();
    let name = model.trim_start_matches("models/");
    if !name.starts_with("gemini-") {
        return Err(error(
            404,
            "NOT_FOUND",
            &format!(
                "models/{name} is not found for API version \
                                                     v1main, or is not supported for generateContent."
            ),
        ));
    }
    check(request, name).map_err(|why| error(400, "INVALID_ARGUMENT", &why))?;
    let effort = request.text("reasoning_effort");
    Ok(accept(request, model, effort != Some("none")))
}

fn check(request: &VendorRequest, model: &str) -> Result<(), String> {
    let known = [FIELDS.as_slice(), &OPTIONS].concat();
    if let Some(name) = unknown_field(&request.body, &known) {
        return Err(format!(
            "Invalid JSON payload received. Unknown name \"{name}\": Cannot find field."
        ));
    }
    if request.field("max_tokens").is_some() && request.field("max_completion_tokens").is_some() {
        return Err("max_tokens and max_completion_tokens cannot both be set.".to_owned());
    }
    // "OpenAI compatibility", "Thinking": the levels; Gemini 3 cannot turn thinking off.
    let efforts: &[&str] = if model.starts_with("gemini-2.5") {
        &["none", "minimal", "low", "medium", "high"]
    } else {
        &["minimal", "low", "medium", "high"]
    };
    if let Some(effort) = request.text("reasoning_effort")
        && !efforts.contains(&effort)
    {
        return Err(format!("Invalid value for reasoning_effort: {effort}"));
    }
    for tool in request.body["tools"].as_array().into_iter().flatten() {
        if tool["type"] != "function" {
            return Err("Invalid value at 'tools[0].type'".to_owned());
        }
    }
    check_messages(messages(request))?;
    if model.starts_with("gemini-2") { Ok(()) } else { check_signatures(messages(request)) }
}

fn check_messages(messages: &[Value]) -> Result<(), String> {
    let has_contents = messages.iter().any(|it| !["system", "developer"].contains(&role(it)));
    if !has_contents {
        return Err("* GenerateContentRequest.contents: contents is not specified".to_owned());
    }
    for (index, message) in messages.iter().enumerate() {
        if !["system", "developer", "user", "assistant", "tool"].contains(&role(message)) {
            return Err(format!("Invalid value at 'messages[{index}].role'"));
        }
        let has_media = message["content"].as_array().is_some_and(|parts| !parts.is_empty());
        let is_empty = text_of(&message["content"]).is_empty() && !has_media;
        // GoogleCloudPlatform and OpenRouter reports, 2025: an empty turn has no part.
        if is_empty && calls(message).is_empty() && role(message) != "tool" {
            return Err(format!(
                "* GenerateContentRequest.contents[{index}].parts: contents.parts must \
                                not be empty."
            ));
        }
        let outputs = messages[index + 1..].iter().take_while(|it| role(it) == "tool").count();
        if !calls(message).is_empty() && outputs != calls(message).len() {
            return Err(
                "Please ensure that the number of function response parts is equal to the \
                        number of function call parts of the function call turn."
                    .to_owned(),
            );
        }
    }
    Ok(())
}

/// "Thought signatures", 2026-11: with Gemini 3, the first call of each step of the current turn must
/// carry its signature back, else 400 (router-for-me/CLIProxyAPI #2098, farion1231/cc-switch #5725).
fn check_signatures(messages: &[Value]) -> Result<(), String> {
    let turn = messages.iter().rposition(|message| role(message) == "user").unwrap_or(0);
    for (index, message) in messages.iter().enumerate().skip(turn) {
        let Some(call) = calls(message).first() else { continue };
        let name = call["function"]["name"].as_str().unwrap_or_default();
        let Some(given) = call["extra_content"]["google"]["thought_signature"].as_str() else {
            return Err(format!(
                "Function call is missing a thought_signature in functionCall parts. This is required \
                 for tools to work correctly, and missing thought_signature may lead to degraded model \
                 performance. Additional data, function call `default_api:{name}` , position {index}."
            ));
        };
        if !PLACEHOLDERS.contains(&given) && given != seal(SIGNATURE, &[name]) {
            return Err("Thought signature is not valid.".to_owned());
        }
    }
    Ok(())
}

fn error(status: u16, name: &str, message: &str) -> VendorError {
    let error = json!({"code": status, "message": message, "status": name});
    VendorError::new(status, json!([{"error": error}]))
}
