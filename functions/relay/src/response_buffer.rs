//! The response buffer: reads an answer until it is clear that it is not an error, and the body of an
//! error.

use crate::attempt_error::{AnswerCut, AttemptError};
use crate::memory_budget::{MemoryLimitReached, MemoryPermit, MemoryRequest};
use crate::metered_body::{AnswerReader, ContentCoding, MeteredBody, UndecodableResponse};
use crate::model_call::ModelCall;
use crate::response_conversion::{DeclaredForm, ResponsePlan, whole_error};
use crate::response_source::{ResponseSource, SourceEvent};
use crate::{RelayState, RequestContext};
use baton_domain::id::KeyId;
use baton_protocol::answer_form::BadAnswerForm;
use baton_protocol::gzip::GzipDecoder;
use baton_protocol::meter::AnswerStart;
use baton_runtime::upstream;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_ENCODING, HeaderMap};
use http::response::Parts;
use std::time::Duration;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// The most bytes that are read of an error's body.
const ERROR_BYTES_MAX: usize = 1 << 20;
/// The part of an error's body that needs no memory of the budget. A longer body is cut to it when
/// no memory is left.
const ERROR_BYTES_UNCOUNTED: usize = 16 * 1024;
/// How long the body of an error is read. Vendors' errors have a few hundred bytes.
const ERROR_BODY_TIME_MAX: Duration = Duration::from_secs(2);

/// A successful answer of an upstream, buffered up to its first event.
pub(crate) struct BufferedResponse {
    pub(crate) head: Parts,
    /// The bytes read so far, in the form that the client gets.
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) body: upstream::UpstreamBody,
    /// The meter, which has seen the buffered bytes.
    pub(crate) metered_body: MeteredBody,
    /// Memory for the buffered bytes.
    pub(crate) permit: MemoryPermit,
}

impl RelayState {
    /// Reads the answer until it is clear that it is not an error, within the limits of buffering.
    /// The first event of a stream must come within the silence that `source` permits at first.
    pub(crate) async fn buffer_response(
        &self,
        request: &RequestContext,
        (response_plan, model_call): (ResponsePlan, &ModelCall),
        (mut head, mut source): (Parts, ResponseSource),
    ) -> Result<BufferedResponse, AttemptError> {
        let key = &model_call.caller.key().id;
        let workers = (&self.workers, key);
        if let Some(reason) = misconfigured(head.status) {
            return Err(AttemptError::Misconfigured(reason.to_owned()));
        }
        if !head.status.is_success() {
            let error_body = ErrorBuffer::new(self.response_permit(key).ok());
            return Err(error_body.read_error(response_plan, (head, source)).await);
        }
        let form = DeclaredForm::new(&head, (model_call.stream, response_plan.answer_protocol()));
        let transform = response_plan.into_body_transform(&mut head, model_call.stream);
        let mut metered_body = MeteredBody::new(&head.headers, request.accepts_gzip(), transform);
        metered_body.expect_choices(model_call.choices);
        let mut budget = BufferBudget::try_new(self, key, &metered_body)?;
        let (mut chunks, mut empty_deadline) = (Vec::new(), None);
        if metered_body.is_stream() {
            // Pings do not prolong the wait for the first event.
            source.limit_deadline_to_silence();
        }
        let failure = loop {
            if metered_body.has_untranslatable_event() {
                // The usage can still follow.
                ErrorBuffer::new(None).read(&mut source, Some(&mut metered_body)).await;
                break Some(BufferFailure::Untranslatable);
            }
            if metered_body.has_good_start() {
                break None;
            }
            if matches!(metered_body.first_event(), AnswerStart::Error(_)) {
                let mut error_body = ErrorBuffer::from_chunks(&chunks, budget.permit);
                error_body.read(&mut source, Some(&mut metered_body)).await;
                return Err(error_body.into_first_event(head, metered_body, model_call));
            }
            let is_empty = metered_body.has_only_begun();
            let Ok(next) = next_event(&mut empty_deadline, is_empty, &mut source).await else {
                // The client does not wait longer for an error that might follow.
                break None;
            };
            match next {
                SourceEvent::Chunk(chunk) => {
                    let reader = (&mut source, workers);
                    match budget.take_chunk(&mut metered_body, reader, chunk).await {
                        Ok(chunk) => chunks.push(chunk),
                        Err(failure) => break Some(failure),
                    }
                    if !metered_body.is_stream() {
                        source.set_idle_timeout(self.timers.idle);
                    }
                }
                SourceEvent::End if metered_body.is_stream() => {
                    let error_body = ErrorBuffer::from_chunks(&chunks, budget.permit);
                    return Err(error_body.into_first_event(head, metered_body, model_call));
                }
                SourceEvent::End => {
                    let end = finish_whole_answer(&form, &mut metered_body, (&mut source, workers));
                    match end.await {
                        Ok(rest) => chunks.push(rest),
                        Err(failure) => break Some(failure),
                    }
                    break None;
                }
                end => break Some(BufferFailure::from_end(&end, &source, &metered_body)),
            }
        };
        if let Some(failure) = failure {
            // Freed before the reading is made, because that needs memory too.
            drop(chunks);
            let permit = budget.permit;
            return Err(failure.into_error(&head, (metered_body, permit), model_call.body_bytes));
        }
        let (body, permit) = (source.into_body(), budget.permit);
        Ok(BufferedResponse { head, chunks, body, metered_body, permit })
    }

    /// Takes the least memory of the budget for answers.
    fn response_permit(&self, key: &KeyId) -> Result<MemoryPermit, MemoryLimitReached> {
        let memory_request = MemoryRequest { bytes: 0, is_metered: false, concurrency: None };
        self.response_memory.try_acquire_bytes(key, memory_request)
    }
}

/// Checks a whole answer, reads its usage, and translates it if needed, before the client gets any
/// of it. Returns the remaining bytes for the client.
async fn finish_whole_answer(
    form: &DeclaredForm,
    metered_body: &mut MeteredBody,
    (source, workers): AnswerReader<'_>,
) -> Result<Bytes, BufferFailure> {
    let Some(size) = metered_body.long_end() else { return read_whole_answer(form, metered_body) };
    let form = form.clone();
    let read = move |body: &mut MeteredBody| read_whole_answer(&form, body);
    let read = Box::pin(metered_body.run_on_workers((&mut *source, workers), size, read)).await;
    read.unwrap_or_else(|end| Err(BufferFailure::from_end(&end, source, metered_body)))
}

fn read_whole_answer(
    form: &DeclaredForm,
    metered_body: &mut MeteredBody,
) -> Result<Bytes, BufferFailure> {
    let last = metered_body.observe_compression_end().map_err(BufferFailure::Undecodable)?;
    if metered_body.whole_error().is_some() {
        return Err(BufferFailure::WholeError);
    }
    form.check_whole_answer(metered_body).map_err(BufferFailure::BadForm)?;
    // The translation can fail, so it has to be done before the client gets anything.
    let rest = metered_body.observe_end().map_err(BufferFailure::Undecodable)?;
    metered_body.read_whole_body();
    Ok(if last.is_empty() { rest } else { [last, rest].concat().into() })
}

/// Why an answer with a success status could not be buffered.
enum BufferFailure {
    TooLarge(&'static str),
    Undecodable(UndecodableResponse),
    /// The answer ended too early. The second part says whether bytes of it had arrived.
    Cut(AnswerCut, bool),
    BadForm(BadAnswerForm),
    /// An event of the stream cannot be translated.
    Untranslatable,
    /// The whole answer is an error.
    WholeError,
    Stopping,
}

impl BufferFailure {
    /// Returns why `end` came before the end of the answer.
    fn from_end(end: &SourceEvent, source: &ResponseSource, metered_body: &MeteredBody) -> Self {
        let cut = match end {
            SourceEvent::TimedOut if source.is_past_deadline() => AnswerCut::DeadlinePassed,
            SourceEvent::TimedOut => AnswerCut::Silent,
            SourceEvent::Aborted | SourceEvent::ShuttingDown => return Self::Stopping,
            SourceEvent::ConnectionLost(_)
            | SourceEvent::Chunk(_)
            | SourceEvent::End
            | SourceEvent::KeepAliveDue => AnswerCut::ConnectionLost,
        };
        Self::Cut(cut, metered_body.has_answer_bytes())
    }

    /// Makes the failure of the attempt, with the error that the whole answer is.
    fn into_error(
        self,
        head: &Parts,
        (metered_body, permit): (MeteredBody, MemoryPermit),
        body_bytes: u64,
    ) -> AttemptError {
        if let (Self::WholeError, Some(error)) = (&self, whole_error(head, &metered_body)) {
            let (reading, _) = metered_body.finish(body_bytes);
            return error.with_reading(reading).with_permit(permit);
        }
        self.into_attempt_error(metered_body, body_bytes)
    }

    /// Makes the failure of the attempt. If bytes of a whole answer have arrived, a model has
    /// written it and the upstream can bill it, so the meter's reading counts.
    fn into_attempt_error(self, metered_body: MeteredBody, body_bytes: u64) -> AttemptError {
        let is_whole = !metered_body.is_stream();
        let has_object = |metered_body: &MeteredBody| {
            metered_body.whole_body().is_some_and(|body| body.contains(&b'{'))
        };
        let reading = |metered_body: MeteredBody| Box::new(Some(metered_body.finish(body_bytes).0));
        match self {
            Self::TooLarge(reason) => {
                AttemptError::ResponseTooLarge { reason, is_whole, reading: reading(metered_body) }
            }
            Self::Stopping => AttemptError::ShuttingDown { reading: reading(metered_body) },
            Self::Undecodable(UndecodableResponse(reason)) if is_whole => {
                AttemptError::UnusableAnswer { reason, reading: reading(metered_body) }
            }
            Self::Untranslatable => {
                let UndecodableResponse(reason) = UndecodableResponse::PROTOCOL;
                AttemptError::UnusableAnswer { reason, reading: reading(metered_body) }
            }
            Self::Undecodable(unreadable) => unreadable.into(),
            Self::Cut(cut, true) if is_whole => {
                AttemptError::BrokenAnswer { cut, reading: reading(metered_body) }
            }
            Self::Cut(AnswerCut::ConnectionLost, _) => {
                AttemptError::Unreachable("the connection broke during the answer".to_owned())
            }
            Self::Cut(AnswerCut::Silent | AnswerCut::DeadlinePassed, _) => AttemptError::Timeout,
            Self::BadForm(BadAnswerForm::NotAnObject) if has_object(&metered_body) => {
                AttemptError::UnusableAnswer { reason: DAMAGED, reading: reading(metered_body) }
            }
            Self::BadForm(reason) => AttemptError::InvalidAnswer(reason),
            // Read as an error before.
            Self::WholeError => AttemptError::InvalidAnswer(BadAnswerForm::NotAnObject),
        }
    }
}

const DAMAGED: &str = "the JSON of the answer is incomplete or damaged";
const NO_EVENT: &str = "the stream ended before its first event";

/// Returns why an answer with this status shows that the account's settings make a call impossible.
fn misconfigured(status: StatusCode) -> Option<&'static str> {
    match status {
        // Redirects are not followed, and not passed on: either would send a credential to another
        // host.
        _ if status.is_redirection() => {
            Some("it answered with a redirect, which Baton does not follow")
        }
        _ if status.is_informational() => Some("it answered with an interim status only"),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some("the proxy requires authentication"),
        _ => None,
    }
}

/// How long a stream that has begun, but without any output of the model, is buffered in case an
/// error follows.
const EMPTY_START_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits for the next event of the source. If the answer `has_only_begun`, it fails after
/// [`EMPTY_START_TIMEOUT`], counted from the first call in that state.
async fn next_event(
    empty_deadline: &mut Option<Instant>,
    has_only_begun: bool,
    source: &mut ResponseSource,
) -> Result<SourceEvent, Elapsed> {
    if !has_only_begun {
        return Ok(source.next().await);
    }
    let end = *empty_deadline.get_or_insert_with(|| Instant::now() + EMPTY_START_TIMEOUT);
    timeout_at(end, source.next()).await
}

/// The longest answer that is translated as a whole. The translation takes several times its length
/// in memory.
const TRANSLATED_BYTES_MAX: usize = 8 << 20;

/// The memory for one answer that is buffered before the client gets any of it.
struct BufferBudget {
    /// The bytes as received, before decompression.
    bytes: usize,
    max: usize,
    permit: MemoryPermit,
}

impl BufferBudget {
    fn try_new(
        state: &RelayState,
        key: &KeyId,
        metered_body: &MeteredBody,
    ) -> Result<Self, AttemptError> {
        let bounds = &state.bounds;
        let max = match (metered_body.is_stream(), metered_body.is_buffered()) {
            (true, _) => bounds.first_event_bytes,
            (false, true) => bounds.answer_bytes.min(TRANSLATED_BYTES_MAX),
            (false, false) => bounds.answer_bytes,
        };
        let permit = state.response_permit(key);
        let permit = permit.map_err(|_| AttemptError::ResponseTooLarge {
            reason: CROWDED,
            is_whole: true,
            reading: Box::new(None),
        });
        Ok(Self { bytes: 0, max, permit: permit? })
    }

    /// Passes a chunk through the meter and counts its bytes. Returns the bytes for the client.
    async fn take_chunk(
        &mut self,
        metered_body: &mut MeteredBody,
        (source, workers): AnswerReader<'_>,
        chunk: Bytes,
    ) -> Result<Bytes, BufferFailure> {
        let length = chunk.len();
        let observed = metered_body.observe_on_workers((&mut *source, workers), chunk).await;
        let observed =
            observed.map_err(|end| BufferFailure::from_end(&end, source, metered_body))?;
        let plain = observed.map_err(|unreadable| match unreadable {
            UndecodableResponse::TOO_MUCH => BufferFailure::TooLarge(unreadable.0),
            unreadable => BufferFailure::Undecodable(unreadable),
        })?;
        self.add_bytes(length, metered_body).map_err(BufferFailure::TooLarge)?;
        Ok(plain)
    }

    /// Counts more bytes. Fails with the reason when the answer is too long or no memory is left.
    fn add_bytes(&mut self, bytes: usize, metered_body: &MeteredBody) -> Result<(), &'static str> {
        self.bytes += bytes;
        let held_bytes = self.bytes.max(metered_body.plain_bytes());
        if held_bytes > self.max {
            return Err(if metered_body.is_stream() {
                "the upstream sent too many bytes before the first event"
            } else {
                "it is too long for an answer without streaming. Send the request with `stream` \
                 true"
            });
        }
        self.permit.grow_to(held_bytes).map_err(|_| CROWDED)
    }
}

/// The reason given when an answer ends because no memory is left for it.
pub(crate) const CROWDED: &str =
    "the memory of the relay for answers is full. Try again in a moment";

/// The body of an error, up to [`ERROR_BYTES_MAX`] or until it breaks off.
struct ErrorBuffer {
    buffer: BytesMut,
    permit: Option<MemoryPermit>,
}

impl ErrorBuffer {
    fn new(permit: Option<MemoryPermit>) -> Self {
        Self { buffer: BytesMut::new(), permit }
    }

    fn from_chunks(chunks: &[Bytes], permit: MemoryPermit) -> Self {
        let mut error_body = Self::new(Some(permit));
        for chunk in chunks {
            error_body.add(chunk);
        }
        error_body
    }

    /// Adds bytes and returns whether more can follow.
    fn add(&mut self, data: &[u8]) -> bool {
        let length = self.buffer.len() + data.len();
        let is_counted = length <= ERROR_BYTES_UNCOUNTED
            || self.permit.as_mut().is_some_and(|permit| permit.grow_to(length).is_ok());
        let max = if is_counted { ERROR_BYTES_MAX } else { ERROR_BYTES_UNCOUNTED };
        let room = max.saturating_sub(self.buffer.len()).min(data.len());
        self.buffer.extend_from_slice(&data[..room]);
        is_counted && room == data.len()
    }

    /// Reads the rest of the body, for [`ERROR_BODY_TIME_MAX`] at most: the status and the headers
    /// decide even if the body hangs. `metered_body` brings it into the client's form.
    async fn read(
        &mut self,
        source: &mut ResponseSource,
        mut metered_body: Option<&mut MeteredBody>,
    ) {
        let end = Instant::now() + ERROR_BODY_TIME_MAX;
        while let Ok(SourceEvent::Chunk(data)) = timeout_at(end, source.next()).await {
            let data = match &mut metered_body {
                Some(metered_body) => metered_body.observe(data),
                None => Ok(data),
            };
            let Ok(data) = data else { break };
            if !self.add(&data) {
                break;
            }
        }
        if let Some(Ok(tail)) = metered_body.map(MeteredBody::observe_end) {
            self.add(&tail);
        }
    }

    /// Makes the failure of a stream that began with an error, or ended before its first event.
    fn into_first_event(
        self,
        head: Parts,
        metered_body: MeteredBody,
        model_call: &ModelCall,
    ) -> AttemptError {
        let (reading, _) = metered_body.finish(model_call.body_bytes);
        let AnswerStart::Error(failure) = reading.first.clone() else {
            return AttemptError::Unreachable(NO_EVENT.to_owned());
        };
        let (body, permit) = self.finish();
        AttemptError::FirstEvent {
            head: Box::new(head),
            body,
            failure: Box::new(failure),
            is_event: !reading.is_foreign,
            reading: Box::new(Some(reading).filter(|reading| reading.has_billed_part)),
            permit,
        }
    }

    /// Reads the body of an answer with an error status and makes the failure of the attempt.
    async fn read_error(
        mut self,
        response_plan: ResponsePlan,
        (mut head, mut source): (Parts, ResponseSource),
    ) -> AttemptError {
        self.read(&mut source, None).await;
        let (body, permit) = self.decompress(&mut head.headers);
        response_plan.into_attempt_error(head, body, permit)
    }

    /// Decompresses the body, so that the verdict can read it and credentials in it can be masked.
    fn decompress(self, headers: &mut HeaderMap) -> (Bytes, Option<MemoryPermit>) {
        if ContentCoding::from_headers(headers) != ContentCoding::Gzip {
            return self.finish();
        }
        headers.remove(CONTENT_ENCODING);
        let (mut gunzip, mut plain) = (GzipDecoder::new(), Self::new(self.permit));
        for chunk in self.buffer.chunks(4 * 1024) {
            match gunzip.push(chunk) {
                Ok(more) if plain.add(&more) => {}
                Ok(_) | Err(_) => break,
            }
        }
        plain.finish()
    }

    fn finish(self) -> (Bytes, Option<MemoryPermit>) {
        (self.buffer.freeze(), self.permit)
    }
}
