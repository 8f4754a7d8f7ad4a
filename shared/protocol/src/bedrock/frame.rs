//! Decodes the binary frames of an AWS event stream as their bytes arrive, and encodes them.

use crate::sse::KEPT_BUFFER_BYTES;
use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use std::borrow::Cow;

/// The longest frame, 24 MiB (Amazon event stream encoding). Longer data is not a frame.
const FRAME_BYTES_MAX: usize = 24 << 20;

/// The bytes are not an event stream, or were damaged on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's event stream is damaged")]
pub struct FrameError;

/// The content of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// An event of the Messages API, as JSON.
    Event(Vec<u8>),
    /// The stream has ended with an exception. The values are its name and its JSON.
    Exception(String, Bytes),
    /// A frame that the relay does not need.
    Other,
}

#[derive(Debug, Default)]
pub(super) struct FrameDecoder {
    frames: MessageFrameDecoder,
    buffer: BytesMut,
    /// The largest size of the buffer since it was last freed.
    buffer_bytes: usize,
    is_mid: bool,
}

#[derive(Deserialize)]
struct PayloadPart<'a> {
    #[serde(borrow)]
    bytes: Cow<'a, str>,
}

impl FrameDecoder {
    /// Takes the next bytes and reports each frame that they complete.
    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        mut on_frame: impl FnMut(Frame),
    ) -> Result<(), FrameError> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.buffer.extend_from_slice(chunk);
        self.is_mid = true;
        self.buffer_bytes = self.buffer_bytes.max(self.buffer.capacity());
        let mut has_frame = false;
        while let DecodedFrame::Complete(message) =
            self.frames.decode_frame(&mut self.buffer).map_err(|_| FrameError)?
        {
            on_frame(Frame::from_message(&message)?);
            self.is_mid = !self.buffer.is_empty();
            has_frame = true;
        }
        if has_frame && self.buffer_bytes > KEPT_BUFFER_BYTES {
            self.buffer = BytesMut::from(&self.buffer[..]);
            self.buffer_bytes = self.buffer.capacity();
        }
        if self.buffer.len() > FRAME_BYTES_MAX { Err(FrameError) } else { Ok(()) }
    }

    /// The bytes of memory that the unfinished frame takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Whether the bytes so far end inside a frame.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.is_mid
    }
}

impl Frame {
    fn from_message(message: &Message) -> Result<Self, FrameError> {
        let header = |name: &str| {
            let header = message.headers().iter().find(|one| one.name().as_str() == name)?;
            header.value().as_string().ok().map(|text| text.as_str().to_owned())
        };
        let kind = header(":message-type").ok_or(FrameError)?;
        match kind.as_str() {
            "event" if header(":event-type").as_deref() == Some("chunk") => {
                let PayloadPart { bytes } =
                    serde_json::from_slice(message.payload()).map_err(|_| FrameError)?;
                BASE64_STANDARD.decode(bytes.as_bytes()).map(Self::Event).map_err(|_| FrameError)
            }
            "event" => Ok(Self::Other),
            "exception" => {
                let name = header(":exception-type").unwrap_or_default();
                Ok(Self::Exception(name, message.payload().clone()))
            }
            // An error that the service's model does not list. It is in the headers.
            _ => {
                let code = header(":error-code").unwrap_or_default();
                let arguments = serde_json::json!({"message": header(":error-message")});
                Ok(Self::Exception(code, arguments.to_string().into()))
            }
        }
    }
}

/// The frame of an event.
pub(super) fn encode_event_frame(json: &[u8]) -> Vec<u8> {
    let payload = serde_json::json!({"bytes": BASE64_STANDARD.encode(json)}).to_string();
    let header = |name: &'static str, value: &'static str| {
        Header::new(name, HeaderValue::String(value.into()))
    };
    let message = Message::new(payload)
        .add_header(header(":event-type", "chunk"))
        .add_header(header(":content-type", "application/json"))
        .add_header(header(":message-type", "event"));
    let mut frame = Vec::new();
    // This fails only for headers that are too long, which these are not.
    let _written = write_message_to(&message, &mut frame);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8], size: usize) -> Result<(Vec<Frame>, bool), FrameError> {
        let (mut decoder, mut frames) = (FrameDecoder::default(), Vec::new());
        for chunk in bytes.chunks(size) {
            decoder.push(chunk, |frame| frames.push(frame))?;
        }
        Ok((frames, decoder.is_mid_frame()))
    }

    #[test]
    fn long_frame_releases_its_memory() {
        let long = encode_event_frame(&vec![b'x'; 200_000]);
        let mut decoder = FrameDecoder::default();
        for _ in 0..3 {
            let (left, right) = long.split_at(150_000);
            decoder.push(left, |_| panic!("it is not over")).unwrap();
            assert!(decoder.held_bytes() >= 150_000);
            decoder.push(right, |_| {}).unwrap();
            assert!(decoder.held_bytes() <= KEPT_BUFFER_BYTES, "{}", decoder.held_bytes());
        }
    }

    #[test]
    fn flipped_bit_fails_the_checksum() {
        let good = encode_event_frame(br#"{"type":"ping"}"#);
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            match read(&bad, bad.len()) {
                Err(FrameError) => {}
                // The flipped bit announces a longer frame, which has not ended.
                Ok((frames, is_mid)) => {
                    assert!(frames.is_empty() && is_mid && index < 12, "{index}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn frames_decode_the_same_for_any_split(events in prop::collection::vec("\\PC{0,40}", 0..6), size in 1usize..200) {
            let bytes: Vec<u8> = events.iter().flat_map(|text| encode_event_frame(text.as_bytes())).collect();
            let expect: Vec<_> =
                events.iter().map(|text| Frame::Event(text.as_bytes().to_vec())).collect();
            prop_assert_eq!(read(&bytes, size), Ok((expect, false)));
            if !bytes.is_empty() {
                let (_, is_mid) = read(&bytes[..bytes.len() - 1], size).unwrap();
                prop_assert!(is_mid);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _either = read(&bytes, 7);
        }
    }
}
