//! Checks that a whole answer with a success status is an answer of a vendor's API. A captive proxy
//! answers with success too, but with a page or with nothing.

use crate::json::is_json_object;

/// Why the answer is not one of the vendor's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswerForm {
    /// The body is empty.
    #[error("it is empty")]
    Empty,
    /// The body is a page.
    #[error("it is a page")]
    Page,
    /// Neither the content type nor the body is JSON, or the content type is one of pages, images or
    /// the like.
    #[error("its content type is not JSON")]
    ContentType,
    /// The body is not one JSON object, although the content type says so.
    #[error("it is not a JSON object")]
    NotAnObject,
}

/// Checks a whole answer of a route whose documented answer is a JSON object. `content_type` is the
/// value of the header, and `body` has no content encoding. If the request `asks_for_stream`,
/// events without a content type count as an answer too.
///
/// # Errors
/// [`BadAnswerForm`]
pub fn check_whole_answer(
    content_type: Option<&[u8]>,
    body: &[u8],
    asks_for_stream: bool,
) -> Result<(), BadAnswerForm> {
    match body.trim_ascii_start().first() {
        None => return Err(BadAnswerForm::Empty),
        Some(b'<') => return Err(BadAnswerForm::Page),
        Some(_) => {}
    }
    let is_answer = is_json_object(body) || (asks_for_stream && begins_with_event(body));
    match content_type {
        Some(kind) if !may_be_json(kind) => Err(BadAnswerForm::ContentType),
        _ if is_answer => Ok(()),
        Some(kind) if !media_type(kind).ends_with(b"json") => Err(BadAnswerForm::ContentType),
        _ => Err(BadAnswerForm::NotAnObject),
    }
}

/// Whether an answer with this content type can be JSON. Some servers send JSON, or events, as plain
/// text or as bytes; the body decides then.
pub fn may_be_json(content_type: &[u8]) -> bool {
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

/// Whether the text begins with a line of an event stream.
fn begins_with_event(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    [b":".as_slice(), b"data:", b"event:", b"id:", b"retry:"]
        .iter()
        .any(|name| body.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use BadAnswerForm::{ContentType, Empty, NotAnObject, Page};

    #[test]
    fn web_pages_and_non_json_answers_are_refused() {
        let check = |kind: Option<&str>, body: &str, expect: Result<(), BadAnswerForm>| {
            let seen = check_whole_answer(kind.map(str::as_bytes), body.as_bytes(), false);
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
            check(kind, "", Err(Empty));
            check(kind, " \r\n", Err(Empty));
            check(kind, "<html><body>Sign in</body></html>", Err(Page));
            check(kind, "\n<!doctype html>", Err(Page));
            let is_json = kind.is_none_or(|kind| kind.to_ascii_lowercase().contains("json"));
            let other = if is_json { NotAnObject } else { ContentType };
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
                check(kind, body, Err(other));
            }
        }
        for kind in ["text/html", "text/html; charset=utf-8", "application/xml", "image/png"] {
            check(Some(kind), "{}", Err(ContentType));
            check(Some(kind), "<html>", Err(Page));
            check(Some(kind), "", Err(Empty));
        }
    }

    #[test]
    fn event_stream_without_content_type_is_accepted() {
        let check = |kind: Option<&str>, body: &str| {
            check_whole_answer(kind.map(str::as_bytes), body.as_bytes(), true)
        };
        for body in ["data: {}\n\n", ": ping\n\n", "event: message_start\ndata: {}\n\n", "{}"] {
            assert_eq!(check(None, body), Ok(()), "{body}");
            assert_eq!(check(Some("text/plain"), body), Ok(()), "{body}");
            assert_eq!(check(Some("text/html"), body), Err(ContentType), "{body}");
        }
        assert_eq!(check(None, "<html>"), Err(Page));
        assert_eq!(check(None, "no"), Err(NotAnObject));
        assert_eq!(check(None, ""), Err(Empty));
    }
}
