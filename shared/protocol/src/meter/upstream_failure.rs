//! Reads an upstream's error in any of its forms.
//!
//! `baton_providers::classification` decides what the error means for the request and the account.
//! [`crate::error`] writes the relay's own errors.

use crate::json::{DEPTH_MAX, JsonDocument, JsonValue};
use baton_domain::verdict::{self, MESSAGE_FIELDS};
use memchr::memmem;
use std::borrow::Cow;

/// The most bytes that are kept of a message.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// The most bytes of a message that is a list or an object whose texts are read. A longer one is cut as
/// it is written, because parsed values take many times its memory.
const STRUCTURED_MESSAGE_MAX: usize = 64 * 1024;

/// A longer answer is not an error.
const ERROR_BYTES_MAX: usize = 1024 * 1024;

/// An error that the upstream reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamFailure {
    /// The error's type (Anthropic) or its type or code (OpenAI). `None` if the upstream sent
    /// something that is not an error object.
    pub kind: Option<String>,
    /// The error's code, also if it is a number or if the type is known.
    pub code: Option<String>,
    /// The error's message. Without one, the text itself with white space collapsed. At most 1,000
    /// bytes.
    pub message: String,
}

impl UpstreamFailure {
    /// Reads an error body or the data of an `error` event: Anthropic's envelope, OpenAI's error
    /// object, a Responses error event, a failed response, or plain text.
    pub fn from_body(body: &[u8]) -> Self {
        Self::from_object(body).unwrap_or_else(|| {
            let text = String::from_utf8_lossy(body);
            let mut message = String::new();
            for word in text.split_whitespace() {
                if message.len() > MESSAGE_BYTES_MAX {
                    break;
                }
                message.extend([if message.is_empty() { "" } else { " " }, word]);
            }
            Self { kind: None, code: None, message: shorten_text(&message) }
        })
    }

    /// The error in a JSON object, if there is one.
    pub(super) fn from_object(json: &[u8]) -> Option<Self> {
        let document = JsonDocument::parse(json, DEPTH_MAX).ok()?;
        Self::from_value(first_object(document.root())?)
    }

    /// The error in a JSON object that says that it is one, in one of the forms in which upstreams send
    /// it in place of a chunk or inside of it. A message alone does not say so.
    pub(crate) fn from_reported(json: &[u8]) -> Option<Self> {
        let document = JsonDocument::parse(json, DEPTH_MAX).ok()?;
        let object = first_object(document.root()).filter(|object| reports_error(*object))?;
        // FastChat has its message in `text` (fastchat/serve/model_worker.py, read 2026-11).
        let from_text = || Some(Self { message: read_text(object, "text")?, ..Self::default() });
        Self::from_value(object).or_else(from_text)
    }

    fn from_value(body: JsonValue<'_>) -> Option<Self> {
        if let Some((name, base)) = find_base_resp(body) {
            let message = get_field(base, "status_msg").map(error_text).unwrap_or_default();
            let code = get_field(base, "status_code").map(|code| code.raw().trim().to_owned());
            let message = shorten_text(&message);
            return Some(Self { kind: Some(name.to_owned()), code, message });
        }
        let error = find_error(body);
        if let Some(message) = error.and_then(JsonValue::text) {
            let (kind, code) = (read_text(body, "error_type"), read_code(body));
            return Some(Self { kind, code, message: shorten_text(&message) });
        }
        if let Some(error) = error.filter(|error| error.fields().is_some()) {
            return Some(Self {
                kind: read_text(error, "type").or_else(|| read_text(error, "code")),
                code: read_code(error),
                message: read_message(error).unwrap_or_default(),
            });
        }
        let message = read_message(body)?;
        // The type of an error event is `error`.
        let kind = read_text(body, "type").filter(|kind| kind != "error");
        Some(Self {
            kind: kind.or_else(|| read_text(body, "code")),
            code: read_code(body),
            message,
        })
    }
}

/// The text of an error's message, in any of its forms.
pub(crate) fn error_text(value: JsonValue<'_>) -> String {
    // Most messages are strings. Their escapes are read leniently.
    if let Some(text) = value.text() {
        return text.into_owned();
    }
    let json = value.raw();
    if json.len() > STRUCTURED_MESSAGE_MAX {
        return shorten_text(json);
    }
    serde_json::from_str(json).map(|value| verdict::error_text(&value)).unwrap_or_default()
}

/// The object, or the first one of a list. Google's OpenAI-compatible endpoint sends each error in a
/// list (2026-11).
fn first_object(root: JsonValue<'_>) -> Option<JsonValue<'_>> {
    let object = root.items().and_then(|mut items| items.next()).unwrap_or(root);
    object.fields().is_some().then_some(object)
}

/// The error in an object. Of an object with a field of an answer, an error that says nothing does
/// not count.
fn find_error(object: JsonValue<'_>) -> Option<JsonValue<'_>> {
    let failed = || get_field(get_field(object, "response")?, "error");
    // OpenRouter reports some failures inside of the choice.
    let of_choice = || get_field(first(get_field(object, "choices")?)?, "error");
    let is_answer = ["choices", "content", "output", "response", "usage"]
        .iter()
        .any(|name| get_field(object, name).is_some());
    let is_error = |error: &JsonValue<'_>| !(is_answer && is_void_error(*error));
    failed()
        .filter(is_error)
        .or_else(|| get_field(object, "error").filter(is_error))
        .or_else(|| of_choice().filter(is_error))
}

/// `MiniMax`'s `base_resp` of an error, which comes with status 200, and the name for its code. With
/// choices, the object is an answer.
fn find_base_resp(object: JsonValue<'_>) -> Option<(&'static str, JsonValue<'_>)> {
    let base = get_field(object, "base_resp")?;
    let code = get_field(base, "status_code")?.raw().trim().parse().ok()?;
    let has_choices = get_field(object, "choices").is_some_and(|choices| !is_void(choices));
    let has_error = get_field(object, "error").is_some();
    verdict::base_resp_name(code).filter(|_| !has_choices && !has_error).map(|name| (name, base))
}

/// Whether the value of an `error` field says nothing: `false`, 0, an empty value, or an object with
/// such values only.
pub(crate) fn is_void_error(error: JsonValue<'_>) -> bool {
    let is_nothing = |value: JsonValue<'_>| {
        matches!(value.raw().trim(), "false" | "0" | "\"0\"") || is_void(value)
    };
    let mut fields = error.fields().into_iter().flatten();
    is_nothing(error) || (error.fields().is_some() && fields.all(|(_, value)| is_nothing(value)))
}

/// Whether an object says that it is an error: with a field that has `error` in its name, with a
/// code other than 0 and those of success, or with a type, object or status of a failure. Beside
/// counts of usage, other codes and names than these can be statistics.
fn reports_error(object: JsonValue<'_>) -> bool {
    let is_failure = |word: &str| {
        let word = word.to_ascii_lowercase();
        ["error", "fail", "exception"].iter().any(|name| word.contains(name))
    };
    let is_failed_code = |value: JsonValue<'_>, least: u64| {
        let text = value.text().map_or_else(|| value.raw().trim().to_owned(), Cow::into_owned);
        match text.parse::<u64>() {
            Ok(code) => code >= least && !(200..300).contains(&code),
            Err(_) => !["", "null", "ok", "success"].contains(&&*text.to_ascii_lowercase()),
        }
    };
    let has_counts = get_field(object, "usage").is_some_and(has_count);
    let mut fields = object.fields().into_iter().flatten();
    find_error(object).is_some()
        || find_base_resp(object).is_some()
        || fields.any(|(name, value)| match &*name {
            "error" => false,
            "code" if has_counts => false,
            "code" => is_failed_code(value, 1),
            "status" | "statusCode" | "status_code" if value.text().is_none() => {
                value.raw().trim().parse::<u64>().is_ok() && is_failed_code(value, 400)
            }
            // Some events of an API report a tool that failed (`response.mcp_call.failed`).
            "type" | "__type" | "object" | "status" => {
                value.text().is_some_and(|word| is_failure(&word) && !is_api_event(word.as_bytes()))
            }
            "success" | "ok" => value.raw().trim() == "false",
            _ if has_counts => false,
            name => is_failure(name) && !is_void_error(value) && !value.is_null(),
        })
}

/// Whether a usage object has a count above 0.
fn has_count(usage: JsonValue<'_>) -> bool {
    let mut fields = usage.fields().into_iter().flatten();
    fields.any(|(_, value)| value.raw().parse::<u64>().is_ok_and(|count| count > 0))
}

fn read_message(object: JsonValue<'_>) -> Option<String> {
    let fields = MESSAGE_FIELDS.iter().filter_map(|name| get_field(object, name));
    let text = fields.map(error_text).find(|text| !text.is_empty());
    text.map(|text| shorten_text(&text))
}

/// Whether an object has an error in the field by which OpenAI's SDKs know one. They know one in data
/// that they cannot read, too.
pub(super) fn has_error_field(json: &[u8]) -> bool {
    let Ok(document) = JsonDocument::parse(json, DEPTH_MAX) else { return true };
    get_field(document.root(), "error").is_some_and(|error| !is_void_error(error))
}

/// Whether a whole answer is an error, regardless of its status: it contains an error and no model
/// output.
pub(super) fn is_error_answer(body: &[u8]) -> bool {
    let names = ["\"error\"", "\"base_resp\""];
    let has_name = names.iter().any(|name| memmem::find(body, name.as_bytes()).is_some());
    if body.len() > ERROR_BYTES_MAX || !has_name {
        return false;
    }
    let Ok(document) = JsonDocument::parse(body, DEPTH_MAX) else { return false };
    let Some(object) = first_object(document.root()) else { return false };
    let is_empty = |name| get_field(object, name).is_none_or(is_void);
    let is_error = |name| read_text(object, name).as_deref() == Some("error");
    let tells = get_field(object, "error").is_some()
        || find_base_resp(object).is_some()
        || is_error("object")
        || is_error("type");
    let fails = |choice| get_field(choice, "error").is_some() && !has_content(choice);
    let mut choices = get_field(object, "choices").and_then(JsonValue::items).into_iter().flatten();
    let has_failed = match choices.next() {
        None => tells && is_empty("choices"),
        Some(choice) => fails(choice) && choices.all(fails),
    };
    has_failed && is_empty("content") && is_empty("output")
}

/// Whether an event without a name contains no model output: at most a role, or a filter's result
/// for the prompt (Azure).
pub(super) fn is_empty_chunk(data: &[u8]) -> bool {
    let Ok(document) = JsonDocument::parse(data, DEPTH_MAX) else { return false };
    let chunk = document.root();
    let Some(choices) = get_field(chunk, "choices").and_then(JsonValue::items) else {
        return false;
    };
    let is_empty = |choice| get_field(choice, "finish_reason").is_none() && !has_content(choice);
    get_field(chunk, "usage").is_none() && choices.into_iter().all(is_empty)
}

/// Whether the name or type of an event is one of the vendors' APIs.
pub(super) fn is_api_event(name: &[u8]) -> bool {
    ["message_", "content_block_", "response."]
        .iter()
        .any(|begin| name.starts_with(begin.as_bytes()))
}

/// Whether data of an event has the form of one of the vendors' APIs. JSON that cannot be read has
/// it if it has one of the names.
pub(super) fn has_envelope(data: &[u8]) -> bool {
    let Ok(document) = JsonDocument::parse(data, DEPTH_MAX) else {
        let names = ["\"choices\"", "\"usage\"", "\"delta\"", "\"type\""];
        return names.iter().any(|name| memmem::find(data, name.as_bytes()).is_some());
    };
    let object = document.root();
    let kind = || get_field(object, "type").and_then(JsonValue::text);
    get_field(object, "choices").is_some()
        || get_field(object, "usage").is_some()
        || kind().is_some_and(|kind| is_api_event(kind.as_bytes()))
}

/// Whether data of an event with an unknown name has the form of a chunk of Chat, or reports an
/// error.
pub(super) fn is_named_chunk(data: &[u8]) -> bool {
    let has = |name: &str| memmem::find(data, name.as_bytes()).is_some();
    if !["\"choices\"", "\"usage\"", "\"error\""].into_iter().any(has) {
        return false;
    }
    // JSON that cannot be read can be a chunk with `NaN`, or half of one.
    let Ok(document) = JsonDocument::parse(data, DEPTH_MAX) else { return true };
    let given = |name: &&str| get_field(document.root(), name).is_some();
    ["choices", "usage"].iter().any(given) || find_error(document.root()).is_some()
}

/// Whether a choice contains text, calls or other model output.
fn has_content(choice: JsonValue<'_>) -> bool {
    let parts = ["delta", "message"].iter().filter_map(|name| get_field(choice, name));
    let fields = parts.filter_map(JsonValue::fields).flatten();
    let is_said = |(name, value): (Cow<'_, str>, JsonValue<'_>)| name != "role" && !is_void(value);
    fields.into_iter().any(is_said) || get_field(choice, "text").is_some_and(|text| !is_void(text))
}

/// Whether a value is `null`, or an empty text, list or object.
pub(crate) fn is_void(value: JsonValue<'_>) -> bool {
    matches!(value.raw().trim(), "null" | "\"\"")
        || value.items().is_some_and(|mut items| items.next().is_none())
        || value.fields().is_some_and(|mut fields| fields.next().is_none())
}

fn first(list: JsonValue<'_>) -> Option<JsonValue<'_>> {
    list.items()?.next()
}

/// A field that is not `null`.
fn get_field<'a>(object: JsonValue<'a>, name: &str) -> Option<JsonValue<'a>> {
    let field = object.fields()?.find(|(known, _)| known == name)?;
    Some(field.1).filter(|value| !value.is_null())
}

/// An error code, which is a word or a number.
fn read_code(object: JsonValue<'_>) -> Option<String> {
    let number = || get_field(object, "code").map(|code| code.raw().trim().to_owned());
    let number = || number().filter(|text| text.parse::<u64>().is_ok());
    read_text(object, "code").or_else(number)
}

fn read_text(object: JsonValue<'_>, name: &str) -> Option<String> {
    get_field(object, name)?.text().map(|text| shorten_text(&text))
}

pub(crate) fn shorten_text(text: &str) -> String {
    text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_with_status_200_are_recognized() {
        let check = |body: &str, expect: bool| {
            assert_eq!(is_error_answer(body.as_bytes()), expect, "{body}");
        };
        check(r#"{"error":{"message":"Provider returned error","code":429}}"#, true);
        check(r#"{"error":"model is loading"}"#, true);
        check(r#"{"error":"m","choices":null}"#, true);
        check(r#"{"error":"m","choices":"","content":"","output":{}}"#, true);
        check(r#"{"error":"","choices":"text"}"#, false);
        check(r#"{"error":"","content":"text"}"#, false);
        check(r#"{"object":"error","message":"m","type":"InternalServerError","code":500}"#, true);
        check(r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, true);
        check(r#"[{"error":{"code":503,"message":"m"}}]"#, true);
        let base = r#""base_resp":{"status_code":1008,"status_msg":"insufficient balance"}"#;
        check(&format!(r#"{{"id":"x","choices":null,{base}}}"#), true);
        check(&format!("{{{base}}}"), true);
        check(&format!(r#"{{"choices":[{{"message":{{"content":"hi"}}}}],{base}}}"#), false);
        check(r#"{"choices":null,"base_resp":{"status_code":0,"status_msg":""}}"#, false);
        check(r#"{"id":"r","status":"failed","error":{"code":"server_error"},"output":[]}"#, true);
        check(r#"{"choices":[],"error":{"code":502,"message":"m"}}"#, true);
        let failed = r#"{"id":"x","choices":[{"index":0,"error":{"code":502,"message":"m"},"message":{"role":"assistant","content":""},"finish_reason":"error"}]}"#;
        check(failed, true);
        check(&failed.replace(r#""content":"""#, r#""content":"half""#), false);
        check(r#"{"choices":[{"message":{"content":"a \"error\" b"}}],"error":null}"#, false);
        check(r#"{"choices":[{"message":{"content":"hi"}}],"error":{"code":1}}"#, false);
        check(r#"{"type":"message","content":[{"type":"error"}]}"#, false);
        check(r#"{"id":"r","status":"incomplete","error":{"code":"x"},"output":[{}]}"#, false);
        check(r#"{"input_tokens":3}"#, false);
        check(r#"{"data":[{"id":"error"}]}"#, false);
        check("[\"error\"]", false);
        check("<html>\"error\"", false);
    }

    #[test]
    fn chunks_without_content_are_recognized() {
        let check = |data: &str, expect: bool| {
            assert_eq!(is_empty_chunk(data.as_bytes()), expect, "{data}");
        };
        check(
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            true,
        );
        check(
            r#"{"choices":[{"delta":{"role":"assistant","content":null,"refusal":null,"tool_calls":[]}}],"usage":null}"#,
            true,
        );
        check(r#"{"id":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#, true);
        check(r#"{"choices":[{"text":"","finish_reason":null}]}"#, true);
        check(r#"{"choices":[{"delta":{"content":"a"}}]}"#, false);
        check(r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#, false);
        check(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#, false);
        check(r#"{"choices":[{"delta":{}},{"delta":{"content":"a"}}]}"#, false);
        check(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, false);
        check(r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, false);
        check(r#"{"id":"c"}"#, false);
        check("{", false);
    }

    #[test]
    fn error_kind_and_message_are_read_from_every_format() {
        let check = |body: &str, kind: Option<&str>, message: &str| {
            let UpstreamFailure { kind: read, message: words, .. } =
                UpstreamFailure::from_body(body.as_bytes());
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
        check(
            r#"{"choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#,
            Some("insufficient_balance_error"),
            "insufficient balance",
        );
        check(r#"{"error":"boom","error_type":"generation"}"#, Some("generation"), "boom");
        check(r#"{"detail":"boom"}"#, None, "boom");
        check(r#"{"choices":[{"error":{"code":"c","message":"boom"}}]}"#, Some("c"), "boom");
        check(r#"{"object":"error","message":"m","type":"T","code":500}"#, Some("T"), "m");
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
