//! DeepSeek's API (api-docs.deepseek.com, "Create chat completion" and "Thinking mode", 2026-11).
//! Fields that it does not know are ignored.

use crate::chat_shape::{PairFault, accept, calls, check_pairs, messages, parts, role};
use crate::request::{AcceptedRequest, VendorError, VendorRequest};
use serde_json::{Value, json};

/// The most output tokens (the models' page, 2026-11: 384K).
const OUTPUT_TOKENS_MAX: u64 = 393_216;

/// The beginning of the ids of the twin's calls.
pub(crate) const CALL_ID: &str = "call_00_Twin";

/// Judges a request as DeepSeek does.
pub(crate) fn judge(request: &VendorRequest) -> Result<AcceptedRequest, VendorError> {
    let route = request.route().trim_start_matches("/beta").trim_start_matches("/v1");
    if route != "/chat/completions" {
        return Err(error(404, "Not Found"));
    }
    let model = request.text("model").unwrap_or_default();
    if !model.starts_with("deepseek-") {
        return Err(error(400, "Model Not Exist"));
    }
    let thinks = request.body["thinking"]["type"] != "disabled" && model != "deepseek-chat";
    check(request, thinks).map_err(|why| error(400, &why))?;
    Ok(accept(request, model, thinks))
}

fn unknown_variant(at: &str, given: &str, expected: &str) -> String {
    format!(
        "Failed to deserialize the JSON body into the target type: {at}: unknown variant \
             `{given}`, expected {expected} at line 1 column 1"
    )
}

fn check(request: &VendorRequest, thinks: bool) -> Result<(), String> {
    if let Some(given) = request.field("max_tokens").and_then(Value::as_u64)
        && !(1..=OUTPUT_TOKENS_MAX).contains(&given)
    {
        return Err(format!(
            "Invalid max_tokens value, the valid range of max_tokens is [1, \
                            {OUTPUT_TOKENS_MAX}]"
        ));
    }
    // "Create chat completion", `reasoning_effort`: `low` and `medium` are taken as `high`, `xhigh` as
    // `max`.
    if let Some(effort) = request.text("reasoning_effort")
        && !["low", "medium", "high", "xhigh", "max"].contains(&effort)
    {
        let expected = "one of `low`, `medium`, `high`, `xhigh`, `max`";
        return Err(unknown_variant("reasoning_effort", effort, expected));
    }
    for tool in request.body["tools"].as_array().into_iter().flatten() {
        if tool["type"] != "function" {
            let given = tool["type"].as_str().unwrap_or_default();
            return Err(unknown_variant("tools[0].type", given, "`function`"));
        }
    }
    let format = request.body["response_format"]["type"].as_str().unwrap_or("text");
    match format {
        "text" => {}
        "json_object" => {
            // "JSON Output": the prompt has the word.
            if !request.body["messages"].to_string().to_lowercase().contains("json") {
                return Err("Prompt must contain the word 'json' in some form to use \
                            'response_format' of type 'json_object'."
                    .to_owned());
            }
        }
        "json_schema" => return Err("This response_format type is unavailable now".to_owned()),
        given => {
            let expected = "one of `text`, `json_object`, `json_schema`";
            return Err(unknown_variant("response_format.type", given, expected));
        }
    }
    let is_forced = match &request.body["tool_choice"] {
        Value::String(word) => word == "required",
        choice => choice.is_object(),
    };
    if is_forced && thinks {
        return Err("Thinking mode does not support this tool_choice".to_owned());
    }
    check_messages(messages(request), thinks)
}

fn check_messages(messages: &[Value], thinks: bool) -> Result<(), String> {
    if messages.is_empty() {
        return Err("Empty input messages".to_owned());
    }
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        let role = role(message);
        if !["system", "user", "assistant", "tool"].contains(&role) {
            let expected = "one of `system`, `user`, `assistant`, `tool`, `latest_reminder`";
            return Err(unknown_variant(&format!("{at}.role"), role, expected));
        }
        // The API reads texts only (its reference; sglang and others read more).
        if let Some(part) = parts(message).iter().find(|part| part["type"] != "text") {
            let given = part["type"].as_str().unwrap_or_default();
            return Err(unknown_variant(&at, given, "`text`"));
        }
        if role == "assistant" && message["content"].is_null() && calls(message).is_empty() {
            return Err("Invalid assistant message: content or tool_calls must be set".to_owned());
        }
        // "Thinking mode", "Tool calls": in all later turns (RooCodeInc/Roo-Code #12195). An empty text
        // passes (earendil-works/pi #7702, 2026-08-06), but not for a call before which the model has
        // thought (SillyTavern/SillyTavern #5545, 2026-04-28).
        let is_own = |call: &Value| call["id"].as_str().is_some_and(|id| id.starts_with(CALL_ID));
        let lacks = match message["reasoning_content"].as_str() {
            None => true,
            Some(text) => text.is_empty() && calls(message).iter().any(is_own),
        };
        if thinks && !calls(message).is_empty() && lacks {
            return Err(
                "The `reasoning_content` in the thinking mode must be passed back to the API."
                    .to_owned(),
            );
        }
    }
    check_pairs(messages).map_err(|fault| match fault {
        PairFault::Orphan { .. } => "Messages with role 'tool' must be a response to a preceding \
                                     message with 'tool_calls'"
            .to_owned(),
        PairFault::Unanswered { .. } => {
            "An assistant message with 'tool_calls' must be followed by \
                                         tool messages responding to each 'tool_call_id'. \
                                         (insufficient tool messages following tool_calls message)"
                .to_owned()
        }
    })
}

fn error(status: u16, message: &str) -> VendorError {
    let error = json!({
        "message": message, "type": "invalid_request_error", "param": null,
        "code": "invalid_request_error",
    });
    VendorError::new(status, json!({"error": error}))
}
