//! One try at one account: the request as it goes out, and the answer held at its first event.

use crate::body::Body;
use crate::forward::Call;
use crate::hear::{Meant, whole_error};
use crate::held_bytes::{Allowance, Taken};
use crate::receipt::Question;
use crate::reply::{self, Refusal};
use crate::settle::Ending;
use crate::speak::{Outgoing, Speech};
use crate::watch::{Unreadable, Watch};
use crate::{Asked, Means};
use baton_cloud::store::PoolMember;
use baton_cloud::upstream::{self, AwsAccess, NoAnswer, NotSigned, OAUTH_BETA, credential_header};
use baton_domain::account::{CredentialKind, Provider};
use baton_domain::id::KeyId;
use baton_domain::metric::cause;
use baton_domain::record::Outcome;
use baton_domain::verdict::{self, ErrorFields};
use baton_wire::encoding::Gunzip;
use baton_wire::headers::{add_beta, to_upstream};
use baton_wire::limits::announced_of;
use baton_wire::meter::{self, First, Meter, Reading};
use baton_wire::model_path::BadId;
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

type NextFrame = Result<Frame<Bytes>, <upstream::Body as http_body::Body>::Error>;

/// Error answers are read whole, up to here.
const ERROR_BYTES_MAX: usize = 1 << 20;

/// An upstream's good answer, held at its first event.
pub(crate) struct Held {
    pub(crate) head: Parts,
    /// What was read to see the first event, as the client is to get it.
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) rest: upstream::Body,
    /// Has seen what was held.
    pub(crate) watch: Watch,
    /// For what is held of it.
    pub(crate) gathered: Allowance,
}

/// One upstream call that came to nothing, before the client was sent anything.
pub(crate) enum Miss {
    /// It answered with an error status.
    Answered {
        head: Box<Parts>,
        body: Bytes,
        /// The same in the client's words, where they are others.
        clients: Option<Box<(Parts, Bytes)>>,
    },
    /// It answered 200, and then an error as the stream's first event.
    FirstEvent { head: Box<Parts>, body: Bytes, failure: Box<meter::Failure> },
    /// No connection, or it broke before the first event.
    Unreachable(String),
    /// No connection or no first event in time.
    Timeout,
    /// The account's settings make a call impossible.
    Misconfigured(String),
    /// The request cannot be put in the upstream's words.
    BadRequest(String),
    /// It sent more than is gathered of one answer; what it has shown until then.
    TooMuch { why: &'static str, reading: Box<Option<Reading>> },
    /// The process is being stopped.
    Stopped,
}

impl Means {
    /// Calls `member`'s upstream for `model` and waits for the first event.
    pub(crate) async fn attempt(
        &self,
        asked: &Asked,
        member: &PoolMember,
        (speech, call, model): (Speech, &Call, &str),
        deadline: Instant,
    ) -> Result<Held, Miss> {
        let account = &member.account;
        let provider = account.provider.as_str();
        let span = asked.trace.attempt(&account.id, provider, model);
        let mut tried = self.call(asked, member, (speech, call, model), deadline).await;
        if member.account.credential != CredentialKind::Aws {
            mask(&mut tried, member.credential.expose().as_bytes());
        }
        let result = tried.as_ref().err().map_or("ok", Miss::cause);
        self.observer.attempted(provider, result);
        span.ended(result);
        tried
    }

    async fn call(
        &self,
        asked: &Asked,
        member: &PoolMember,
        (speech, call, model): (Speech, &Call, &str),
        deadline: Instant,
    ) -> Result<Held, Miss> {
        let first_byte = (Instant::now() + self.timers.first_byte).min(deadline);
        let outgoing = speech.outgoing(asked, member, call, model).await?;
        let Outgoing { address, mut headers, body, meant } = outgoing;
        let calling = async {
            if member.account.credential == CredentialKind::Aws {
                let access = AwsAccess::of_secret(&member.credential)?;
                // A large future that few requests need.
                Box::pin(self.signer.sign(&access, address.as_str(), &mut headers, &body)).await?;
            }
            let upstream = self.upstream.through(member.proxy.as_ref())?;
            let answer = upstream.call(Method::POST, &address, headers, body).await?;
            self.hold(asked, (meant, call.question.as_ref()), answer).await
        };
        tokio::select! {
            biased;
            tried = tokio::time::timeout_at(first_byte, calling) => tried.unwrap_or(Err(Miss::Timeout)),
            () = self.stop.is_over.cancelled() => Err(Miss::Stopped),
        }
    }
}

/// The client's headers less what is its own, plus the account's credential.
pub(crate) fn headers(
    asked: &Asked,
    member: &PoolMember,
    stream: bool,
) -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = to_upstream(&asked.head.headers);
    // Streams are never compressed; gzip is the one encoding that the meter can look into.
    let encoding = if !stream && asked.accepts_gzip() { "gzip" } else { "identity" };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    if member.account.provider == Provider::OpenaiCompatible {
        remove(&mut headers, "anthropic-");
    } else {
        remove(&mut headers, "openai-");
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
fn remove(headers: &mut HeaderMap, prefix: &str) {
    let names = headers.keys().filter(|name| name.as_str().starts_with(prefix));
    for name in names.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

impl Means {
    /// Reads on until it is known that the answer is no error, within what is gathered of one.
    async fn hold(
        &self,
        asked: &Asked,
        (meant, question): (Meant, &Question),
        answer: Response<upstream::Body>,
    ) -> Result<Held, Miss> {
        let (mut head, mut rest) = answer.into_parts();
        if let Some(why) = misconfigured(head.status) {
            return Err(Miss::Misconfigured(why.to_owned()));
        }
        if !head.status.is_success() {
            let body = gather(Vec::new(), &mut rest, None).await;
            let body = unfolded(&mut head.headers, body);
            return Err(meant.error(head, body));
        }
        let turn = meant.turn(&mut head);
        let mut watch = Watch::new(&head.headers, asked.accepts_gzip(), turn);
        let mut gathered = Gathered::begin(self, &question.caller.key().id, &watch)?;
        let (mut chunks, mut patience) = (Vec::new(), None);
        loop {
            if watch.begins_well() {
                return Ok(Held { head, chunks, rest, watch, gathered: gathered.allowance });
            }
            if let First::Error(failure) = watch.first() {
                let failure = Box::new(failure.clone());
                let body = gather(chunks, &mut rest, Some(&mut watch)).await;
                return Err(Miss::FirstEvent { head: Box::new(head), body, failure });
            }
            let Ok(next) = until(&mut patience, watch.has_only_begun(), &mut rest).await else {
                // A client is not kept waiting for an error that may come.
                return Ok(Held { head, chunks, rest, watch, gathered: gathered.allowance });
            };
            match next {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let length = data.len();
                    let seen = match watch.observe(data) {
                        Ok(chunk) => {
                            chunks.push(chunk);
                            gathered.add(length, &watch)
                        }
                        Err(Unreadable::TOO_MUCH) => Err(Unreadable::TOO_MUCH.0),
                        Err(unreadable) => return Err(unreadable.into()),
                    };
                    if let Err(why) = seen {
                        // Freed before the reading is made, which takes room of its own.
                        drop(chunks);
                        let reading = watch.finish(question.body_bytes).0;
                        return Err(Miss::TooMuch { why, reading: Box::new(Some(reading)) });
                    }
                }
                Some(Err(error)) => {
                    return Err(Miss::Unreachable(format!("the answer broke off: {error}")));
                }
                None if watch.is_stream() => return Err(Miss::Unreachable(NO_EVENT.to_owned())),
                None => {
                    if let Some(miss) = whole_error(&head, &watch) {
                        return Err(miss);
                    }
                    if watch.gathers() {
                        // Whether it can be told to the client must be known before it is.
                        chunks.push(watch.observe_end()?);
                    }
                    return Ok(Held { head, chunks, rest, watch, gathered: gathered.allowance });
                }
            }
        }
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
    rest: &mut upstream::Body,
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
struct Gathered {
    /// As they came, perhaps compressed.
    bytes: usize,
    most: usize,
    is_stream: bool,
    allowance: Allowance,
}

impl Gathered {
    fn begin(means: &Means, key: &KeyId, watch: &Watch) -> Result<Self, Miss> {
        let is_stream = watch.is_stream();
        let bounds = &means.bounds;
        let most = match (is_stream, watch.gathers()) {
            (true, _) => bounds.first_event_bytes,
            (false, true) => bounds.answer_bytes.min(TRANSLATED_BYTES_MAX),
            (false, false) => bounds.answer_bytes,
        };
        let taken = Taken { bytes: 0, is_metered: false, concurrency: None };
        let allowance = means.gathered.try_take(key, taken);
        let allowance =
            allowance.map_err(|_| Miss::TooMuch { why: CROWDED, reading: Box::new(None) });
        Ok(Self { bytes: 0, most, is_stream, allowance: allowance? })
    }

    /// Counts more bytes, or says why no more are gathered.
    fn add(&mut self, bytes: usize, watch: &Watch) -> Result<(), &'static str> {
        self.bytes += bytes;
        let held = self.bytes.max(watch.plain_bytes());
        if held > self.most {
            return Err(if self.is_stream {
                "it sent too much before its first event"
            } else {
                "it is too long for one that is no stream; ask for a stream"
            });
        }
        self.allowance.cover(held).map_err(|_| CROWDED)
    }
}

/// Why an answer ends for which there is no allowance.
pub(crate) const CROWDED: &str =
    "the relay gathers as many bytes of answers as it may; try again in a moment";

/// The rest of an error's body, as far as it comes and as the client is to get it.
async fn gather(
    begun: Vec<Bytes>,
    rest: &mut upstream::Body,
    mut watch: Option<&mut Watch>,
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
    if let Some(Ok(tail)) = watch.map(Watch::observe_end) {
        whole.extend_from_slice(&tail);
    }
    whole.freeze()
}

/// An error's body as it can be read: accounts are judged by it, and credentials are looked for in it.
fn unfolded(headers: &mut HeaderMap, body: Bytes) -> Bytes {
    if headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding != "gzip") {
        return body;
    }
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    let (mut gunzip, mut plain) = (Gunzip::new(), BytesMut::new());
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
fn mask(tried: &mut Result<Held, Miss>, credential: &[u8]) {
    match tried {
        Ok(held) => mask_headers(&mut held.head.headers, credential),
        Err(Miss::Answered { head, body, clients }) => {
            mask_headers(&mut head.headers, credential);
            mask_bytes(body, credential);
            if let Some(clients) = clients {
                mask_headers(&mut clients.0.headers, credential);
                mask_bytes(&mut clients.1, credential);
            }
        }
        Err(Miss::FirstEvent { head, body, .. }) => {
            mask_headers(&mut head.headers, credential);
            mask_bytes(body, credential);
        }
        Err(_) => {}
    }
}

/// Without the headers that hold the credential.
pub(crate) fn mask_headers(headers: &mut HeaderMap, credential: &[u8]) {
    let holds = |value: &HeaderValue| position(value.as_bytes(), credential).is_some();
    let names: Vec<_> =
        headers.iter().filter(|(_, value)| holds(value)).map(|(name, _)| name.clone()).collect();
    for name in names {
        headers.remove(name);
    }
}

/// As many asterisks in the place of the credential, so that no length changes.
fn mask_bytes(body: &mut Bytes, credential: &[u8]) {
    let Some(mut at) = position(body, credential) else { return };
    let mut masked = body.to_vec();
    loop {
        if let Some(place) = masked.get_mut(at..at + credential.len()) {
            place.fill(b'*');
        }
        let Some(next) = masked.get(at..).and_then(|rest| position(rest, credential)) else {
            break;
        };
        at += next;
    }
    *body = masked.into();
}

/// Where the credential is. One of a few characters would be found everywhere.
fn position(bytes: &[u8], credential: &[u8]) -> Option<usize> {
    const BYTES_MIN: usize = 8;
    let mut windows = bytes.windows(credential.len().max(BYTES_MIN));
    windows.position(|window| window == credential)
}

impl From<Unreadable> for Miss {
    fn from(Unreadable(why): Unreadable) -> Self {
        Self::Unreachable(why.to_owned())
    }
}

impl From<NotSigned> for Miss {
    fn from(error: NotSigned) -> Self {
        Self::Misconfigured(error.to_string())
    }
}

impl From<NoAnswer> for Miss {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::BadUrl(why) => Self::Misconfigured(why),
            NoAnswer::OtherPath => Self::BadRequest(BadId::OtherPath.to_string()),
            NoAnswer::ConnectTimeout => Self::Timeout,
            NoAnswer::NotConnected(why) | NoAnswer::Unreachable(why) => Self::Unreachable(why),
        }
    }
}

impl Miss {
    /// What the upstream has said, read for the decision about it.
    pub(crate) fn told(&self, now: Timestamp) -> Told {
        let (status, head, error) = match self {
            Self::Answered { head, body, .. } => {
                (head.status.as_u16(), head, ErrorFields::read(body))
            }
            Self::FirstEvent { head, failure, .. } => {
                let meter::Failure { kind, code, message } = (**failure).clone();
                let error = ErrorFields { kind, code, message, ..ErrorFields::default() };
                (error.implied_status(), head, error)
            }
            _ => return Told::default(),
        };
        Told { status, announced: announced_of(&head.headers, now), error }
    }

    /// The same, as the decision about it wants it.
    pub(crate) fn failure<'a>(&self, told: &'a Told) -> verdict::Failure<'a> {
        let Told { status, announced, error } = told;
        let said = verdict::UpstreamError { status: *status, announced, error };
        match self {
            Self::Answered { .. } => verdict::Failure::Status(said),
            Self::FirstEvent { .. } => verdict::Failure::FirstEvent(said),
            Self::Unreachable(_) | Self::Misconfigured(_) => verdict::Failure::Unreachable,
            Self::Timeout => verdict::Failure::Timeout,
            // Neither says anything of the account, and another one would not do better.
            Self::BadRequest(_) | Self::TooMuch { .. } | Self::Stopped => {
                verdict::Failure::NotAsked
            }
        }
    }

    /// Why it failed, in one word.
    pub(crate) fn cause(&self) -> &'static str {
        cause(&self.failure(&self.told(Timestamp::UNIX_EPOCH)))
    }

    /// What the client gets when nothing better was had: the upstream's own words, if it had any.
    /// `wait` is how many seconds it takes until an account can be used, where an upstream had too
    /// much to do.
    pub(crate) fn into_answer(
        self,
        asked: &Asked,
        wait: Option<u64>,
    ) -> Result<Response<Body>, Refusal> {
        match self {
            Self::Answered { clients: Some(clients), .. } => {
                let (head, body) = *clients;
                Ok(passed_on(asked, &head, body, wait))
            }
            Self::Answered { head, body, .. } | Self::FirstEvent { head, body, .. } => {
                Ok(passed_on(asked, &head, body, wait))
            }
            Self::Unreachable(_) => Err(Refusal::unreachable()),
            Self::Misconfigured(_) => Err(Refusal::misconfigured()),
            Self::Timeout => Err(Refusal::timeout()),
            Self::BadRequest(why) => Err(Refusal::bad_request(&why)),
            Self::TooMuch { why, .. } => Err(Refusal::answer_too_large(why)),
            Self::Stopped => Err(Refusal::stopping()),
        }
    }

    /// How it is recorded, if it was the last try of a request of `body_bytes`.
    pub(crate) fn ending(&mut self, body_bytes: u64) -> Ending {
        match self {
            // The upstream has the request and may bill it: it counts as a stream that was cut before
            // its first event.
            Self::Stopped => {
                let reading = Meter::stream().finish(body_bytes);
                Ending { outcome: Outcome::Stopped, reading: Some(reading) }
            }
            Self::TooMuch { reading, .. } => {
                Ending { outcome: Outcome::UpstreamError, reading: reading.take() }
            }
            _ => Ending::without_answer(Outcome::UpstreamError),
        }
    }
}

/// An upstream's error on its way to the client.
fn passed_on(asked: &Asked, head: &Parts, body: Bytes, wait: Option<u64>) -> Response<Body> {
    let mut head = reply::relayed_head(asked, head);
    let is_busy = matches!(head.status.as_u16(), 429 | 529);
    if let Some(seconds) = wait.filter(|_| is_busy) {
        reply::tell_wait(&mut head.headers, seconds);
    }
    Response::from_parts(head, Body::ready(body))
}

/// What an upstream has said of a failure.
#[derive(Default)]
pub(crate) struct Told {
    status: u16,
    announced: verdict::AnnouncedLimit,
    pub(crate) error: ErrorFields,
}

impl fmt::Display for Miss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { head, .. } => write!(out, "answered {}", head.status.as_u16()),
            Self::FirstEvent { failure, .. } => {
                let kind = failure.kind.as_deref().unwrap_or("an error");
                write!(out, "the stream began with {kind:.100}")
            }
            Self::Unreachable(why) => write!(out, "unreachable: {why}"),
            Self::Timeout => out.write_str("no answer in time"),
            Self::BadRequest(why) => write!(out, "not asked: {why}"),
            Self::TooMuch { why, .. } => write!(out, "cut off: {why}"),
            Self::Stopped => out.write_str("given up, because the relay is stopped"),
            Self::Misconfigured(why) => write!(out, "cannot be called: {why}"),
        }
    }
}
