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

/// Turns Serde's error about the field at `path` (empty for the whole body) into a sentence that
/// names the field. The rejected value is left out, because it can be a secret that was put into
/// the wrong field.
pub fn field_message(path: &str, error: &str) -> String {
    let error = error.rsplit_once(" at line ").map_or(error, |(error, _)| error);
    let inside = |name: &str| match path.strip_suffix(name) {
        Some(rest) if rest.is_empty() || rest.ends_with('.') => path.to_owned(),
        _ if path.is_empty() => name.to_owned(),
        _ => format!("{path}.{name}"),
    };
    let quoted = |start: &str| error.strip_prefix(start).and_then(|rest| rest.split_once('`'));
    if let Some((name, _)) = quoted("missing field `") {
        return format!("`{}` is missing", inside(name));
    }
    if let Some((name, rest)) = quoted("unknown field `") {
        return format!("`{}` is not a known field{}", inside(name), rest.replacen(',', ";", 1));
    }
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let (path, reason) = match error.split_once(": ") {
        Some((name, reason)) if is_name(name) => (inside(name), reason),
        _ => (path.to_owned(), error),
    };
    let quotes_value = reason.starts_with("invalid") || reason.starts_with("unknown variant");
    let reason = match reason.rsplit_once("expected ") {
        Some((_, expected)) if quotes_value => format!("expected {}", json_type(expected)),
        _ => text_value_reason(reason).to_owned(),
    };
    if path.is_empty() { reason } else { format!("`{path}`: {reason}") }
}

/// What a value in a query must be, by the error of Rust's parser of numbers or booleans. Other
/// errors stay as they are.
fn text_value_reason(error: &str) -> &str {
    match error {
        "invalid digit found in string"
        | "cannot parse integer from empty string"
        | "number too large to fit in target type" => "expected a whole number, 0 or more",
        "provided string was not `true` or `false`" => "expected true or false",
        _ => error,
    }
}

/// The JSON name of a Rust type in an error of Serde.
fn json_type(name: &str) -> &str {
    match name {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        _ if name.starts_with("struct ") || name.contains("tagged enum ") => "an object",
        _ => name,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_field_and_expected_value() {
        for (path, error, message) in [
            ("", "missing field `name` at line 1 column 2", "`name` is missing"),
            ("credential", "missing field `value`", "`credential.value` is missing"),
            (
                "nmae",
                "unknown field `nmae`, expected `name`",
                "`nmae` is not a known field; expected `name`",
            ),
            (
                "limits",
                "usd_daily: an amount is a number",
                "`limits.usd_daily`: an amount is a number",
            ),
            ("usd_daily", "usd_daily: an amount is a number", "`usd_daily`: an amount is a number"),
            ("role", "unknown variant `sk-1`, expected `a` or `b`", "`role`: expected `a` or `b`"),
            (
                "weight",
                "invalid type: string \"x\", expected u32",
                "`weight`: expected a whole number, 0 or more",
            ),
            ("", "invalid type: integer `5`, expected struct NewGroup", "expected an object"),
        ] {
            assert_eq!(field_message(path, error), message);
        }
    }
}
