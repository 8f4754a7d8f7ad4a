//! Errors of the admin API, in the form of Anthropic's API.

use crate::fields::require_type;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of every answer with an error status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename = "error")]
#[schemars(rename = "Error", transform = require_type("error"))]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
    /// Id of this request in the log.
    #[schemars(regex(pattern = "^req_"))]
    pub request_id: String,
}

/// The type of the error for programs and its message for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct ErrorDetail {
    /// The kind of the error.
    #[serde(rename = "type")]
    pub kind: ErrorKind,
    /// The cause and the remedy, as sentences for people.
    pub message: String,
}

/// What a caller does to change where an account's credential is sent.
pub const CREDENTIAL_AGAIN: &str = "send `credential` again in the same request";

/// Replaces the quoted paths of fields in a message by the caller's names for them. A path for which
/// `find` has no name stays as it is.
pub fn rename_fields(message: &str, find: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::new();
    for (index, part) in message.split('`').enumerate() {
        let is_quoted = index % 2 == 1;
        match find(part).filter(|_| is_quoted) {
            Some(name) => text.push_str(&name),
            None if is_quoted => text.extend(["`", part, "`"]),
            None => text.push_str(part),
        }
    }
    text
}

/// The kinds of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ErrorKind {
    /// The request is not valid.
    #[serde(rename = "invalid_request_error")]
    InvalidRequest,
    /// The credential is missing or invalid.
    #[serde(rename = "authentication_error")]
    Authentication,
    /// The caller is not allowed to do this.
    #[serde(rename = "permission_error")]
    Permission,
    /// The route or the resource does not exist.
    #[serde(rename = "not_found_error")]
    NotFound,
    /// The request conflicts with the current state.
    #[serde(rename = "conflict_error")]
    Conflict,
    /// The body is too large.
    #[serde(rename = "request_too_large")]
    TooLarge,
    /// Too many requests.
    #[serde(rename = "rate_limit_error")]
    RateLimit,
    /// Baton, or a service that it needs, failed.
    #[serde(rename = "api_error")]
    Internal,
}
