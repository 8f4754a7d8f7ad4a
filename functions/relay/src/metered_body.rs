//! The metered body: passes an answer's bytes through the usage meter, after decompression where
//! needed.

use crate::body_transform::BodyTransform;
use baton_protocol::bedrock::EVENT_STREAM;
use baton_protocol::gzip::{GzipDecoder, GzipError};
use baton_protocol::meter::{AnswerStart, MeterReading, UsageMeter};
use baton_protocol::translate;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

/// The answer's bytes cannot be read as its headers describe them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UndecodableResponse(pub(crate) &'static str);

impl UndecodableResponse {
    const COMPRESSION: Self = Self("the upstream's compressed answer is damaged");
    pub(crate) const TOO_MUCH: Self =
        Self("the upstream's compressed answer is too large after decompression");
    const DIALECT: Self = Self("the upstream's answer does not follow its API");
    const FRAMES: Self = Self("the upstream's event stream is damaged");
}

/// Reads an answer's bytes for the usage meter and transforms them for the client.
pub(crate) struct MeteredBody {
    meter: UsageMeter,
    is_stream: bool,
    gunzip: Option<GzipDecoder>,
    transform: BodyTransform,
    /// The number of bytes so far, after decompression.
    plain_bytes: usize,
    /// Bytes for the client were lost, so nothing can be appended.
    has_gap: bool,
    /// The client gets decompressed bytes, because it does not accept gzip or because the bytes are
    /// changed.
    decodes_for_client: bool,
}

impl MeteredBody {
    pub(crate) fn new(
        headers: &HeaderMap,
        client_accepts_gzip: bool,
        transform: BodyTransform,
    ) -> Self {
        let is = |name, text: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.starts_with(text))
        };
        let stream = is(CONTENT_TYPE, "text/event-stream") || is(CONTENT_TYPE, EVENT_STREAM);
        let gzip = is(CONTENT_ENCODING, "gzip");
        Self {
            meter: if stream { UsageMeter::for_stream() } else { UsageMeter::for_whole_body() },
            is_stream: stream,
            gunzip: gzip.then(GzipDecoder::new),
            decodes_for_client: gzip && (!client_accepts_gzip || transform.changes_bytes()),
            transform,
            plain_bytes: 0,
            has_gap: false,
        }
    }

    /// Returns the number of bytes so far, after decompression.
    pub(crate) fn plain_bytes(&self) -> usize {
        self.plain_bytes
    }

    /// Returns how many bytes a stream holds in the meter and the transform.
    pub(crate) fn held_bytes(&self) -> usize {
        self.meter.held_bytes() + self.transform.held_bytes()
    }

    /// Stops reading the current event if the client can get it unread. Returns whether it can.
    pub(crate) fn pass_event_unread(&mut self) -> bool {
        let passes_unread = self.transform.passes_unread();
        if passes_unread {
            self.meter.drop_event();
        }
        passes_unread
    }

    /// Records that bytes for the client were lost.
    pub(crate) fn note_gap(&mut self) {
        self.has_gap = true;
    }

    /// Returns whether bytes for the client were lost.
    pub(crate) fn has_gap(&self) -> bool {
        self.has_gap
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Returns whether the client gets decompressed bytes.
    pub(crate) fn decodes_for_client(&self) -> bool {
        self.decodes_for_client
    }

    /// Returns whether it is certain that the answer does not begin with an error.
    pub(crate) fn has_good_start(&self) -> bool {
        self.meter.has_good_start()
    }

    /// Returns whether events have arrived, but none with output of the model.
    pub(crate) fn has_only_begun(&self) -> bool {
        self.meter.has_only_begun()
    }

    /// Returns the body if the whole answer is an error, whatever its status. The second part
    /// translates the error if the client speaks another protocol.
    pub(crate) fn whole_error(&self) -> Option<(Bytes, Option<&translate::ResponseContext>)> {
        let body = Bytes::copy_from_slice(self.meter.whole_error()?);
        let context = match &self.transform {
            BodyTransform::TranslateWhole(context, _) => Some(&**context),
            _ => None,
        };
        Some((body, context))
    }

    /// Returns the whole answer without its compression. Returns `None` for a stream, or if the
    /// answer is too long.
    pub(crate) fn whole_body(&self) -> Option<&[u8]> {
        match &self.transform {
            BodyTransform::TokenCount(_, held) => Some(held),
            _ => self.meter.whole_body(),
        }
    }

    /// Returns what the first event was, if it has arrived.
    pub(crate) fn first_event(&self) -> &AnswerStart {
        self.meter.first_event()
    }

    /// Takes a chunk from the upstream and returns the bytes for the client.
    ///
    /// # Errors
    /// The bytes cannot be decompressed, or their frames are damaged.
    pub(crate) fn observe(&mut self, chunk: Bytes) -> Result<Bytes, UndecodableResponse> {
        let Some(gunzip) = &mut self.gunzip else { return self.transform_plain(chunk) };
        let plain = gunzip.push(&chunk).map_err(|error| match error {
            GzipError::TooMuch => UndecodableResponse::TOO_MUCH,
            GzipError::Damaged | GzipError::Truncated => UndecodableResponse::COMPRESSION,
        })?;
        let transformed = self.transform_plain(plain)?;
        Ok(if self.decodes_for_client { transformed } else { chunk })
    }

    /// Takes the end of the answer and returns the remaining bytes for the client.
    ///
    /// # Errors
    /// The rest cannot be decompressed or translated.
    pub(crate) fn observe_end(&mut self) -> Result<Bytes, UndecodableResponse> {
        let last = match self.gunzip.take() {
            Some(gunzip) => gunzip.finish().map_err(|_| UndecodableResponse::COMPRESSION)?,
            None => Bytes::new(),
        };
        let transformed = self.transform_plain(last)?;
        let closing_bytes =
            self.transform.finish_transform().map_err(|_| UndecodableResponse::DIALECT)?;
        let passes_unchanged = !self.decodes_for_client && !self.transform.changes_bytes();
        Ok(if passes_unchanged {
            Bytes::new()
        } else {
            [transformed, closing_bytes].concat().into()
        })
    }

    fn transform_plain(&mut self, plain: Bytes) -> Result<Bytes, UndecodableResponse> {
        self.plain_bytes = self.plain_bytes.saturating_add(plain.len());
        self.transform
            .transform_chunk(plain, &mut self.meter)
            .map_err(|_| UndecodableResponse::FRAMES)
    }

    /// Returns whether the client gets nothing before the answer is complete.
    pub(crate) fn is_buffered(&self) -> bool {
        matches!(self.transform, BodyTransform::TranslateWhole(..))
    }

    /// Returns what the client gets while the upstream is silent.
    pub(crate) fn keep_alive_bytes(&self) -> Option<Bytes> {
        self.transform.keep_alive_bytes()
    }

    /// Returns whether the upstream has sent the end of the answer.
    pub(crate) fn is_complete(&self) -> bool {
        self.meter.is_complete()
    }

    /// Returns whether the upstream's bytes so far end inside an event.
    pub(crate) fn is_mid_event(&self) -> bool {
        self.meter.is_mid_event()
    }

    /// Returns the meter's result (see [`UsageMeter::finish`]) and the transform, which can still
    /// write an error event.
    pub(crate) fn finish(self, request_bytes: u64) -> (MeterReading, BodyTransform) {
        (self.meter.finish(request_bytes), self.transform)
    }

    /// Returns whether an error event can be appended. It cannot follow compressed bytes or half a
    /// frame.
    pub(crate) fn can_append_event(&self) -> bool {
        let is_plain = self.gunzip.is_none() || self.decodes_for_client;
        self.is_stream && is_plain && !self.has_gap && !self.transform.is_mid_frame()
    }
}
