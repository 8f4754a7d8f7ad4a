//! The response buffer: reads an answer until it is clear that it is not an error, and the body of an
//! error.

use crate::attempt_error::AttemptError;
use crate::body_workers::BodyWorkers;
use crate::memory_budget::{MemoryLimitReached, MemoryPermit, MemoryRequest};
use crate::metered_body::{MeteredBody, UndecodableResponse};
use crate::model_call::ModelCall;
use crate::response_conversion::{DeclaredForm, ResponsePlan, whole_error};
use crate::{RelayState, RequestContext};
use baton_domain::id::KeyId;
use baton_protocol::answer_form::BadAnswerForm;
use baton_protocol::gzip::GzipDecoder;
use baton_protocol::meter::AnswerStart;
use baton_runtime::upstream;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, HeaderMap};
use http::response::Parts;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

type NextFrame = Result<Frame<Bytes>, <upstream::UpstreamBody as http_body::Body>::Error>;

/// The most bytes that are read of an error's body.
const ERROR_BYTES_MAX: usize = 1 << 20;
/// The part of an error's body that needs no memory of the budget. A longer body is cut to it when
/// no memory is left.
const ERROR_BYTES_UNCOUNTED: usize = 16 * 1024;

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
    pub(crate) async fn buffer_response(
        &self,
        request: &RequestContext,
        (response_plan, model_call): (ResponsePlan, &ModelCall),
        response: Response<upstream::UpstreamBody>,
    ) -> Result<BufferedResponse, AttemptError> {
        let (mut head, mut body) = response.into_parts();
        let key = &model_call.caller.key().id;
        let workers = (&self.workers, key);
        if let Some(reason) = misconfigured(head.status) {
            return Err(AttemptError::Misconfigured(reason.to_owned()));
        }
        if !head.status.is_success() {
            let mut error_body = ErrorBuffer::new(self.response_permit(key).ok());
            error_body.read(&mut body, None).await;
            let (body, permit) = error_body.decompress(&mut head.headers);
            return Err(response_plan.into_attempt_error(head, body, permit));
        }
        let form = DeclaredForm::new(&head, model_call.stream);
        let transform = response_plan.into_body_transform(&mut head);
        let mut metered_body = MeteredBody::new(&head.headers, request.accepts_gzip(), transform);
        let mut budget = BufferBudget::try_new(self, key, &metered_body)?;
        let (mut chunks, mut empty_deadline) = (Vec::new(), None);
        let failure = loop {
            if metered_body.has_good_start() {
                break None;
            }
            if let AnswerStart::Error(failure) = metered_body.first_event() {
                let failure = Box::new(failure.clone());
                let mut error_body = ErrorBuffer::from_chunks(&chunks, budget.permit);
                error_body.read(&mut body, Some(&mut metered_body)).await;
                let (body, permit) = error_body.finish();
                return Err(AttemptError::FirstEvent {
                    head: Box::new(head),
                    body,
                    failure,
                    permit,
                });
            }
            let Ok(next) =
                until(&mut empty_deadline, metered_body.has_only_begun(), &mut body).await
            else {
                // The client does not wait longer for an error that might follow.
                break None;
            };
            match next {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let length = data.len();
                    let observed = metered_body.observe_on(workers, data).await;
                    let taken = observed.map(|chunk| chunks.push(chunk));
                    if let Err(failure) = budget.count_data(length, taken, &metered_body) {
                        break Some(failure);
                    }
                }
                Some(Err(error)) => {
                    break Some(BufferFailure::Broken(error.to_string(), budget.bytes > 0));
                }
                None if metered_body.is_stream() => {
                    return Err(AttemptError::Unreachable(NO_EVENT.to_owned()));
                }
                None => {
                    if let Some(error) = whole_error(&head, &metered_body) {
                        return Err(error.with_permit(budget.permit));
                    }
                    let end = form.finish_whole_answer(&mut metered_body, workers, &mut chunks);
                    break end.await.err();
                }
            }
        };
        if let Some(failure) = failure {
            // Freed before the reading is made, because that needs memory too.
            drop(chunks);
            return Err(failure.into_attempt_error(metered_body, model_call.body_bytes));
        }
        Ok(BufferedResponse { head, chunks, body, metered_body, permit: budget.permit })
    }

    /// Takes the least memory of the budget for answers.
    fn response_permit(&self, key: &KeyId) -> Result<MemoryPermit, MemoryLimitReached> {
        let memory_request = MemoryRequest { bytes: 0, is_metered: false, concurrency: None };
        self.response_memory.try_acquire_bytes(key, memory_request)
    }
}

impl DeclaredForm {
    /// Checks a whole answer and translates it if needed.
    async fn finish_whole_answer(
        &self,
        metered_body: &mut MeteredBody,
        workers: (&BodyWorkers, &KeyId),
        chunks: &mut Vec<Bytes>,
    ) -> Result<(), BufferFailure> {
        self.check_whole_answer(metered_body).map_err(BufferFailure::BadForm)?;
        if metered_body.is_buffered() {
            // The translation can fail, so it has to be done before the client gets anything.
            let translated = metered_body.observe_end_on(workers).await;
            chunks.push(translated.map_err(BufferFailure::Undecodable)?);
        }
        Ok(())
    }
}

/// Why an answer with a success status could not be buffered.
enum BufferFailure {
    TooLarge(&'static str),
    Undecodable(UndecodableResponse),
    /// The connection broke. The second part says whether bytes of the answer had arrived.
    Broken(String, bool),
    BadForm(BadAnswerForm),
}

impl BufferFailure {
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
            Self::Undecodable(UndecodableResponse(reason)) if is_whole => {
                AttemptError::UnusableAnswer { reason, reading: reading(metered_body) }
            }
            Self::Undecodable(unreadable) => unreadable.into(),
            Self::Broken(cause, true) if is_whole => {
                AttemptError::BrokenAnswer { cause, reading: reading(metered_body) }
            }
            Self::Broken(cause, _) => AttemptError::Unreachable(format!(
                "the connection broke during the answer: {cause}"
            )),
            Self::BadForm(BadAnswerForm::NotAnObject) if has_object(&metered_body) => {
                AttemptError::UnusableAnswer { reason: DAMAGED, reading: reading(metered_body) }
            }
            Self::BadForm(reason) => AttemptError::InvalidAnswer(reason),
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
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some("the proxy requires authentication"),
        _ => None,
    }
}

/// How long a stream that has begun, but without any output of the model, is buffered in case an
/// error follows.
const EMPTY_START_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits for the next frame. If the answer `has_only_begun`, it fails after [`EMPTY_START_TIMEOUT`],
/// counted from the first call in that state.
async fn until(
    empty_deadline: &mut Option<Instant>,
    has_no_output_yet: bool,
    body: &mut upstream::UpstreamBody,
) -> Result<Option<NextFrame>, Elapsed> {
    if !has_no_output_yet {
        return Ok(body.frame().await);
    }
    let end = *empty_deadline.get_or_insert_with(|| Instant::now() + EMPTY_START_TIMEOUT);
    tokio::time::timeout_at(end, body.frame()).await
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

    /// Counts bytes of the answer that the meter has read.
    fn count_data(
        &mut self,
        length: usize,
        observed: Result<(), UndecodableResponse>,
        metered_body: &MeteredBody,
    ) -> Result<(), BufferFailure> {
        match observed {
            Ok(()) => self.add_bytes(length, metered_body).map_err(BufferFailure::TooLarge),
            Err(UndecodableResponse::TOO_MUCH) => {
                Err(BufferFailure::TooLarge(UndecodableResponse::TOO_MUCH.0))
            }
            Err(unreadable) => Err(BufferFailure::Undecodable(unreadable)),
        }
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

    /// Reads the rest of the body. `metered_body` brings it into the client's form.
    async fn read(
        &mut self,
        body: &mut upstream::UpstreamBody,
        mut metered_body: Option<&mut MeteredBody>,
    ) {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
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

    /// Decompresses the body, so that the verdict can read it and credentials in it can be masked.
    fn decompress(self, headers: &mut HeaderMap) -> (Bytes, Option<MemoryPermit>) {
        if headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding != "gzip") {
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
