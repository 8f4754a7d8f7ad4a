//! The metered body: passes an answer's bytes through the usage meter, after decompression where
//! needed.

use crate::body_transform::BodyTransform;
use crate::body_workers::{BodyWorkers, LONG_BYTES, READING, TRANSLATING};
use crate::response_source::{ResponseSource, SourceEvent};
use baton_domain::id::KeyId;
use baton_protocol::bedrock::EVENT_STREAM;
use baton_protocol::gzip::{GzipDecoder, GzipError};
use baton_protocol::meter::{AnswerStart, MeterReading, UsageMeter};
use baton_protocol::translate;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

/// The answer's bytes cannot be read as its headers describe them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UndecodableResponse(pub(crate) &'static str);

impl UndecodableResponse {
    const COMPRESSION: Self = Self("the upstream's compressed answer is damaged");
    pub(crate) const TOO_MUCH: Self =
        Self("the upstream's compressed answer is too large after decompression");
    pub(crate) const PROTOCOL: Self = Self("the upstream's answer does not follow its API");
    const FRAMES: Self = Self("the upstream's event stream is damaged");
}

/// The media type of server-sent events.
pub(crate) const SSE: &str = "text/event-stream";

/// How the bytes of an answer are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Identity,
    Gzip,
    /// A coding that the relay cannot read.
    Unreadable,
}

impl ContentCoding {
    /// Reads the header `content-encoding`. The names of codings are case-insensitive, and `x-gzip`
    /// is gzip (RFC 9110, sections 8.4.1 and 8.4.1.3).
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Self::Identity };
        match value.as_bytes().trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Self::Identity,
            b"gzip" | b"x-gzip" => Self::Gzip,
            _ => Self::Unreadable,
        }
    }
}

/// Returns whether an answer with these headers has the media type `kind`. Media types are
/// case-insensitive (RFC 9110, section 8.3.1).
pub(crate) fn has_media_type(headers: &HeaderMap, kind: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    value
        .and_then(|value| value.get(..kind.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(kind.as_bytes()))
}

/// The source of an answer, and the threads for its long parts.
pub(crate) type AnswerReader<'a> = (&'a mut ResponseSource, (&'a BodyWorkers, &'a KeyId));

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
        // The client's stream can be made of one body of the upstream.
        let is_one_body = matches!(transform, BodyTransform::TranslateIntoStream(..));
        let is_stream =
            !is_one_body && (has_media_type(headers, SSE) || has_media_type(headers, EVENT_STREAM));
        let coding = ContentCoding::from_headers(headers);
        let gzip = coding == ContentCoding::Gzip;
        let mut meter =
            if is_stream { UsageMeter::for_stream() } else { UsageMeter::for_whole_body() };
        if coding == ContentCoding::Unreadable {
            meter.mark_unreadable();
        }
        Self {
            meter,
            is_stream,
            gunzip: gzip.then(GzipDecoder::new),
            decodes_for_client: gzip && (!client_accepts_gzip || transform.changes_bytes()),
            transform,
            plain_bytes: 0,
            has_gap: false,
        }
    }

    /// Sets the number of choices that a Chat request asked for.
    pub(crate) fn expect_choices(&mut self, choices: u32) {
        self.meter.expect_choices(choices);
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
            BodyTransform::TranslateWhole(context, _)
            | BodyTransform::TranslateIntoStream(context, ..) => Some(&**context),
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

    /// Returns whether bytes of a whole answer have arrived, other than white space.
    pub(crate) fn has_answer_bytes(&self) -> bool {
        self.whole_body().is_none_or(|body| !body.trim_ascii_start().is_empty())
    }

    /// Returns whether an event that is not an error could not be translated. The client's stream
    /// has ended with an error then.
    pub(crate) fn has_untranslatable_event(&self) -> bool {
        self.transform.has_failed() && !self.meter.has_error()
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

    /// Takes the end of the compressed bytes and returns bytes for the client. A second call returns
    /// nothing.
    ///
    /// # Errors
    /// The compressed bytes are incomplete or damaged.
    pub(crate) fn observe_compression_end(&mut self) -> Result<Bytes, UndecodableResponse> {
        let Some(gunzip) = self.gunzip.take() else { return Ok(Bytes::new()) };
        let last = gunzip.finish().map_err(|_| UndecodableResponse::COMPRESSION)?;
        let transformed = self.transform_plain(last)?;
        Ok(if self.passes_unchanged() { Bytes::new() } else { transformed })
    }

    /// Takes the end of the answer and returns the remaining bytes for the client.
    ///
    /// # Errors
    /// The rest cannot be decompressed or translated.
    pub(crate) fn observe_end(&mut self) -> Result<Bytes, UndecodableResponse> {
        let last = self.observe_compression_end()?;
        let closing_bytes =
            self.transform.finish_transform().map_err(|_| UndecodableResponse::PROTOCOL)?;
        Ok(if self.passes_unchanged() {
            Bytes::new()
        } else {
            [last, closing_bytes].concat().into()
        })
    }

    fn passes_unchanged(&self) -> bool {
        !self.decodes_for_client && !self.transform.changes_bytes()
    }

    /// Reads the usage in a whole answer that has arrived completely.
    pub(crate) fn read_whole_body(&mut self) {
        self.meter.read_whole_body();
    }

    /// Returns the size of the job if `chunk` can complete an event that takes long to translate.
    /// All other chunks are observed at once.
    pub(crate) fn long_chunk(&self, chunk: &[u8]) -> Option<(usize, usize)> {
        let in_frames = self.transform.translated_frame_bytes()?;
        let bytes = in_frames + self.meter.held_bytes() + chunk.len();
        if self.gunzip.is_some() {
            // The length after decompression is not known yet.
            return Some((bytes.max(LONG_BYTES), TRANSLATING));
        }
        let is_long = bytes >= LONG_BYTES;
        // An event ends with a line, and a long one usually has only a few.
        let may_complete = |byte: &u8| self.transform.has_frames() || matches!(byte, b'\n' | b'\r');
        (is_long && chunk.iter().any(may_complete)).then_some((bytes, TRANSLATING))
    }

    /// Returns the size of the job if the end of the answer takes long to read or translate.
    pub(crate) fn long_end(&self) -> Option<(usize, usize)> {
        let translated = || {
            let in_frames = self.transform.translated_frame_bytes()?;
            Some(in_frames + self.meter.held_bytes())
        };
        let size = match (self.transform.whole_bytes(), self.meter.whole_body()) {
            (Some(bytes), _) => (bytes, TRANSLATING),
            (None, Some(body)) => (body.len(), READING),
            (None, None) => (translated()?, TRANSLATING),
        };
        (size.0 >= LONG_BYTES).then_some(size)
    }

    /// As [`Self::observe`], on another thread if the chunk completes an event that takes long to
    /// translate.
    ///
    /// # Errors
    /// As [`Self::run_on_workers`].
    pub(crate) async fn observe_on_workers(
        &mut self,
        reader: AnswerReader<'_>,
        chunk: Bytes,
    ) -> Result<Result<Bytes, UndecodableResponse>, SourceEvent> {
        let Some(size) = self.long_chunk(&chunk) else { return Ok(self.observe(chunk)) };
        let observe = move |body: &mut Self| body.observe(chunk);
        // Boxed, because the future is large and few chunks need it.
        Box::pin(self.run_on_workers(reader, size, observe)).await
    }

    /// Runs `work` on a long part of the answer on another thread. `source` bounds how long the
    /// work waits for its turn.
    ///
    /// # Errors
    /// Why the answer ends before the work.
    pub(crate) async fn run_on_workers<T: Send + 'static>(
        &mut self,
        (source, (workers, key)): AnswerReader<'_>,
        size: (usize, usize),
        work: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> Result<T, SourceEvent> {
        let place = source.wait_for(workers.acquire_place(key, size)).await?;
        let place = place.map_err(|_| SourceEvent::Aborted)?;
        let empty = Self {
            meter: UsageMeter::for_whole_body(),
            is_stream: self.is_stream,
            gunzip: None,
            transform: BodyTransform::PassThrough,
            plain_bytes: self.plain_bytes,
            has_gap: self.has_gap,
            decodes_for_client: self.decodes_for_client,
        };
        let mut body = std::mem::replace(self, empty);
        let work = move || {
            let result = work(&mut body);
            (body, result)
        };
        // The work cannot be cancelled. Without its result, the process is ending.
        let (body, result) = place.run(work).await.map_err(|_| SourceEvent::Aborted)?;
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
        matches!(
            self.transform,
            BodyTransform::TranslateWhole(..) | BodyTransform::TranslateIntoStream(..)
        )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body_transform::TranslatedEvents;
    use baton_domain::protocol::Framing;
    use baton_protocol::translate::{
        ClientProtocol, ProtocolPair, TranslationOptions, UpstreamProtocol,
    };
    use baton_runtime::upstream::UpstreamBody;
    use bytes::BytesMut;
    use futures_util::FutureExt as _;
    use std::sync::mpsc;
    use std::time::Duration;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    /// A body of an answer of Chat Completions that is translated into the Messages API.
    fn translated(is_stream: bool) -> MeteredBody {
        let pair = ProtocolPair::between(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat)
            .unwrap();
        let request = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}]}"#;
        let options = TranslationOptions::new("m", "req_1");
        let context = pair.translate_request(request, &options).unwrap().context;
        let (kind, transform) = if is_stream {
            let events = TranslatedEvents::new(
                context.stream_translator(),
                (Framing::ServerSentEvents, Framing::ServerSentEvents),
            );
            ("text/event-stream", BodyTransform::TranslateEvents(Box::new(events)))
        } else {
            let whole = BodyTransform::TranslateWhole(Box::new(context), BytesMut::new());
            ("application/json", whole)
        };
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
        MeteredBody::new(&headers, false, transform)
    }

    fn whole_answer(text_bytes: usize) -> Bytes {
        let text = "a".repeat(text_bytes);
        let answer = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"TEXT"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
        answer.replace("TEXT", &text).into()
    }

    fn event(text_bytes: usize) -> Bytes {
        let text = "a".repeat(text_bytes);
        let event = r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"TEXT"},"finish_reason":null}]}"#;
        format!("data: {}\n\n", event.replace("TEXT", &text)).into()
    }

    /// Keeps the lane of middle-sized bodies busy until the returned sender is used.
    async fn occupy(workers: &BodyWorkers) -> mpsc::Sender<()> {
        let (release, wait) = mpsc::channel::<()>();
        let key = KeyId::from_bits(2);
        let place = workers.acquire_place(&key, (LONG_BYTES, TRANSLATING)).await;
        let Ok(place) = place else { panic!("the lane is free") };
        tokio::spawn(async move {
            let wait = move || wait.recv();
            let done = place.run(wait).await;
            assert!(matches!(done, Ok(Ok(()))));
        });
        release
    }

    /// A source that has no more bytes and waits as long as needed.
    fn source() -> ResponseSource {
        let body = UpstreamBody::from(Bytes::new());
        let end = Instant::now() + Duration::from_secs(1000);
        ResponseSource::new(body, Duration::from_secs(1000), end, CancellationToken::new())
    }

    /// Runs `work` on `body` if it is long, else at once. Returns its result and whether it waited
    /// for `release`.
    async fn run<T: Send + 'static>(
        body: &mut MeteredBody,
        (workers, release): (&BodyWorkers, &mpsc::Sender<()>),
        size: Option<(usize, usize)>,
        work: impl FnOnce(&mut MeteredBody) -> T + Send + 'static,
    ) -> (T, bool) {
        let Some(size) = size else { return (work(body), false) };
        let (mut source, key) = (source(), KeyId::from_bits(1));
        let mut job = Box::pin(body.run_on_workers((&mut source, (workers, &key)), size, work));
        assert!(job.as_mut().now_or_never().is_none(), "the lane is busy");
        release.send(()).unwrap();
        let Ok(result) = job.await else { panic!("the process does not stop") };
        (result, true)
    }

    #[tokio::test]
    async fn only_long_answers_are_translated_on_the_workers() {
        let workers = BodyWorkers::with_cores(1);
        for (text_bytes, is_long) in [(1000, false), (LONG_BYTES, true)] {
            let release = occupy(&workers).await;
            let (mut body, mut same) = (translated(false), translated(false));
            for body in [&mut body, &mut same] {
                assert!(body.observe(whole_answer(text_bytes)).unwrap().is_empty());
            }
            let expected = same.observe_end().unwrap();
            assert!(expected.len() > text_bytes);
            let size = body.long_end();
            let end = MeteredBody::observe_end;
            let (result, waited) = run(&mut body, (&workers, &release), size, end).await;
            assert_eq!(waited, is_long, "{text_bytes} bytes");
            if !waited {
                release.send(()).unwrap();
            }
            assert_eq!(result.unwrap(), expected, "{text_bytes} bytes");
            let (reading, _) = body.finish(10);
            assert_eq!(reading, same.finish(10).0);
            assert_eq!(reading.usage.tokens.output, 2);
        }
    }

    #[tokio::test]
    async fn only_the_end_of_a_long_event_waits_for_the_workers() {
        let workers = BodyWorkers::with_cores(1);
        let release = occupy(&workers).await;
        let (mut body, mut same) = (translated(true), translated(true));
        let stream = [event(5), event(LONG_BYTES), event(7)].concat();
        let chunks: Vec<_> = stream.chunks(16 * 1024).map(Bytes::copy_from_slice).collect();
        let (mut received, mut expected) = (Vec::new(), Vec::new());
        let mut waits = 0;
        for chunk in chunks {
            expected.extend_from_slice(&same.observe(chunk.clone()).unwrap());
            let size = body.long_chunk(&chunk);
            let observe = move |body: &mut MeteredBody| body.observe(chunk);
            let (result, waited) = run(&mut body, (&workers, &release), size, observe).await;
            waits += usize::from(waited);
            received.extend_from_slice(&result.unwrap());
        }
        assert_eq!(waits, 1, "the chunk with the end of the long event");
        assert!(received == expected && received.len() > LONG_BYTES);
        assert!(body.long_chunk(&event(9)).is_none(), "later events are short again");
    }

    #[test]
    fn answers_that_are_not_translated_are_observed_at_once() {
        for (kind, end) in [
            ("text/event-stream", None),
            ("application/json", Some(READING)),
            ("Text/Event-Stream; charset=utf-8", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
            let mut body = MeteredBody::new(&headers, true, BodyTransform::PassThrough);
            let chunk = event(2 * LONG_BYTES);
            assert!(body.long_chunk(&chunk).is_none(), "{kind}");
            let given = body.observe(chunk.clone()).unwrap();
            assert_eq!(given.as_ptr(), chunk.as_ptr(), "the same bytes, not a copy");
            assert_eq!(body.long_end(), end.map(|copies| (chunk.len(), copies)), "{kind}");
        }
    }

    #[test]
    fn codings_are_compared_without_regard_to_case() {
        for (value, expected) in [
            (None, ContentCoding::Identity),
            (Some("Identity"), ContentCoding::Identity),
            (Some("gzip"), ContentCoding::Gzip),
            (Some("GZIP"), ContentCoding::Gzip),
            (Some(" x-gzip "), ContentCoding::Gzip),
            (Some("br"), ContentCoding::Unreadable),
            (Some("gzip, gzip"), ContentCoding::Unreadable),
        ] {
            let headers = value.map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value)));
            let headers = HeaderMap::from_iter(headers);
            assert_eq!(ContentCoding::from_headers(&headers), expected, "{value:?}");
        }
    }

    #[test]
    fn answers_in_unknown_codings_hide_their_usage() {
        for bytes in [b"\x1b\x02\x80".as_slice(), b"{\"a\":1}", b"<x"] {
            let headers = [(CONTENT_ENCODING, "br"), (CONTENT_TYPE, "application/json")];
            let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
            let headers = HeaderMap::from_iter(headers);
            let mut body = MeteredBody::new(&headers, true, BodyTransform::PassThrough);
            body.observe(Bytes::from_static(bytes)).unwrap();
            assert!(body.finish(10).0.hides_usage, "{bytes:?}");
        }
    }
}
