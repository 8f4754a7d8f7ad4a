//! The last chunk of a streamed chat completion, which contains the usage. The relay requests it
//! for the client, and removes it again if the client has not asked for it.
//!
//! All other bytes stay, in requests and in streams. [`crate::meter`] reads the usage.

use crate::json::{self, JsonValue, is_json};
use crate::sse::SseDecoder;
use bytes::{Bytes, BytesMut};
use std::fmt::Write as _;
use std::ops::Range;

/// An event that grows longer than this is not a usage chunk and is passed on as it arrives.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// Adds the request for usage to a streamed chat completion. `None` if the body has it already or
/// is not a JSON object.
pub fn ask_for_usage(body: &Bytes) -> Option<Bytes> {
    const ASKED: &str = r#""include_usage":true"#;
    let Some(span) = find_stream_options(body).ok()? else {
        let start = memchr::memchr(b'{', body)? + 1;
        let rest = body.get(start..)?.trim_ascii_start();
        let comma = if rest.starts_with(b"}") { "" } else { "," };
        let added = format!(r#""stream_options":{{{ASKED}}}{comma}"#);
        return Some(splice(body, start..start, &added));
    };
    let current = JsonValue::from_checked(body.get(span.clone())?);
    let mut changed = format!("{{{ASKED}");
    if !current.is_null() {
        for (name, value) in current.fields()? {
            match (&*name, value.raw()) {
                ("include_usage", "true") => return None,
                ("include_usage", _) => {}
                // The name is written without unnecessary escapes, however the client wrote it.
                (name, raw) => {
                    let _ = write!(changed, ",{}:{raw}", serde_json::Value::from(name));
                }
            }
        }
    }
    changed.push('}');
    Some(splice(body, span, &changed))
}

/// Removes the request for usage, for an upstream that refuses it and reports the usage anyway, and
/// with it `stream_options` if nothing else is in them. `None` if the body has none or is not a JSON
/// object.
pub fn remove_usage_request(body: &Bytes) -> Option<Bytes> {
    let span = find_stream_options(body).ok()??;
    let current = JsonValue::from_checked(body.get(span.clone())?);
    let is_request = |name: &str| name == "include_usage";
    if !current.fields()?.any(|(name, _)| is_request(&name)) {
        return None;
    }
    let kept = current.fields()?.filter(|(name, _)| !is_request(name));
    let kept =
        kept.map(|(name, value)| format!("{}:{}", serde_json::Value::from(&*name), value.raw()));
    let kept: Vec<String> = kept.collect();
    if kept.is_empty() {
        return remove_field(body, span);
    }
    Some(splice(body, span, &format!("{{{}}}", kept.join(","))))
}

/// Removes the field of the body with this value, its name and the comma next to it.
fn remove_field(body: &[u8], value: Range<usize>) -> Option<Bytes> {
    let before = body.get(..value.start)?.trim_ascii_end().strip_suffix(b":")?;
    let quoted = before.trim_ascii_end().strip_suffix(b"\"")?;
    // The name has no quote in it.
    let before = body.get(..memchr::memrchr(b'"', quoted)?)?;
    let after = body.get(value.end..)?;
    let span = match (after.trim_ascii_start().strip_prefix(b","), before.trim_ascii_end()) {
        (Some(rest), _) => before.len()..body.len() - rest.len(),
        (None, before) => before.strip_suffix(b",").unwrap_or(before).len()..value.end,
    };
    Some(splice(body, span, ""))
}

/// Where the options of the stream are, if there are some.
fn find_stream_options(body: &Bytes) -> Result<Option<Range<usize>>, json::JsonError> {
    let mut options = None;
    json::for_each_field(body, |name, span| {
        if name == "stream_options" {
            options = Some(span);
        }
        Ok(())
    })?;
    Ok(options)
}

fn splice(body: &[u8], span: Range<usize>, with: &str) -> Bytes {
    let (before, after) = (body.get(..span.start), body.get(span.end..));
    [before.unwrap_or_default(), with.as_bytes(), after.unwrap_or_default()].concat().into()
}

/// Removes the usage chunk from a stream, however its bytes are cut. The output consists of whole
/// events, except that events longer than `EVENT_BYTES_MAX` pass as they arrive.
#[derive(Debug, Default)]
pub struct UsageChunkFilter {
    buffer: BytesMut,
    /// Whether the current line is still empty.
    is_blank: bool,
    /// Whether the last byte was a carriage return, which a line feed can follow.
    after_return: bool,
    /// Whether the event is too long to be a usage chunk and passes as it arrives.
    passes_unread: bool,
}

impl UsageChunkFilter {
    /// Takes the upstream's next bytes. Returns the bytes for the client.
    pub fn push(&mut self, chunk: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(chunk.len() + self.buffer.len());
        let mut rest = chunk;
        while let Some(end) = self.find_event_end(rest) {
            let is_halved = self.after_return && rest.get(end) == Some(&b'\n');
            let (event, after) = rest.split_at(end + usize::from(is_halved));
            self.buffer.extend_from_slice(event);
            self.flush_held(&mut out);
            rest = after;
        }
        self.buffer.extend_from_slice(rest);
        self.passes_unread |= self.buffer.len() > EVENT_BYTES_MAX;
        if self.passes_unread {
            out.extend_from_slice(&self.buffer.split());
        }
        out.freeze()
    }

    /// Ends the stream and returns the rest: a last event without its blank line, which is then
    /// added. Half an event is dropped.
    pub fn finish(&mut self) -> Bytes {
        let mut event = self.buffer.split();
        if self.passes_unread {
            return event.freeze();
        }
        if !is_complete_chunk(&event) || is_usage_chunk(&event) {
            return Bytes::new();
        }
        event.extend_from_slice(b"\n\n");
        event.freeze()
    }

    /// Whether the client has received the beginning of an event but not its end.
    pub fn is_mid_event(&self) -> bool {
        self.passes_unread
    }

    fn flush_held(&mut self, out: &mut BytesMut) {
        let event = self.buffer.split();
        if self.passes_unread || !is_usage_chunk(&event) {
            out.extend_from_slice(&event);
        }
        self.passes_unread = false;
    }

    /// The position after the event's blank line in `bytes`.
    fn find_event_end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (index, byte) in bytes.iter().enumerate() {
            let is_second_half = self.after_return && *byte == b'\n';
            self.after_return = *byte == b'\r';
            if is_second_half {
                continue;
            }
            let ends_line = matches!(byte, b'\r' | b'\n');
            if ends_line && self.is_blank {
                return Some(index + 1);
            }
            self.is_blank = ends_line;
        }
        None
    }
}

/// Whether an event's data is a whole chunk or the end mark, even if the event was cut.
fn is_complete_chunk(event: &[u8]) -> bool {
    any_data_line(event, |data| data == b"[DONE]" || is_json(data))
}

/// Whether an event is a chunk with usage, without a choice, and without anything else that a client
/// could miss: an error, or a list such as citations (docs.x.ai, "Live Search", 2026-11). Other fields are
/// not a reason to send a chunk without a choice to a client that does not expect one.
fn is_usage_chunk(event: &[u8]) -> bool {
    if memchr::memmem::find(event, b"\"usage\"").is_none() {
        return false;
    }
    any_data_line(event, |data| {
        let (mut lacks_choice, mut has_usage, mut has_more) = (false, false, false);
        let is_object = json::for_each_field(data, |name, span| {
            let value = data.get(span).unwrap_or_default();
            let is_null = value == b"null";
            let is_list = value.starts_with(b"[") && !is_empty_list(value);
            match name.as_ref() {
                "choices" => lacks_choice = is_empty_list(value),
                "usage" => has_usage = !is_null,
                "error" => has_more |= !is_null,
                _ => has_more |= is_list,
            }
            Ok(())
        });
        is_object.is_ok() && lacks_choice && has_usage && !has_more
    })
}

fn is_empty_list(json: &[u8]) -> bool {
    let inside = json.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inside.is_some_and(|inside| inside.trim_ascii().is_empty())
}

fn any_data_line(event: &[u8], is: impl Fn(&[u8]) -> bool) -> bool {
    let (mut decoder, mut any) = (SseDecoder::new(), false);
    decoder.push(event, |event| any |= is(event.data.trim_ascii()));
    decoder.finish(|event| any |= is(event.data.trim_ascii()));
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const USAGE: &str = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}";
    const TEXT: &str =
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\" é\"}}],\"usage\":null}";
    const FILTER: &str = "data: {\"choices\":[],\"usage\":null,\"prompt_filter_results\":[]}";

    #[test]
    fn usage_request_is_removed_where_it_is_refused() {
        let check = |body: &'static str, wanted: Option<&'static str>| {
            let made = remove_usage_request(&Bytes::from_static(body.as_bytes()));
            assert_eq!(made, wanted.map(Bytes::from), "{body}");
        };
        check(r#"{"a":1,"stream_options":{"include_usage":true},"b":2}"#, Some(r#"{"a":1,"b":2}"#));
        check(r#"{"stream_options":{"include_usage":true}}"#, Some("{}"));
        check(r#"{ "stream_options" : {"include_usage":true} , "b":2}"#, Some(r#"{  "b":2}"#));
        check(r#"{"a":1 , "stream_options":{"include_usage":true} }"#, Some(r#"{"a":1  }"#));
        check(r#"{"stream\u005foptions":{"include_usage":true},"b":2}"#, Some(r#"{"b":2}"#));
        check(
            r#"{"a":"\"stream_options","stream_options":{"include_usage":true}}"#,
            Some(r#"{"a":"\"stream_options"}"#),
        );
        check(
            r#"{"stream_options":{"x":[1.0],"include_usage":false,"y":null}}"#,
            Some(r#"{"stream_options":{"x":[1.0],"y":null}}"#),
        );
        check(r#"{"stream_options":{"x":1}}"#, None);
        check(r#"{"stream_options":null}"#, None);
        check(r#"{"a":1}"#, None);
        check("7", None);
    }

    #[test]
    fn only_the_usage_option_is_added() {
        let check = |body: &'static str, expect: Option<&str>| {
            let requested = ask_for_usage(&Bytes::from_static(body.as_bytes()));
            assert_eq!(requested.as_deref(), expect.map(str::as_bytes), "{body}");
        };
        let requested = r#"{"stream_options":{"include_usage":true}}"#;
        check("{}", Some(requested));
        check(
            "{ \"model\" : 1.50 }",
            Some("{\"stream_options\":{\"include_usage\":true}, \"model\" : 1.50 }"),
        );
        check(requested, None);
        check(r#"{"stream_options": {"include_usage" : true }}"#, None);
        check(
            r#"{"a":1,"stream_options":{"x":[1.0],"include_usage":false},"b":2}"#,
            Some(r#"{"a":1,"stream_options":{"include_usage":true,"x":[1.0]},"b":2}"#),
        );
        check(
            r#"{"stream_options":{},"b":2}"#,
            Some(r#"{"stream_options":{"include_usage":true},"b":2}"#),
        );
        check(r#"{"stream_options": null}"#, Some(r#"{"stream_options": {"include_usage":true}}"#));
        check(r#"{"stream_options":7}"#, None);
        check(
            r#"{"stream\u005foptions":{"include\u005fusage":false,"a\u0022b":1}}"#,
            Some(r#"{"stream\u005foptions":{"include_usage":true,"a\"b":1}}"#),
        );
        check(r#"{"stream_options":{"include\u005fusage":true}}"#, None);
        check("[]", None);
    }

    proptest! {
        #[test]
        fn only_the_usage_chunk_is_removed_for_any_cut(
            line in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            kinds in prop::collection::vec(0..5_usize, 0..12),
            cuts in prop::collection::vec(1..40_usize, 1..20),
        ) {
            let events = [USAGE, TEXT, FILTER, ": keep-alive", "data: [DONE]"];
            let whole = |keep: &dyn Fn(usize) -> bool| -> String {
                let kept = kinds.iter().filter(|kind| keep(**kind));
                kept.flat_map(|kind| [events[*kind], line, line]).collect()
            };
            let (stream, mut filter, mut out) = (whole(&|_| true), UsageChunkFilter::default(), Vec::new());
            let (mut rest, mut cuts) = (stream.as_bytes(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                out.extend_from_slice(&filter.push(piece));
                rest = after;
            }
            out.extend_from_slice(&filter.finish());
            let (out, expect) = (String::from_utf8(out).unwrap(), whole(&|kind| kind != 0));
            // The line feed of a `\r\n` that ends a dropped event can stay or go, because it is not
            // a line.
            if line == "\r\n" {
                prop_assert_eq!(out.replace(['\r', '\n'], ""), expect.replace(['\r', '\n'], ""));
            } else {
                prop_assert_eq!(out, expect);
            }
        }
    }

    #[test]
    fn chunk_with_more_than_usage_is_kept() {
        for (more, is_removed) in [
            (json!({"id": "c", "object": "o", "created": 1, "model": "m"}), true),
            (json!({"system_fingerprint": "f", "service_tier": "t", "obfuscation": "x"}), true),
            (json!({"citations": ["https://example.com"]}), false),
            (json!({"search_results": [{"title": "t"}]}), false),
            (json!({"x": null, "citations": []}), true),
            (json!({"x_groq": {"id": "req_1"}, "provider": "p"}), true),
            (json!({"error": {"code": 502}}), false),
        ] {
            let mut chunk = json!({"choices": [], "usage": {"prompt_tokens": 1}});
            chunk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(
                is_usage_chunk(format!("data: {chunk}\n\n").as_bytes()),
                is_removed,
                "{chunk}"
            );
        }
    }

    #[test]
    fn long_event_is_not_held() {
        let mut filter = UsageChunkFilter::default();
        let long = format!("data: {{\"choices\":[],\"usage\":\"{}", "x".repeat(EVENT_BYTES_MAX));
        assert_eq!(filter.push(long.as_bytes()), long.as_bytes());
        assert!(filter.is_mid_event());
        assert_eq!(filter.push(b"\"}\n\n"), &b"\"}\n\n"[..]);
        assert!(!filter.is_mid_event());
        assert!(filter.push(format!("{USAGE}\n").as_bytes()).is_empty());
        assert!(filter.push(b"\n").is_empty());
    }

    #[test]
    fn end_without_blank_line_is_forwarded() {
        let mut filter = UsageChunkFilter::default();
        for (last, expect) in [
            (TEXT, format!("{TEXT}\n\n")),
            ("data: [DONE]", "data: [DONE]\n\n".to_owned()),
            (USAGE, String::new()),
            ("", String::new()),
            ("data: {\"choices\":[{\"del", String::new()),
        ] {
            assert!(filter.push(last.as_bytes()).is_empty());
            assert_eq!(filter.finish(), expect.as_bytes(), "{last}");
            assert!(!filter.is_mid_event());
        }
        let value: Value = json!({"choices": [], "usage": null});
        assert!(!is_usage_chunk(format!("data: {value}\n\n").as_bytes()));
        let error = json!({"choices": [], "error": {"code": 502}, "usage": {"prompt_tokens": 1}});
        assert!(!is_usage_chunk(format!("data: {error}\n\n").as_bytes()));
    }
}
