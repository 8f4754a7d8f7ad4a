//! OpenAI's Chat Completions and Responses.
//!
//! Fields are those of openai/openai-openapi f85dbe2 (2026-08-21). Error texts are those of the API
//! as users report them, each where it stands.

mod chat;
mod items;
mod messages;
mod model;
mod responses;

pub(crate) use items::REASONING;
pub(crate) use model::Gpt;

use crate::request::{AcceptedRequest, VendorError, VendorRequest};
use crate::state::TwinState;
use serde_json::{Value, json};

/// Judges a request as OpenAI does.
pub(crate) fn judge(
    request: &VendorRequest,
    state: &TwinState,
) -> Result<AcceptedRequest, VendorError> {
    let is_responses = match request.route() {
        "/v1/chat/completions" => false,
        "/v1/responses" => true,
        path => {
            return Err(error(404, &format!("Invalid URL (POST {path})"), None, None));
        }
    };
    let model = request
        .text("model")
        .ok_or_else(|| invalid(&Complaint::new("you must provide a model parameter")))?;
    let gpt = Gpt::parse(model).ok_or_else(|| {
        let message =
            format!("The model `{model}` does not exist or you do not have access to it.");
        error(404, &message, None, Some("model_not_found"))
    })?;
    let judged = if is_responses {
        responses::check(request, gpt, model, state)
    } else {
        chat::check(request, gpt, model)
    };
    judged.map_err(|complaint| invalid(&complaint))
}

/// What OpenAI says of a bad request.
#[derive(Debug)]
pub(crate) struct Complaint {
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), param: None, code: None }
    }

    pub(crate) fn with(mut self, param: &str, code: Option<&'static str>) -> Self {
        self.param = Some(param.to_owned());
        self.code = code;
        self
    }

    /// A field that the API does not know (Responses, and inside both APIs' messages).
    pub(crate) fn unknown(param: &str) -> Self {
        Self::new(format!("Unknown parameter: '{param}'.")).with(param, Some("unknown_parameter"))
    }

    /// A value outside an enumeration.
    pub(crate) fn value(param: &str, value: &str, known: &str) -> Self {
        Self::new(format!("Invalid value: '{value}'. Supported values are: {known}."))
            .with(param, Some("invalid_value"))
    }

    /// A field that the model does not take.
    pub(crate) fn unsupported(param: &str) -> Self {
        Self::new(format!("Unsupported parameter: '{param}' is not supported with this model."))
            .with(param, Some("unsupported_parameter"))
    }

    /// A field that is allowed only beside another.
    pub(crate) fn only_with(param: &str, other: &str) -> Self {
        Self::new(format!("The '{param}' parameter is only allowed when '{other}' is enabled."))
            .with(param, None)
    }

    /// A text that is too long.
    pub(crate) fn too_long(param: &str, most: usize, length: usize) -> Self {
        Self::new(format!(
            "Invalid '{param}': string too long. Expected a string with maximum length {most}, but \
             got a string with length {length} instead."
        ))
        .with(param, Some("string_above_max_length"))
    }
}

/// What both APIs limit: identifiers and metadata (the fields' descriptions in the document;
/// musistudio/claude-code-router issues on `user`, 2025-09).
pub(crate) fn check_common(request: &VendorRequest) -> Result<(), Complaint> {
    for name in ["user", "safety_identifier", "prompt_cache_key"] {
        let length = request.text(name).map_or(0, |text| text.chars().count());
        if length > 64 {
            return Err(Complaint::too_long(name, 64, length));
        }
    }
    for (name, value) in request.body["metadata"].as_object().into_iter().flatten() {
        let length = value.as_str().map_or(0, |text| text.chars().count());
        if !value.is_string() {
            return Err(Complaint::new(format!(
                "Invalid type for 'metadata.{name}': expected a string"
            ))
            .with(&format!("metadata.{name}"), Some("invalid_type")));
        }
        if length > 512 {
            return Err(Complaint::too_long(&format!("metadata.{name}"), 512, length));
        }
    }
    for (name, most) in [("temperature", 2.0), ("top_p", 1.0)] {
        let value = request.field(name).and_then(Value::as_f64).unwrap_or(1.0);
        if !(0.0..=most).contains(&value) {
            return Err(Complaint::new(format!("Invalid '{name}': decimal above maximum value."))
                .with(name, Some("decimal_above_max_value")));
        }
    }
    Ok(())
}

/// The names of functions (openai/openai-openapi, `FunctionObject.name`).
pub(crate) fn check_name(name: &Value, at: &str) -> Result<(), Complaint> {
    let text = name.as_str().unwrap_or_default();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match text.len() {
        0 => Err(Complaint::new(format!("Missing required parameter: '{at}'."))
            .with(at, Some("missing_required_parameter"))),
        65.. => Err(Complaint::too_long(at, 64, text.len())),
        _ if is_plain => Ok(()),
        _ => Err(Complaint::new(format!(
            "Invalid '{at}': string does not match pattern. Expected a string that matches the \
             pattern '^[a-zA-Z0-9_-]+$'."
        ))
        .with(at, Some("invalid_value"))),
    }
}

/// A complaint about a schema.
pub(crate) fn schema_complaint(of: &str, why: &str, at: &str) -> Complaint {
    Complaint::new(format!("Invalid schema for {of}: {why}"))
        .with(at, Some("invalid_function_parameters"))
}

/// Media of data URLs ("Images and vision", 2026-11).
pub(crate) fn check_image_url(url: &str, at: &str) -> Result<(), Complaint> {
    if let Some(data) = url.strip_prefix("data:") {
        let known = ["image/png", "image/jpeg", "image/gif", "image/webp"];
        let media = data.split([';', ',']).next().unwrap_or_default();
        if known.contains(&media) {
            return Ok(());
        }
        return Err(Complaint::new(
            "You uploaded an unsupported image. Please make sure your image has of one the following \
             formats: ['png', 'jpeg', 'gif', 'webp'].",
        )
        .with(at, Some("invalid_image_format")));
    }
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(());
    }
    Err(Complaint::new(format!(
        "Invalid '{at}'. Expected a valid URL, but got a value with an invalid \
                                format."
    ))
    .with(at, Some("invalid_value")))
}

/// An error in OpenAI's form ("Error codes", 2026-11).
fn error(status: u16, message: &str, param: Option<&str>, code: Option<&str>) -> VendorError {
    let error = json!({
        "message": message, "type": "invalid_request_error", "param": param, "code": code,
    });
    VendorError::new(status, json!({"error": error}))
}

fn invalid(complaint: &Complaint) -> VendorError {
    error(400, &complaint.message, complaint.param.as_deref(), complaint.code)
}
