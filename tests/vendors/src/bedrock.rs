//! Claude on Amazon Bedrock through `InvokeModel` (Bedrock user guide, "Anthropic Claude Messages
//! API" and "`anthropic_beta`", 2026-11): the model is in the path, the version and the betas are in
//! the body, and every field that is not in its list is refused (BerriAI/litellm #13825 and #13609,
//! 2025-08: "Extra inputs are not permitted").

use crate::anthropic::{Claude, Place, check_body};
use crate::request::{AcceptedRequest, VendorError, VendorRequest};
use crate::state::TwinState;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// The fields of the body. There is no top-level cache control, no tier and no place.
const FIELDS: [&str; 15] = [
    "anthropic_version",
    "anthropic_beta",
    "max_tokens",
    "messages",
    "metadata",
    "output_config",
    "stop_sequences",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "context_management",
];

/// The betas that Bedrock knows. It refuses the whole request for another.
const BETAS: [&str; 16] = [
    "compact-2026-01-12",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "dangerous-tool-use-2026-09-03",
    "dev-full-thinking-2025-05-14",
    "effort-2025-11-24",
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "mid-conversation-output-config-2026-07-01",
    "mid-conversation-tool-changes-2026-07-01",
    "output-128k-2025-02-19",
    "token-efficient-tools-2025-02-19",
    "tool-search-tool-2025-10-19",
];
/// More of them: what Claude Code sends to Bedrock in its Bedrock mode (2.1.330, recorded 2026-11-23;
/// `thinking-token-count`: 2.1.332, recorded 2026-11-29). It repeats a refused request without betas, so
/// this does not prove that Bedrock takes them.
const CLIENT_BETAS: [&str; 4] = [
    "thinking-token-count-2026-05-13",
    "thinking-binding-controls-2026-08-01",
    "thinking-display-updates-2026-08-18",
    "tool-examples-2025-10-29",
];

/// Judges a request as Bedrock does.
pub(crate) fn judge(
    request: &VendorRequest,
    state: &TwinState,
) -> Result<AcceptedRequest, VendorError> {
    let unknown = || exception(404, "UnknownOperationException", "Unknown operation");
    let rest = request.route().strip_prefix("/model/").ok_or_else(unknown)?;
    let (model, action) = rest.split_once('/').ok_or_else(unknown)?;
    let model = model.replace("%3A", ":").replace("%2F", "/");
    let claude = Claude::parse(&model).filter(|_| model.contains("anthropic."));
    let claude = claude.ok_or_else(|| invalid("The provided model identifier is invalid."))?;
    let (body, is_count) = match action {
        "invoke" | "invoke-with-response-stream" => (request.body.clone(), false),
        "count-tokens" => (counted(&request.body)?, true),
        _ => return Err(unknown()),
    };
    check_fields(&body).map_err(|why| invalid(&why))?;
    // The rules of the Messages API read the model and the stream from the body.
    let mut inner = VendorRequest { body, ..request.clone() };
    inner.body["model"] = model.into();
    inner.body["stream"] = (action == "invoke-with-response-stream").into();
    let messages = inner.body["messages"].as_array().cloned().unwrap_or_default();
    check_body(&inner, &messages, (claude, Place::Bedrock, is_count), state)
        .map_err(|why| invalid(&why))
}

fn check_fields(body: &Value) -> Result<(), String> {
    if body["anthropic_version"] != "bedrock-2023-05-31" {
        return Err("anthropic_version: Field required".to_owned());
    }
    let betas = body["anthropic_beta"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let betas: Vec<&str> = betas.collect();
    if betas.iter().any(|beta| !BETAS.contains(beta) && !CLIENT_BETAS.contains(beta)) {
        return Err("invalid beta flag".to_owned());
    }
    for name in body.as_object().into_iter().flat_map(|body| body.keys()) {
        let is_known = match name.as_str() {
            "context_management" => ["context-management-2025-06-27", "compact-2026-01-12"]
                .iter()
                .any(|it| betas.contains(it)),
            "safeguards" => betas.contains(&"dangerous-tool-use-2026-09-03"),
            name => FIELDS.contains(&name),
        };
        if !is_known {
            return Err(format!("{name}: Extra inputs are not permitted"));
        }
    }
    Ok(())
}

/// The body inside a `CountTokens` request (Bedrock API reference, 2026-11).
fn counted(body: &Value) -> Result<Value, VendorError> {
    let inner = body["input"]["invokeModel"]["body"].as_str();
    let inner = inner.and_then(|inner| BASE64_STANDARD.decode(inner).ok());
    let inner = inner.and_then(|inner| serde_json::from_slice(&inner).ok());
    inner.ok_or_else(|| invalid("input.invokeModel.body: not a request of the model"))
}

/// An exception in AWS's form.
fn exception(status: u16, name: &str, message: &str) -> VendorError {
    let mut error = VendorError::new(status, json!({"message": message}));
    let name = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
    error.headers.push(("x-amzn-errortype", name));
    error
}

fn invalid(message: &str) -> VendorError {
    exception(400, "ValidationException", message)
}
