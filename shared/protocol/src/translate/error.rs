//! Translates an upstream's error for the client: the text stays, and the type becomes one that the
//! client knows.

use super::json_reader::{ObjectReader, parse_document};
use super::json_writer::{write_event, write_object};
use crate::json::JsonValue;
use crate::meter::{UpstreamFailure, error_text, is_void, shorten_text};
use baton_domain::protocol::ClientProtocol;
use baton_domain::verdict::MESSAGE_FIELDS;
use std::borrow::Cow;

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

/// Names that vendors have for a prompt that is too long (OpenAI, llama.cpp, GitHub, 2026-11).
const OVERFLOW_NAMES: [&str; 3] =
    ["context_length_exceeded", "exceed_context_size_error", "model_max_prompt_tokens_exceeded"];

/// Phrases by which Claude Code knows that the prompt is too long, and shortens it (tried with
/// 2.1.330, 2026-11).
const KNOWN_OVERFLOWS: [&str; 5] = [
    "prompt is too long",
    "exceed context limit",
    "maximum context length",
    "context window",
    "exceeds the maximum number of tokens",
];

/// Further phrases of vendors for the same (documentation and error reports, 2026-11): Bedrock, xAI,
/// `vLLM` and `SGLang`, Groq and Cerebras, Ollama and llama.cpp, `LM Studio`, Moonshot, Z.ai, Alibaba,
/// Text Generation Inference, Cohere, GitHub.
const OTHER_OVERFLOWS: [&str; 20] = [
    "input is too long",
    "input tokens exceed",
    "maximum prompt length",
    "maximum model length",
    "maximum input length",
    "model's context length",
    "reduce the length of the messages",
    "reduce the length of either one",
    "exceeds the context length",
    "exceeded the context length",
    "greater than the context length",
    "available context size",
    "context size has been exceeded",
    "exceeded model token limit",
    "prompt exceeds max length",
    "range of input length should be",
    "`inputs` tokens + `max_new_tokens` must be",
    "too many tokens: ",
    "prompt token count of",
    "context length exceeded",
];

/// Whether the message of an error says that a conversation is too long for the model.
pub fn says_context_overflow(message: &str) -> bool {
    says_any(message, &KNOWN_OVERFLOWS) || says_any(message, &OTHER_OVERFLOWS)
}

/// An error, independent of a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NeutralError {
    /// One of [`KINDS`].
    kind: &'static str,
    /// Whether the prompt is too long for the model.
    is_prompt_too_long: bool,
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
        let object = document.as_ref().and_then(|document| first_object(document.root()));
        let message = object.and_then(|object| read_error_object(object, &mut names));
        let by_status = status.and_then(|status| {
            let known = KINDS.iter().find(|(_, _, statuses)| statuses.contains(&status));
            known.map(|(kind, ..)| *kind)
        });
        let by_word = names.iter().find_map(|word| known_kind(word));
        let kind = by_status.or(by_word).unwrap_or("api_error");
        let message = message.unwrap_or_else(|| readable_text(body));
        let is_prompt_too_long = ["invalid_request_error", "request_too_large"].contains(&kind)
            && (names.iter().any(|name| OVERFLOW_NAMES.contains(&name.as_str()))
                || says_context_overflow(&message));
        Self { kind, is_prompt_too_long, message }
    }

    /// An error of the relay itself.
    pub(super) fn new(kind: &str, message: &str) -> Self {
        let kind = known_kind(kind).unwrap_or("api_error");
        Self { kind, is_prompt_too_long: false, message: message.to_owned() }
    }

    /// OpenAI's code for the error.
    pub(super) fn openai_code(&self) -> &'static str {
        if self.is_prompt_too_long {
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

    /// The message for a client of Anthropic. If it says in unknown words that the prompt is too
    /// long, Anthropic's own words come first.
    fn anthropic_message(&self) -> Cow<'_, str> {
        if self.is_prompt_too_long && !says_any(&self.message, &KNOWN_OVERFLOWS) {
            return format!("prompt is too long: {}", self.message).into();
        }
        self.message.as_str().into()
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
                error.text("message", &self.anthropic_message());
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

/// Whether a body is an error in the form of OpenAI's protocols that their clients understand as it
/// is.
pub(super) fn is_openai_error(status: u16, body: &[u8]) -> bool {
    let Ok(document) = parse_document(body) else { return false };
    let error =
        ObjectReader::from_value(document.root()).and_then(|mut body| body.take_object("error"));
    let Some(mut error) = error else { return false };
    let has_code = error.take_text("code").is_some_and(|code| code == "context_length_exceeded");
    error.take_text("message").is_some()
        && (has_code || !NeutralError::from_body(Some(status), body).is_prompt_too_long)
}

/// The error in OpenAI's form, if the upstream's body is JSON in which OpenAI's SDKs find no words. `None`
/// keeps the body.
///
/// The SDKs read the field `error` (openai-python `_client.py`, `_make_status_error`, and openai-node
/// `core/error.ts`, `generate`, 2026-11; earlier versions of openai-node show "400 status code (no body)"
/// without it). A body that is not JSON is shown as it is.
pub fn to_openai_error(status: u16, body: &[u8]) -> Option<Vec<u8>> {
    let document = parse_document(body).ok()?;
    let root = document.root();
    if is_void(root) || root.field("error").is_some_and(|error| !is_void(error)) {
        return None;
    }
    let neutral = NeutralError::from_body(Some(status), body);
    let said = first_object(root).and_then(|it| read_error_object(it, &mut Vec::new()));
    let message = said.unwrap_or_else(|| shorten_text(root.raw()));
    let mut object = first_object(root).unwrap_or_default();
    let mut error = object.take_object("error").unwrap_or(object);
    let kind = error.take_nonempty_text("type");
    let code = error.take_nonempty_text("code").or_else(|| error.take_nonempty_text("status"));
    let code = code.filter(|_| !neutral.is_prompt_too_long);
    let param = error.take_nonempty_text("param");
    let mut out = Vec::new();
    write_object(&mut out, |body| {
        body.object("error", |error| {
            error.text("message", &message);
            error.text("type", kind.as_deref().unwrap_or(neutral.kind));
            error.text_or_null("param", param.as_deref());
            error.text("code", code.as_deref().unwrap_or(neutral.openai_code()));
        });
    });
    Some(out)
}

/// The object, or the first one of a list: Google's OpenAI-compatible endpoint sends each error in a
/// list (2026-11).
fn first_object(root: JsonValue<'_>) -> Option<ObjectReader<'_>> {
    let first = root.items().and_then(|mut items| items.next()).unwrap_or(root);
    ObjectReader::from_value(first)
}

fn says_any(message: &str, phrases: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    phrases.iter().any(|phrase| message.contains(phrase))
}

/// The message of an error object. Its code and type are added to `names`, the code first.
fn read_error_object(mut object: ObjectReader<'_>, names: &mut Vec<String>) -> Option<String> {
    let mut response = object.take_object("response").unwrap_or_default();
    if let Some(plain) = object.take_text("error") {
        return Some(plain);
    }
    // OpenRouter reports some failures inside of the choice ("Errors", 2026-11).
    let mut choice = object.take_objects("choices").next().unwrap_or_default();
    let inner = object
        .take_object("error")
        .or_else(|| response.take_object("error"))
        .or_else(|| choice.take_object("error"));
    // Without an error object, the message can be at the top level (vLLM, FastAPI).
    let mut error = inner.unwrap_or(object);
    names.extend(["code", "type", "status"].iter().filter_map(|name| error.take_text(name)));
    let fields = MESSAGE_FIELDS.iter().filter_map(|name| error.take_value(name));
    fields.map(error_text).find(|text| !text.is_empty())
}

fn known_kind(word: &str) -> Option<&'static str> {
    let known = KINDS.iter().find(|(kind, code, _)| [*kind, *code].contains(&word));
    let other = || OTHER_WORDS.iter().find(|(other, _)| *other == word).map(|(_, kind)| *kind);
    known.map(|(kind, ..)| *kind).or_else(other)
}

/// The text of a body that is not an error object of a common form, if a person can read it.
fn readable_text(body: &[u8]) -> String {
    let reported = UpstreamFailure::from_reported(body);
    let text = reported.unwrap_or_else(|| UpstreamFailure::from_body(body)).message;
    if text.is_empty() || text.starts_with(['<', '{', '[']) {
        "The upstream failed, and its error has no readable text.".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn errors_without_words_for_the_sdks_get_the_form_of_openai() {
        let google =
            json!({"code": 400, "message": "Unknown name \"x\"", "status": "INVALID_ARGUMENT"});
        let mistral = json!({
            "object": "error", "message": "Bad order", "type": "invalid_request_message_order",
            "param": null, "code": "3230",
        });
        let detail =
            json!([{"type": "extra_forbidden", "loc": ["body", "verbosity"], "msg": "Extra"}]);
        let details = json!({"object": "error", "message": {"detail": detail}, "type": "t"});
        for (status, body, message, kind, code) in [
            (
                400,
                json!([{"error": google}]),
                "Unknown name \"x\"",
                "invalid_request_error",
                "INVALID_ARGUMENT",
            ),
            (400, mistral, "Bad order", "invalid_request_message_order", "3230"),
            (422, details, "verbosity", "t", "invalid_prompt"),
            (
                422,
                json!({"detail": detail}),
                "verbosity",
                "invalid_request_error",
                "invalid_prompt",
            ),
            (
                404,
                json!({"detail": "Not Found"}),
                "Not Found",
                "not_found_error",
                "model_not_found",
            ),
            (500, json!({"made_up": "a"}), "{\"made_up\":\"a\"}", "api_error", "server_error"),
            (503, json!("busy"), "busy", "overloaded_error", "server_is_overloaded"),
            (
                400,
                json!({"message": "This model's maximum context length is 9 tokens"}),
                "maximum context length",
                "invalid_request_error",
                "context_length_exceeded",
            ),
        ] {
            let made = to_openai_error(status, body.to_string().as_bytes()).unwrap();
            let made: Value = serde_json::from_slice(&made).unwrap();
            let error = &made["error"];
            assert!(error["message"].as_str().unwrap().contains(message), "{made}");
            assert_eq!((&error["type"], &error["code"]), (&json!(kind), &json!(code)), "{body}");
            assert_eq!(error.get("param"), Some(&Value::Null));
            assert_eq!(to_openai_error(status, made.to_string().as_bytes()), None);
        }
    }

    #[test]
    fn errors_that_the_sdks_read_keep_their_bytes() {
        for body in [
            r#"{ "error" : {"message":"a","type":"b"} }"#,
            r#"{"error":"words","code":1}"#,
            r#"{"error":{"detail":"a"},"detail":"b"}"#,
            "<html>Bad gateway</html>",
            "upstream connect error",
            "",
            "{}",
            "[]",
            "null",
        ] {
            assert_eq!(to_openai_error(502, body.as_bytes()), None, "{body}");
        }
    }
}
