//! How an answer's bytes become the client's, and what the meter sees of them. Which turn an
//! answer takes is `speak`'s business.

use baton_wire::error::{Dialect, OwnError, event_frame};
use baton_wire::meter::Meter;
use baton_wire::translate::{self, NoAnswer};
use baton_wire::usage_chunk::WithoutUsage;
use bytes::{Bytes, BytesMut};

/// Says nothing, in any dialect.
const COMMENT: &[u8] = b": keep-alive\n\n";

/// What happens to an answer's bytes. The meter sees the upstream's.
pub(crate) enum Turn {
    /// They pass as they are.
    Same,
    /// The chunk that tells the usage is taken out.
    WithoutUsage(Box<WithoutUsage>),
    /// Events become the client's.
    Events(Box<translate::Stream>),
    /// The answer is told in the client's words, once it is whole.
    Whole(Box<translate::Asked>, BytesMut),
}

impl Turn {
    /// Takes the upstream's next bytes; what the client gets for them.
    pub(crate) fn take(&mut self, chunk: Bytes, meter: &mut Meter) -> Bytes {
        meter.observe(&chunk);
        match self {
            Self::Same => chunk,
            Self::WithoutUsage(filter) => filter.push(&chunk),
            Self::Events(stream) => {
                let mut events = Vec::new();
                stream.push(&chunk, &mut events);
                events.into()
            }
            Self::Whole(_, held) => {
                held.extend_from_slice(&chunk);
                Bytes::new()
            }
        }
    }

    /// What is left to be said at the end; nothing the second time.
    pub(crate) fn end(&mut self) -> Result<Bytes, NoAnswer> {
        match self {
            Self::WithoutUsage(filter) => Ok(filter.end()),
            Self::Events(stream) => {
                let mut events = Vec::new();
                stream.finish(&mut events);
                Ok(events.into())
            }
            Self::Whole(asked, held) if !held.is_empty() => {
                asked.response(&held.split()).map(Bytes::from)
            }
            Self::Same | Self::Whole(..) => Ok(Bytes::new()),
        }
    }

    /// Whether the client gets other bytes than the upstream sent.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::Same)
    }

    /// What the relay says while the upstream is silent: where comments of the upstream are not
    /// passed on, and may not be needed by it.
    pub(crate) fn sign_of_life(&self) -> Option<Bytes> {
        matches!(self, Self::Events(_)).then(|| Bytes::from_static(COMMENT))
    }

    /// Whether what the client has ends inside an event, where `is_mid_event` says it of what the
    /// upstream sent.
    pub(crate) fn is_mid_event(&self, is_mid_event: bool) -> bool {
        match self {
            Self::Same => is_mid_event,
            Self::WithoutUsage(filter) => filter.is_mid_event(),
            Self::Events(_) | Self::Whole(..) => false,
        }
    }

    /// Whether the client was told the stream's end, where `was_told` says it of what the upstream
    /// sent.
    pub(crate) fn was_told(&self, was_told: bool) -> bool {
        match self {
            Self::Events(stream) => stream.is_over(),
            Self::Same | Self::WithoutUsage(_) | Self::Whole(..) => was_told,
        }
    }

    /// An error of ours as the stream's end.
    pub(crate) fn fail(
        &mut self,
        dialect: Dialect,
        error: &OwnError,
        request_id: &str,
        is_mid_event: bool,
    ) -> Bytes {
        let Self::Events(stream) = self else {
            return event_frame(dialect, error, request_id, self.is_mid_event(is_mid_event));
        };
        let mut event = Vec::new();
        stream.fail(error.kind, &error.message, &mut event);
        event.into()
    }
}
