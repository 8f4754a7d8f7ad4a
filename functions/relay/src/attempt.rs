//! One try at one account: the request as it goes out, and the answer held at its first event.

use crate::body::RelayBody;
use crate::client_response::{self, RelayError};
use crate::forward::OutboundCall;
use crate::memory_budget::{MemoryPermit, MemoryRequest};
use crate::metered_body::{MeteredBody, UndecodableResponse};
use crate::pending_usage::ModelCall;
use crate::request_conversion::{ConversionPlan, UpstreamRequest};
use crate::response_conversion::{ResponsePlan, whole_error};
use crate::settle::RequestEnd;
use crate::{RelayState, RequestContext};
use baton_cloud::store::PoolMember;
use baton_cloud::upstream::{
    self, AwsAccess, OAUTH_BETA, SigningError, UpstreamCallError, credential_header,
};
use baton_domain::account::{CredentialKind, Provider};
use baton_domain::id::KeyId;
use baton_domain::metric::cause;
use baton_domain::record::RequestOutcome;
use baton_domain::verdict::{self, ErrorFields};
use baton_wire::gzip::GzipDecoder;
use baton_wire::headers::{add_beta, to_upstream};
use baton_wire::meter::{self, AnswerStart, MeterReading, UsageMeter};
use baton_wire::model_path::ModelIdError;
use baton_wire::rate_limit_headers::read_announced_limit;
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

/// Error answers are read whole, up to here.
const ERROR_BYTES_MAX: usize = 1 << 20;

/// An upstream's good answer, held at its first event.
pub(crate) struct BufferedResponse {
    pub(crate) head: Parts,
    /// What was read to see the first event, as the client is to get it.
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) rest: upstream::UpstreamBody,
    /// Has seen what was held.
    pub(crate) watch: MeteredBody,
    /// For what is held of it.
    pub(crate) gathered: MemoryPermit,
}

/// One upstream call that came to nothing, before the client was sent anything.
pub(crate) enum AttemptError {
    /// It answered with an error status.
    ErrorResponse {
        head: Box<Parts>,
        body: Bytes,
        /// The same in the client's words, where they are others.
        clients: Option<Box<(Parts, Bytes)>>,
    },
    /// It answered 200, and then an error as the stream's first event.
    FirstEvent { head: Box<Parts>, body: Bytes, failure: Box<meter::UpstreamFailure> },
    /// No connection, or it broke before the first event.
    Unreachable(String),
    /// No connection or no first event in time.
    Timeout,
    /// The account's settings make a call impossible.
    Misconfigured(String),
    /// The request cannot be put in the upstream's words.
    Untranslatable(String),
    /// It sent more than is gathered of one answer; what it has shown until then.
    ResponseTooLarge { why: &'static str, reading: Box<Option<MeterReading>> },
    /// The process is being stopped.
    ShuttingDown,
}

impl RelayState {
    /// Calls `member`'s upstream for `model` and waits for the first event.
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
        let outgoing = speech.convert_request(asked, member, call, model).await?;
        let UpstreamRequest { address, mut headers, body, meant } = outgoing;
        let calling = async {
            if member.account.credential == CredentialKind::Aws {
                let access = AwsAccess::from_secret(&member.credential)?;
                // A large future that few requests need.
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

/// The client's headers less what is its own, plus the account's credential.
pub(crate) fn build_upstream_headers(
    asked: &RequestContext,
    member: &PoolMember,
    stream: bool,
) -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = to_upstream(&asked.head.headers);
    // Streams are never compressed; gzip is the one encoding that the meter can look into.
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

/// Removes what only the other vendor's upstreams are to know.
fn remove_headers_by_prefix(headers: &mut HeaderMap, prefix: &str) {
    let names = headers.keys().filter(|name| name.as_str().starts_with(prefix));
    for name in names.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

impl RelayState {
    /// Reads on until it is known that the answer is no error, within what is gathered of one.
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
                // A client is not kept waiting for an error that may come.
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
                        // Freed before the reading is made, which takes room of its own.
                        drop(chunks);
                        let reading = watch.finish(question.body_bytes).0;
                        return Err(AttemptError::ResponseTooLarge {
                            why,
                            reading: Box::new(Some(reading)),
                        });
                    }
                }
                Some(Err(error)) => {
                    let why = format!("the answer broke off: {error}");
                    return Err(AttemptError::Unreachable(why));
                }
                None if watch.is_stream() => {
                    return Err(AttemptError::Unreachable(NO_EVENT.to_owned()));
                }
                None => {
                    if let Some(miss) = whole_error(&head, &watch) {
                        return Err(miss);
                    }
                    if watch.is_buffered() {
                        // Whether it can be told to the client must be known before it is.
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

/// Why an answer with this status shows that the account's settings make a call impossible.
fn misconfigured(status: StatusCode) -> Option<&'static str> {
    match status {
        // Followed neither by us nor by the client: either would carry a credential elsewhere.
        _ if status.is_redirection() => Some("it answers with a redirect"),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some("its proxy asks for authentication"),
        _ => None,
    }
}

/// So long a stream that has begun with nothing that a model has made waits for more, in case that is
/// an error.
const EMPTY_PATIENCE: Duration = Duration::from_secs(1);

/// The next frame; an error where it takes longer than an answer that `has_only_begun` is waited for,
/// counted from when that was seen first.
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

/// The longest answer that is put into another API's words when it is whole: that takes several
/// times its length.
const TRANSLATED_BYTES_MAX: usize = 8 << 20;

/// What is gathered of one answer before any of it leaves.
struct BufferBudget {
    /// As they came, perhaps compressed.
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

    /// Counts more bytes, or says why no more are gathered.
    fn add_bytes(&mut self, bytes: usize, watch: &MeteredBody) -> Result<(), &'static str> {
        self.bytes += bytes;
        let held = self.bytes.max(watch.plain_bytes());
        if held > self.most {
            return Err(if self.is_stream {
                "it sent too much before its first event"
            } else {
                "it is too long for one that is no stream; ask for a stream"
            });
        }
        self.allowance.grow_to(held).map_err(|_| CROWDED)
    }
}

/// Why an answer ends for which there is no allowance.
pub(crate) const CROWDED: &str =
    "the relay gathers as many bytes of answers as it may; try again in a moment";

/// The rest of an error's body, as far as it comes and as the client is to get it.
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

/// An error's body as it can be read: accounts are judged by it, and credentials are looked for in it.
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

/// Takes the account's credential out of what the client could get: upstreams repeat what they were
/// sent.
fn mask_credential(tried: &mut Result<BufferedResponse, AttemptError>, credential: &[u8]) {
    match tried {
        Ok(held) => remove_headers_with_credential(&mut held.head.headers, credential),
        Err(AttemptError::ErrorResponse { head, body, clients }) => {
            remove_headers_with_credential(&mut head.headers, credential);
            mask_bytes(body, credential);
            if let Some(clients) = clients {
                remove_headers_with_credential(&mut clients.0.headers, credential);
                mask_bytes(&mut clients.1, credential);
            }
        }
        Err(AttemptError::FirstEvent { head, body, .. }) => {
            remove_headers_with_credential(&mut head.headers, credential);
            mask_bytes(body, credential);
        }
        Err(_) => {}
    }
}

/// Without the headers that hold the credential.
pub(crate) fn remove_headers_with_credential(headers: &mut HeaderMap, credential: &[u8]) {
    let holds = |value: &HeaderValue| find_credential(value.as_bytes(), credential).is_some();
    let names: Vec<_> =
        headers.iter().filter(|(_, value)| holds(value)).map(|(name, _)| name.clone()).collect();
    for name in names {
        headers.remove(name);
    }
}

/// As many asterisks in the place of the credential, so that no length changes.
fn mask_bytes(body: &mut Bytes, credential: &[u8]) {
    let Some(mut at) = find_credential(body, credential) else { return };
    let mut masked = body.to_vec();
    loop {
        if let Some(place) = masked.get_mut(at..at + credential.len()) {
            place.fill(b'*');
        }
        let Some(next) = masked.get(at..).and_then(|rest| find_credential(rest, credential)) else {
            break;
        };
        at += next;
    }
    *body = masked.into();
}

/// Where the credential is. One of a few characters would be found everywhere.
fn find_credential(bytes: &[u8], credential: &[u8]) -> Option<usize> {
    const BYTES_MIN: usize = 8;
    let mut windows = bytes.windows(credential.len().max(BYTES_MIN));
    windows.position(|window| window == credential)
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

impl AttemptError {
    /// What the upstream has said, read for the decision about it.
    pub(crate) fn read_upstream_error(&self, now: Timestamp) -> OwnedUpstreamError {
        let (status, head, error) = match self {
            Self::ErrorResponse { head, body, .. } => {
                (head.status.as_u16(), head, ErrorFields::from_body(body))
            }
            Self::FirstEvent { head, failure, .. } => {
                let meter::UpstreamFailure { kind, code, message } = (**failure).clone();
                let error = ErrorFields { kind, code, message, ..ErrorFields::default() };
                (error.implied_status(), head, error)
            }
            _ => return OwnedUpstreamError::default(),
        };
        OwnedUpstreamError { status, announced: read_announced_limit(&head.headers, now), error }
    }

    /// The same, as the decision about it wants it.
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
            // Neither says anything of the account, and another one would not do better.
            Self::Untranslatable(_) | Self::ResponseTooLarge { .. } | Self::ShuttingDown => {
                verdict::CallFailure::NotAsked
            }
        }
    }

    /// Why it failed, in one word.
    pub(crate) fn cause_label(&self) -> &'static str {
        cause(&self.to_call_failure(&self.read_upstream_error(Timestamp::UNIX_EPOCH)))
    }

    /// What the client gets when nothing better was had: the upstream's own words, if it had any.
    /// `wait` is how many seconds it takes until an account can be used, where an upstream had too
    /// much to do.
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
            Self::Unreachable(_) => Err(RelayError::upstream_unreachable()),
            Self::Misconfigured(_) => Err(RelayError::account_misconfigured()),
            Self::Timeout => Err(RelayError::upstream_timeout()),
            Self::Untranslatable(why) => Err(RelayError::bad_request(&why)),
            Self::ResponseTooLarge { why, .. } => Err(RelayError::answer_too_large(why)),
            Self::ShuttingDown => Err(RelayError::shutting_down()),
        }
    }

    /// How it is recorded, if it was the last try of a request of `body_bytes`.
    pub(crate) fn take_request_end(&mut self, body_bytes: u64) -> RequestEnd {
        match self {
            // The upstream has the request and may bill it: it counts as a stream that was cut before
            // its first event.
            Self::ShuttingDown => {
                let reading = UsageMeter::for_stream().finish(body_bytes);
                RequestEnd { outcome: RequestOutcome::Stopped, reading: Some(reading) }
            }
            Self::ResponseTooLarge { reading, .. } => {
                RequestEnd { outcome: RequestOutcome::UpstreamError, reading: reading.take() }
            }
            _ => RequestEnd::without_answer(RequestOutcome::UpstreamError),
        }
    }
}

/// An upstream's error on its way to the client.
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

/// What an upstream has said of a failure.
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
                write!(out, "the stream began with {kind:.100}")
            }
            Self::Unreachable(why) => write!(out, "unreachable: {why}"),
            Self::Timeout => out.write_str("no answer in time"),
            Self::Untranslatable(why) => write!(out, "not asked: {why}"),
            Self::ResponseTooLarge { why, .. } => write!(out, "cut off: {why}"),
            Self::ShuttingDown => out.write_str("given up, because the relay is stopped"),
            Self::Misconfigured(why) => write!(out, "cannot be called: {why}"),
        }
    }
}
