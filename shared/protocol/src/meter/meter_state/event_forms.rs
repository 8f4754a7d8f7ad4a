//! What an event is, before its data is read.

use crate::meter::upstream_failure::{has_envelope, is_api_event, is_empty_chunk, is_named_chunk};
use crate::meter::upstream_object::UpstreamObject;
use crate::sse::{EventKind, SseEvent};
use memchr::memmem;

/// The kind of an event. An event of OpenAI's Chat stays one if a server names it. The end of a
/// response can have its type behind other keys.
pub(super) fn read_kind(event: &SseEvent<'_>) -> EventKind {
    match event.kind() {
        EventKind::Other if is_unknown_chunk(event) => EventKind::Unnamed,
        EventKind::Unnamed if has_late_response_end(event.data) => EventKind::ResponseEnd,
        kind => kind,
    }
}

/// Whether an event with an unknown name is a chunk, OpenAI's end mark or an error. An event that
/// was too long to be held can be a chunk.
fn is_unknown_chunk(event: &SseEvent<'_>) -> bool {
    !is_api_event(event.kind_name())
        && (event.dropped > 0 || event.data.trim_ascii() == b"[DONE]" || is_named_chunk(event.data))
}

/// Whether the `type` of an event is that of the end of a response. It is not the first key.
fn has_late_response_end(data: &[u8]) -> bool {
    memmem::find(data, b"\"response.").is_some()
        && UpstreamObject::parse(data)
            .and_then(|object| object.kind)
            .is_some_and(|kind| EventKind::from_name(kind.as_bytes()) == EventKind::ResponseEnd)
}

/// The events of the Responses API that come before its model begins. A response that failed before
/// that still has them (codex-rs, its tests of `response.failed` with `insufficient_quota`, 2026-11).
const BEGINNINGS: [&[u8]; 3] = [b"response.created", b"response.in_progress", b"response.queued"];

/// Whether an event of this name comes before the model of a response begins.
pub(in crate::meter) fn is_beginning(name: &[u8]) -> bool {
    BEGINNINGS.contains(&name)
}

/// Whether an event contains no model output, so that an error can still follow.
pub(super) fn is_empty(event: &SseEvent<'_>, kind: EventKind) -> bool {
    let has_data = !event.data.trim_ascii().is_empty() || event.dropped > 0;
    match kind {
        EventKind::Ping => true,
        EventKind::Other => {
            let is_known = is_api_event(event.kind_name()) || event.dropped > 0;
            !has_data || !(is_known || has_envelope(event.data))
        }
        EventKind::Unnamed => {
            let data = event.data;
            let is_nothing = || is_text(data) || is_empty_chunk(data) || !has_envelope(data);
            event.dropped == 0 && (!has_data || is_nothing())
        }
        _ => false,
    }
}

/// Whether data of an event is neither empty nor an object.
pub(super) fn is_text(data: &[u8]) -> bool {
    data.trim_ascii_start().first().is_some_and(|first| *first != b'{')
}

/// Whether `key` (with its quotes) has a value other than null.
pub(super) fn has_value(data: &[u8], key: &str) -> bool {
    values(data, key).any(|value| !value.starts_with(b"null"))
}

/// Whether `key` (with its quotes) has a value other than null and than an empty text, list or object.
pub(super) fn has_filled(data: &[u8], key: &str) -> bool {
    values(data, key).any(|value| {
        let is_void = match value {
            [b'"', rest @ ..] => rest.starts_with(b"\""),
            [b'[', rest @ ..] => rest.trim_ascii_start().starts_with(b"]"),
            [b'{', rest @ ..] => rest.trim_ascii_start().starts_with(b"}"),
            value => value.starts_with(b"null"),
        };
        !is_void
    })
}

/// The data from each value of `key` (with its quotes) on.
fn values<'a>(data: &'a [u8], key: &str) -> impl Iterator<Item = &'a [u8]> {
    memmem::find_iter(data, key.as_bytes()).filter_map(move |index| {
        let value = data[index + key.len()..].trim_ascii_start().strip_prefix(b":");
        value.map(<[u8]>::trim_ascii_start)
    })
}

/// Whether bytes can be the beginning of an event.
pub(super) fn looks_like_stream(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    ["event", "data", "id", "retry", ":"].iter().any(|field| {
        let field = field.as_bytes();
        bytes.starts_with(field) || field.starts_with(bytes)
    })
}
