//! Changes an answer's bytes for the client, and passes the upstream's events to the usage meter.
//! `response_conversion` chooses the transform.

use crate::body_workers::{COPY_MEMORY_FACTOR, JobSize, LONG_BYTES, TRANSLATION_MEMORY_FACTOR};
use baton_domain::protocol::Framing;
use baton_protocol::bedrock::{FrameError, FramesToSse, PING, SseToFrames};
use baton_protocol::error::{ErrorBody, ErrorForm, encode_error_event};
use baton_protocol::meter::UsageMeter;
use baton_protocol::translate::{self, InvalidResponse};
use baton_protocol::usage_chunk::UsageChunkFilter;
use bytes::{Bytes, BytesMut};

/// A comment that clients of every protocol ignore.
const KEEP_ALIVE_COMMENT: &[u8] = b": keep-alive\n\n";

/// What happens to an answer's bytes on their way to the client.
pub(crate) enum BodyTransform {
    /// The bytes pass unchanged.
    PassThrough,
    /// Event-stream frames become server-sent events.
    IntoEvents(FramesToSse),
    /// Server-sent events become event-stream frames.
    IntoFrames(SseToFrames),
    /// Frames pass unchanged, and the meter gets the events in them.
    MeteredFrames(FramesToSse),
    /// A token count is converted when it is complete.
    TokenCount(fn(&[u8]) -> Option<Bytes>, BytesMut),
    /// The chunk that reports the usage is removed.
    RemoveUsage(Box<UsageChunkFilter>),
    /// Events are translated to another protocol.
    TranslateEvents(Box<TranslatedEvents>),
    /// The answer is translated to another protocol when it is complete. The meter collects it.
    TranslateWhole(Box<translate::ResponseContext>),
    /// As `TranslateWhole`, but the client asked for a stream: the translated answer is sent as
    /// events in the client's framing.
    TranslateIntoStream(Box<translate::ResponseContext>, Framing),
}

/// Converts the next bytes of frames into events. The meter gets the counts that only the frames
/// have.
fn push_frames(
    frames: &mut FramesToSse,
    chunk: &[u8],
    meter: &mut UsageMeter,
) -> Result<Bytes, FrameError> {
    let events = frames.push(chunk)?;
    if let Some(usage) = frames.metrics() {
        meter.set_separate_usage(usage);
    }
    Ok(events)
}

/// A translated event stream. The upstream or the client can use event-stream frames.
pub(crate) struct TranslatedEvents {
    deframer: Option<FramesToSse>,
    stream: translate::StreamTranslator,
    /// Events of the upstream that are metered, but not translated yet.
    untranslated: Bytes,
    frame: Option<SseToFrames>,
}

impl TranslatedEvents {
    /// Translates events with `stream`. The framings are those of the client and of the upstream.
    pub(crate) fn new(
        stream: translate::StreamTranslator,
        client_framing: Framing,
        upstream_framing: Framing,
    ) -> Self {
        let deframer = (upstream_framing == Framing::AwsEventStream).then(FramesToSse::default);
        let frame = (client_framing == Framing::AwsEventStream).then(SseToFrames::default);
        Self { deframer, stream, untranslated: Bytes::new(), frame }
    }

    fn transform_chunk(
        &mut self,
        chunk: Bytes,
        meter: &mut UsageMeter,
    ) -> Result<Bytes, FrameError> {
        let events = match &mut self.deframer {
            Some(frames) => push_frames(frames, &chunk, meter)?,
            None => chunk,
        };
        meter.observe(&events);
        // A step without new bytes must not copy the rest.
        if self.untranslated.is_empty() {
            self.untranslated = events;
        } else if !events.is_empty() {
            self.untranslated = [self.untranslated.as_ref(), &events].concat().into();
        }
        let mut translated = Vec::new();
        let rest = self.stream.push_step(&self.untranslated, &mut translated).len();
        let _taken = self.untranslated.split_to(self.untranslated.len() - rest);
        Ok(self.frame_events(translated))
    }

    /// Translates the rest after the last chunk.
    fn finish(&mut self) -> Bytes {
        let mut translated = Vec::new();
        self.stream.push(&std::mem::take(&mut self.untranslated), &mut translated);
        self.stream.finish(&mut translated);
        self.frame_events(translated)
    }

    /// Ends the client's stream with an error.
    fn fail(&mut self, error: &ErrorBody) -> Bytes {
        let mut translated = Vec::new();
        self.stream.fail(error.kind, &error.message, &mut translated);
        self.frame_events(translated)
    }

    /// Whether more can be translated without another chunk.
    fn has_pending(&self) -> bool {
        !self.untranslated.is_empty() || self.stream.has_pending()
    }

    fn held_bytes(&self) -> usize {
        let deframer = self.deframer.as_ref().map_or(0, FramesToSse::held_bytes);
        let frame = self.frame.as_ref().map_or(0, SseToFrames::held_bytes);
        deframer + self.stream.held_bytes() + self.untranslated.len() + frame
    }

    fn frame_events(&mut self, events: Vec<u8>) -> Bytes {
        match &mut self.frame {
            Some(frame) => frame.push(&events),
            None => events.into(),
        }
    }
}

impl BodyTransform {
    /// Takes the upstream's next bytes and returns the bytes for the client.
    ///
    /// # Errors
    /// The upstream's frames are damaged.
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
                let events = push_frames(frames, &chunk, meter)?;
                meter.observe(&events);
                Ok(events)
            }
            Self::IntoFrames(events) => {
                meter.observe(&chunk);
                Ok(events.push(&chunk))
            }
            Self::MeteredFrames(frames) => {
                let events = push_frames(frames, &chunk, meter)?;
                meter.observe(&events);
                Ok(chunk)
            }
            Self::RemoveUsage(filter) => {
                meter.observe(&chunk);
                Ok(filter.push(&chunk))
            }
            Self::TranslateEvents(events) => events.transform_chunk(chunk, meter),
            Self::TokenCount(_, withheld) => {
                withheld.extend_from_slice(&chunk);
                Ok(Bytes::new())
            }
            Self::TranslateWhole(_) | Self::TranslateIntoStream(..) => {
                meter.observe(&chunk);
                Ok(Bytes::new())
            }
        }
    }

    /// Takes the end of the answer and returns the remaining bytes for the client. `meter` has
    /// collected a whole answer. A second call returns nothing.
    ///
    /// # Errors
    /// The complete answer cannot be translated.
    pub(crate) fn finish_transform(
        &mut self,
        meter: &UsageMeter,
    ) -> Result<Bytes, InvalidResponse> {
        let whole = || meter.whole_body().filter(|body| !body.is_empty());
        Ok(match self {
            Self::TokenCount(recompute_length, withheld) => {
                let buffered = withheld.split().freeze();
                // A token count is short. A long answer cannot be one, so it passes unchanged.
                let is_short = buffered.len() < LONG_BYTES;
                is_short.then(|| recompute_length(&buffered)).flatten().unwrap_or(buffered)
            }
            Self::IntoFrames(events) => events.finish(),
            Self::RemoveUsage(filter) => filter.finish(),
            Self::TranslateEvents(events) => events.finish(),
            Self::TranslateWhole(context) => match whole() {
                Some(body) => context.translate_response(body)?.into(),
                None => Bytes::new(),
            },
            Self::TranslateIntoStream(context, framing) => match (whole(), framing) {
                (Some(body), Framing::ServerSentEvents) => {
                    context.translate_response_to_events(body)?.into()
                }
                (Some(body), Framing::AwsEventStream) => {
                    SseToFrames::default().push(&context.translate_response_to_events(body)?)
                }
                (None, _) => Bytes::new(),
            },
            Self::PassThrough | Self::IntoEvents(_) | Self::MeteredFrames(_) => Bytes::new(),
        })
    }

    /// Returns whether more bytes for the client can be written without another chunk.
    pub(crate) fn has_pending(&self) -> bool {
        matches!(self, Self::TranslateEvents(events) if events.has_pending())
    }

    /// Returns how many bytes of unfinished frames an event stream holds here, and how much memory
    /// the work on its events needs (see `body_workers`). Returns `None` if that work is short.
    pub(crate) fn event_work(&self) -> Option<JobSize> {
        match self {
            Self::TranslateEvents(events) => Some(JobSize::new(
                events.deframer.as_ref().map_or(0, FramesToSse::held_bytes),
                TRANSLATION_MEMORY_FACTOR,
            )),
            Self::IntoEvents(frames) | Self::MeteredFrames(frames) => {
                Some(JobSize::new(frames.held_bytes(), COPY_MEMORY_FACTOR))
            }
            Self::IntoFrames(_) => Some(JobSize::new(0, COPY_MEMORY_FACTOR)),
            _ => None,
        }
    }

    /// Returns whether the upstream sends frames that the relay opens.
    pub(crate) fn has_frames(&self) -> bool {
        match self {
            Self::TranslateEvents(events) => events.deframer.is_some(),
            Self::IntoEvents(_) | Self::MeteredFrames(_) => true,
            _ => false,
        }
    }

    /// Returns whether the upstream's frames are damaged, so that nothing more can be read.
    pub(crate) fn has_failed(&self) -> bool {
        match self {
            Self::TranslateEvents(events) => {
                events.deframer.as_ref().is_some_and(FramesToSse::has_failed)
            }
            Self::IntoEvents(frames) | Self::MeteredFrames(frames) => frames.has_failed(),
            _ => false,
        }
    }

    /// Returns the context of the translation of a whole answer.
    pub(crate) fn whole_translation(&self) -> Option<&translate::ResponseContext> {
        match self {
            Self::TranslateWhole(context) | Self::TranslateIntoStream(context, _) => Some(context),
            _ => None,
        }
    }

    /// Returns how many bytes an answer holds here, without those of the meter.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::IntoEvents(frames) | Self::MeteredFrames(frames) => frames.held_bytes(),
            Self::IntoFrames(events) => events.held_bytes(),
            Self::TranslateEvents(events) => events.held_bytes(),
            Self::TranslateWhole(context) | Self::TranslateIntoStream(context, _) => {
                context.held_bytes()
            }
            // The memory of whole answers is counted where they are buffered. A usage chunk is
            // short.
            Self::PassThrough | Self::RemoveUsage(_) | Self::TokenCount(..) => 0,
        }
    }

    /// Returns whether the client can get an event that the relay has not read completely.
    pub(crate) fn passes_unread(&self) -> bool {
        matches!(self, Self::PassThrough | Self::RemoveUsage(_))
    }

    /// Returns whether the client gets other bytes than the upstream sent.
    pub(crate) fn changes_bytes(&self) -> bool {
        !matches!(self, Self::PassThrough | Self::MeteredFrames(_))
    }

    /// Returns what the relay sends while the upstream is silent. It is needed if the upstream
    /// sends no keep-alives or if they are not passed on.
    pub(crate) fn keep_alive_bytes(&self) -> Option<Bytes> {
        match self {
            Self::IntoEvents(_) => Some(Bytes::from_static(PING)),
            Self::TranslateEvents(events) if events.frame.is_some() => Some(frame_event(PING)),
            Self::TranslateEvents(_) => Some(Bytes::from_static(KEEP_ALIVE_COMMENT)),
            _ => None,
        }
    }

    /// Returns whether the bytes that the client has end inside a frame of the upstream.
    pub(crate) fn is_mid_frame(&self) -> bool {
        matches!(self, Self::MeteredFrames(frames) if frames.is_mid_frame())
    }

    /// Returns whether the client has received the end of the stream. `has_ended` says whether the
    /// upstream sent it.
    pub(crate) fn client_has_end(&self, has_ended: bool) -> bool {
        match self {
            Self::TranslateEvents(events) => events.stream.is_over(),
            _ => has_ended,
        }
    }

    /// Returns whether an event of the upstream ended the client's translated stream with an error.
    pub(crate) fn has_untranslatable_event(&self) -> bool {
        matches!(self, Self::TranslateEvents(events) if events.stream.has_failed())
    }

    /// Returns an error event that ends the stream. `is_mid_event` says whether the upstream's
    /// bytes ended inside an event.
    pub(crate) fn write_error(
        &mut self,
        error_form: ErrorForm,
        error: &ErrorBody,
        request_id: &str,
        is_mid_event: bool,
    ) -> Bytes {
        let event = |is_mid_event| encode_error_event(error_form, error, request_id, is_mid_event);
        match self {
            Self::TranslateEvents(events) => events.fail(error),
            Self::IntoFrames(_) | Self::MeteredFrames(_) => frame_event(&event(false)),
            Self::PassThrough => event(is_mid_event),
            Self::RemoveUsage(filter) => event(filter.is_mid_event()),
            Self::IntoEvents(_)
            | Self::TokenCount(..)
            | Self::TranslateWhole(..)
            | Self::TranslateIntoStream(..) => event(false),
        }
    }
}

/// Encodes an event of the relay as a frame.
fn frame_event(event: &[u8]) -> Bytes {
    SseToFrames::default().push(event)
}
