//! How an answer's bytes become the client's, and what the meter sees of them: always what the
//! upstream said, as events. Which turn an answer takes is `hear`'s business.

use crate::request_conversion::BedrockFraming;
use baton_wire::bedrock::{FrameError, FramesToSse, PING, SseToFrames};
use baton_wire::error::{ApiFamily, ErrorBody, encode_error_event};
use baton_wire::meter::UsageMeter;
use baton_wire::translate::{self, InvalidResponse};
use baton_wire::usage_chunk::UsageChunkFilter;
use bytes::{Bytes, BytesMut};

/// Says nothing, in any dialect.
const COMMENT: &[u8] = b": keep-alive\n\n";

/// What happens to an answer's bytes.
pub(crate) enum BodyTransform {
    /// They pass as they are.
    PassThrough,
    /// Frames become events.
    IntoEvents(FramesToSse),
    /// Events become frames.
    IntoFrames(SseToFrames),
    /// Frames pass as they are; the meter sees their events.
    MeteredFrames(FramesToSse),
    /// A count is told in other words, once it is whole.
    TokenCount(fn(&[u8]) -> Option<Bytes>, BytesMut),
    /// The chunk that tells the usage is taken out.
    RemoveUsage(Box<UsageChunkFilter>),
    /// Events become those of another dialect.
    TranslateEvents(Box<TranslatedEvents>),
    /// The answer is told in another dialect, once it is whole.
    TranslateWhole(Box<translate::ResponseContext>, BytesMut),
}

/// A translated event stream, either side of it perhaps in frames.
pub(crate) struct TranslatedEvents {
    unframe: Option<FramesToSse>,
    stream: translate::StreamTranslator,
    frame: Option<SseToFrames>,
}

impl TranslatedEvents {
    pub(crate) fn new(stream: translate::StreamTranslator, form: BedrockFraming) -> Self {
        let unframe = (form == BedrockFraming::IntoBedrock).then(FramesToSse::default);
        let frame = (form == BedrockFraming::OutOfBedrock).then(SseToFrames::default);
        Self { unframe, stream, frame }
    }

    fn transform_chunk(
        &mut self,
        chunk: Bytes,
        meter: &mut UsageMeter,
    ) -> Result<Bytes, FrameError> {
        let chunk = match &mut self.unframe {
            Some(frames) => frames.push(&chunk)?,
            None => chunk,
        };
        meter.observe(&chunk);
        Ok(self.write_events(|stream, events| stream.push(&chunk, events)))
    }

    fn held_bytes(&self) -> usize {
        let unframe = self.unframe.as_ref().map_or(0, FramesToSse::held_bytes);
        unframe + self.stream.held_bytes() + self.frame.as_ref().map_or(0, SseToFrames::held_bytes)
    }

    fn write_events(
        &mut self,
        say: impl FnOnce(&mut translate::StreamTranslator, &mut Vec<u8>),
    ) -> Bytes {
        let mut events = Vec::new();
        say(&mut self.stream, &mut events);
        match &mut self.frame {
            Some(frame) => frame.push(&events),
            None => events.into(),
        }
    }
}

impl BodyTransform {
    /// Takes the upstream's next bytes; what the client gets for them.
    pub(crate) fn transform_chunk(
        &mut self,
        chunk: Bytes,
        meter: &mut UsageMeter,
    ) -> Result<Bytes, FrameError> {
        match self {
            Self::PassThrough => {
                meter.observe(&chunk);
                Ok(chunk)
            }
            Self::IntoEvents(frames) => {
                let events = frames.push(&chunk)?;
                meter.observe(&events);
                Ok(events)
            }
            Self::IntoFrames(events) => {
                meter.observe(&chunk);
                Ok(events.push(&chunk))
            }
            Self::MeteredFrames(frames) => {
                meter.observe(&frames.push(&chunk)?);
                Ok(chunk)
            }
            Self::RemoveUsage(filter) => {
                meter.observe(&chunk);
                Ok(filter.push(&chunk))
            }
            Self::TranslateEvents(events) => events.transform_chunk(chunk, meter),
            Self::TokenCount(_, held) => {
                held.extend_from_slice(&chunk);
                Ok(Bytes::new())
            }
            Self::TranslateWhole(_, held) => {
                meter.observe(&chunk);
                held.extend_from_slice(&chunk);
                Ok(Bytes::new())
            }
        }
    }

    /// What is left to be said at the end; nothing the second time.
    pub(crate) fn finish_transform(&mut self) -> Result<Bytes, InvalidResponse> {
        Ok(match self {
            Self::TokenCount(recount, held) => {
                let held = held.split().freeze();
                recount(&held).unwrap_or(held)
            }
            Self::IntoFrames(events) => events.finish(),
            Self::RemoveUsage(filter) => filter.finish(),
            Self::TranslateEvents(events) => events.write_events(|stream, events| {
                stream.finish(events);
            }),
            Self::TranslateWhole(asked, held) if !held.is_empty() => {
                asked.translate_response(&held.split())?.into()
            }
            Self::PassThrough
            | Self::IntoEvents(_)
            | Self::MeteredFrames(_)
            | Self::TranslateWhole(..) => Bytes::new(),
        })
    }

    /// How much memory a stream takes here, beside the meter.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::IntoEvents(frames) | Self::MeteredFrames(frames) => frames.held_bytes(),
            Self::IntoFrames(events) => events.held_bytes(),
            Self::TranslateEvents(events) => events.held_bytes(),
            // Whole answers are counted where they are gathered; a usage chunk is short.
            Self::PassThrough
            | Self::RemoveUsage(_)
            | Self::TokenCount(..)
            | Self::TranslateWhole(..) => 0,
        }
    }

    /// Whether the client gets an event also where nobody has looked at all of it.
    pub(crate) fn passes_unread(&self) -> bool {
        matches!(self, Self::PassThrough | Self::RemoveUsage(_))
    }

    /// Whether the client gets other bytes than the upstream sent.
    pub(crate) fn changes_bytes(&self) -> bool {
        !matches!(self, Self::PassThrough | Self::MeteredFrames(_))
    }

    /// What the relay says while the upstream is silent: where that has no sign of life of its
    /// own, or none that is passed on.
    pub(crate) fn keep_alive_bytes(&self) -> Option<Bytes> {
        match self {
            Self::IntoEvents(_) => Some(Bytes::from_static(PING)),
            Self::TranslateEvents(events) if events.frame.is_some() => Some(frame_event(PING)),
            Self::TranslateEvents(_) => Some(Bytes::from_static(COMMENT)),
            _ => None,
        }
    }

    /// Whether what the client has ends inside a frame that is not ours.
    pub(crate) fn is_mid_frame(&self) -> bool {
        matches!(self, Self::MeteredFrames(frames) if frames.is_mid_frame())
    }

    /// Whether the client was told the stream's end, where `was_told` says it of what the upstream
    /// sent.
    pub(crate) fn has_told_end(&self, was_told: bool) -> bool {
        match self {
            Self::TranslateEvents(events) => events.stream.is_over(),
            _ => was_told,
        }
    }

    /// An error of ours as the stream's end, where `is_mid_event` says that the upstream's bytes
    /// ended inside an event.
    pub(crate) fn write_error(
        &mut self,
        dialect: ApiFamily,
        error: &ErrorBody,
        request_id: &str,
        is_mid_event: bool,
    ) -> Bytes {
        let event = |is_mid_event| encode_error_event(dialect, error, request_id, is_mid_event);
        match self {
            Self::TranslateEvents(events) => {
                events.write_events(|stream, event| stream.fail(error.kind, &error.message, event))
            }
            Self::IntoFrames(_) | Self::MeteredFrames(_) => frame_event(&event(false)),
            Self::PassThrough => event(is_mid_event),
            Self::RemoveUsage(filter) => event(filter.is_mid_event()),
            Self::IntoEvents(_) | Self::TokenCount(..) | Self::TranslateWhole(..) => event(false),
        }
    }
}

/// An event of ours for a client that gets frames.
fn frame_event(event: &[u8]) -> Bytes {
    SseToFrames::default().push(event)
}
