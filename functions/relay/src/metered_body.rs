//! The metered body: passes an answer's bytes through the usage meter, after decompression where
//! needed.

use crate::body_transform::BodyTransform;
use crate::body_workers::{
    BodyWorkers, JobSize, LONG_BYTES, READ_MEMORY_FACTOR, TRANSLATION_MEMORY_FACTOR,
};
use crate::content_coding::ContentCoding;
use crate::output_clock::OutputClock;
use crate::response_source::{ResponseSource, SourceEvent};
use baton_domain::id::KeyId;
use baton_protocol::bedrock::EVENT_STREAM;
use baton_protocol::gzip::{GzipDecoder, GzipError, STEP_PLAIN_BYTES};
use baton_protocol::meter::{AnswerStart, MeterReading, SeparateUsage, UsageMeter};
use baton_protocol::translate;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use std::time::Duration;
use tokio::time::Instant;

/// The answer's bytes cannot be read as its headers describe them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UndecodableResponse(pub(crate) &'static str);

impl UndecodableResponse {
    const COMPRESSION: Self = Self("the upstream's compressed answer is damaged");
    pub(crate) const TOO_MUCH: Self =
        Self("the upstream's compressed answer is too large after decompression");
    pub(crate) const PROTOCOL: Self = Self("the upstream's answer does not follow its API");
    const FRAMES: Self = Self("the upstream's event stream is damaged");
    pub(crate) const CODING: Self =
        Self("its `content-encoding` is one that Baton did not ask for and cannot read");
}

/// The media type of server-sent events.
pub(crate) const SSE: &str = "text/event-stream";

/// Returns whether an answer with these headers has the media type `kind`. Media types are
/// case-insensitive (RFC 9110, section 8.3.1).
pub(crate) fn has_media_type(headers: &HeaderMap, kind: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    value
        .and_then(|value| value.get(..kind.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(kind.as_bytes()))
}

/// The source of an answer, and the threads for its long parts.
pub(crate) struct ResponseReader<'a> {
    pub(crate) source: &'a mut ResponseSource,
    pub(crate) workers: &'a BodyWorkers,
    /// The key of the request.
    pub(crate) key: &'a KeyId,
}

/// Reads an answer's bytes for the usage meter and transforms them for the client.
///
/// The bytes are read in steps, because a few of them can decompress to very many events. The caller
/// adds a chunk of the upstream and takes the steps while there are any.
pub(crate) struct MeteredBody {
    meter: UsageMeter,
    is_stream: bool,
    /// The bytes of the last chunk that have not been read yet.
    pending: Bytes,
    gunzip: Option<GzipDecoder>,
    decoding: Decoding,
    transform: BodyTransform,
    /// The number of bytes so far, after decompression.
    plain_bytes: usize,
    /// Bytes for the client were lost, so nothing can be appended.
    has_gap: bool,
    output_clock: OutputClock,
}

/// What the relay decompresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decoding {
    /// The answer is not compressed.
    None,
    /// The meter gets decompressed bytes, and the client gets the compressed ones.
    ForMeter,
    /// The client gets decompressed bytes too, because it does not accept gzip or because the bytes
    /// are changed.
    ForClient,
    /// The relay cannot read the answer's coding, so the client gets the bytes as they are.
    Impossible,
}

/// Bytes of an answer that are read together.
struct DecodedStep {
    plain: Bytes,
    /// The bytes before decompression.
    raw: Bytes,
}

impl MeteredBody {
    /// Reads an answer with these headers that begins with `start`. The caller adds these bytes too.
    pub(crate) fn new(
        headers: &HeaderMap,
        start: &[u8],
        client_accepts_gzip: bool,
        transform: BodyTransform,
    ) -> Self {
        // The client's stream can be made of one body of the upstream.
        let is_one_body = matches!(transform, BodyTransform::TranslateIntoStream(..));
        let is_stream =
            !is_one_body && (has_media_type(headers, SSE) || has_media_type(headers, EVENT_STREAM));
        let coding = ContentCoding::of_answer(headers, start);
        // The client knows of no other coding than the header's.
        let is_declared = coding == ContentCoding::from_headers(headers);
        let can_pass_gzip = is_declared && client_accepts_gzip && !transform.changes_bytes();
        let decoding = match coding {
            ContentCoding::Identity => Decoding::None,
            ContentCoding::Gzip if can_pass_gzip => Decoding::ForMeter,
            ContentCoding::Gzip => Decoding::ForClient,
            ContentCoding::Unreadable => Decoding::Impossible,
        };
        let is_unread = decoding == Decoding::Impossible;
        let mut meter = match (is_stream, is_unread) {
            (true, true) => UsageMeter::for_unread_stream(),
            (true, false) => UsageMeter::for_stream(),
            (false, _) => UsageMeter::for_whole_body(),
        };
        if is_unread {
            meter.mark_unreadable();
        }
        meter.set_separate_usage(SeparateUsage::from_headers(headers));
        let transform = match transform {
            // Frames cannot be found in the bytes.
            BodyTransform::MeteredFrames(_) if is_unread => BodyTransform::PassThrough,
            transform => transform,
        };
        let is_gzip = matches!(decoding, Decoding::ForMeter | Decoding::ForClient);
        Self {
            meter,
            is_stream,
            pending: Bytes::new(),
            gunzip: is_gzip.then(GzipDecoder::new),
            decoding,
            transform,
            plain_bytes: 0,
            has_gap: false,
            output_clock: OutputClock::default(),
        }
    }

    /// Returns how long the upstream has sent no output of its model since it was called at
    /// `called_at`.
    pub(crate) fn silence_since(&self, called_at: Instant) -> Duration {
        self.output_clock.silence_since(called_at)
    }

    /// Does not count the last `time` as the upstream's silence.
    pub(crate) fn leave_out(&mut self, time: Duration) {
        self.output_clock.leave_out(time);
    }

    /// Begins to read what has arrived.
    pub(crate) fn begin_read(&mut self) {
        self.output_clock.begin_read();
    }

    /// Ends reading until the client has taken the bytes.
    pub(crate) fn end_read(&mut self) {
        self.output_clock.end_read();
    }

    /// Returns whether bytes of the upstream have waited for long because the client did not read.
    pub(crate) fn was_left_unread(&self) -> bool {
        self.output_clock.was_left_unread()
    }

    /// Sets the number of choices that a Chat request asked for.
    pub(crate) fn expect_choices(&mut self, choices: u32) {
        self.meter.expect_choices(choices);
    }

    /// Returns the number of bytes so far, after decompression.
    pub(crate) fn plain_bytes(&self) -> usize {
        self.plain_bytes
    }

    /// Returns how many bytes are held here: those that are not read yet, and those in the meter
    /// and the transform.
    pub(crate) fn held_bytes(&self) -> usize {
        let whole = self.whole_body().map_or(0, <[u8]>::len);
        self.pending.len() + self.meter.held_bytes() + self.transform.held_bytes() + whole
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

    /// Returns whether the relay cannot read the coding of the answer.
    pub(crate) fn is_unread(&self) -> bool {
        self.decoding == Decoding::Impossible
    }

    /// Returns whether the client gets bytes in the coding that the upstream's header names.
    pub(crate) fn keeps_coding(&self) -> bool {
        matches!(self.decoding, Decoding::ForMeter | Decoding::Impossible)
    }

    /// Returns whether the relay writes the bytes that the client gets.
    pub(crate) fn writes_bytes(&self) -> bool {
        self.decoding == Decoding::ForClient || self.transform.changes_bytes()
    }

    /// Returns whether it is certain that the answer does not begin with an error.
    pub(crate) fn has_good_start(&self) -> bool {
        self.meter.has_good_start()
    }

    /// Returns whether events have arrived, but none with output of the model.
    pub(crate) fn has_only_begun(&self) -> bool {
        self.meter.has_only_begun()
    }

    /// Returns the body if the whole answer is an error, whatever its status.
    pub(crate) fn whole_error(&self) -> Option<Bytes> {
        self.meter.whole_error().map(Bytes::copy_from_slice)
    }

    /// Returns the context of the translation of a whole answer.
    pub(crate) fn whole_translation(&self) -> Option<&translate::ResponseContext> {
        self.transform.whole_translation()
    }

    /// Returns the whole answer without its compression. Returns `None` for a stream, or if the
    /// answer is too long.
    pub(crate) fn whole_body(&self) -> Option<&[u8]> {
        match &self.transform {
            BodyTransform::TokenCount(_, held) => Some(held),
            _ => self.meter.whole_body(),
        }
    }

    /// Returns whether bytes of a whole answer have arrived, other than white space.
    pub(crate) fn has_answer_bytes(&self) -> bool {
        self.whole_body().is_none_or(|body| !body.trim_ascii_start().is_empty())
    }

    /// Returns whether an event that is not an error could not be translated. The client's stream
    /// has ended with an error then.
    pub(crate) fn has_untranslatable_event(&self) -> bool {
        self.transform.has_untranslatable_event() && !self.meter.has_error()
    }

    /// Returns what the first event was, if it has arrived.
    pub(crate) fn first_event(&self) -> &AnswerStart {
        self.meter.first_event()
    }

    /// Adds a chunk of the upstream, after the last one was read.
    pub(crate) fn add_chunk(&mut self, chunk: Bytes) {
        self.pending = chunk;
    }

    /// Returns whether bytes, or a fault behind the last ones, are still to be read, or events for
    /// the client to be written.
    pub(crate) fn has_pending(&self) -> bool {
        let has_failed = self.gunzip.as_ref().is_some_and(GzipDecoder::has_failed);
        has_failed
            || self.transform.has_failed()
            || self.transform.has_pending()
            || !self.pending.is_empty()
    }

    /// Reads the next bytes of the chunk and returns those for the client. This runs on another
    /// thread if they complete an event that takes long to translate or to frame. If more bytes
    /// follow, other tasks get a turn first.
    ///
    /// # Errors
    /// As [`Self::run_on_workers`]. In the result: the bytes cannot be decompressed, or their frames
    /// are damaged.
    pub(crate) async fn read_step(
        &mut self,
        reader: &mut ResponseReader<'_>,
    ) -> Result<Result<Bytes, UndecodableResponse>, SourceEvent> {
        let step = match self.decode_step() {
            Ok(step) => step,
            Err(fault) => return Ok(Err(fault)),
        };
        let result = match self.long_step(&step.plain) {
            None => self.transform_step(step),
            Some(size) => {
                let transform = move |body: &mut Self| body.transform_step(step);
                // Boxed, because the future is large and few chunks need it.
                Box::pin(self.run_on_workers(reader, size, transform)).await?
            }
        };
        if self.has_pending() {
            tokio::task::yield_now().await;
        }
        Ok(result)
    }

    fn decode_step(&mut self) -> Result<DecodedStep, UndecodableResponse> {
        if self.transform.has_failed() {
            return Err(UndecodableResponse::FRAMES);
        }
        if self.transform.has_pending() {
            return Ok(DecodedStep { plain: Bytes::new(), raw: Bytes::new() });
        }
        let Some(gunzip) = &mut self.gunzip else {
            let plain = self.pending.split_to(self.pending.len().min(STEP_PLAIN_BYTES));
            return Ok(DecodedStep { raw: plain.clone(), plain });
        };
        let mut raw = self.pending.clone();
        let plain = gunzip.decode_step(&mut self.pending).map_err(|error| match error {
            GzipError::TooMuch => UndecodableResponse::TOO_MUCH,
            GzipError::Damaged | GzipError::Truncated => UndecodableResponse::COMPRESSION,
        })?;
        raw.truncate(raw.len() - self.pending.len());
        Ok(DecodedStep { plain, raw })
    }

    fn transform_step(
        &mut self,
        DecodedStep { plain, raw }: DecodedStep,
    ) -> Result<Bytes, UndecodableResponse> {
        if self.meter_holds_clients_bytes() {
            self.plain_bytes = self.plain_bytes.saturating_add(plain.len());
            let overlong = self.meter.take_overlong_body(plain.len());
            self.meter.observe(&plain);
            return Ok(match overlong {
                Some(start) => [start.as_slice(), &plain].concat().into(),
                None => Bytes::new(),
            });
        }
        let transformed = self.transform_plain(plain)?;
        self.output_clock.note_output(self.meter.output_chars());
        Ok(if self.decoding == Decoding::ForMeter { raw } else { transformed })
    }

    /// Returns whether the client gets the whole answer that the meter collects, so that it is held
    /// once.
    fn meter_holds_clients_bytes(&self) -> bool {
        !self.is_stream
            && self.decoding != Decoding::ForMeter
            && matches!(self.transform, BodyTransform::PassThrough)
            && self.meter.whole_body().is_some()
    }

    /// Takes the end of the compressed bytes and returns bytes for the client. A second call returns
    /// nothing.
    ///
    /// # Errors
    /// The compressed bytes are incomplete or damaged.
    pub(crate) fn observe_compression_end(&mut self) -> Result<Bytes, UndecodableResponse> {
        let Some(gunzip) = self.gunzip.take() else { return Ok(Bytes::new()) };
        let plain = gunzip.finish().map_err(|_| UndecodableResponse::COMPRESSION)?;
        self.transform_step(DecodedStep { raw: Bytes::new(), plain })
    }

    /// Takes the end of the answer and returns the remaining bytes for the client.
    ///
    /// # Errors
    /// The rest cannot be decompressed or translated.
    pub(crate) fn observe_end(&mut self) -> Result<Bytes, UndecodableResponse> {
        let last = self.observe_compression_end()?;
        let closing_bytes = self
            .transform
            .finish_transform(&self.meter)
            .map_err(|_| UndecodableResponse::PROTOCOL)?;
        Ok(if self.writes_bytes() { [last, closing_bytes].concat().into() } else { Bytes::new() })
    }

    /// Reads the usage in a whole answer that has arrived completely. Returns the bytes for the
    /// client that only the meter holds.
    pub(crate) fn read_whole_body(&mut self) -> Bytes {
        let is_clients = self.meter_holds_clients_bytes();
        let body = self.meter.read_whole_body();
        if is_clients { body.into() } else { Bytes::new() }
    }

    /// Returns the size of the job if `plain` can complete an event that takes long to translate or
    /// to frame. All other bytes are read at once.
    fn long_step(&self, plain: &[u8]) -> Option<JobSize> {
        let JobSize { bytes: in_frames, memory_factor } = self.transform.event_work()?;
        let bytes = in_frames + self.meter.held_bytes() + plain.len();
        // An event ends with a line, and a long one usually has only a few.
        let may_complete = |byte: &u8| self.transform.has_frames() || matches!(byte, b'\n' | b'\r');
        (bytes >= LONG_BYTES && plain.iter().any(may_complete))
            .then(|| JobSize::new(bytes, memory_factor))
    }

    /// Returns the size of the job if the end of the answer takes long to read or translate.
    pub(crate) fn long_end(&self) -> Option<JobSize> {
        let size = match (self.is_buffered(), self.meter.whole_body()) {
            (true, Some(body)) => JobSize::new(body.len(), TRANSLATION_MEMORY_FACTOR),
            (false, Some(body)) => JobSize::new(body.len(), READ_MEMORY_FACTOR),
            (_, None) => {
                let JobSize { bytes: in_frames, memory_factor } = self.transform.event_work()?;
                JobSize::new(in_frames + self.meter.held_bytes(), memory_factor)
            }
        };
        (size.bytes >= LONG_BYTES).then_some(size)
    }

    /// Runs `work` on a long part of the answer on another thread. The source of `reader` bounds
    /// how long the work waits for its turn.
    ///
    /// # Errors
    /// Why the answer ends before the work.
    pub(crate) async fn run_on_workers<T: Send + 'static>(
        &mut self,
        reader: &mut ResponseReader<'_>,
        size: JobSize,
        work: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> Result<T, SourceEvent> {
        let (acquired, since) = (reader.workers.acquire_permits(reader.key, size), Instant::now());
        let permits = reader.source.wait_for(acquired).await;
        self.leave_out(since.elapsed());
        let permits = permits?;
        let permits = permits.map_err(|_| SourceEvent::Aborted)?;
        let empty = Self {
            meter: UsageMeter::for_whole_body(),
            pending: Bytes::new(),
            gunzip: None,
            transform: BodyTransform::PassThrough,
            ..*self
        };
        let mut body = std::mem::replace(self, empty);
        let work = move || {
            let result = work(&mut body);
            (body, result)
        };
        // The work cannot be cancelled. Without its result, the process is ending.
        let (body, result) = permits.run(work).await.map_err(|_| SourceEvent::Aborted)?;
        *self = body;
        Ok(result)
    }

    fn transform_plain(&mut self, plain: Bytes) -> Result<Bytes, UndecodableResponse> {
        self.plain_bytes = self.plain_bytes.saturating_add(plain.len());
        self.transform
            .transform_chunk(plain, &mut self.meter)
            .map_err(|_| UndecodableResponse::FRAMES)
    }

    /// Returns whether the client gets nothing before the answer is complete.
    pub(crate) fn is_buffered(&self) -> bool {
        self.whole_translation().is_some()
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
        let is_plain = matches!(self.decoding, Decoding::None | Decoding::ForClient);
        self.is_stream && is_plain && !self.has_gap && !self.transform.is_mid_frame()
    }
}

#[cfg(test)]
mod tests;
