//! The eye on an answer's bytes: the meter, behind whatever they are compressed with.

use baton_wire::encoding::{BadEncoding, Gunzip};
use baton_wire::meter::{First, Meter, Reading};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

/// Looks at an answer's bytes, decoding for itself (or for the client) where they are compressed.
pub(crate) struct Watch {
    meter: Meter,
    is_stream: bool,
    gunzip: Option<Gunzip>,
    /// The client cannot decode: it gets what we decoded.
    decodes_for_client: bool,
}

impl Watch {
    pub(crate) fn new(headers: &HeaderMap, client_accepts_gzip: bool) -> Self {
        let is = |name, text: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.starts_with(text))
        };
        let stream = is(CONTENT_TYPE, "text/event-stream");
        let gzip = is(CONTENT_ENCODING, "gzip");
        Self {
            meter: if stream { Meter::stream() } else { Meter::whole() },
            is_stream: stream,
            gunzip: gzip.then(Gunzip::new),
            decodes_for_client: gzip && !client_accepts_gzip,
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Whether the client gets other bytes than the upstream sent.
    pub(crate) fn decodes(&self) -> bool {
        self.decodes_for_client
    }

    /// Whether the answer can no longer begin with an error.
    pub(crate) fn begins_well(&self) -> bool {
        self.meter.begins_well()
    }

    /// What the first event was, once there is one.
    pub(crate) fn first(&self) -> &First {
        self.meter.first()
    }

    /// Takes a chunk from the upstream and returns what the client is to get for it.
    pub(crate) fn observe(&mut self, chunk: Bytes) -> Result<Bytes, BadEncoding> {
        let Some(gunzip) = &mut self.gunzip else {
            self.meter.observe(&chunk);
            return Ok(chunk);
        };
        let plain = gunzip.push(&chunk)?;
        self.meter.observe(&plain);
        Ok(if self.decodes_for_client { plain } else { chunk })
    }

    /// Takes the end of the answer and returns what was left to be decoded.
    pub(crate) fn observe_end(&mut self) -> Result<Bytes, BadEncoding> {
        let Some(gunzip) = self.gunzip.take() else { return Ok(Bytes::new()) };
        let plain = gunzip.finish()?;
        self.meter.observe(&plain);
        Ok(if self.decodes_for_client { plain } else { Bytes::new() })
    }

    /// Whether the upstream has said that it is done.
    pub(crate) fn is_complete(&self) -> bool {
        self.meter.is_complete()
    }

    /// Whether the bytes so far end inside an event.
    pub(crate) fn is_mid_event(&self) -> bool {
        self.meter.is_mid_event()
    }

    /// What the answer has shown; see [`Meter::finish`].
    pub(crate) fn finish(self, request_bytes: u64) -> Reading {
        self.meter.finish(request_bytes)
    }

    /// Whether an event of ours can be added: not into a compressed stream.
    pub(crate) fn can_be_told(&self) -> bool {
        self.is_stream && (self.gunzip.is_none() || self.decodes_for_client)
    }
}
