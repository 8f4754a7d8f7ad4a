//! Converts answers on their way: frames into server-sent events, and back.

use super::error::to_messages_error;
use super::frame::{self, Frame, FrameError};
use super::raw_object::RawObject;
use crate::json::is_json;
use crate::meter::SeparateUsage;
use crate::sse;
use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

/// A field that Bedrock adds to the last event and that the Messages API does not have.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// A ping for the client while an upstream without its own pings is silent.
pub const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// Converts frames into whole events.
#[derive(Debug, Default)]
pub struct FramesToSse {
    frames: frame::FrameDecoder,
    is_damaged: bool,
    metrics: Option<SeparateUsage>,
}

impl FramesToSse {
    /// Takes the next bytes and returns the events that they complete.
    ///
    /// # Errors
    /// [`FrameError`]. Nothing that follows can be read. Events before the damage are returned by
    /// an earlier call, after which [`Self::has_failed`] is true.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Bytes, FrameError> {
        if self.is_damaged {
            return Err(FrameError);
        }
        let mut events = Vec::with_capacity(chunk.len());
        let metrics = &mut self.metrics;
        let result = self.frames.push(chunk, |frame| match frame {
            Frame::Event(json) => {
                *metrics = read_metrics(&json).or(*metrics);
                write_event(&json, &mut events);
            }
            Frame::Exception(name, closing_bytes) => {
                match to_messages_error(0, Some(&name), &closing_bytes) {
                    Some(error) => write_event(&error.to_body(), &mut events),
                    None => write_event(&closing_bytes, &mut events),
                }
            }
            Frame::Other => {}
        });
        self.is_damaged = result.is_err();
        match result {
            Err(damage) if events.is_empty() => Err(damage),
            _ => Ok(events.into()),
        }
    }

    /// Whether a frame is damaged, so that nothing more can be read.
    pub fn has_failed(&self) -> bool {
        self.is_damaged
    }

    /// The counts in Bedrock's metrics, which the events do not contain, once they have arrived.
    pub fn metrics(&self) -> Option<SeparateUsage> {
        self.metrics
    }

    /// The bytes of memory that the unfinished frame takes.
    pub fn held_bytes(&self) -> usize {
        self.frames.held_bytes()
    }

    /// Whether the bytes so far end inside a frame.
    pub fn is_mid_frame(&self) -> bool {
        self.is_damaged || self.frames.is_mid_frame()
    }
}

/// Reads the metrics of an event.
fn read_metrics(json: &[u8]) -> Option<SeparateUsage> {
    #[derive(Deserialize)]
    struct MeteredEvent<'a> {
        #[serde(borrow, rename = "amazon-bedrock-invocationMetrics")]
        metrics: &'a RawValue,
    }
    memmem::find(json, METRICS.as_bytes())?;
    let event: MeteredEvent<'_> = serde_json::from_slice(json).ok()?;
    SeparateUsage::from_metrics(event.metrics.get())
}

fn write_event(json: &[u8], events: &mut Vec<u8>) {
    #[derive(Deserialize)]
    struct TypedEvent<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let kind = serde_json::from_slice::<TypedEvent<'_>>(json).map(|typed| typed.kind);
    if let Ok(kind) = &kind {
        events.extend_from_slice(b"event: ");
        events.extend_from_slice(kind.as_bytes());
        events.push(b'\n');
    }
    let without_metrics = (kind.as_deref().ok() == Some("message_stop"))
        .then(|| RawObject::parse(json).ok())
        .flatten()
        .map(|object| object.rewrite_fields("", |name| name == METRICS));
    let json = without_metrics.as_deref().unwrap_or(json);
    events.extend_from_slice(b"data: ");
    // JSON has line ends only between its tokens, where a space means the same.
    events.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    events.extend_from_slice(b"\n\n");
}

/// Converts events into frames. Errors are also sent as event frames, because Anthropic's SDKs read
/// type and message there, but only the name of an exception.
#[derive(Debug, Default)]
pub struct SseToFrames(sse::SseDecoder);

impl SseToFrames {
    /// Takes the next bytes and returns the frames that they complete.
    pub fn push(&mut self, chunk: &[u8]) -> Bytes {
        let mut frames = Vec::new();
        self.0.push(chunk, |event| {
            if !event.data.is_empty() {
                frames.extend(frame::encode_event_frame(event.data));
            }
        });
        frames.into()
    }

    /// The bytes of memory that the unfinished event takes.
    pub fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }

    /// Ends the stream. Returns the frame of a last event without its blank line, if the event is
    /// whole.
    pub fn finish(&mut self) -> Bytes {
        let mut frames = Vec::new();
        std::mem::take(&mut self.0).finish(|event| {
            if is_json(event.data) {
                frames.extend(frame::encode_event_frame(event.data));
            }
        });
        frames.into()
    }
}

/// Converts the answer of `CountTokens` to that of `count_tokens`.
pub fn count_result_from_bedrock(body: &[u8]) -> Option<Bytes> {
    rename_count_field(body, "inputTokens", "input_tokens")
}

/// Converts the answer of `count_tokens` to that of `CountTokens`.
pub fn count_result_to_bedrock(body: &[u8]) -> Option<Bytes> {
    rename_count_field(body, "input_tokens", "inputTokens")
}

fn rename_count_field(body: &[u8], from: &str, to: &str) -> Option<Bytes> {
    let tokens = serde_json::from_slice::<Value>(body).ok()?[from].as_u64()?;
    Some(json!({ to: tokens }).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: &str =
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":1}}"#;

    #[test]
    fn events_survive_framing_and_unframing() {
        let events = "event: message_start\ndata: {\"type\":\"message_start\",\"x\":\"é\"}\n\n\
                      event: ping\ndata: {\"type\": \"ping\"}\n\n\
                      event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n";
        for size in [1, 3, 50, 1000] {
            let (mut out, mut back, mut again) =
                (SseToFrames::default(), FramesToSse::default(), Vec::new());
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
    fn events_before_a_damaged_frame_are_returned_first() {
        let good = frame::encode_event_frame(br#"{"type":"ping"}"#);
        let mut bad = good.clone();
        bad[20] ^= 1;
        let stream = [good.as_slice(), &bad, &good].concat();
        let expected = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
        for size in [1, 30, stream.len()] {
            let (mut frames, mut events) = (FramesToSse::default(), Vec::new());
            let result = stream.chunks(size).chain([b"".as_slice()]).try_for_each(|chunk| {
                events.extend_from_slice(&frames.push(chunk)?);
                Ok(())
            });
            assert_eq!(result, Err(FrameError), "by {size}");
            assert_eq!(String::from_utf8_lossy(&events), expected, "by {size}");
            assert!(frames.has_failed() && frames.is_mid_frame());
        }
    }

    #[test]
    fn last_event_without_blank_line_is_kept_if_complete() {
        let told = |text: &str| {
            let mut out = SseToFrames::default();
            assert!(out.push(text.as_bytes()).is_empty());
            FramesToSse::default().push(&out.finish()).unwrap()
        };
        assert_eq!(
            told("event: x\ndata: {\"type\":\"x\"}"),
            "event: x\ndata: {\"type\":\"x\"}\n\n"
        );
        assert_eq!(told("event: x\ndata: {\"type\":\"x"), "");
        assert_eq!(told(""), "");
    }

    #[test]
    fn bedrock_specific_parts_are_converted() {
        let said = |json: &str| {
            let events =
                FramesToSse::default().push(&frame::encode_event_frame(json.as_bytes())).unwrap();
            String::from_utf8(events.to_vec()).unwrap()
        };
        assert_eq!(said(STOP), "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
        let mut frames = FramesToSse::default();
        assert_eq!(frames.metrics(), None);
        frames.push(&frame::encode_event_frame(STOP.as_bytes())).unwrap();
        assert_eq!(frames.metrics().unwrap().input, Some(1));
        assert_eq!(said("{\"type\":\n\"x\"}"), "event: x\ndata: {\"type\": \"x\"}\n\n");
        assert_eq!(said("{}"), "data: {}\n\n");
    }

    #[test]
    fn count_result_converts_both_ways() {
        assert_eq!(
            count_result_from_bedrock(br#"{"inputTokens":7}"#).unwrap(),
            r#"{"input_tokens":7}"#
        );
        assert_eq!(
            count_result_to_bedrock(br#"{"input_tokens":7}"#).unwrap(),
            r#"{"inputTokens":7}"#
        );
        assert_eq!(count_result_from_bedrock(b"{}"), None);
    }
}
