//! Errors of our own, in the client's words: as a body, and as the last event of a stream.
//!
//! Upstream errors are never written here; they pass byte for byte.

use crate::route::plain_path;
use bytes::Bytes;
use serde_json::json;

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `{"type":"error","error":{…},"request_id":…}`
    Anthropic,
    /// `{"error":{…}}`
    OpenAi,
}

impl Dialect {
    /// The dialect of a path, aliases included; Anthropic's where both could be meant.
    pub fn of_path(path: &str) -> Self {
        let plain = plain_path(path);
        let under = |root: &str| {
            plain.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if under("/v1/chat/completions") || under("/v1/responses") {
            Self::OpenAi
        } else {
            Self::Anthropic
        }
    }
}

/// An error of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnError {
    /// `error.type`, as the contract lists them.
    pub kind: &'static str,
    /// A whole sentence that says what to do next; never a secret.
    pub message: String,
}

impl OwnError {
    /// An `api_error`.
    pub fn api(message: impl Into<String>) -> Self {
        Self { kind: "api_error", message: message.into() }
    }

    /// A `timeout_error`.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self { kind: "timeout_error", message: message.into() }
    }
}

/// The error as a response body.
pub fn envelope(dialect: Dialect, error: &OwnError, request_id: &str) -> Bytes {
    let OwnError { kind, message } = error;
    let body = match dialect {
        Dialect::Anthropic => json!({
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": request_id,
        }),
        Dialect::OpenAi => json!({
            "error": {"message": message, "type": kind, "param": null, "code": kind},
        }),
    };
    body.to_string().into()
}

/// The error as the last event of a stream that has begun.
///
/// If the upstream broke off inside an event (`mid_event`), that event is ours to end. For an
/// Anthropic client it becomes the error itself: the last `event:` line names an event, and the
/// SDKs show the data of an `error` that is not JSON as it stands (fixture `error_plain_text`). A
/// blank line instead would hand the client half an event, which it takes for a fault of its own.
pub fn event_frame(dialect: Dialect, error: &OwnError, request_id: &str, mid_event: bool) -> Bytes {
    let (end, name) = match dialect {
        Dialect::Anthropic => ("\n", "event: error\n"),
        Dialect::OpenAi => ("\n\n", ""),
    };
    let mut frame = Vec::with_capacity(256);
    if mid_event {
        frame.extend_from_slice(end.as_bytes());
    }
    frame.extend_from_slice(name.as_bytes());
    frame.extend_from_slice(b"data: ");
    frame.extend_from_slice(&envelope(dialect, error, request_id));
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{Ended, Failure, Meter};

    fn error() -> OwnError {
        OwnError::api("it said \"no\"\nand left")
    }

    #[test]
    fn bodies() {
        let check = |dialect, expect: &str| {
            let body = envelope(dialect, &error(), "req_1");
            let read = |text| serde_json::from_slice::<serde_json::Value>(text).unwrap();
            assert_eq!(read(&body), read(expect.as_bytes()));
        };
        check(
            Dialect::Anthropic,
            r#"{"error":{"message":"it said \"no\"\nand left","type":"api_error"},"request_id":"req_1","type":"error"}"#,
        );
        check(
            Dialect::OpenAi,
            r#"{"error":{"code":"api_error","message":"it said \"no\"\nand left","param":null,"type":"api_error"}}"#,
        );
    }

    #[test]
    fn frames_are_read_as_errors_wherever_the_stream_broke() {
        let stream = "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n";
        for dialect in [Dialect::Anthropic, Dialect::OpenAi] {
            for end in 0..=stream.len() {
                let mut meter = Meter::stream();
                meter.observe(&stream.as_bytes()[..end]);
                let frame = event_frame(dialect, &error(), "req_1", meter.is_mid_event());
                meter.observe(&frame);
                assert!(!meter.is_mid_event());
                let Ended::Error(Failure { message, .. }) = meter.finish(0).ended else {
                    panic!("{dialect:?}, broken at {end}");
                };
                assert!(message.contains("it said"), "{message}");
            }
        }
    }

    #[test]
    fn dialects() {
        let check = |path, dialect| assert_eq!(Dialect::of_path(path), dialect, "{path}");
        check("/v1/messages", Dialect::Anthropic);
        check("/v1/chat/completions", Dialect::OpenAi);
        check("/anthropic/v1/v1/chat/completions/", Dialect::OpenAi);
        check("/v1/responses", Dialect::OpenAi);
        check("/v1/responses/resp_1", Dialect::OpenAi);
        check("/v1/responsesx", Dialect::Anthropic);
        check("/", Dialect::Anthropic);
    }
}
