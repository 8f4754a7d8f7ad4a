//! Converts Bedrock's errors to those of the Messages API.
//!
//! Clients recover by status, type and wording, and accounts are judged by the same. Bedrock's
//! errors are therefore converted to what Anthropic would have sent. Exceptions and their statuses:
//! Bedrock API reference (`InvokeModel`, `ResponseStream`), 2026-11.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

/// An error in the form of the Messages API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagesError {
    /// The HTTP status.
    pub status: u16,
    /// `error.type`
    pub kind: &'static str,
    /// `error.message`
    pub message: String,
}

type ExceptionMapping = (&'static str, u16, &'static str);

/// Exceptions with their status and type in the Messages API. Amazon answers with 403 if it refuses
/// a credential, which must be distinguished from a model that the account is not allowed to use.
const EXCEPTIONS: [ExceptionMapping; 15] = [
    ("ValidationException", 400, "invalid_request_error"),
    ("ServiceQuotaExceededException", 429, "rate_limit_error"),
    ("ThrottlingException", 429, "rate_limit_error"),
    ("ModelNotReadyException", 529, "overloaded_error"),
    ("ServiceUnavailableException", 529, "overloaded_error"),
    ("UnrecognizedClientException", 401, "authentication_error"),
    ("AccessDeniedException", 403, "permission_error"),
    ("ExpiredTokenException", 401, "authentication_error"),
    ("InvalidSignatureException", 401, "authentication_error"),
    ("IncompleteSignatureException", 401, "authentication_error"),
    ("MissingAuthenticationTokenException", 401, "authentication_error"),
    ("ResourceNotFoundException", 404, "not_found_error"),
    ("ModelTimeoutException", 504, "timeout_error"),
    ("InternalServerException", 500, "api_error"),
    ("InternalFailure", 500, "api_error"),
];

/// Converts the model's own status, inside a `Model…ErrorException` or where no exception is named.
fn map_model_status(status: u16) -> (u16, &'static str) {
    match status {
        400 | 422 => (400, "invalid_request_error"),
        401 => (401, "authentication_error"),
        403 => (403, "permission_error"),
        404 => (404, "not_found_error"),
        408 | 504 => (504, "timeout_error"),
        413 => (413, "request_too_large"),
        429 => (429, "rate_limit_error"),
        503 | 529 => (529, "overloaded_error"),
        _ => (500, "api_error"),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ExceptionBody {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
    #[serde(rename = "originalStatusCode")]
    original_status: Option<u16>,
    #[serde(rename = "originalMessage")]
    original_message: Option<String>,
}

/// Converts an error from an answer's `status`, its exception (`x-amzn-errortype`, or a frame's
/// `:exception-type`) and its body. `None` if the body already has the form of the Messages API, as
/// newer models' errors do.
pub fn to_messages_error(
    status: u16,
    exception: Option<&str>,
    body: &[u8],
) -> Option<MessagesError> {
    let read: ExceptionBody = serde_json::from_slice(body).unwrap_or_default();
    if read.kind.as_deref() == Some("error") {
        return None;
    }
    let name = exception.and_then(|name| name.split(':').next()).unwrap_or_default();
    let row = EXCEPTIONS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
    let (status, kind) = match row {
        Some((_, status, kind)) => (*status, *kind),
        None => map_model_status(read.original_status.unwrap_or(status)),
    };
    let text = || String::from_utf8_lossy(body).trim().chars().take(500).collect::<String>();
    let message = read.original_message.or(read.message).unwrap_or_else(text);
    Some(MessagesError { status, kind, message: normalize_message(&message) })
}

/// Removes Bedrock's preamble. If a prompt is too long, the message gets the words at which clients
/// shorten the conversation.
fn normalize_message(message: &str) -> String {
    let bare = message.strip_prefix("The model returned the following errors:");
    let bare = bare.unwrap_or(message).trim();
    let begins =
        |text: &str| bare.get(..text.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(text));
    if begins("input is too long") {
        format!("prompt is too long: {bare}")
    } else {
        bare.to_owned()
    }
}

impl MessagesError {
    /// The error as an answer's body.
    pub fn to_body(&self) -> Bytes {
        let error = json!({"type": self.kind, "message": self.message});
        json!({"type": "error", "error": error}).to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, exception: Option<&str>, body: &str, expect: (u16, &str, &str)) {
        let error = to_messages_error(status, exception, body.as_bytes()).unwrap();
        assert_eq!((error.status, error.kind, error.message.as_str()), expect, "{body}");
    }

    #[test]
    fn bedrock_exceptions_map_to_statuses() {
        let said = r#"{"message":"m"}"#;
        let named = "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/";
        check(429, Some(named), said, (429, "rate_limit_error", "m"));
        check(400, Some("ServiceQuotaExceededException"), said, (429, "rate_limit_error", "m"));
        check(403, Some("UnrecognizedClientException"), said, (401, "authentication_error", "m"));
        check(403, Some("ExpiredTokenException"), said, (401, "authentication_error", "m"));
        check(403, Some("AccessDeniedException"), said, (403, "permission_error", "m"));
        check(200, Some("throttlingException"), said, (429, "rate_limit_error", "m"));
        check(200, Some("serviceUnavailableException"), said, (529, "overloaded_error", "m"));
        check(200, Some("internalServerException"), said, (500, "api_error", "m"));
        check(200, Some("somethingNew"), said, (500, "api_error", "m"));
        check(403, None, r#"{"Message":"m"}"#, (403, "permission_error", "m"));
        check(503, None, " gone \n", (529, "overloaded_error", "gone"));
        check(408, Some("ModelTimeoutException"), "", (504, "timeout_error", ""));
    }

    #[test]
    fn error_of_the_model_keeps_its_status() {
        let name = Some("ModelStreamErrorException");
        check(424, name, r#"{"message":"m"}"#, (500, "api_error", "m"));
        let body = r#"{"message":"m","originalStatusCode":529,"originalMessage":"Overloaded"}"#;
        check(424, name, body, (529, "overloaded_error", "Overloaded"));
    }

    #[test]
    fn too_long_prompt_gets_the_wording_that_clients_recognize() {
        let name = Some("ValidationException");
        let long = "prompt is too long: 1000034 tokens > 1000000 maximum";
        let body = json!({"message": format!("The model returned the following errors: {long}")});
        check(400, name, &body.to_string(), (400, "invalid_request_error", long));
        let body = r#"{"message":"Input is too long for requested model."}"#;
        let words = "prompt is too long: Input is too long for requested model.";
        check(400, name, body, (400, "invalid_request_error", words));
        let already = r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"}}"#;
        assert_eq!(to_messages_error(400, name, already.as_bytes()), None);
    }
}
