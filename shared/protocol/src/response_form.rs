//! Checks that a whole answer with a success status is an answer of a vendor's API. A captive proxy
//! answers with success too, but with a page or with nothing.

use crate::json::{is_json_object, strip_byte_order_mark, to_strict_json};
use crate::meter::{AnswerStart, UsageMeter, has_response_field};
use baton_domain::protocol::UpstreamProtocol;

/// Why the answer is not one of the vendor's API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseFormError {
    /// The body is empty.
    #[error("it is empty")]
    Empty,
    /// The body is a page.
    #[error("it is a page")]
    Page,
    /// Neither the content type nor the body is JSON, or the content type is one of pages, images or
    /// the like.
    #[error("the upstream answered with success and `{given}` instead of {expected}")]
    ContentType {
        /// The media type, or `no content type`.
        given: String,
        /// The form that the request asks for.
        expected: &'static str,
    },
    /// The body is not one JSON object, although the content type says so.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// The body is an object without any of the fields of an answer.
    #[error("the upstream answered with success and JSON that has none of the fields of an answer")]
    NoFields,
    /// The body of a stream is a page or a text, or its events are not those of the vendor's API.
    #[error("the upstream answered with success, but instead of events of its API came: {0}")]
    NoEvents(String),
}

/// Checks a whole answer of a route whose documented answer is a JSON object. `content_type` is the
/// value of the header, and `body` has no content encoding. If the request `asks_for_stream`,
/// events without a content type count as an answer too. A byte order mark, numbers that are not finite
/// and bytes that are not UTF-8 are accepted, since most clients read them.
///
/// # Errors
/// [`ResponseFormError`]
pub fn check_whole_response(
    content_type: Option<&[u8]>,
    body: &[u8],
    asks_for_stream: bool,
) -> Result<(), ResponseFormError> {
    let body = strip_byte_order_mark(body);
    let first = body.trim_ascii_start().first().ok_or(ResponseFormError::Empty)?;
    check_content_type(content_type, asks_for_stream)?;
    if *first == b'<' {
        return Err(ResponseFormError::Page);
    }
    let is_answer =
        is_json_object(&to_strict_json(body)) || (asks_for_stream && begins_with_event(body));
    match content_type {
        _ if is_answer => Ok(()),
        Some(kind) if !media_type(kind).ends_with(b"json") => {
            Err(wrong_type(kind, asks_for_stream))
        }
        _ => Err(ResponseFormError::NotAnObject),
    }
}

/// Checks that an answer with this content type can be JSON, or events of a stream.
///
/// # Errors
/// [`ResponseFormError::ContentType`]
pub fn check_content_type(
    content_type: Option<&[u8]>,
    asks_for_stream: bool,
) -> Result<(), ResponseFormError> {
    match content_type.filter(|kind| !may_be_json(kind)) {
        Some(kind) => Err(wrong_type(kind, asks_for_stream)),
        None => Ok(()),
    }
}

fn wrong_type(content_type: &[u8], asks_for_stream: bool) -> ResponseFormError {
    let expected = if asks_for_stream { "events" } else { "JSON" };
    ResponseFormError::ContentType { given: printable_media_type(content_type), expected }
}

/// Checks that a whole answer, which has passed [`check_whole_response`], has a field of an answer of
/// this protocol, or usage, in its outermost object. Events without a content type need an event of an API.
///
/// # Errors
/// [`ResponseFormError`]
pub fn check_response_fields(
    body: &[u8],
    protocol: UpstreamProtocol,
) -> Result<(), ResponseFormError> {
    if begins_with_event(body) {
        let mut meter = UsageMeter::for_stream();
        meter.observe(body);
        let is_answer = *meter.first_event() == AnswerStart::Event;
        let is_billed = is_answer || meter.finish(0).has_billed_part;
        let text = String::from_utf8_lossy(body);
        return is_billed
            .then_some(())
            .ok_or_else(|| ResponseFormError::NoEvents(quote_start(&text)));
    }
    let has_field = has_response_field(&to_strict_json(body), protocol);
    has_field.then_some(()).ok_or(ResponseFormError::NoFields)
}

/// The most characters of an upstream's text that an error quotes.
const QUOTED_CHARACTERS_MAX: usize = 100;

/// The beginning of an upstream's text, for an error.
pub fn quote_start(text: &str) -> String {
    let start = text.chars().take(QUOTED_CHARACTERS_MAX);
    let quoted: String = start.flat_map(char::escape_debug).collect();
    format!("\"{quoted}\"")
}

fn printable_media_type(content_type: &[u8]) -> String {
    let kind = media_type(content_type);
    let printable = kind.iter().filter(|byte| byte.is_ascii_graphic());
    printable.take(60).map(|byte| char::from(*byte)).collect()
}

/// Whether an answer with this content type can be JSON. Some servers send JSON, or events, as plain
/// text or as bytes; the body decides then.
fn may_be_json(content_type: &[u8]) -> bool {
    let kind = media_type(content_type);
    kind.is_empty()
        || kind.ends_with(b"json")
        || [b"text/plain".as_slice(), b"application/octet-stream", b"binary/octet-stream"]
            .contains(&kind.as_slice())
}

/// The content type without its parameters, in lower case.
fn media_type(content_type: &[u8]) -> Vec<u8> {
    let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().to_ascii_lowercase()
}

/// The bytes of a body in which [`is_binary`] looks.
const BINARY_BYTES: usize = 512;

/// Whether a body is neither text nor JSON, whatever its character set is: it has control characters
/// other than white space and escapes. It is perhaps an answer in a coding that no header names.
pub fn is_binary(body: &[u8]) -> bool {
    let start = body.get(..BINARY_BYTES).unwrap_or(body);
    start.iter().any(|byte| byte.is_ascii_control() && !b"\t\n\r\x0c\x1b\x7f".contains(byte))
}

/// Whether the bytes at the beginning of an answer are evidently those of an event stream, or of an
/// object in JSON or a list of such, and not compressed.
pub fn begins_with_answer(start: &[u8]) -> bool {
    let is_text = match std::str::from_utf8(start) {
        Ok(_) => true,
        // The last character can be incomplete.
        Err(error) => error.error_len().is_none(),
    };
    let text = strip_byte_order_mark(start).trim_ascii_start();
    let begins_with_object = |text: &[u8]| {
        let first = text.strip_prefix(b"{").and_then(|fields| fields.trim_ascii_start().first());
        matches!(first, Some(b'"' | b'}'))
    };
    let is_list = || {
        text.strip_prefix(b"[").is_some_and(|items| begins_with_object(items.trim_ascii_start()))
    };
    is_text
        && !is_binary(start)
        && (begins_with_event(text) || begins_with_object(text) || is_list())
}

/// Whether the text begins with a line of an event stream.
pub(crate) fn begins_with_event(body: &[u8]) -> bool {
    let body = strip_byte_order_mark(body).trim_ascii_start();
    [b":".as_slice(), b"data:", b"event:", b"id:", b"retry:"]
        .iter()
        .any(|name| body.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ResponseFormError::{Empty, NotAnObject, Page};

    #[test]
    fn only_evident_answers_are_known_by_their_first_bytes() {
        for start in [
            "data: {",
            "\u{feff}event: message_start\n",
            ": keep-alive\n\n",
            "\r\n id: 1\n",
            "{\"a\"",
            " {\n  \"id\": \"é",
            "{}",
            "[{\"a\":1}]",
        ] {
            assert!(begins_with_answer(start.as_bytes()), "{start}");
        }
        assert!(begins_with_answer(b"{\"a\":\"\xc3"), "half a character");
        for start in [
            b"".as_slice(),
            b"{",
            b"[",
            b"[1]",
            b"text",
            b"<html>",
            b"{\"\x01\"}",
            b"data: \xff\xfe",
            b":\x02\x80",
            b"\x1f\x8b\x08",
        ] {
            assert!(!begins_with_answer(start), "{start:?}");
        }
    }

    fn wrong_type_error(given: &str, expected: &'static str) -> ResponseFormError {
        ResponseFormError::ContentType { given: given.to_owned(), expected }
    }

    #[test]
    fn web_pages_and_non_json_answers_are_refused() {
        let check = |kind: Option<&str>, body: &str, expect: Result<(), ResponseFormError>| {
            let seen = check_whole_response(kind.map(str::as_bytes), body.as_bytes(), false);
            assert_eq!(seen, expect, "{kind:?} {body}");
        };
        let json = Some("application/json");
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for kind in [
            None,
            json,
            Some("application/json; charset=utf-8"),
            Some("Application/JSON"),
            Some("application/problem+json"),
            Some("text/plain"),
            Some("application/octet-stream"),
        ] {
            check(kind, "{}", Ok(()));
            check(kind, " {\"a\":1}\n", Ok(()));
            check(kind, &deep, Ok(()));
            check(kind, "\u{feff}{\"a\":1}", Ok(()));
            check(kind, "{\"a\":[NaN,-Infinity]}", Ok(()));
            check(kind, "", Err(Empty));
            check(kind, "\u{feff}", Err(Empty));
            check(kind, "\u{feff}<html>", Err(Page));
            check(kind, " \r\n", Err(Empty));
            check(kind, "<html><body>Sign in</body></html>", Err(Page));
            check(kind, "\n<!doctype html>", Err(Page));
            let is_json = kind.is_none_or(|kind| kind.to_ascii_lowercase().contains("json"));
            let given = kind.unwrap_or_default();
            let other = if is_json { NotAnObject } else { wrong_type_error(given, "JSON") };
            for body in [
                "[]",
                "[{}]",
                "null",
                "\"text\"",
                "5",
                "{\"a\":1",
                "{\"a\":1}{}",
                "x({\"a\":1})",
                "OK",
                "data: {}\n\n",
            ] {
                check(kind, body, Err(other.clone()));
            }
        }
        for kind in ["text/html", "text/html; charset=utf-8", "application/xml", "image/png"] {
            let given = kind.split(';').next().unwrap();
            check(Some(kind), "{}", Err(wrong_type_error(given, "JSON")));
            check(Some(kind), "<html>", Err(wrong_type_error(given, "JSON")));
            check(Some(kind), "", Err(Empty));
        }
    }

    #[test]
    fn bytes_without_text_are_binary() {
        for text in ["", "{}", "<html>\r\n", "data: x\n\n", "caf\u{e9}\t\u{1b}[0m\u{c}"] {
            assert!(!is_binary(text.as_bytes()), "{text}");
        }
        assert!(!is_binary(b"<p>\xe9\xc4\xe3</p>"), "a page in another character set");
        assert!(is_binary(&[0x1f, 0x8b, 8, 0]) && is_binary(&[0x28, 0xb5, 0x2f, 0xfd, 0x04]));
    }

    #[test]
    fn event_stream_without_content_type_is_accepted() {
        let check = |kind: Option<&str>, body: &str| {
            check_whole_response(kind.map(str::as_bytes), body.as_bytes(), true)
        };
        for body in [
            "data: {}\n\n",
            "\u{feff}data: {}\n\n",
            ": ping\n\n",
            "event: message_start\ndata: {}\n\n",
            "{}",
        ] {
            assert_eq!(check(None, body), Ok(()), "{body}");
            assert_eq!(check(Some("text/plain"), body), Ok(()), "{body}");
            let error = wrong_type_error("text/html", "events");
            assert_eq!(check(Some("text/html"), body), Err(error), "{body}");
        }
        assert_eq!(check(None, "<html>"), Err(Page));
        assert_eq!(check(None, "no"), Err(NotAnObject));
        assert_eq!(check(None, ""), Err(Empty));
    }

    #[test]
    fn answers_have_a_field_of_their_protocol() {
        use UpstreamProtocol::{Chat, Messages, Responses};
        let check = |protocol, body: &str, is_answer: bool| {
            let seen = check_response_fields(body.as_bytes(), protocol).is_ok();
            assert_eq!(seen, is_answer, "{protocol:?} {body}");
        };
        for (protocol, answer) in [
            (Messages, r#"{"type":"message","content":[]}"#),
            (Chat, r#"{"choices":[]}"#),
            (Responses, r#"{"object":"response","output":[]}"#),
        ] {
            check(protocol, answer, true);
            check(protocol, r#"{"usage":{"input_tokens":1}}"#, true);
            for body in [
                "{}",
                r#"{"status":"ok"}"#,
                r#"{"message":"Sign in"}"#,
                r#"{"data":[],"object":"list"}"#,
                r#"{"login":"\"choices\" \"content\" \"output\" \"usage\""}"#,
                r#"{"data":{"choices":[],"content":[],"output":[],"usage":{"input_tokens":1}}}"#,
                r#"{"choices":null,"content":null,"output":null,"usage":null}"#,
            ] {
                check(protocol, body, false);
            }
            check(protocol, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", true);
            check(protocol, "event: message_start\ndata: {}\n\n", true);
            check(
                protocol,
                "data: {\"error\":{\"code\":5}, \"usage\":{\"prompt_tokens\":9}}\n\n",
                true,
            );
            for body in
                ["data: hello\n\n", "data: {}\n\n", ": ping\n\n", "data: {\"error\":\"m\"}\n\n"]
            {
                check(protocol, body, false);
            }
        }
        check(Chat, r#"{"type":"message","content":[]}"#, false);
        check(Messages, r#"{"choices":[]}"#, false);
    }

    #[test]
    fn errors_name_the_form_that_came() {
        let error =
            check_whole_response(Some(b"text/html; charset=utf-8"), b"{}", true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the upstream answered with success and `text/html` instead of events"
        );
        let error = ResponseFormError::NoEvents(quote_start("<a>\n\u{1b}"));
        assert!(error.to_string().ends_with(r#"came: "<a>\n\u{1b}""#), "{error}");
    }
}
