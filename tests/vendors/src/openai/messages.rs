//! The messages of Chat Completions (`ChatCompletionRequestMessage` in openai/openai-openapi f85dbe2,
//! 2026-08-21). Fields that it does not have are refused as an unknown parameter:
//! `messages[2].tool_calls[0].index` (questions about `FastGPT`, 2025), `reasoning` and
//! `cache_control` (reports of 2026-08).

use super::{Complaint, check_image_url, check_name};
use crate::chat_shape::{PairFault, calls, check_pairs, parts, role, unknown_field};
use crate::request::VendorRequest;
use serde_json::Value;

pub(super) fn check(request: &VendorRequest) -> Result<(), Complaint> {
    let messages = request.body["messages"].as_array();
    let messages = messages.ok_or_else(|| {
        Complaint::new("Missing required parameter: 'messages'.")
            .with("messages", Some("missing_required_parameter"))
    })?;
    if messages.is_empty() {
        return Err(Complaint::new(
            "Invalid 'messages': empty array. Expected an array with minimum \
                                   length 1, but got an empty array instead.",
        )
        .with("messages", Some("empty_array")));
    }
    for (index, message) in messages.iter().enumerate() {
        check_message(message, &format!("messages[{index}]"))?;
    }
    check_pairs(messages).map_err(|fault| match fault {
        PairFault::Orphan { index } => Complaint::new(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message \
             with 'tool_calls'.",
        )
        .with(&format!("messages.[{index}].role"), None),
        PairFault::Unanswered { index, id } => Complaint::new(format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to \
             each 'tool_call_id'. The following tool_call_ids did not have response messages: {id}"
        ))
        .with(&format!("messages.[{index}].role"), None),
    })
}

fn check_message(message: &Value, at: &str) -> Result<(), Complaint> {
    let (fields, kinds): (&[&str], &[&str]) = match role(message) {
        "system" | "developer" => (&["role", "content", "name"], &["text"]),
        "user" => (&["role", "content", "name"], &["text", "image_url", "input_audio", "file"]),
        "assistant" => (
            &[
                "role",
                "content",
                "refusal",
                "name",
                "audio",
                "tool_calls",
                "function_call",
                "annotations",
            ],
            &["text", "refusal"],
        ),
        "tool" => (&["role", "content", "tool_call_id"], &["text"]),
        "function" => (&["role", "content", "name"], &[]),
        role => {
            let known = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'";
            return Err(Complaint::value(&format!("{at}.role"), role, known));
        }
    };
    if let Some(name) = unknown_field(message, fields) {
        return Err(Complaint::unknown(&format!("{at}.{name}")));
    }
    check_content(message, at)?;
    for (index, part) in parts(message).iter().enumerate() {
        check_part(part, &format!("{at}.content[{index}]"), kinds)?;
    }
    if message.get("tool_calls").is_some_and(|it| it.as_array().is_none_or(Vec::is_empty)) {
        return Err(Complaint::new(format!(
            "Invalid '{at}.tool_calls': empty array. Expected an array \
                                           with minimum length 1, but got an empty array instead."
        ))
        .with(&format!("{at}.tool_calls"), Some("empty_array")));
    }
    for (index, call) in calls(message).iter().enumerate() {
        check_call(call, &format!("{at}.tool_calls[{index}]"))?;
    }
    Ok(())
}

fn check_content(message: &Value, at: &str) -> Result<(), Complaint> {
    let content = &message["content"];
    let at = format!("{at}.content");
    let may_be_null = role(message) == "assistant"
        && (!calls(message).is_empty()
            || !message["refusal"].is_null()
            || !message["audio"].is_null());
    match content {
        Value::Null if may_be_null => Ok(()),
        Value::Null => Err(Complaint::new("Invalid value for 'content': expected a string, got null.")
            .with(&at, None)),
        Value::String(_) => Ok(()),
        Value::Array(parts) if !parts.is_empty() => Ok(()),
        Value::Array(_) => Err(Complaint::new(format!("Invalid '{at}': empty array. Expected an array \
                                                       with minimum length 1, but got an empty array \
                                                       instead."))
            .with(&at, Some("empty_array"))),
        _ => Err(Complaint::new(format!("Invalid type for '{at}': expected one of a string or array of \
                                         objects."))
            .with(&at, Some("invalid_type"))),
    }
}

fn check_part(part: &Value, at: &str, kinds: &[&str]) -> Result<(), Complaint> {
    let kind = part["type"].as_str().unwrap_or_default();
    if !kinds.contains(&kind) {
        let known = kinds.iter().map(|kind| format!("'{kind}'")).collect::<Vec<_>>().join(", ");
        return Err(Complaint::value(&format!("{at}.type"), kind, &known));
    }
    let known = ["type", kind, "prompt_cache_breakpoint"];
    if let Some(name) = unknown_field(part, &known) {
        return Err(Complaint::unknown(&format!("{at}.{name}")));
    }
    match kind {
        "image_url" => {
            let url = part["image_url"]["url"].as_str().unwrap_or_default();
            check_image_url(url, &format!("{at}.image_url.url"))
        }
        // "File inputs", 2026-11: a file is uploaded before, or its data is a data URL.
        "file" => {
            let file = &part["file"];
            if file["file_id"].is_string() {
                return Err(
                    Complaint::new("No file found with the given id.").with("file_id", None)
                );
            }
            let data = file["file_data"].as_str().unwrap_or_default();
            if data.starts_with("data:application/pdf;base64,") && file["filename"].is_string() {
                return Ok(());
            }
            Err(Complaint::new(format!(
                "Invalid file data: '{at}.file.file_data'. Expected a base64-encoded data URL with an \
                 application/pdf MIME type, and a filename."
            ))
            .with(&format!("{at}.file.file_data"), Some("invalid_value")))
        }
        _ => Ok(()),
    }
}

fn check_call(call: &Value, at: &str) -> Result<(), Complaint> {
    let kind = call["type"].as_str().unwrap_or_default();
    if !["function", "custom"].contains(&kind) {
        return Err(Complaint::value(&format!("{at}.type"), kind, "'function' and 'custom'"));
    }
    if let Some(name) = unknown_field(call, &["id", "type", kind]) {
        return Err(Complaint::unknown(&format!("{at}.{name}")));
    }
    // vllm-project/vllm, "any way to config the prefix of chatcmpl-tool?", 2025: at most 40 letters.
    let id = call["id"].as_str().unwrap_or_default();
    if id.len() > 40 {
        return Err(Complaint::too_long(&format!("{at}.id"), 40, id.len()));
    }
    check_name(&call[kind]["name"], &format!("{at}.{kind}.name"))?;
    let text = if kind == "custom" { &call[kind]["input"] } else { &call[kind]["arguments"] };
    if text.is_string() {
        return Ok(());
    }
    Err(Complaint::new(format!("Invalid type for '{at}.{kind}.arguments': expected a string."))
        .with(&format!("{at}.{kind}.arguments"), Some("invalid_type")))
}
