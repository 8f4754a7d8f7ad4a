//! Translates an upstream's error for the client: the text stays, and the type becomes one that the
//! client knows.

use super::json_reader::{ObjectReader, parse_document};
use super::json_writer::{write_event, write_object};
use crate::meter::UpstreamFailure;
use baton_domain::protocol::ClientProtocol;

/// Kinds of errors, by Anthropic's types (platform.claude.com, "Errors", 2026-11). The second word
/// is the code that OpenAI sends for a similar error. Its clients decide by the code whether to
/// retry (platform.openai.com, "Error codes"; fixture `openai_responses_failed`).
const KINDS: [(&str, &str, &[u16]); 10] = [
    ("invalid_request_error", "invalid_prompt", &[400, 405, 409, 415, 422]),
    ("authentication_error", "invalid_api_key", &[401]),
    ("billing_error", "insufficient_quota", &[402]),
    ("permission_error", "permission_denied", &[403]),
    ("not_found_error", "model_not_found", &[404]),
    ("timeout_error", "timeout", &[408, 504]),
    ("request_too_large", "request_too_large", &[413]),
    ("rate_limit_error", "rate_limit_exceeded", &[429]),
    ("overloaded_error", "server_is_overloaded", &[503, 529]),
    ("api_error", "server_error", &[]),
];

/// Names that various vendors have for one of the above.
const OTHER_WORDS: [(&str, &str); 8] = [
    ("context_length_exceeded", "invalid_request_error"),
    ("billing_hard_limit_reached", "billing_error"),
    ("tokens", "rate_limit_error"),
    ("requests", "rate_limit_error"),
    ("engine_overloaded", "overloaded_error"),
    ("slow_down", "overloaded_error"),
    ("gateway_timeout_error", "timeout_error"),
    ("internal_error", "api_error"),
];

/// Phrases by which several upstreams say that the prompt is too long.
const TOO_LONG: [&str; 4] =
    ["prompt is too long", "exceed context limit", "maximum context length", "context window"];

/// An error, independent of a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NeutralError {
    /// One of [`KINDS`].
    kind: &'static str,
    pub(super) message: String,
}

impl NeutralError {
    /// Reads an error body of any protocol, or the data of an error event.
    ///
    /// The status decides the kind. If there is none (in a stream, or with a 200), the body's type
    /// or code decides.
    pub(super) fn from_body(status: Option<u16>, body: &[u8]) -> Self {
        let mut names = Vec::new();
        let document = parse_document(body).ok();
        let object =
            document.as_ref().and_then(|document| ObjectReader::from_value(document.root()));
        let message = object.and_then(|object| read_error_object(object, &mut names));
        let by_status = status.and_then(|status| {
            let known = KINDS.iter().find(|(_, _, statuses)| statuses.contains(&status));
            known.map(|(kind, ..)| *kind)
        });
        let by_word = names.iter().find_map(|word| known_kind(word));
        let kind = by_status.or(by_word).unwrap_or("api_error");
        let message = message.unwrap_or_else(|| readable_text(body));
        Self { kind, message }
    }

    /// An error of the relay itself.
    pub(super) fn new(kind: &str, message: &str) -> Self {
        let kind = known_kind(kind).unwrap_or("api_error");
        Self { kind, message: message.to_owned() }
    }

    /// OpenAI's code for the error.
    pub(super) fn openai_code(&self) -> &'static str {
        if self.kind == "invalid_request_error"
            && TOO_LONG.iter().any(|it| self.message.contains(it))
        {
            return "context_length_exceeded";
        }
        let known = KINDS.iter().find(|(kind, ..)| *kind == self.kind);
        known.map_or("server_error", |(_, code, _)| code)
    }

    /// The error as a body for `client`.
    pub(super) fn to_body(&self, client: ClientProtocol, request_id: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write_object(&mut out, |body| self.write_fields(body, client, request_id));
        out
    }

    /// The error as an event. Responses clients get a failed response instead.
    pub(super) fn write_event(&self, client: ClientProtocol, request_id: &str, out: &mut Vec<u8>) {
        if client == ClientProtocol::AnthropicMessages {
            out.extend_from_slice(b"event: error\n");
        }
        write_event(out, "", |body| self.write_fields(body, client, request_id));
    }

    fn write_fields(
        &self,
        body: &mut super::json_writer::ObjectWriter<'_>,
        client: ClientProtocol,
        request_id: &str,
    ) {
        if client == ClientProtocol::AnthropicMessages {
            body.text("type", "error");
            body.object("error", |error| {
                error.text("type", self.kind);
                error.text("message", &self.message);
            });
            body.text("request_id", request_id);
        } else {
            body.object("error", |error| {
                error.text("message", &self.message);
                error.text("type", self.kind);
                error.null("param");
                error.text("code", self.openai_code());
            });
        }
    }
}

/// Whether a body is an error in the form of OpenAI's protocols.
pub(super) fn is_openai_error(body: &[u8]) -> bool {
    let Ok(document) = parse_document(body) else { return false };
    ObjectReader::from_value(document.root())
        .is_some_and(|mut body| body.take_object("error").is_some())
}

/// The message of an error object. Its code and type are added to `words`, the code first.
fn read_error_object(mut object: ObjectReader<'_>, names: &mut Vec<String>) -> Option<String> {
    let mut response = object.take_object("response").unwrap_or_default();
    if let Some(plain) = object.take_text("error") {
        return Some(plain);
    }
    let inner = object.take_object("error").or_else(|| response.take_object("error"));
    // Without an error object, the message can be at the top level (vLLM, FastAPI).
    let mut error = inner.unwrap_or(object);
    names.extend(["code", "type"].iter().filter_map(|name| error.take_text(name)));
    ["message", "detail", "Message"].iter().find_map(|name| error.take_nonempty_text(name))
}

fn known_kind(word: &str) -> Option<&'static str> {
    let known = KINDS.iter().find(|(kind, code, _)| [*kind, *code].contains(&word));
    let other = || OTHER_WORDS.iter().find(|(other, _)| *other == word).map(|(_, kind)| *kind);
    known.map(|(kind, ..)| *kind).or_else(other)
}

/// The text of a body that is not an error object, if a person can read it.
fn readable_text(body: &[u8]) -> String {
    let text = UpstreamFailure::from_body(body).message;
    if text.is_empty() || text.starts_with(['<', '{', '[']) {
        "The upstream failed, and its error has no readable text.".to_owned()
    } else {
        text
    }
}
