//! What an upstream's error says, in whatever form it comes.
//!
//! What it means for the request and the account is `domain`'s business; our own errors are
//! `error`'s.

use crate::json::{DEPTH_MAX, Document, Value};

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
        let document = Document::read(json, DEPTH_MAX).ok()?;
        // Google's OpenAI-compatible endpoint answers every error as a list (2026-11).
        let root = document.root();
        let body = root.items().and_then(|mut items| items.next()).unwrap_or(root);
        body.fields()?;
        let failed = get(body, "response").and_then(|response| get(response, "error"));
        let error = failed.or_else(|| get(body, "error"));
        if let Some(message) = error.and_then(Value::text) {
            let code = code_of(body);
            return Some(Self { kind: None, code, message: shorten(&message) });
        }
        if let Some(error) = error.filter(|error| error.fields().is_some()) {
            return Some(Self {
                kind: word(error, "type").or_else(|| word(error, "code")),
                code: code_of(error),
                message: word(error, "message").unwrap_or_default(),
            });
        }
        let message = word(body, "message").or_else(|| word(body, "Message"))?;
        Some(Self { kind: word(body, "code"), code: code_of(body), message })
    }
}

/// A field that is not `null`.
fn get<'a>(object: Value<'a>, name: &str) -> Option<Value<'a>> {
    let field = object.fields()?.find(|(known, _)| known == name)?;
    Some(field.1).filter(|value| !value.is_null())
}

/// Codes are words or numbers.
fn code_of(object: Value<'_>) -> Option<String> {
    let number = || get(object, "code").map(|code| code.raw().trim().to_owned());
    let number = || number().filter(|text| text.parse::<u64>().is_ok());
    word(object, "code").or_else(number)
}

fn word(object: Value<'_>, name: &str) -> Option<String> {
    get(object, name)?.text().map(|text| shorten(&text))
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
