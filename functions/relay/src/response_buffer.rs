//! The response buffer: reads an answer until it is clear that it is not an error.

use crate::attempt_error::{AttemptError, IncompleteCause};
use crate::body_workers::BodyWorkers;
use crate::content_coding::CODING_BYTES;
use crate::error_buffer::{ErrorBuffer, is_billable};
use crate::memory_budget::{MemoryLimitReached, MemoryPermit, MemoryRequest, retry_for_memory};
use crate::metered_body::{MeteredBody, ResponseReader, UndecodableResponse};
use crate::model_call::ModelCall;
use crate::response_conversion::{DeclaredForm, ResponsePlan, whole_error};
use crate::response_source::{ResponseSource, SourceEvent};
use crate::{RelayState, RequestContext};
use baton_domain::id::KeyId;
use baton_protocol::meter::AnswerStart;
use baton_protocol::response_form::{ResponseFormError, is_binary};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_ENCODING;
use http::response::Parts;
use std::time::Duration;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// A successful answer of an upstream, buffered up to its first event.
pub(crate) struct BufferedResponse {
    pub(crate) head: Parts,
    /// The bytes read so far, in the form that the client gets.
    pub(crate) chunks: Vec<Bytes>,
    /// The rest of the answer.
    pub(crate) source: ResponseSource,
    /// The meter, which has seen the buffered bytes.
    pub(crate) metered_body: MeteredBody,
    /// Memory for the buffered bytes.
    pub(crate) permit: MemoryPermit,
}

impl RelayState {
    /// Reads the answer until it is clear that it is not an error, within the limits of buffering.
    /// The first event of a stream must arrive within the idle timeout that `source` has at the call.
    pub(crate) async fn buffer_response(
        &self,
        request: &RequestContext,
        mut response_plan: ResponsePlan,
        model_call: &ModelCall,
        mut head: Parts,
        mut source: ResponseSource,
    ) -> Result<BufferedResponse, AttemptError> {
        let key = &model_call.caller.key().id;
        let workers = &self.body_workers;
        if let Some(reason) = misconfigured(head.status) {
            return Err(AttemptError::Misconfigured(reason.to_owned()));
        }
        let mut permit = response_plan.permit.take().map_or_else(|| self.response_permit(key), Ok);
        if !head.status.is_success() {
            let error_body = ErrorBuffer::new(permit.ok());
            let body_bytes = model_call.body_bytes;
            return Err(error_body.read_error(response_plan, head, source, body_bytes).await);
        }
        let form = DeclaredForm::new(&head, model_call.stream, response_plan.answer_protocol());
        let transform = response_plan.into_body_transform(&mut head, model_call.stream);
        let start = source.peek(CODING_BYTES).await;
        let mut metered_body =
            MeteredBody::new(&head.headers, &start, request.accepts_gzip(), transform);
        metered_body.expect_choices(model_call.choices);
        if !metered_body.keeps_coding() {
            head.headers.remove(CONTENT_ENCODING);
        }
        if permit.is_err() && metered_body.is_stream() {
            // A stream waits for memory.
            let since = Instant::now();
            let waiting = Box::pin(retry_for_memory(|| self.response_permit(key)));
            permit = source.wait_for(waiting).await.unwrap_or(permit);
            metered_body.leave_out(since.elapsed());
        }
        let budget = BufferBudget::try_new(self, permit, &metered_body)?;
        let buffer = ResponseBuffer { chunks: Vec::new(), small_chunks: 0, metered_body, budget };
        if !buffer.metered_body.is_stream() {
            let idle_timeout = self.timeouts.idle;
            return buffer
                .buffer_whole(&form, model_call, head, source, idle_timeout, workers)
                .await;
        }
        if !buffer.metered_body.is_unread() {
            // Pings do not prolong the wait for the first event.
            source.limit_deadline_to_idle_timeout();
            return buffer.buffer_start(model_call, head, source, workers).await;
        }
        if buffer.metered_body.writes_bytes() {
            let failure = BufferFailure::Undecodable(UndecodableResponse::CODING);
            return Err(failure.into_attempt_error(buffer.metered_body, model_call.body_bytes));
        }
        // No event can be found in the bytes, so nothing is gained by waiting.
        Ok(buffer.into_response(head, source))
    }

    /// Takes the least memory of the budget for answers.
    fn response_permit(&self, key: &KeyId) -> Result<MemoryPermit, MemoryLimitReached> {
        self.response_memory.try_acquire_bytes(key, MemoryRequest::unmetered(0))
    }
}

/// The bytes of a successful answer before the client gets any of it.
struct ResponseBuffer {
    /// In the form that the client gets.
    chunks: Vec<Bytes>,
    /// The number of small chunks at the end of `chunks`.
    small_chunks: usize,
    metered_body: MeteredBody,
    budget: BufferBudget,
}

impl ResponseBuffer {
    /// Reads a stream until it is clear that it does not begin with an error.
    async fn buffer_start(
        mut self,
        model_call: &ModelCall,
        head: Parts,
        mut source: ResponseSource,
        workers: &BodyWorkers,
    ) -> Result<BufferedResponse, AttemptError> {
        let key = &model_call.caller.key().id;
        let mut reader = ResponseReader { source: &mut source, workers, key };
        let mut empty_deadline = None;
        let failure = loop {
            if self.metered_body.has_untranslatable_event() {
                // The usage can still follow.
                let mut rest = ErrorBuffer::new(None);
                rest.read_rest(&mut reader, &mut self.metered_body).await;
                break BufferFailure::Untranslatable;
            }
            if self.metered_body.has_good_start() {
                return Ok(self.into_response(head, source));
            }
            if matches!(self.metered_body.first_event(), AnswerStart::Error(_)) {
                let mut error_body = ErrorBuffer::from_chunks(&self.chunks, self.budget.permit);
                let is_whole = error_body.read_rest(&mut reader, &mut self.metered_body).await;
                return Err(if is_whole {
                    error_body.into_first_event_error(head, self.metered_body, model_call)
                } else {
                    error_body.into_truncated_error(head, self.metered_body, model_call)
                });
            }
            if self.metered_body.has_pending() {
                match self.read_step(&mut reader).await {
                    Ok(()) => continue,
                    // The client gets what there is. Only an error would have been a reason to wait.
                    Err(BufferFailure::TooLarge(RESPONSE_MEMORY_FULL))
                        if self.metered_body.has_only_begun() =>
                    {
                        return Ok(self.into_response(head, source));
                    }
                    Err(failure) => break failure,
                }
            }
            let is_empty = self.metered_body.has_only_begun();
            let Ok(next) = next_event(&mut empty_deadline, is_empty, reader.source).await else {
                // The client does not wait longer for an error that might follow.
                return Ok(self.into_response(head, source));
            };
            match next {
                SourceEvent::Chunk(chunk) => self.add_chunk(chunk),
                SourceEvent::End => {
                    let error_body = ErrorBuffer::from_chunks(&self.chunks, self.budget.permit);
                    return Err(error_body.into_first_event_error(
                        head,
                        self.metered_body,
                        model_call,
                    ));
                }
                end => break BufferFailure::from_end(&end, reader.source, &self.metered_body),
            }
        };
        Err(failure.into_attempt_error(self.metered_body, model_call.body_bytes))
    }

    /// Reads a whole answer, which can be silent for `idle_timeout` after its first byte. Checks it,
    /// reads its usage, and translates it if needed, before the client gets any of it.
    async fn buffer_whole(
        mut self,
        form: &DeclaredForm,
        model_call: &ModelCall,
        head: Parts,
        mut source: ResponseSource,
        idle_timeout: Duration,
        workers: &BodyWorkers,
    ) -> Result<BufferedResponse, AttemptError> {
        let key = &model_call.caller.key().id;
        let mut reader = ResponseReader { source: &mut source, workers, key };
        let end = loop {
            if self.metered_body.has_pending() {
                match self.read_step(&mut reader).await {
                    Ok(()) => continue,
                    Err(failure) => break Err(failure),
                }
            }
            match reader.source.next().await {
                SourceEvent::Chunk(chunk) => {
                    self.add_chunk(chunk);
                    reader.source.set_idle_timeout(idle_timeout);
                }
                SourceEvent::End => {
                    break finish_whole_response(form, &mut self.metered_body, &mut reader).await;
                }
                end => break Err(BufferFailure::from_end(&end, reader.source, &self.metered_body)),
            }
        };
        match end {
            Ok(WholeResponse::Valid(rest)) => {
                self.chunks.push(rest);
                Ok(self.into_response(head, source))
            }
            Ok(WholeResponse::Error(body)) => {
                let context = self.metered_body.whole_translation();
                let (protocol, permit) = (form.protocol(), self.budget.permit);
                let error = whole_error(head, body, context, protocol, permit);
                Err(error.with_reading(self.metered_body.finish(model_call.body_bytes).0))
            }
            Err(failure) => {
                // Freed before the reading is made, because that needs memory too.
                drop(self.chunks);
                Err(failure.into_attempt_error(self.metered_body, model_call.body_bytes))
            }
        }
    }

    fn add_chunk(&mut self, chunk: Bytes) {
        self.budget.received_bytes += chunk.len();
        self.metered_body.add_chunk(chunk);
    }

    /// Adds bytes for the client. Many small chunks in a row are copied together, because each takes
    /// more memory than its bytes.
    fn push_chunk(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.budget.chunk_bytes += chunk.len() + CHUNK_OVERHEAD_BYTES;
        self.small_chunks = if chunk.len() < SMALL_BYTES { self.small_chunks + 1 } else { 0 };
        self.chunks.push(chunk);
        if self.small_chunks == SMALL_CHUNKS_MAX {
            let together = self.chunks.split_off(self.chunks.len() - SMALL_CHUNKS_MAX).concat();
            self.budget.chunk_bytes -= (SMALL_CHUNKS_MAX - 1) * CHUNK_OVERHEAD_BYTES;
            self.chunks.push(together.into());
            self.small_chunks = 0;
        }
    }

    /// Passes the next bytes through the meter and counts them.
    async fn read_step(&mut self, reader: &mut ResponseReader<'_>) -> Result<(), BufferFailure> {
        let read = self.metered_body.read_step(reader).await;
        let source = &mut *reader.source;
        let read = read.map_err(|end| BufferFailure::from_end(&end, source, &self.metered_body))?;
        let chunk = read.map_err(|fault| match fault {
            UndecodableResponse::TOO_MUCH => BufferFailure::TooLarge(fault.0),
            fault => BufferFailure::Undecodable(fault),
        })?;
        self.push_chunk(chunk);
        match self.budget.update(&self.metered_body) {
            Err(RESPONSE_MEMORY_FULL) if self.metered_body.is_stream() => {
                let (budget, body) = (&mut self.budget, &self.metered_body);
                let updated = Box::pin(retry_for_memory(|| budget.take_memory(body)));
                let updated = source.wait_for(updated).await;
                let updated = updated
                    .map_err(|end| BufferFailure::from_end(&end, source, &self.metered_body))?;
                updated.map_err(|_| BufferFailure::TooLarge(RESPONSE_MEMORY_FULL))
            }
            updated => updated.map_err(BufferFailure::TooLarge),
        }
    }

    fn into_response(self, head: Parts, source: ResponseSource) -> BufferedResponse {
        let Self { chunks, metered_body, budget, .. } = self;
        BufferedResponse { head, chunks, source, metered_body, permit: budget.permit }
    }
}

/// A whole answer that has been read.
enum WholeResponse {
    /// An answer of the vendor's API, with the remaining bytes for the client.
    Valid(Bytes),
    /// An error in spite of the status. The body has no coding.
    Error(Bytes),
}

/// Checks a whole answer, reads its usage, and translates it if needed.
async fn finish_whole_response(
    form: &DeclaredForm,
    metered_body: &mut MeteredBody,
    reader: &mut ResponseReader<'_>,
) -> Result<WholeResponse, BufferFailure> {
    let Some(size) = metered_body.long_end() else {
        return read_whole_response(form, metered_body);
    };
    let form = form.clone();
    let read = move |body: &mut MeteredBody| read_whole_response(&form, body);
    let read = Box::pin(metered_body.run_on_workers(reader, size, read)).await;
    read.unwrap_or_else(|end| Err(BufferFailure::from_end(&end, reader.source, metered_body)))
}

fn read_whole_response(
    form: &DeclaredForm,
    metered_body: &mut MeteredBody,
) -> Result<WholeResponse, BufferFailure> {
    let last = metered_body.observe_compression_end().map_err(BufferFailure::Undecodable)?;
    if let Some(body) = metered_body.whole_error() {
        return Ok(WholeResponse::Error(body));
    }
    form.check_whole_response(metered_body).map_err(BufferFailure::BadForm)?;
    if metered_body.is_unread() && metered_body.writes_bytes() {
        return Err(BufferFailure::Undecodable(UndecodableResponse::CODING));
    }
    // The translation can fail, so it has to be done before the client gets anything.
    let rest = metered_body.observe_end().map_err(BufferFailure::Undecodable)?;
    let whole = metered_body.read_whole_body();
    let parts: Vec<_> = [last, rest, whole].into_iter().filter(|part| !part.is_empty()).collect();
    Ok(WholeResponse::Valid(match <[Bytes; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => parts.concat().into(),
    }))
}

/// Why an answer with a success status could not be buffered.
enum BufferFailure {
    TooLarge(&'static str),
    Undecodable(UndecodableResponse),
    /// The answer ended too early. `has_bytes` says whether bytes of it had arrived.
    Incomplete {
        cause: IncompleteCause,
        has_bytes: bool,
    },
    BadForm(ResponseFormError),
    /// An event of the stream cannot be translated.
    Untranslatable,
    Stopping,
}

impl BufferFailure {
    /// Returns why `end` came before the end of the answer.
    fn from_end(end: &SourceEvent, source: &ResponseSource, metered_body: &MeteredBody) -> Self {
        let cause = match end {
            SourceEvent::TimedOut if source.is_past_deadline() => IncompleteCause::DeadlinePassed,
            SourceEvent::TimedOut => IncompleteCause::IdleTimeout,
            SourceEvent::Aborted | SourceEvent::ShuttingDown => return Self::Stopping,
            SourceEvent::ConnectionLost(_)
            | SourceEvent::Chunk(_)
            | SourceEvent::End
            | SourceEvent::KeepAliveDue => IncompleteCause::ConnectionLost,
        };
        Self::Incomplete { cause, has_bytes: metered_body.has_answer_bytes() }
    }

    /// Makes the failure of the attempt. If output of a model has arrived, or bytes of a whole
    /// answer, the upstream can bill it, so the meter's reading counts and no other account is
    /// asked.
    fn into_attempt_error(self, metered_body: MeteredBody, body_bytes: u64) -> AttemptError {
        let is_whole = !metered_body.is_stream();
        // A model can have written what cannot be read. Pages and texts are of other servers.
        let is_unreadable = |body: &[u8]| body.contains(&b'{') || is_binary(body);
        let is_unreadable = metered_body.whole_body().is_some_and(is_unreadable);
        let reading = metered_body.finish(body_bytes).0;
        let is_billed = is_whole || is_billable(&reading);
        let reading = Box::new(Some(reading));
        match self {
            Self::TooLarge(reason) => {
                let is_final = is_billed || reason == RESPONSE_MEMORY_FULL;
                AttemptError::ResponseTooLarge { reason, is_final, reading }
            }
            Self::Stopping => AttemptError::ShuttingDown { reading },
            Self::Undecodable(UndecodableResponse(reason)) if is_billed => {
                AttemptError::UnusableResponse { reason, reading }
            }
            Self::Untranslatable => {
                let UndecodableResponse(reason) = UndecodableResponse::PROTOCOL;
                AttemptError::UnusableResponse { reason, reading }
            }
            Self::Undecodable(unreadable) => unreadable.into(),
            Self::Incomplete { cause, has_bytes: true } if is_billed => {
                AttemptError::IncompleteResponse { cause, reading }
            }
            Self::Incomplete { cause: IncompleteCause::ConnectionLost, .. } => {
                AttemptError::lost_connection("the connection broke during the answer")
            }
            Self::Incomplete {
                cause: IncompleteCause::IdleTimeout | IncompleteCause::DeadlinePassed,
                ..
            } => AttemptError::Timeout { is_called: true },
            Self::BadForm(ResponseFormError::NotAnObject) if is_unreadable => {
                AttemptError::UnusableResponse { reason: DAMAGED, reading }
            }
            Self::BadForm(reason) => AttemptError::InvalidResponse(reason),
        }
    }
}

const DAMAGED: &str = "the JSON of the answer is incomplete or damaged";

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

/// Chunks with fewer bytes are small, and this number of them in a row becomes one chunk.
const SMALL_BYTES: usize = 256;
const SMALL_CHUNKS_MAX: usize = 64;
/// What one chunk in a list takes besides its bytes, with the list's reserve.
const CHUNK_OVERHEAD_BYTES: usize = 4 * size_of::<Bytes>();

/// The memory for one answer that is buffered before the client gets any of it.
struct BufferBudget {
    /// The bytes as received, before decompression.
    received_bytes: usize,
    /// The bytes that wait for the client.
    chunk_bytes: usize,
    max: usize,
    permit: MemoryPermit,
}

impl BufferBudget {
    fn try_new(
        state: &RelayState,
        permit: Result<MemoryPermit, MemoryLimitReached>,
        metered_body: &MeteredBody,
    ) -> Result<Self, AttemptError> {
        let bounds = &state.bounds;
        let max = match (metered_body.is_stream(), metered_body.is_buffered()) {
            (true, _) => bounds.first_event_bytes,
            (false, true) => bounds.answer_bytes.min(TRANSLATED_BYTES_MAX),
            (false, false) => bounds.answer_bytes,
        };
        let permit = permit.map_err(|_| AttemptError::ResponseTooLarge {
            reason: RESPONSE_MEMORY_FULL,
            is_final: true,
            reading: Box::new(None),
        });
        Ok(Self { received_bytes: 0, chunk_bytes: 0, max, permit: permit? })
    }

    /// Counts what has been read. Fails with the reason when the answer is too long or no memory is
    /// left.
    fn update(&mut self, metered_body: &MeteredBody) -> Result<(), &'static str> {
        if self.received_bytes.max(metered_body.plain_bytes()) > self.max {
            return Err(if metered_body.is_stream() {
                "the upstream sent too many bytes before the first event"
            } else {
                "it is too long for an answer without streaming. Send the request with `stream` \
                 true"
            });
        }
        self.take_memory(metered_body).map_err(|_| RESPONSE_MEMORY_FULL)
    }

    fn take_memory(&mut self, metered_body: &MeteredBody) -> Result<(), MemoryLimitReached> {
        self.permit.grow_up_to(self.chunk_bytes + metered_body.held_bytes())
    }
}

/// The reason given when an answer ends because no memory is left for it.
pub(crate) const RESPONSE_MEMORY_FULL: &str =
    "the memory of the relay for answers is full. Try again in a moment";

#[cfg(test)]
mod tests;
