//! Chat Completions: everything but the messages.

use super::model::{Gpt, is_default};
use super::{Complaint, check_common, check_name, messages, schema_complaint};
use crate::chat_shape::{accept, unknown_field};
use crate::request::{AcceptedRequest, VendorRequest};
use crate::schema::{check_openai_parameters, check_openai_strict};
use serde_json::Value;

/// `CreateChatCompletionRequest`.
const FIELDS: [&str; 37] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

pub(super) fn check(
    request: &VendorRequest,
    gpt: Gpt,
    model: &str,
) -> Result<AcceptedRequest, Complaint> {
    if let Some(name) = unknown_field(&request.body, &FIELDS) {
        return Err(Complaint::new(format!("Unrecognized request argument supplied: {name}")));
    }
    check_common(request)?;
    check_effort(request, gpt)?;
    check_sampling(request, gpt)?;
    check_max_tokens(request, gpt)?;
    check_options(request, gpt)?;
    check_tools(request, gpt)?;
    check_format(request)?;
    messages::check(request)?;
    Ok(accept(request, model, gpt.reasons_with(request.text("reasoning_effort"))))
}

fn check_effort(request: &VendorRequest, gpt: Gpt) -> Result<(), Complaint> {
    let Some(effort) = request.text("reasoning_effort") else { return Ok(()) };
    let known = gpt.efforts();
    if known.is_empty() {
        return Err(Complaint::new("Unrecognized request argument supplied: reasoning_effort"));
    }
    if known.contains(&effort) {
        return Ok(());
    }
    let known = known.iter().map(|level| format!("'{level}'")).collect::<Vec<_>>().join(", ");
    Err(Complaint::new(format!(
        "Unsupported value: 'reasoning_effort' does not support '{effort}' with this model. \
         Supported values are: {known}."
    ))
    .with("reasoning_effort", Some("unsupported_value")))
}

/// "Reasoning models" and "Using GPT-5.2", "Parameter compatibility", 2026-11; BerriAI/litellm
/// #15244, crewAIInc/crewAI #4521.
fn check_sampling(request: &VendorRequest, gpt: Gpt) -> Result<(), Complaint> {
    if !gpt.reasons() {
        return Ok(());
    }
    if request.field("stop").is_some() {
        return Err(Complaint::unsupported("stop"));
    }
    if !gpt.reasons_with(request.text("reasoning_effort")) {
        return Ok(());
    }
    let is_given = |name: &&str| request.field(name).is_some_and(|value| value != false);
    if let Some(name) =
        ["logprobs", "top_logprobs", "logit_bias"].iter().find(|name| is_given(name))
    {
        return Err(Complaint::unsupported(name));
    }
    for name in ["temperature", "top_p", "presence_penalty", "frequency_penalty"] {
        if let Some(value) = request.field(name)
            && !is_default(name, value)
        {
            return Err(Complaint::new(format!(
                "Unsupported value: '{name}' does not support {value} with this model. Only the \
                 default (1) value is supported."
            ))
            .with(name, Some("unsupported_value")));
        }
    }
    Ok(())
}

/// Gitlawb/openclaude #58, 2026: the model's maximum; "Reasoning models": the field's name.
fn check_max_tokens(request: &VendorRequest, gpt: Gpt) -> Result<(), Complaint> {
    if gpt.reasons() && request.field("max_tokens").is_some() {
        return Err(Complaint::new(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
             'max_completion_tokens' instead.",
        )
        .with("max_tokens", Some("unsupported_parameter")));
    }
    for name in ["max_tokens", "max_completion_tokens"] {
        let Some(value) = request.field(name) else { continue };
        let given = value.as_u64().filter(|given| *given > 0);
        let given = given.ok_or_else(|| {
            Complaint::new(format!(
                "Invalid '{name}': integer below minimum value. Expected a value \
                                    >= 1, but got {value} instead."
            ))
            .with(name, Some("integer_below_min_value"))
        })?;
        let most = gpt.max_tokens();
        if given > most {
            return Err(Complaint::new(format!(
                "{name} is too large: {given}. This model supports at most {most} completion tokens, \
                 whereas you provided {given}."
            ))
            .with(name, Some("invalid_value")));
        }
    }
    Ok(())
}

fn check_options(request: &VendorRequest, gpt: Gpt) -> Result<(), Complaint> {
    let is_on = |name: &str| request.body[name] == true;
    // looplj/axonhub #1380, QwenLM/qwen-code #243.
    if request.field("metadata").is_some_and(|it| it.as_object().is_some_and(|it| !it.is_empty()))
        && !is_on("store")
    {
        return Err(Complaint::only_with("metadata", "store"));
    }
    if request.field("top_logprobs").is_some() && !is_on("logprobs") {
        return Err(Complaint::only_with("top_logprobs", "logprobs"));
    }
    if request.field("stream_options").is_some() && !is_on("stream") {
        return Err(Complaint::only_with("stream_options", "stream"));
    }
    if let Some(word) = request.text("verbosity")
        && !gpt.has_verbosity()
        && word != "medium"
    {
        return Err(Complaint::new(format!(
            "Unsupported value: 'verbosity' does not support '{word}' with this model. Supported \
             values are: 'medium'."
        ))
        .with("verbosity", Some("unsupported_value")));
    }
    let stops = request.body["stop"].as_array();
    if stops.is_some_and(|stops| stops.len() > 4) {
        return Err(Complaint::new(
            "Invalid 'stop': array too long. Expected an array with maximum \
                                   length 4.",
        )
        .with("stop", Some("array_above_max_length")));
    }
    let is_empty = |stop: &Value| stop == "";
    if request.field("stop").is_some_and(is_empty) || stops.into_iter().flatten().any(is_empty) {
        return Err(
            Complaint::new("Invalid 'stop': empty string.").with("stop", Some("invalid_value"))
        );
    }
    Ok(())
}

fn check_tools(request: &VendorRequest, gpt: Gpt) -> Result<(), Complaint> {
    let tools = request.field("tools").and_then(Value::as_array);
    let Some(tools) = tools else {
        let lonely = ["tool_choice", "parallel_tool_calls"];
        let lonely = lonely.iter().find(|name| request.field(name).is_some_and(|it| it != "none"));
        return lonely.map_or(Ok(()), |name| {
            Err(Complaint::new(format!("'{name}' is only allowed when 'tools' are specified."))
                .with(name, None))
        });
    };
    if tools.is_empty() {
        return Err(Complaint::new(
            "Invalid 'tools': empty array. Expected an array with minimum \
                                   length 1, but got an empty array instead.",
        )
        .with("tools", Some("empty_array")));
    }
    for (index, tool) in tools.iter().enumerate() {
        check_tool(tool, &format!("tools[{index}]"))?;
    }
    if gpt.refuses_parallel_calls() && request.field("parallel_tool_calls").is_some() {
        return Err(Complaint::unsupported("parallel_tool_calls"));
    }
    let effort = request.text("reasoning_effort");
    let has_effort = effort.is_some_and(|effort| effort != "none");
    let is_refused = (gpt.refuses_tools_with_effort() && has_effort)
        || (gpt.refuses_tools_unasked() && effort.is_none());
    if is_refused {
        let model = request.text("model").unwrap_or_default();
        return Err(Complaint::new(format!(
            "Function tools with reasoning_effort are not supported for {model} in \
             /v1/chat/completions. Please use /v1/responses instead."
        ))
        .with("reasoning_effort", None));
    }
    check_choice(request, tools)
}

fn check_tool(tool: &Value, at: &str) -> Result<(), Complaint> {
    let kind = tool["type"].as_str().unwrap_or_default();
    if kind == "custom" {
        return check_name(&tool["custom"]["name"], &format!("{at}.custom.name"));
    }
    if kind != "function" {
        return Err(Complaint::value(&format!("{at}.type"), kind, "'function' and 'custom'"));
    }
    if let Some(name) = unknown_field(tool, &["type", "function"]) {
        return Err(Complaint::unknown(&format!("{at}.{name}")));
    }
    let function = &tool["function"];
    check_name(&function["name"], &format!("{at}.function.name"))?;
    if let Some(name) = unknown_field(function, &["name", "description", "parameters", "strict"]) {
        return Err(Complaint::unknown(&format!("{at}.function.{name}")));
    }
    let name = function["name"].as_str().unwrap_or_default();
    let Some(parameters) = function.get("parameters").filter(|it| !it.is_null()) else {
        return Ok(());
    };
    let checked = check_openai_parameters(parameters).and_then(|()| {
        if function["strict"] == true { check_openai_strict(parameters) } else { Ok(()) }
    });
    let at = format!("{at}.function.parameters");
    checked.map_err(|why| schema_complaint(&format!("function '{name}'"), &why, &at))
}

fn check_choice(request: &VendorRequest, tools: &[Value]) -> Result<(), Complaint> {
    let choice = match request.field("tool_choice") {
        None => return Ok(()),
        Some(Value::String(word)) if ["auto", "none", "required"].contains(&word.as_str()) => {
            return Ok(());
        }
        Some(Value::String(word)) => {
            return Err(Complaint::value("tool_choice", word, "'none', 'auto', and 'required'"));
        }
        Some(choice) => choice,
    };
    let name = match choice["type"].as_str() {
        Some("function") => &choice["function"]["name"],
        Some("custom") => &choice["custom"]["name"],
        Some("allowed_tools") => return Ok(()),
        kind => {
            let known = "'function', 'custom', and 'allowed_tools'";
            return Err(Complaint::value("tool_choice.type", kind.unwrap_or_default(), known));
        }
    };
    let is_known = tools
        .iter()
        .any(|tool| tool["function"]["name"] == *name || tool["custom"]["name"] == *name);
    if is_known {
        return Ok(());
    }
    Err(Complaint::new("Tool choice 'function' not found in 'tools' parameter.")
        .with("tool_choice", None))
}

/// "Structured model outputs", 2026-11.
fn check_format(request: &VendorRequest) -> Result<(), Complaint> {
    let format = &request.body["response_format"];
    match format["type"].as_str() {
        None | Some("text") => Ok(()),
        Some("json_object") => {
            if request.body["messages"].to_string().to_lowercase().contains("json") {
                return Ok(());
            }
            Err(Complaint::new(
                "'messages' must contain the word 'json' in some form, to use \
                                'response_format' of type 'json_object'.",
            )
            .with("messages", None))
        }
        Some("json_schema") => check_schema_format(&format["json_schema"], "response_format"),
        Some(kind) => {
            let known = "'json_object', 'json_schema', and 'text'";
            Err(Complaint::value("response_format.type", kind, known))
        }
    }
}

/// A format with its name, its schema and whether it is strict.
pub(super) fn check_schema_format(format: &Value, at: &str) -> Result<(), Complaint> {
    check_name(&format["name"], &format!("{at}.name"))?;
    let name = format["name"].as_str().unwrap_or_default();
    let schema = &format["schema"];
    let checked = match format["strict"] == true {
        true => check_openai_strict(schema),
        false if schema["type"] == "object" => Ok(()),
        false => {
            let kind = schema["type"].as_str().unwrap_or("None");
            Err(format!(
                "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
            ))
        }
    };
    checked.map_err(|why| schema_complaint(&format!("response_format '{name}'"), &why, at))
}
