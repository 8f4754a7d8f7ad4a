//! Answers on their way: frames into the Messages API's event stream, and back.

use super::error::told;
use super::frame::{self, BadFrame, Frame};
use super::object::Object;
use crate::json::is_json;
use crate::sse;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// What Bedrock adds to the last event; nothing that the Messages API knows.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// A sign of life in the silence of an upstream that sends none itself.
pub const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// Turns frames into events, whole ones only.
#[derive(Debug, Default)]
pub struct ToSse(frame::Decoder);

impl ToSse {
    /// Takes the next bytes; what they complete, as events.
    ///
    /// # Errors
    /// [`BadFrame`]; nothing that follows can be read.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Bytes, BadFrame> {
        let mut events = Vec::with_capacity(chunk.len());
        self.0.push(chunk, |frame| match frame {
            Frame::Event(json) => write_event(&json, &mut events),
            Frame::Exception(name, said) => match told(0, Some(&name), &said) {
                Some(told) => write_event(&told.body(), &mut events),
                None => write_event(&said, &mut events),
            },
            Frame::Other => {}
        })?;
        Ok(events.into())
    }

    /// How much memory the unfinished frame takes.
    pub fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }

    /// Whether the bytes so far end inside a frame.
    pub fn is_mid_frame(&self) -> bool {
        self.0.is_mid_frame()
    }
}

fn write_event(json: &[u8], events: &mut Vec<u8>) {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let kind = serde_json::from_slice::<Typed<'_>>(json).map(|typed| typed.kind);
    if let Ok(kind) = &kind {
        events.extend_from_slice(b"event: ");
        events.extend_from_slice(kind.as_bytes());
        events.push(b'\n');
    }
    let without_metrics = (kind.as_deref().ok() == Some("message_stop"))
        .then(|| Object::read(json).ok())
        .flatten()
        .map(|object| object.changed("", |name| name == METRICS));
    let json = without_metrics.as_deref().unwrap_or(json);
    events.extend_from_slice(b"data: ");
    // JSON has line ends between its tokens only, where a space says the same.
    events.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    events.extend_from_slice(b"\n\n");
}

/// Turns events into frames. An error, too, goes into a frame of an event: Anthropic's SDKs read
/// its type and message there, and of an exception only the name.
#[derive(Debug, Default)]
pub struct FromSse(sse::Decoder);

impl FromSse {
    /// Takes the next bytes; what they complete, as frames.
    pub fn push(&mut self, chunk: &[u8]) -> Bytes {
        let mut frames = Vec::new();
        self.0.push(chunk, |event| {
            if !event.data.is_empty() {
                frames.extend(frame::event(event.data));
            }
        });
        frames.into()
    }

    /// How much memory the unfinished event takes.
    pub fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }

    /// Ends the stream: the frame of a last event whose blank line is missing, if it is whole.
    pub fn end(&mut self) -> Bytes {
        let mut frames = Vec::new();
        std::mem::take(&mut self.0).finish(|event| {
            if is_json(event.data) {
                frames.extend(frame::event(event.data));
            }
        });
        frames.into()
    }
}

/// The answer of `CountTokens` as that of `count_tokens`.
pub fn counted(body: &[u8]) -> Option<Bytes> {
    recounted(body, "inputTokens", "input_tokens")
}

/// The answer of `count_tokens` as that of `CountTokens`.
pub fn counted_there(body: &[u8]) -> Option<Bytes> {
    recounted(body, "input_tokens", "inputTokens")
}

fn recounted(body: &[u8], from: &str, to: &str) -> Option<Bytes> {
    let tokens = serde_json::from_slice::<Value>(body).ok()?[from].as_u64()?;
    Some(json!({ to: tokens }).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: &str =
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":1}}"#;

    #[test]
    fn events_come_out_as_they_went_in() {
        let events = "event: message_start\ndata: {\"type\":\"message_start\",\"x\":\"é\"}\n\n\
                      event: ping\ndata: {\"type\": \"ping\"}\n\n\
                      event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n";
        for size in [1, 3, 50, 1000] {
            let (mut out, mut back, mut again) = (FromSse::default(), ToSse::default(), Vec::new());
            for chunk in events.as_bytes().chunks(size) {
                let frames = out.push(chunk);
                for piece in frames.chunks(size) {
                    again.extend_from_slice(&back.push(piece).unwrap());
                }
            }
            assert_eq!(String::from_utf8(again).unwrap(), events);
            assert!(!back.is_mid_frame());
        }
    }

    #[test]
    fn a_last_event_without_its_blank_line_is_told_if_it_is_whole() {
        let told = |text: &str| {
            let mut out = FromSse::default();
            assert!(out.push(text.as_bytes()).is_empty());
            ToSse::default().push(&out.end()).unwrap()
        };
        assert_eq!(
            told("event: x\ndata: {\"type\":\"x\"}"),
            "event: x\ndata: {\"type\":\"x\"}\n\n"
        );
        assert_eq!(told("event: x\ndata: {\"type\":\"x"), "");
        assert_eq!(told(""), "");
    }

    #[test]
    fn what_only_bedrock_says() {
        let said = |json: &str| {
            let events = ToSse::default().push(&frame::event(json.as_bytes())).unwrap();
            String::from_utf8(events.to_vec()).unwrap()
        };
        assert_eq!(said(STOP), "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
        assert_eq!(said("{\"type\":\n\"x\"}"), "event: x\ndata: {\"type\": \"x\"}\n\n");
        assert_eq!(said("{}"), "data: {}\n\n");
    }

    #[test]
    fn counts() {
        assert_eq!(counted(br#"{"inputTokens":7}"#).unwrap(), r#"{"input_tokens":7}"#);
        assert_eq!(counted_there(br#"{"input_tokens":7}"#).unwrap(), r#"{"inputTokens":7}"#);
        assert_eq!(counted(b"{}"), None);
    }
}
