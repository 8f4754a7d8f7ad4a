//! What an upstream's error says, in whatever form it comes.
//!
//! What it means for the request and the account is `domain`'s business; our own errors are
//! `error`'s.

use serde::Deserialize;
use serde_json::Value;

/// The most of a message that is kept.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// An error as told by the upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// The error's type (Anthropic) or its type or code (OpenAI); `None` when the upstream sent
    /// something that is not an error object.
    pub kind: Option<String>,
    /// The error's code, also where it is a number and where its type is known.
    pub code: Option<String>,
    /// Its message, or else the text itself with white space run together; at most 1,000 bytes.
    pub message: String,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    error: Value,
    #[serde(default)]
    code: Value,
    #[serde(default, alias = "Message")]
    message: Value,
    #[serde(default)]
    response: Value,
}

impl Failure {
    /// Reads an error body or the data of an `error` event: Anthropic's envelope, OpenAI's error
    /// object, a Responses error event, a failed response, or plain text.
    pub fn read(body: &[u8]) -> Self {
        Self::object(body).unwrap_or_else(|| {
            let text = String::from_utf8_lossy(body);
            let mut message = String::new();
            for word in text.split_whitespace() {
                if message.len() > MESSAGE_BYTES_MAX {
                    break;
                }
                message.extend([if message.is_empty() { "" } else { " " }, word]);
            }
            Self { kind: None, code: None, message: shorten(&message) }
        })
    }

    /// The error that a JSON object holds, if it holds one.
    pub(super) fn object(json: &[u8]) -> Option<Self> {
        // Google's OpenAI-compatible endpoint answers every error as a list (2026-11).
        let body: Body = if json.trim_ascii_start().starts_with(b"[") {
            serde_json::from_slice::<Vec<Body>>(json).ok()?.into_iter().next()?
        } else {
            serde_json::from_slice(json).ok()?
        };
        let code = |value: &Value| word(value).or_else(|| value.as_u64().map(|it| it.to_string()));
        let error = match &body.response["error"] {
            Value::Null => &body.error,
            failed => failed,
        };
        match error {
            Value::String(message) => Some(Self {
                kind: None,
                code: code(&body.code),
                message: shorten(message),
            }),
            Value::Object(_) => Some(Self {
                kind: word(&error["type"]).or_else(|| word(&error["code"])),
                code: code(&error["code"]),
                message: word(&error["message"]).map_or_else(String::new, |text| shorten(&text)),
            }),
            _ => word(&body.message).map(|message| Self {
                kind: word(&body.code),
                code: code(&body.code),
                message: shorten(&message),
            }),
        }
    }
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn shorten(text: &str) -> String {
    text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let check = |body: &str, kind: Option<&str>, message: &str| {
            let Failure { kind: read, message: words, .. } = Failure::read(body.as_bytes());
            assert_eq!((read.as_deref(), words.as_str()), (kind, message), "{body}");
        };
        let anthropic = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#;
        check(anthropic, Some("overloaded_error"), "Overloaded");
        check(
            r#"{"error":{"message":"boom","type":"server_error","code":500}}"#,
            Some("server_error"),
            "boom",
        );
        check(r#"{"error":{"message":"boom","type":null,"code":"c"}}"#, Some("c"), "boom");
        check(r#"{"type":"error","code":"c","message":"m","param":null}"#, Some("c"), "m");
        check(
            r#"{"response":{"error":{"code":"rate_limit_exceeded","message":"m"}}}"#,
            Some("rate_limit_exceeded"),
            "m",
        );
        check(r#"{"error":"boom"}"#, None, "boom");
        check(r#"{"Message":"Forbidden"}"#, None, "Forbidden");
        check(r#"{"error":{}}"#, None, "");
        check("upstream exploded\n", None, "upstream exploded");
        check("<html>\r\n  <body>\n", None, "<html> <body>");
        check("", None, "");
        check("[1]", None, "[1]");
        check("[]", None, "[]");
        check(r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]"#, None, "m");
        check(&"é".repeat(2_000), None, &"é".repeat(500));
    }
}
