//! One attempt at one account: sends the request and buffers the answer up to its first event.

use crate::body::RelayBody;
use crate::client_response::{self, RelayError};
use crate::credential_mask::mask_credential;
use crate::forward::OutboundCall;
use crate::memory_budget::{MemoryLimitReached, MemoryPermit, MemoryRequest};
use crate::metered_body::{MeteredBody, UndecodableResponse};
use crate::pending_usage::ModelCall;
use crate::request_conversion::{ConversionPlan, UpstreamRequest};
use crate::response_conversion::{DeclaredForm, ResponsePlan, whole_error};
use crate::settle::RequestEnd;
use crate::{RelayState, RequestContext};
use baton_domain::account::{CredentialKind, Provider};
use baton_domain::id::KeyId;
use baton_domain::metric::cause;
use baton_domain::printable::escape_text;
use baton_domain::record::RequestOutcome;
use baton_domain::verdict::{self, ErrorFields};
use baton_protocol::answer_form::BadAnswerForm;
use baton_protocol::gzip::GzipDecoder;
use baton_protocol::headers::{add_beta, to_upstream};
use baton_protocol::meter::{self, AnswerStart, MeterReading, UsageMeter};
use baton_protocol::model_path::ModelIdError;
use baton_protocol::rate_limit_headers::read_announced_limit;
use baton_runtime::upstream::{
    self, AwsAccess, OAUTH_BETA, SigningError, UpstreamCallError, credential_header,
};
use baton_store::PoolMember;
use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, InvalidHeaderValue,
};
use http::response::Parts;
use http::{Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

type NextFrame = Result<Frame<Bytes>, <upstream::UpstreamBody as http_body::Body>::Error>;

/// The most bytes that are read of an error answer.
const ERROR_BYTES_MAX: usize = 1 << 20;

/// A successful answer of an upstream, buffered up to its first event.
pub(crate) struct BufferedResponse {
    pub(crate) head: Parts,
    /// The bytes read so far, in the form that the client gets.
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) rest: upstream::UpstreamBody,
    /// The meter, which has seen the buffered bytes.
    pub(crate) watch: MeteredBody,
    /// Memory for the buffered bytes.
    pub(crate) gathered: MemoryPermit,
}

/// Why an attempt failed. The client has not received anything yet.
pub(crate) enum AttemptError {
    /// The upstream answered with an error status.
    ErrorResponse {
        head: Box<Parts>,
        body: Bytes,
        /// The answer that the client gets, if it differs from what accounts are judged by.
        clients: Option<Box<(Parts, Bytes)>>,
    },
    /// The upstream answered 200, but the first event of the stream was an error.
    FirstEvent { head: Box<Parts>, body: Bytes, failure: Box<meter::UpstreamFailure> },
    /// The upstream answered with success, but not with an answer of its API. `reading` is what the
    /// meter read, unless the answer is a page or empty.
    InvalidAnswer { why: BadAnswerForm, reading: Box<Option<MeterReading>> },
    /// The connection failed, or broke before the first event.
    Unreachable(String),
    /// The upstream did not connect or send a first event in time.
    Timeout,
    /// The account's settings make a call impossible.
    Misconfigured(String),
    /// The upstream's protocol cannot express the request.
    Untranslatable(String),
    /// There is no memory for the body in the upstream's form.
    Crowded(MemoryLimitReached),
    /// The answer has more bytes than the relay buffers. `reading` is what the meter read so far.
    ResponseTooLarge { why: &'static str, reading: Box<Option<MeterReading>> },
    /// The process is stopping.
    ShuttingDown,
}

impl RelayState {
    /// Calls `member`'s upstream for `model` and waits for the first event.
    ///
    /// # Errors
    /// The attempt failed; see [`AttemptError`].
    pub(crate) async fn attempt_account(
        &self,
        asked: &RequestContext,
        member: &PoolMember,
        (speech, call, model): (ConversionPlan, &OutboundCall, &str),
        deadline: Instant,
    ) -> Result<BufferedResponse, AttemptError> {
        let account = &member.account;
        let provider = account.provider.as_str();
        let span = asked.trace.attempt(&account.id, provider, model);
        let mut tried = self.call_upstream(asked, member, (speech, call, model), deadline).await;
        if member.account.credential != CredentialKind::Aws {
            mask_credential(&mut tried, member.credential.expose().as_bytes());
        }
        let result = tried.as_ref().err().map_or("ok", AttemptError::cause_label);
        self.observer.record_attempt(provider, result);
        span.end_with_result(result);
        tried
    }

    async fn call_upstream(
        &self,
        asked: &RequestContext,
        member: &PoolMember,
        (speech, call, model): (ConversionPlan, &OutboundCall, &str),
        deadline: Instant,
    ) -> Result<BufferedResponse, AttemptError> {
        let first_byte = (Instant::now() + self.timers.first_byte).min(deadline);
        let outgoing = speech.convert_request(self, asked, member, call, model).await?;
        let UpstreamRequest { address, mut headers, body, meant } = outgoing;
        let calling = async {
            if member.account.credential == CredentialKind::Aws {
                let access = AwsAccess::from_secret(&member.credential)?;
                // Boxed, because the future is large and few requests need it.
                Box::pin(self.signer.sign(&access, address.as_str(), &mut headers, &body)).await?;
            }
            let upstream = self.upstream.with_proxy(member.proxy.as_ref())?;
            let answer = upstream.call(Method::POST, &address, headers, body).await?;
            self.buffer_response(asked, (meant, call.question.as_ref()), answer).await
        };
        tokio::select! {
            biased;
            tried = tokio::time::timeout_at(first_byte, calling) => tried.unwrap_or(Err(AttemptError::Timeout)),
            () = self.stop.is_over.cancelled() => Err(AttemptError::ShuttingDown),
        }
    }
}

/// Builds the headers for the upstream: the client's headers without those that belong to its
/// connection or its relay key, plus the account's credential.
///
/// # Errors
/// The credential is not a valid header value.
pub(crate) fn build_upstream_headers(
    asked: &RequestContext,
    member: &PoolMember,
    stream: bool,
) -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = to_upstream(&asked.head.headers);
    // Streams are not compressed. For other answers gzip is the only encoding that the meter can
    // read.
    let encoding = if !stream && asked.accepts_gzip() { "gzip" } else { "identity" };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    if member.account.provider == Provider::OpenaiCompatible {
        remove_headers_by_prefix(&mut headers, "anthropic-");
    } else {
        remove_headers_by_prefix(&mut headers, "openai-");
    }
    if let Some((name, value)) = credential_header(member.account.credential, &member.credential)? {
        headers.insert(name, value);
    }
    if member.account.credential.is_renewed() && member.account.provider == Provider::Anthropic {
        add_beta(&mut headers, OAUTH_BETA);
    }
    Ok(headers)
}

/// Removes headers that only another vendor's upstreams understand.
fn remove_headers_by_prefix(headers: &mut HeaderMap, prefix: &str) {
    let names = headers.keys().filter(|name| name.as_str().starts_with(prefix));
    for name in names.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

impl RelayState {
    /// Reads the answer until it is clear that it is not an error, within the limits of buffering.
    async fn buffer_response(
        &self,
        asked: &RequestContext,
        (meant, question): (ResponsePlan, &ModelCall),
        answer: Response<upstream::UpstreamBody>,
    ) -> Result<BufferedResponse, AttemptError> {
        let (mut head, mut rest) = answer.into_parts();
        if let Some(why) = misconfigured(head.status) {
            return Err(AttemptError::Misconfigured(why.to_owned()));
        }
        if !head.status.is_success() {
            let body = read_error_body(Vec::new(), &mut rest, None).await;
            let body = decompress_error_body(&mut head.headers, body);
            return Err(meant.into_attempt_error(head, body));
        }
        let form = DeclaredForm::new(&head, question.stream);
        let turn = meant.into_body_transform(&mut head);
        let mut watch = MeteredBody::new(&head.headers, asked.accepts_gzip(), turn);
        let mut gathered = BufferBudget::try_new(self, &question.caller.key().id, &watch)?;
        let (mut chunks, mut patience) = (Vec::new(), None);
        loop {
            if watch.has_good_start() {
                break;
            }
            if let AnswerStart::Error(failure) = watch.first_event() {
                let failure = Box::new(failure.clone());
                let body = read_error_body(chunks, &mut rest, Some(&mut watch)).await;
                return Err(AttemptError::FirstEvent { head: Box::new(head), body, failure });
            }
            let Ok(next) = until(&mut patience, watch.has_only_begun(), &mut rest).await else {
                // The client does not wait longer for an error that might follow.
                break;
            };
            match next {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let length = data.len();
                    let seen = match watch.observe(data) {
                        Ok(chunk) => {
                            chunks.push(chunk);
                            gathered.add_bytes(length, &watch)
                        }
                        Err(UndecodableResponse::TOO_MUCH) => Err(UndecodableResponse::TOO_MUCH.0),
                        Err(unreadable) => return Err(unreadable.into()),
                    };
                    if let Err(why) = seen {
                        // Freed before the reading is made, because that needs memory too.
                        drop(chunks);
                        let reading = watch.finish(question.body_bytes).0;
                        return Err(AttemptError::ResponseTooLarge {
                            why,
                            reading: Box::new(Some(reading)),
                        });
                    }
                }
                Some(Err(error)) => {
                    return Err(AttemptError::broken_off(&error));
                }
                None if watch.is_stream() => {
                    return Err(AttemptError::Unreachable(NO_EVENT.to_owned()));
                }
                None => {
                    if let Some(miss) = whole_error(&head, &watch) {
                        return Err(miss);
                    }
                    if let Err(why) = form.check_whole_answer(&watch) {
                        return Err(AttemptError::invalid_answer(why, watch, question.body_bytes));
                    }
                    if watch.is_buffered() {
                        // The translation can fail, so it has to be done before the client gets
                        // anything.
                        chunks.push(watch.observe_end()?);
                    }
                    break;
                }
            }
        }
        Ok(BufferedResponse { head, chunks, rest, watch, gathered: gathered.allowance })
    }
}

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
const EMPTY_PATIENCE: Duration = Duration::from_secs(1);

/// Waits for the next frame. If the answer `has_only_begun`, it fails after [`EMPTY_PATIENCE`],
/// counted from the first call in that state.
async fn until(
    patience: &mut Option<Instant>,
    has_only_begun: bool,
    rest: &mut upstream::UpstreamBody,
) -> Result<Option<NextFrame>, Elapsed> {
    if !has_only_begun {
        return Ok(rest.frame().await);
    }
    let end = *patience.get_or_insert_with(|| Instant::now() + EMPTY_PATIENCE);
    tokio::time::timeout_at(end, rest.frame()).await
}

/// The longest answer that is translated as a whole. The translation takes several times its length
/// in memory.
const TRANSLATED_BYTES_MAX: usize = 8 << 20;

/// The memory for one answer that is buffered before the client gets any of it.
struct BufferBudget {
    /// The bytes as received, before decompression.
    bytes: usize,
    most: usize,
    is_stream: bool,
    allowance: MemoryPermit,
}

impl BufferBudget {
    fn try_new(means: &RelayState, key: &KeyId, watch: &MeteredBody) -> Result<Self, AttemptError> {
        let is_stream = watch.is_stream();
        let bounds = &means.bounds;
        let most = match (is_stream, watch.is_buffered()) {
            (true, _) => bounds.first_event_bytes,
            (false, true) => bounds.answer_bytes.min(TRANSLATED_BYTES_MAX),
            (false, false) => bounds.answer_bytes,
        };
        let taken = MemoryRequest { bytes: 0, is_metered: false, concurrency: None };
        let allowance = means.gathered.try_acquire_bytes(key, taken);
        let allowance = allowance
            .map_err(|_| AttemptError::ResponseTooLarge { why: CROWDED, reading: Box::new(None) });
        Ok(Self { bytes: 0, most, is_stream, allowance: allowance? })
    }

    /// Counts more bytes. Fails with the reason when the answer is too long or no memory is left.
    fn add_bytes(&mut self, bytes: usize, watch: &MeteredBody) -> Result<(), &'static str> {
        self.bytes += bytes;
        let held = self.bytes.max(watch.plain_bytes());
        if held > self.most {
            return Err(if self.is_stream {
                "the upstream sent too many bytes before the first event"
            } else {
                "it is too long for an answer without streaming. Send the request with `stream` \
                 true"
            });
        }
        self.allowance.grow_to(held).map_err(|_| CROWDED)
    }
}

/// The reason given when an answer ends because no memory is left for it.
pub(crate) const CROWDED: &str =
    "the memory of the relay for answers is full. Try again in a moment";

/// Reads the rest of an error's body, up to the limit or until it breaks off, in the client's form.
async fn read_error_body(
    begun: Vec<Bytes>,
    rest: &mut upstream::UpstreamBody,
    mut watch: Option<&mut MeteredBody>,
) -> Bytes {
    let mut whole = BytesMut::new();
    for chunk in &begun {
        whole.extend_from_slice(chunk);
    }
    while whole.len() < ERROR_BYTES_MAX {
        let Some(Ok(frame)) = rest.frame().await else { break };
        let Ok(data) = frame.into_data() else { continue };
        let data = watch.as_mut().map_or(Ok(data.clone()), |watch| watch.observe(data));
        let Ok(data) = data else { break };
        whole.extend_from_slice(&data);
    }
    if let Some(Ok(tail)) = watch.map(MeteredBody::observe_end) {
        whole.extend_from_slice(&tail);
    }
    whole.freeze()
}

/// Decompresses an error's body, so that the verdict can read it and credentials in it can be
/// masked.
fn decompress_error_body(headers: &mut HeaderMap, body: Bytes) -> Bytes {
    if headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding != "gzip") {
        return body;
    }
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    let (mut gunzip, mut plain) = (GzipDecoder::new(), BytesMut::new());
    for piece in body.chunks(4 * 1024) {
        match gunzip.push(piece) {
            Ok(more) if plain.len() + more.len() <= ERROR_BYTES_MAX => {
                plain.extend_from_slice(&more);
            }
            Ok(_) | Err(_) => break,
        }
    }
    plain.freeze()
}

impl From<UndecodableResponse> for AttemptError {
    fn from(UndecodableResponse(why): UndecodableResponse) -> Self {
        Self::Unreachable(why.to_owned())
    }
}

impl From<SigningError> for AttemptError {
    fn from(error: SigningError) -> Self {
        Self::Misconfigured(error.to_string())
    }
}

impl From<UpstreamCallError> for AttemptError {
    fn from(error: UpstreamCallError) -> Self {
        match error {
            UpstreamCallError::BadUrl(why) => Self::Misconfigured(why),
            UpstreamCallError::OtherPath => {
                Self::Untranslatable(ModelIdError::OtherPath.to_string())
            }
            UpstreamCallError::ConnectTimeout => Self::Timeout,
            UpstreamCallError::NotConnected(why) | UpstreamCallError::Unreachable(why) => {
                Self::Unreachable(why)
            }
        }
    }
}

/// The most characters of an upstream's name for an error that logs and records contain.
const KIND_CHARACTERS_MAX: usize = 100;

impl AttemptError {
    fn broken_off(error: &impl fmt::Display) -> Self {
        Self::Unreachable(format!("the connection broke during the answer: {error}"))
    }

    /// The failure of an answer that is not one of the vendor's API. If it can be an answer that was
    /// damaged on the way, its usage counts, because the upstream may bill it.
    fn invalid_answer(why: BadAnswerForm, watch: MeteredBody, body_bytes: u64) -> Self {
        let reading = match why {
            BadAnswerForm::NotAnObject => Some(watch.finish(body_bytes).0),
            BadAnswerForm::Empty | BadAnswerForm::Page | BadAnswerForm::ContentType => None,
        };
        Self::InvalidAnswer { why, reading: Box::new(reading) }
    }

    /// Reads the upstream's error for the verdict.
    pub(crate) fn read_upstream_error(&self, now: Timestamp) -> OwnedUpstreamError {
        let (status, head, error) = match self {
            Self::ErrorResponse { head, body, .. } => {
                (head.status.as_u16(), head, ErrorFields::from_body(body))
            }
            Self::FirstEvent { head, failure, .. } => {
                let meter::UpstreamFailure { kind, code, message } = (**failure).clone();
                let is_enveloped = kind.is_some() || code.is_some();
                let error =
                    ErrorFields { kind, code, message, is_enveloped, ..ErrorFields::default() };
                (error.implied_status(), head, error)
            }
            _ => return OwnedUpstreamError::default(),
        };
        OwnedUpstreamError { status, announced: read_announced_limit(&head.headers, now), error }
    }

    /// Returns the failure in the form that the verdict takes.
    pub(crate) fn to_call_failure<'a>(
        &self,
        told: &'a OwnedUpstreamError,
    ) -> verdict::CallFailure<'a> {
        let OwnedUpstreamError { status, announced, error } = told;
        let said = verdict::UpstreamError { status: *status, announced, error };
        match self {
            Self::ErrorResponse { .. } => verdict::CallFailure::Status(said),
            Self::FirstEvent { .. } => verdict::CallFailure::FirstEvent(said),
            Self::Unreachable(_) | Self::Misconfigured(_) => verdict::CallFailure::Unreachable,
            Self::Timeout => verdict::CallFailure::Timeout,
            Self::InvalidAnswer { .. } => verdict::CallFailure::InvalidAnswer,
            // These failures show nothing about the account, and another account would not do
            // better.
            Self::Untranslatable(_)
            | Self::Crowded(_)
            | Self::ResponseTooLarge { .. }
            | Self::ShuttingDown => verdict::CallFailure::NotAsked,
        }
    }

    /// Returns whether no upstream was called.
    pub(crate) fn is_before_call(&self) -> bool {
        matches!(self, Self::Untranslatable(_) | Self::Crowded(_))
    }

    /// Returns the cause in one word, for metrics.
    pub(crate) fn cause_label(&self) -> &'static str {
        cause(&self.to_call_failure(&self.read_upstream_error(Timestamp::UNIX_EPOCH)))
    }

    /// Builds the client's answer from the last failure: the upstream's own error if there is one.
    /// `wait` is the number of seconds until an account can be used again. It is set as
    /// `retry-after` if the upstream was overloaded.
    ///
    /// # Errors
    /// The upstream gave no answer; the error is the relay's own.
    pub(crate) fn into_client_response(
        self,
        asked: &RequestContext,
        wait: Option<u64>,
    ) -> Result<Response<RelayBody>, RelayError> {
        match self {
            Self::ErrorResponse { clients: Some(clients), .. } => {
                let (head, body) = *clients;
                Ok(relay_error_response(asked, &head, body, wait))
            }
            Self::ErrorResponse { head, body, .. } | Self::FirstEvent { head, body, .. } => {
                Ok(relay_error_response(asked, &head, body, wait))
            }
            Self::InvalidAnswer { why, .. } => Err(RelayError::invalid_answer(why)),
            Self::Unreachable(_) => Err(RelayError::upstream_unreachable()),
            Self::Misconfigured(_) => Err(RelayError::account_misconfigured()),
            Self::Timeout => Err(RelayError::upstream_timeout()),
            Self::Untranslatable(why) => Err(RelayError::bad_request(&why)),
            Self::Crowded(full) => Err(full.into()),
            Self::ResponseTooLarge { why, .. } => Err(RelayError::answer_too_large(why)),
            Self::ShuttingDown => Err(RelayError::shutting_down()),
        }
    }

    /// Returns how the record of a request of `body_bytes` shows this failure as its end.
    pub(crate) fn take_request_end(&mut self, body_bytes: u64) -> RequestEnd {
        match self {
            // The upstream has the request and may bill it, so it counts as a stream that was cut
            // before its first event.
            Self::ShuttingDown => {
                let reading = UsageMeter::for_stream().finish(body_bytes);
                RequestEnd { outcome: RequestOutcome::Stopped, reading: Some(reading) }
            }
            Self::ResponseTooLarge { reading, .. } | Self::InvalidAnswer { reading, .. } => {
                RequestEnd { outcome: RequestOutcome::UpstreamError, reading: reading.take() }
            }
            _ => RequestEnd::without_answer(RequestOutcome::UpstreamError),
        }
    }
}

/// Passes an upstream's error on to the client.
fn relay_error_response(
    asked: &RequestContext,
    head: &Parts,
    body: Bytes,
    wait: Option<u64>,
) -> Response<RelayBody> {
    let mut head = client_response::relayed_head(asked, head);
    let is_busy = matches!(head.status.as_u16(), 429 | 529);
    if let Some(seconds) = wait.filter(|_| is_busy) {
        client_response::set_retry_headers(&mut head.headers, seconds);
    }
    Response::from_parts(head, RelayBody::from_bytes(body))
}

/// An upstream's error, read from its status, headers and body.
#[derive(Default)]
pub(crate) struct OwnedUpstreamError {
    status: u16,
    announced: verdict::AnnouncedLimit,
    pub(crate) error: ErrorFields,
}

impl fmt::Display for AttemptError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorResponse { head, .. } => write!(out, "answered {}", head.status.as_u16()),
            Self::FirstEvent { failure, .. } => {
                let kind = failure.kind.as_deref().unwrap_or("an error");
                write!(out, "the stream began with {}", escape_text(kind, KIND_CHARACTERS_MAX))
            }
            Self::InvalidAnswer { why, .. } => {
                write!(out, "status 200 with an answer that is not one of its API: {why}")
            }
            Self::Unreachable(why) => write!(out, "unreachable: {why}"),
            Self::Timeout => out.write_str("no answer in time"),
            Self::Untranslatable(why) => write!(out, "not called: {why}"),
            Self::Crowded(_) => out.write_str("not called: no memory is left for its body"),
            Self::ResponseTooLarge { why, .. } => write!(out, "cut off: {why}"),
            Self::ShuttingDown => out.write_str("ended because the relay is shutting down"),
            Self::Misconfigured(why) => write!(out, "cannot be called: {why}"),
        }
    }
}
