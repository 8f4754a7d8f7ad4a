//! The frames in which Bedrock sends events (Bedrock API reference,
//! `InvokeModelWithResponseStream`, 2026-11).

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

/// One event as a frame.
pub(super) fn frame(event: &Value) -> Bytes {
    let header = |name: &'static str, value: &'static str| {
        Header::new(name, HeaderValue::String(value.into()))
    };
    let payload = json!({"bytes": BASE64_STANDARD.encode(event.to_string())});
    let message = Message::new(payload.to_string())
        .add_header(header(":event-type", "chunk"))
        .add_header(header(":content-type", "application/json"))
        .add_header(header(":message-type", "event"));
    let mut out = Vec::new();
    write_message_to(&message, &mut out).expect("a frame");
    out.into()
}
