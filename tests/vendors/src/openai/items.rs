//! The input of Responses (`InputItem` in openai/openai-openapi f85dbe2, 2026-08-21).

use super::{Complaint, check_image_url, check_name};
use crate::request::VendorRequest;
use crate::state::TwinState;
use serde_json::{Value, json};

/// The prefix of encrypted reasoning.
pub(crate) const REASONING: &str = "gAAAAA";

/// The items of the input.
pub(super) fn read(input: &Value) -> Result<Vec<Value>, Complaint> {
    match input {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![json!({"role": "user", "content": text})]),
        Value::Array(items) => Ok(items.clone()),
        _ => Err(Complaint::new(
            "Invalid type for 'input': expected one of an array of objects or \
                                 string.",
        )
        .with("input", Some("invalid_type"))),
    }
}

/// Checks the request's items, whose calls and outputs belong together in the whole conversation.
pub(super) fn check(
    own: &[Value],
    all: &[Value],
    request: &VendorRequest,
    state: &TwinState,
) -> Result<(), Complaint> {
    for (index, item) in own.iter().enumerate() {
        check_item(item, &format!("input[{index}]"), request, state)?;
    }
    let ids = |kinds: [&'static str; 2]| {
        let items = all.iter().filter(move |item| kinds.iter().any(|kind| item["type"] == *kind));
        items.filter_map(|item| item["call_id"].as_str()).collect::<Vec<_>>()
    };
    let called = ids(["function_call", "custom_tool_call"]);
    let answered = ids(["function_call_output", "custom_tool_call_output"]);
    if let Some(id) = answered.iter().find(|id| !called.contains(id)) {
        return Err(Complaint::new(format!(
            "No tool call found for function call output with call_id {id}."
        ))
        .with("input", None));
    }
    if let Some(id) = called.iter().find(|id| !answered.contains(id)) {
        return Err(Complaint::new(format!("No tool output found for function call {id}."))
            .with("input", None));
    }
    Ok(())
}

fn check_item(
    item: &Value,
    at: &str,
    request: &VendorRequest,
    state: &TwinState,
) -> Result<(), Complaint> {
    match item["type"].as_str().unwrap_or("message") {
        "message" => check_message(item, at),
        kind @ ("function_call" | "custom_tool_call") => {
            check_id(item, at, if kind == "function_call" { "fc" } else { "ctc" })?;
            check_call_id(item, at)?;
            check_name(&item["name"], &format!("{at}.name"))?;
            let text = if kind == "function_call" { "arguments" } else { "input" };
            if item[text].is_string() {
                return Ok(());
            }
            let at = format!("{at}.{text}");
            Err(Complaint::new(format!("Invalid type for '{at}': expected a string."))
                .with(&at, Some("invalid_type")))
        }
        "function_call_output" | "custom_tool_call_output" => {
            check_call_id(item, at)?;
            match &item["output"] {
                Value::String(_) => Ok(()),
                Value::Array(parts) => parts.iter().enumerate().try_for_each(|(index, part)| {
                    check_part(part, &format!("{at}.output[{index}]"), "user")
                }),
                _ => {
                    let at = format!("{at}.output");
                    Err(Complaint::new(format!("Missing required parameter: '{at}'."))
                        .with(&at, Some("missing_required_parameter")))
                }
            }
        }
        "reasoning" => check_reasoning(item, at, request, state),
        kind if KINDS.contains(&kind) => Ok(()),
        kind => {
            let known = "'message', 'function_call', 'function_call_output', 'reasoning'";
            Err(Complaint::value(&format!("{at}.type"), kind, known))
        }
    }
}

/// The other kinds of items.
const KINDS: [&str; 18] = [
    "item_reference",
    "file_search_call",
    "computer_call",
    "computer_call_output",
    "web_search_call",
    "tool_search_call",
    "tool_search_output",
    "image_generation_call",
    "code_interpreter_call",
    "local_shell_call",
    "local_shell_call_output",
    "shell_call",
    "shell_call_output",
    "apply_patch_call",
    "apply_patch_call_output",
    "mcp_call",
    "compaction",
    "compaction_trigger",
];

fn check_message(item: &Value, at: &str) -> Result<(), Complaint> {
    let role = item["role"].as_str().unwrap_or_default();
    if !["user", "assistant", "system", "developer"].contains(&role) {
        let known = "'assistant', 'system', 'developer', and 'user'";
        return Err(Complaint::value(&format!("{at}.role"), role, known));
    }
    check_id(item, at, "msg")?;
    match &item["content"] {
        Value::String(_) => Ok(()),
        Value::Array(parts) => parts.iter().enumerate().try_for_each(|(index, part)| {
            check_part(part, &format!("{at}.content[{index}]"), role)
        }),
        _ => Err(Complaint::new(format!(
            "Invalid type for '{at}.content': expected one of an array of \
                                         objects or string."
        ))
        .with(&format!("{at}.content"), Some("invalid_type"))),
    }
}

fn check_part(part: &Value, at: &str, role: &str) -> Result<(), Complaint> {
    let kind = part["type"].as_str().unwrap_or_default();
    let (kinds, words): (&[&str], &str) = match role {
        "assistant" => (&["output_text", "refusal"], "'output_text' and 'refusal'"),
        _ => (
            &["input_text", "input_image", "input_file", "input_audio"],
            "'input_text', 'input_image', 'input_audio', and 'input_file'",
        ),
    };
    if !kinds.contains(&kind) {
        return Err(Complaint::value(&format!("{at}.type"), kind, words));
    }
    match kind {
        "input_image" if part["image_url"].is_string() => {
            let url = part["image_url"].as_str().unwrap_or_default();
            check_image_url(url, &format!("{at}.image_url"))
        }
        "input_image" | "input_file" if part["file_id"].is_string() => {
            Err(Complaint::new("No file found with the given id.")
                .with(&format!("{at}.file_id"), None))
        }
        _ => Ok(()),
    }
}

/// Ids of items begin with their kind (the errors of the API, 2026-11).
fn check_id(item: &Value, at: &str, start: &str) -> Result<(), Complaint> {
    let Some(id) = item["id"].as_str() else { return Ok(()) };
    if id.starts_with(start) {
        return Ok(());
    }
    Err(Complaint::new(format!(
        "Invalid '{at}.id': '{id}'. Expected an ID that begins with '{start}'."
    ))
    .with(&format!("{at}.id"), Some("invalid_value")))
}

fn check_call_id(item: &Value, at: &str) -> Result<(), Complaint> {
    let (id, at) = (item["call_id"].as_str().unwrap_or_default(), format!("{at}.call_id"));
    match id.len() {
        0 => Err(Complaint::new(format!("Missing required parameter: '{at}'."))
            .with(&at, Some("missing_required_parameter"))),
        1..=64 => Ok(()),
        length => Err(Complaint::too_long(&at, 64, length)),
    }
}

/// Reasoning is known by its id, if it was stored on this account, or by its encrypted content
/// ("Reasoning models", "Encrypted reasoning items", 2026-11).
fn check_reasoning(
    item: &Value,
    at: &str,
    request: &VendorRequest,
    state: &TwinState,
) -> Result<(), Complaint> {
    let id = item["id"].as_str().unwrap_or_default();
    if let Some(content) = item["encrypted_content"].as_str() {
        if state.is_sealed(content, REASONING, &[request.account()])
            || state.is_sealed(content, REASONING, &[])
        {
            return Ok(());
        }
        let shown: String = content.chars().take(8).collect();
        return Err(Complaint::new(format!(
            "The encrypted content {shown}... could not be verified. Reason: Encrypted content could \
             not be decrypted or parsed."
        ))
        .with(&format!("{at}.encrypted_content"), Some("invalid_encrypted_content")));
    }
    let is_stored = |items: &Vec<Value>| items.iter().any(|known| known["id"] == id);
    let account = request.account();
    let mut stored = state.responses.iter().filter(|((owner, _), _)| owner == account);
    if stored.any(|(_, items)| is_stored(items)) {
        return Ok(());
    }
    Err(Complaint::new(format!(
        "Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try \
         again with `store` set to true, or remove this item from your input."
    ))
    .with("input", None))
}
