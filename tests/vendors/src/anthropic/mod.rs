//! Anthropic's Messages API.
//!
//! Top-level fields are those of anthropic-sdk-python 009b0353, `message_create_params.py`
//! (2026-08-07), and those that Claude Code 2.1.330 and the SDKs 2.14.0 and 1.14.0 send with their
//! betas (recorded 2026-11-22 and 2026-11-28). Anthropic refuses every other field: "Extra inputs are
//! not permitted".

mod content;
mod model;
mod threads;
mod tools;

pub(crate) use content::SIGNATURE;
pub(crate) use model::Claude;

use crate::request::{AcceptedRequest, Dialect, VendorError, VendorRequest};
use crate::schema::check_anthropic;
use crate::state::TwinState;
use content::ContentRules;
use model::{Family, ThinkingKinds};
use serde_json::{Value, json};

/// Who serves the Messages API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Anthropic,
    Bedrock,
}

const FIELDS: [&str; 20] = [
    "model",
    "max_tokens",
    "messages",
    "cache_control",
    "container",
    "inference_geo",
    "metadata",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "diagnostics",
    "fallback_credit_token",
];

/// Fields that are known only with one of these betas.
pub(crate) const BETA_FIELDS: [(&str, &[&str]); 7] = [
    ("context_management", &["context-management-2025-06-27", "compact-2026-01-12"]),
    ("output_format", &["structured-outputs-2025-11-13"]),
    ("thread", &["message-threads-2026-08-12"]),
    ("mcp_servers", &["mcp-client-2025-04-04", "mcp-client-2025-11-20"]),
    ("speed", &["fast-mode-2026-02-01"]),
    ("safeguards", &["dangerous-tool-use-2026-09-03"]),
    ("fallbacks", &["server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01"]),
];

/// Judges a request as Anthropic does.
pub(crate) fn judge(
    request: &VendorRequest,
    state: &TwinState,
) -> Result<AcceptedRequest, VendorError> {
    let is_count = match request.route() {
        "/v1/messages" => false,
        "/v1/messages/count_tokens" => true,
        _ => return Err(error(404, "not_found_error", "Not Found")),
    };
    // "Versions", 2026-11.
    let version = request.header("anthropic-version");
    let version = version.ok_or_else(|| invalid("anthropic-version: header is required"))?;
    if !["2023-01-01", "2023-06-01", "2026-10-21"].contains(&version) {
        return Err(invalid(&format!("anthropic-version: {version:?} is not a valid version")));
    }
    let model = request.text("model").ok_or_else(|| invalid("model: Field required"))?;
    let claude = Claude::parse(model)
        .ok_or_else(|| error(404, "not_found_error", &format!("model: {model}")))?;
    check_fields(request, version).map_err(|why| invalid(&why))?;
    let thread = threads::resolve(request, state)?;
    check_body(request, &thread, (claude, Place::Anthropic, is_count), state)
        .map_err(|why| invalid(&why))
}

/// Known fields, with the betas that they need.
fn check_fields(request: &VendorRequest, version: &str) -> Result<(), String> {
    let betas = request.betas();
    for name in request.body.as_object().into_iter().flat_map(|body| body.keys()) {
        let by_beta = BETA_FIELDS.iter().find(|(field, _)| field == name);
        let is_known = match by_beta {
            Some((_, needed)) => needed.iter().any(|beta| betas.contains(beta)),
            None => FIELDS.contains(&name.as_str()),
        };
        // goruck/home-generative-agent v3.45.1, 2026-11-08: the newest version has no sampling.
        let is_gone =
            version == "2026-10-21" && ["temperature", "top_p", "top_k"].contains(&name.as_str());
        if !is_known || is_gone {
            return Err(format!("{name}: Extra inputs are not permitted"));
        }
    }
    Ok(())
}

/// The rules that Anthropic and Bedrock share. `messages` are those of the thread and the request.
pub(crate) fn check_body(
    request: &VendorRequest,
    messages: &[Value],
    (claude, place, is_count): (Claude, Place, bool),
    state: &TwinState,
) -> Result<AcceptedRequest, String> {
    let model = request.text("model").unwrap_or_default();
    if !request.body["messages"].is_array() {
        return Err("messages: Field required".to_owned());
    }
    let max_tokens = request.field("max_tokens").and_then(Value::as_u64);
    if !is_count {
        check_max_tokens(max_tokens, request, claude)?;
    }
    check_system(request)?;
    let empty = Vec::new();
    let tools = request.field("tools").and_then(Value::as_array).unwrap_or(&empty);
    tools::check_tools(tools, claude, place)?;
    let thinks = check_thinking(request, claude, max_tokens)?;
    let forced = tools::check_choice(request.field("tool_choice"), tools, thinks)?;
    check_sampling(request, claude, thinks)?;
    let schema = check_output_config(request, claude)?;
    check_metadata(request)?;
    check_cache_controls(&request.body)?;
    check_stops(request)?;
    let account = request.account();
    let has_tools = !tools.is_empty();
    ContentRules { claude, account, place, state, has_tools, is_count }.check(messages)?;
    let dialect = match (place, is_count) {
        (_, true) => Dialect::Count,
        (Place::Anthropic, false) => Dialect::Messages,
        (Place::Bedrock, false) => Dialect::BedrockFrames,
    };
    let is_none = request.body["tool_choice"]["type"] == "none";
    let display = request.body["thinking"]["display"].as_str().unwrap_or("summarized");
    Ok(AcceptedRequest {
        last_text: last_text(messages),
        tools: if is_none { Vec::new() } else { tools::offered(tools) },
        thinks: thinks
            || (claude.thinks_unasked()
                && request.body["thinking"]["type"] != "disabled"
                && forced.is_none()),
        forced_tool: forced,
        shows_thinking: display != "omitted",
        answer_schema: schema,
        conversation: messages.to_vec(),
        is_stored: request.field("thread").is_some(),
        ..AcceptedRequest::new(dialect, request, model).hearing(messages)
    })
}

fn check_max_tokens(
    given: Option<u64>,
    request: &VendorRequest,
    claude: Claude,
) -> Result<(), String> {
    let Some(given) = given else {
        let word = if request.field("max_tokens").is_some() {
            "Input should be a valid integer"
        } else {
            "Field required"
        };
        return Err(format!("max_tokens: {word}"));
    };
    let most = claude.max_tokens();
    match given {
        0 => Err("max_tokens: Input should be greater than or equal to 1".to_owned()),
        // thinkdj and others; goruck/home-generative-agent v3.45.1, 2026-11-08.
        given if given > most => Err(format!(
            "max_tokens: {given} > {most}, which is the maximum allowed number of output tokens for {}",
            request.text("model").unwrap_or_default()
        )),
        _ => Ok(()),
    }
}

fn check_system(request: &VendorRequest) -> Result<(), String> {
    match request.field("system") {
        None | Some(Value::String(_)) => Ok(()),
        Some(Value::Array(blocks)) => blocks.iter().enumerate().try_for_each(|(index, block)| {
            let at = format!("system.{index}");
            if block["type"] != "text" {
                return Err(format!("{at}.type: Input should be 'text'"));
            }
            check_keys(block, &at, &["type", "text", "cache_control", "citations"])?;
            content::check_text_block(block["text"].as_str().unwrap_or_default())
                .map_err(|why| why.replace("messages:", "system:"))
        }),
        Some(_) => Err("system: Input should be a valid string or list".to_owned()),
    }
}

/// Returns whether thinking is asked for.
fn check_thinking(
    request: &VendorRequest,
    claude: Claude,
    max_tokens: Option<u64>,
) -> Result<bool, String> {
    let Some(thinking) = request.field("thinking") else { return Ok(false) };
    let known = ["type", "budget_tokens", "display", "block_binding"];
    check_keys(thinking, "thinking", &known)?;
    let kinds = claude.thinking();
    match thinking["type"].as_str().unwrap_or_default() {
        // Hassann on dev.to after the migration guide to Opus 5, 2026-07.
        "disabled" => {
            let effort = request.body["output_config"]["effort"].as_str().unwrap_or_default();
            let is_bound = claude.family == Family::Opus && claude.version >= (5, 0);
            if is_bound && ["xhigh", "max"].contains(&effort) {
                return Err(format!("thinking: `disabled` is not supported with effort '{effort}'"));
            }
            Ok(false)
        }
        // NousResearch/hermes-agent #11137, 2026-04-16.
        "enabled" if kinds == ThinkingKinds::Adaptive => {
            Err("\"thinking.type.enabled\" is not supported for this model. Use \
                 \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior."
                .to_owned())
        }
        "enabled" | "adaptive" if kinds == ThinkingKinds::No => {
            Err("thinking: this model does not support thinking".to_owned())
        }
        "adaptive" if kinds == ThinkingKinds::Budget => {
            Err("adaptive thinking is not supported on this model".to_owned())
        }
        "adaptive" if thinking.get("budget_tokens").is_some() => {
            Err("thinking.adaptive.budget_tokens: Extra inputs are not permitted".to_owned())
        }
        "adaptive" => Ok(true),
        // "Extended thinking", 2026-11: at least 1,024, and less than `max_tokens`.
        "enabled" => match thinking["budget_tokens"].as_u64() {
            None => Err("thinking.enabled.budget_tokens: Field required".to_owned()),
            Some(budget) if budget < 1_024 => Err("thinking.enabled.budget_tokens: Input should be \
                                                   greater than or equal to 1024"
                .to_owned()),
            Some(budget) if max_tokens.is_some_and(|max| max <= budget) => {
                Err("`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our \
                     documentation at https://docs.claude.com/en/docs/build-with-claude/\
                     extended-thinking#max-tokens-and-context-window-size"
                    .to_owned())
            }
            Some(_) => Ok(true),
        },
        kind => Err(format!("thinking: Input tag '{kind}' found using 'type' does not match any of the \
                             expected tags: 'adaptive', 'disabled', 'enabled'")),
    }
}

fn check_sampling(request: &VendorRequest, claude: Claude, thinks: bool) -> Result<(), String> {
    let number = |name| request.field(name).and_then(Value::as_f64);
    let (temperature, top_p) = (number("temperature"), number("top_p"));
    if temperature.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
        return Err("temperature: range: 0..1".to_owned());
    }
    if !claude.samples() {
        // The default is no choice (migration guide to 4.7: "any non-default value").
        let is_default = |value: f64| (value - 1.0).abs() < f64::EPSILON;
        let named = [("temperature", temperature), ("top_p", top_p), ("top_k", number("top_k"))];
        let refused = named.iter().find(|(_, value)| value.is_some_and(|value| !is_default(value)));
        return refused
            .map_or(Ok(()), |(name, _)| Err(format!("`{name}` is deprecated for this model.")));
    }
    if claude.samples_by_one() && temperature.is_some() && top_p.is_some() {
        return Err(
            "`temperature` and `top_p` cannot both be specified for this model. Please use \
                    only one."
                .to_owned(),
        );
    }
    if !thinks {
        return Ok(());
    }
    // "Extended thinking", "Feature compatibility", 2026-11.
    if temperature.is_some_and(|value| (value - 1.0).abs() > f64::EPSILON) {
        return Err("`temperature` may only be set to 1 when thinking is enabled.".to_owned());
    }
    if request.field("top_k").is_some() {
        return Err("`top_k` must be unset when thinking is enabled.".to_owned());
    }
    if top_p.is_some_and(|value| !(0.95..=1.0).contains(&value)) {
        return Err(
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."
                .to_owned(),
        );
    }
    Ok(())
}

/// Checks the effort and the form of the answer, whose schema is returned.
fn check_output_config(request: &VendorRequest, claude: Claude) -> Result<Option<Value>, String> {
    let config = &request.body["output_config"];
    check_keys(config, "output_config", &["effort", "format", "task_budget"])?;
    if let Some(effort) = config["effort"].as_str() {
        let known = claude.efforts();
        if known.is_empty() {
            return Err("This model does not support the effort parameter.".to_owned());
        }
        if !known.contains(&effort) {
            return Err(format!(
                "output_config.effort: '{effort}' is not supported on this model. \
                                Supported values: {}",
                known.join(", ")
            ));
        }
    }
    let named = [
        ("output_config.format", &config["format"]),
        ("output_format", &request.body["output_format"]),
    ];
    let Some((at, format)) = named.into_iter().find(|(_, format)| !format.is_null()) else {
        return Ok(None);
    };
    check_keys(format, at, &["type", "schema"])?;
    if format["type"] != "json_schema" {
        return Err(format!("{at}.type: Input should be 'json_schema'"));
    }
    if !claude.has_structured_outputs() {
        return Err(format!("{at}: this model does not support structured outputs"));
    }
    check_anthropic(&format["schema"], &format!("{at}.schema"))?;
    Ok(Some(format["schema"].clone()))
}

/// "Create a Message", `metadata.user_id`, 2026-11: no e-mail address and no phone number
/// (BerriAI/litellm #10106).
fn check_metadata(request: &VendorRequest) -> Result<(), String> {
    let metadata = &request.body["metadata"];
    check_keys(metadata, "metadata", &["user_id"])?;
    let Some(user) = metadata["user_id"].as_str() else { return Ok(()) };
    if user.contains('@') && !user.contains([' ', '{']) {
        return Err("metadata.user_id: user_id appears to contain an email address".to_owned());
    }
    let is_phone =
        user.starts_with('+') && user.len() > 7 && user[1..].bytes().all(|it| it.is_ascii_digit());
    if is_phone {
        return Err("metadata.user_id: user_id appears to contain a phone number".to_owned());
    }
    Ok(())
}

/// "Prompt caching", 2026-11: at most four.
fn check_cache_controls(body: &Value) -> Result<(), String> {
    let count = count_keys(body, "cache_control");
    if count > 4 {
        return Err(format!(
            "A maximum of 4 blocks with cache_control may be provided. Found {count}."
        ));
    }
    Ok(())
}

fn count_keys(value: &Value, key: &str) -> usize {
    match value {
        Value::Object(map) => {
            let own = usize::from(map.get(key).is_some_and(|value| !value.is_null()));
            own + map.values().map(|value| count_keys(value, key)).sum::<usize>()
        }
        Value::Array(list) => list.iter().map(|value| count_keys(value, key)).sum(),
        _ => 0,
    }
}

fn check_stops(request: &VendorRequest) -> Result<(), String> {
    let stops = request.field("stop_sequences").and_then(Value::as_array);
    let is_blank = |stop: &Value| stop.as_str().is_none_or(|stop| stop.trim().is_empty());
    if stops.into_iter().flatten().any(is_blank) {
        return Err("stop_sequences: each stop sequence must contain non-whitespace".to_owned());
    }
    Ok(())
}

/// The text of the last message that is not the system's, if a user wrote it.
fn last_text(messages: &[Value]) -> Option<String> {
    let last = messages.iter().rfind(|message| message["role"] != "system")?;
    if last["role"] != "user" {
        return None;
    }
    match &last["content"] {
        Value::String(text) => Some(text.clone()),
        content => {
            let blocks = content.as_array().into_iter().flatten();
            Some(blocks.filter_map(|block| block["text"].as_str()).collect())
        }
    }
}

/// Refuses fields that the API does not know. What is no object is refused elsewhere.
pub(crate) fn check_keys(value: &Value, at: &str, known: &[&str]) -> Result<(), String> {
    let keys = value.as_object().into_iter().flat_map(|map| map.keys());
    let unknown = keys.into_iter().find(|key| !known.contains(&key.as_str()));
    unknown.map_or(Ok(()), |key| Err(format!("{at}.{key}: Extra inputs are not permitted")))
}

/// An error in Anthropic's form ("Errors", 2026-11).
pub(crate) fn error(status: u16, kind: &str, message: &str) -> VendorError {
    let error = json!({"type": kind, "message": message});
    VendorError::new(status, json!({"type": "error", "error": error, "request_id": "req_twin"}))
}

fn invalid(message: &str) -> VendorError {
    error(400, "invalid_request_error", message)
}
