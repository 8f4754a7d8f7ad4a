//! Mistral's API (docs.mistral.ai, "Chat completion endpoints", 2026-11). It refuses every field that
//! it does not know with 422 and the details of pydantic, and checks the order of messages.

use crate::chat_shape::{accept, calls, messages, parts, role, unknown_field};
use crate::request::{AcceptedRequest, VendorError, VendorRequest};
use serde_json::{Value, json};

/// The body's fields. `stream_options` is one, and its `include_usage` is not
/// (avante-corp/avante.nvim #2347, 2025-06-27; openai/openai-agents-python #442, 2025-04-05); a
/// stream ends with the usage anyway.
const FIELDS: [&str; 21] = [
    "model",
    "messages",
    "frequency_penalty",
    "guardrails",
    "max_tokens",
    "metadata",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_mode",
    "random_seed",
    "reasoning_effort",
    "response_format",
    "safe_prompt",
    "stop",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
];
/// More of them.
const OPTIONS: [&str; 1] = ["top_p"];

/// Judges a request as Mistral does.
pub(crate) fn judge(request: &VendorRequest) -> Result<AcceptedRequest, VendorError> {
    if request.route() != "/v1/chat/completions" {
        return Err(VendorError::new(404, json!({"detail": "Not Found"})));
    }
    let model = request.text("model").unwrap_or_default();
    let is_known = ["mistral-", "ministral-", "codestral-", "devstral-", "magistral-", "pixtral-"]
        .iter()
        .any(|start| model.starts_with(start));
    if !is_known {
        return Err(error("invalid_model", "1500", &format!("Invalid model: {model}")));
    }
    check_fields(request)?;
    check_order(messages(request))?;
    check_ids(messages(request))?;
    check_stream_options(request)?;
    let is_thinking = model.starts_with("magistral-") || request.body["reasoning_effort"] == "high";
    let mut accepted = accept(request, model, is_thinking);
    // Thinking is a part of the content here, which no relay needs back.
    accepted.thinks = false;
    accepted.includes_usage = true;
    Ok(accepted)
}

/// This check is the last one, so that streams are tested for everything else, too.
fn check_stream_options(request: &VendorRequest) -> Result<(), VendorError> {
    if let Some(options) = request.field("stream_options")
        && let Some(name) = unknown_field(options, &["stream_tool_calls"])
    {
        return Err(forbidden(&json!(["body", "stream_options", name]), &options[name]));
    }
    Ok(())
}

fn check_fields(request: &VendorRequest) -> Result<(), VendorError> {
    let known = [FIELDS.as_slice(), &OPTIONS, &["stream_options"]].concat();
    if let Some(name) = unknown_field(&request.body, &known) {
        return Err(forbidden(&json!(["body", name]), &request.body[name]));
    }
    // `reasoning_effort` has two values (the reference, 2026-11).
    if let Some(effort) = request.text("reasoning_effort")
        && !["none", "high"].contains(&effort)
    {
        return Err(details(
            "literal_error",
            &json!(["body", "reasoning_effort"]),
            "Input should be 'none' or 'high'",
            &effort.into(),
        ));
    }
    for (index, message) in messages(request).iter().enumerate() {
        check_message(message, index)?;
    }
    for (index, tool) in request.body["tools"].as_array().into_iter().flatten().enumerate() {
        let at = json!(["body", "tools", index]);
        if tool["type"] != "function" {
            return Err(details("literal_error", &at, "Input should be 'function'", &tool["type"]));
        }
        if let Some(name) =
            unknown_field(&tool["function"], &["name", "description", "parameters", "strict"])
        {
            return Err(forbidden(
                &json!(["body", "tools", index, "function", name]),
                &Value::Null,
            ));
        }
    }
    let format = &request.body["response_format"];
    let known = ["name", "description", "schema", "strict"];
    if let Some(name) = unknown_field(&format["json_schema"], &known) {
        return Err(forbidden(
            &json!(["body", "response_format", "json_schema", name]),
            &Value::Null,
        ));
    }
    Ok(())
}

/// charmbracelet/crush #1590, 2025-12-10 (`reasoning_content`); Gage-Technologies/mistral-go #2,
/// 2024-04-18 (`name`).
fn check_message(message: &Value, index: usize) -> Result<(), VendorError> {
    let role = role(message);
    let (fields, kinds): (&[&str], &[&str]) = match role {
        "system" => (&["role", "content"], &["text", "thinking"]),
        "user" => (
            &["role", "content"],
            &["text", "image_url", "document_url", "input_audio", "file", "reference"],
        ),
        "assistant" => {
            (&["role", "content", "tool_calls", "prefix"], &["text", "thinking", "reference"])
        }
        "tool" => {
            (&["role", "content", "tool_call_id", "name"], &["text", "image_url", "document_url"])
        }
        role => {
            let why = format!(
                "Input tag '{role}' found using 'role' does not match any of the expected \
                               tags: 'system', 'user', 'assistant', 'tool'"
            );
            return Err(details(
                "union_tag_invalid",
                &json!(["body", "messages", index]),
                &why,
                message,
            ));
        }
    };
    if let Some(name) = unknown_field(message, fields) {
        return Err(forbidden(&json!(["body", "messages", index, role, name]), &message[name]));
    }
    let is_unknown = |part: &&Value| !kinds.contains(&part["type"].as_str().unwrap_or_default());
    if let Some(part) = parts(message).iter().find(is_unknown) {
        let at = json!(["body", "messages", index, role, "content"]);
        return Err(details("union_tag_invalid", &at, "Input tag does not match", &part["type"]));
    }
    for call in calls(message) {
        if let Some(name) = unknown_field(call, &["id", "type", "function", "index"]) {
            let at = json!(["body", "messages", index, role, "tool_calls", 0, name]);
            return Err(forbidden(&at, &call[name]));
        }
    }
    if role == "assistant" && message["content"].is_null() && calls(message).is_empty()
        || (role == "assistant" && message["content"] == "" && calls(message).is_empty())
    {
        return Err(error(
            "invalid_request_assistant_message",
            "3240",
            "Assistant message must have either content or tool_calls, but not none.",
        ));
    }
    Ok(())
}

/// The order of roles (datapizza-labs/datapizza-ai #98, 2025-12-04; avante-corp/avante.nvim #2695;
/// 0xPlaygrounds/rig #1130, 2025-12-08).
fn check_order(messages: &[Value]) -> Result<(), VendorError> {
    let order = |why: &str| error("invalid_request_message_order", "3230", why);
    let mut before = "";
    for message in messages {
        let role = role(message);
        let is_bad = matches!(
            (before, role),
            ("tool", "user" | "system")
                | ("", "tool" | "assistant")
                | ("assistant", "system")
                | ("system" | "user", "tool")
        );
        if is_bad && before.is_empty() {
            return Err(order("Expected first message to have role 'user' or 'system'"));
        }
        if is_bad {
            return Err(order(&format!("Unexpected role '{role}' after role '{before}'")));
        }
        before = role;
    }
    let last = messages.last();
    let is_prefix = last.is_some_and(|last| last["prefix"] == true);
    match before {
        "user" | "tool" => Ok(()),
        "assistant" if is_prefix => Ok(()),
        "" => Err(order("Conversation must have at least one message")),
        last => Err(order(&format!(
            "Expected last role User or Tool (or Assistant with prefix True) for \
                                    serving but got {last}"
        ))),
    }
}

/// nearai/ironclaw #1241, 2026-03-16; karthink/gptel #1203, 2026-01-07.
fn check_ids(messages: &[Value]) -> Result<(), VendorError> {
    let ids = messages.iter().flat_map(|message| {
        let own = calls(message).iter().filter_map(|call| call["id"].as_str());
        own.chain(message["tool_call_id"].as_str())
    });
    for id in ids {
        if id.len() != 9 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let why =
                format!("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.");
            return Err(error("invalid_function_call", "3280", &why));
        }
    }
    let mut counts = (0, 0);
    for message in messages {
        if role(message) != "tool" && counts.0 != counts.1 {
            break;
        }
        match role(message) {
            "tool" => counts.1 += 1,
            _ => counts = (calls(message).len(), 0),
        }
    }
    if counts.0 == counts.1 {
        return Ok(());
    }
    Err(error(
        "invalid_request_message_order",
        "3230",
        "Not the same number of function calls and responses",
    ))
}

fn error(kind: &str, code: &str, message: &str) -> VendorError {
    let body = json!({
        "object": "error", "message": message, "type": kind, "param": null, "code": code,
    });
    VendorError::new(400, body)
}

fn details(kind: &str, at: &Value, message: &str, input: &Value) -> VendorError {
    let detail = json!([{"type": kind, "loc": at, "msg": message, "input": input}]);
    let body = json!({
        "object": "error", "message": {"detail": detail}, "type": "invalid_request_error",
        "param": null, "code": null,
    });
    VendorError::new(422, body)
}

fn forbidden(at: &Value, input: &Value) -> VendorError {
    details("extra_forbidden", at, "Extra inputs are not permitted", input)
}
