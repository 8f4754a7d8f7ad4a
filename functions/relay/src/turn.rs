//! How an answer's bytes become the client's, and what the meter sees of them: always what the
//! upstream said, as events. Which turn an answer takes is `hear`'s business.

use crate::speak::Form;
use baton_wire::bedrock::{BadFrame, FromSse, PING, ToSse};
use baton_wire::error::{Dialect, OwnError, event_frame};
use baton_wire::meter::Meter;
use baton_wire::translate::{self, NoAnswer};
use baton_wire::usage_chunk::WithoutUsage;
use bytes::{Bytes, BytesMut};

/// Says nothing, in any dialect.
const COMMENT: &[u8] = b": keep-alive\n\n";

/// What happens to an answer's bytes.
pub(crate) enum Turn {
    /// They pass as they are.
    Same,
    /// Frames become events.
    IntoEvents(ToSse),
    /// Events become frames.
    IntoFrames(FromSse),
    /// Frames pass as they are; the meter sees their events.
    Overheard(ToSse),
    /// A count is told in other words, once it is whole.
    Count(fn(&[u8]) -> Option<Bytes>, BytesMut),
    /// The chunk that tells the usage is taken out.
    WithoutUsage(Box<WithoutUsage>),
    /// Events become those of another dialect.
    Events(Box<Events>),
    /// The answer is told in another dialect, once it is whole.
    Whole(Box<translate::Asked>, BytesMut),
}

/// A translated event stream, either side of it perhaps in frames.
pub(crate) struct Events {
    unframe: Option<ToSse>,
    stream: translate::Stream,
    frame: Option<FromSse>,
}

impl Events {
    pub(crate) fn new(stream: translate::Stream, form: Form) -> Self {
        let unframe = (form == Form::IntoBedrock).then(ToSse::default);
        let frame = (form == Form::OutOfBedrock).then(FromSse::default);
        Self { unframe, stream, frame }
    }

    fn take(&mut self, chunk: Bytes, meter: &mut Meter) -> Result<Bytes, BadFrame> {
        let chunk = match &mut self.unframe {
            Some(frames) => frames.push(&chunk)?,
            None => chunk,
        };
        meter.observe(&chunk);
        Ok(self.say(|stream, events| stream.push(&chunk, events)))
    }

    fn held_bytes(&self) -> usize {
        let unframe = self.unframe.as_ref().map_or(0, ToSse::held_bytes);
        unframe + self.stream.held_bytes() + self.frame.as_ref().map_or(0, FromSse::held_bytes)
    }

    fn say(&mut self, say: impl FnOnce(&mut translate::Stream, &mut Vec<u8>)) -> Bytes {
        let mut events = Vec::new();
        say(&mut self.stream, &mut events);
        match &mut self.frame {
            Some(frame) => frame.push(&events),
            None => events.into(),
        }
    }
}

impl Turn {
    /// Takes the upstream's next bytes; what the client gets for them.
    pub(crate) fn take(&mut self, chunk: Bytes, meter: &mut Meter) -> Result<Bytes, BadFrame> {
        match self {
            Self::Same => {
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
            Self::Overheard(frames) => {
                meter.observe(&frames.push(&chunk)?);
                Ok(chunk)
            }
            Self::WithoutUsage(filter) => {
                meter.observe(&chunk);
                Ok(filter.push(&chunk))
            }
            Self::Events(events) => events.take(chunk, meter),
            Self::Count(_, held) => {
                held.extend_from_slice(&chunk);
                Ok(Bytes::new())
            }
            Self::Whole(_, held) => {
                meter.observe(&chunk);
                held.extend_from_slice(&chunk);
                Ok(Bytes::new())
            }
        }
    }

    /// What is left to be said at the end; nothing the second time.
    pub(crate) fn end(&mut self) -> Result<Bytes, NoAnswer> {
        Ok(match self {
            Self::Count(recount, held) => {
                let held = held.split().freeze();
                recount(&held).unwrap_or(held)
            }
            Self::IntoFrames(events) => events.end(),
            Self::WithoutUsage(filter) => filter.end(),
            Self::Events(events) => events.say(|stream, events| {
                stream.finish(events);
            }),
            Self::Whole(asked, held) if !held.is_empty() => asked.response(&held.split())?.into(),
            Self::Same | Self::IntoEvents(_) | Self::Overheard(_) | Self::Whole(..) => Bytes::new(),
        })
    }

    /// How much memory a stream takes here, beside the meter.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::IntoEvents(frames) | Self::Overheard(frames) => frames.held_bytes(),
            Self::IntoFrames(events) => events.held_bytes(),
            Self::Events(events) => events.held_bytes(),
            // Whole answers are counted where they are gathered; a usage chunk is short.
            Self::Same | Self::WithoutUsage(_) | Self::Count(..) | Self::Whole(..) => 0,
        }
    }

    /// Whether the client gets an event also where nobody has looked at all of it.
    pub(crate) fn passes_unread(&self) -> bool {
        matches!(self, Self::Same | Self::WithoutUsage(_))
    }

    /// Whether the client gets other bytes than the upstream sent.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::Same | Self::Overheard(_))
    }

    /// What the relay says while the upstream is silent: where that has no sign of life of its
    /// own, or none that is passed on.
    pub(crate) fn sign_of_life(&self) -> Option<Bytes> {
        match self {
            Self::IntoEvents(_) => Some(Bytes::from_static(PING)),
            Self::Events(events) if events.frame.is_some() => Some(framed(PING)),
            Self::Events(_) => Some(Bytes::from_static(COMMENT)),
            _ => None,
        }
    }

    /// Whether what the client has ends inside a frame that is not ours.
    pub(crate) fn is_mid_frame(&self) -> bool {
        matches!(self, Self::Overheard(frames) if frames.is_mid_frame())
    }

    /// Whether the client was told the stream's end, where `was_told` says it of what the upstream
    /// sent.
    pub(crate) fn was_told(&self, was_told: bool) -> bool {
        match self {
            Self::Events(events) => events.stream.is_over(),
            _ => was_told,
        }
    }

    /// An error of ours as the stream's end, where `is_mid_event` says that the upstream's bytes
    /// ended inside an event.
    pub(crate) fn fail(
        &mut self,
        dialect: Dialect,
        error: &OwnError,
        request_id: &str,
        is_mid_event: bool,
    ) -> Bytes {
        let event = |is_mid_event| event_frame(dialect, error, request_id, is_mid_event);
        match self {
            Self::Events(events) => {
                events.say(|stream, event| stream.fail(error.kind, &error.message, event))
            }
            Self::IntoFrames(_) | Self::Overheard(_) => framed(&event(false)),
            Self::Same => event(is_mid_event),
            Self::WithoutUsage(filter) => event(filter.is_mid_event()),
            Self::IntoEvents(_) | Self::Count(..) | Self::Whole(..) => event(false),
        }
    }
}

/// An event of ours for a client that gets frames.
fn framed(event: &[u8]) -> Bytes {
    FromSse::default().push(event)
}
