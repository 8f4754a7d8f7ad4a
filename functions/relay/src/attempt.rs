//! One try at one account: the request as it goes out, and the answer held at its first event.

use crate::body::Body;
use crate::forward::Call;
use crate::hear::Meant;
use crate::reply::{self, Refusal};
use crate::speak::{Outgoing, Speech};
use crate::watch::{Unreadable, Watch};
use crate::{Asked, Means};
use baton_cloud::store::PoolMember;
use baton_cloud::upstream::{self, AwsAccess, NoAnswer, NotSigned, OAUTH_BETA, credential_header};
use baton_domain::account::{CredentialKind, Provider};
use baton_domain::metric::cause;
use baton_domain::verdict;
use baton_wire::headers::{add_beta, to_upstream};
use baton_wire::limits::{family_of, reset_of, retry_after_of};
use baton_wire::meter::First;
use baton_wire::model_path::BadId;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, InvalidHeaderValue};
use http::response::Parts;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use std::fmt;
use tokio::time::Instant;

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
    FirstEvent { head: Box<Parts>, body: Bytes, kind: String },
    /// No connection, or it broke before the first event.
    Unreachable(String),
    /// No connection or no first event in time.
    Timeout,
    /// The account's settings make a call impossible.
    Misconfigured(String),
    /// The request cannot be put in the upstream's words.
    BadRequest(String),
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
        let tried = self.call(asked, member, (speech, call, model), deadline).await;
        let result = tried.as_ref().err().map_or("ok", |miss| cause(&miss.failure()));
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
        let outgoing = speech.outgoing(asked, member, call, model)?;
        let Outgoing { address, mut headers, body, meant } = outgoing;
        let call = async {
            if member.account.credential == CredentialKind::Aws {
                let access = AwsAccess::of_secret(&member.credential)?;
                // A large future that few requests need.
                Box::pin(self.signer.sign(&access, address.as_str(), &mut headers, &body)).await?;
            }
            let upstream = self.upstream.through(member.proxy.as_ref())?;
            let answer = upstream.call(Method::POST, &address, headers, body).await?;
            hold(asked, meant, answer).await
        };
        tokio::time::timeout_at(first_byte, call).await.unwrap_or(Err(Miss::Timeout))
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

/// Reads on until it is known that the answer is no error.
async fn hold(asked: &Asked, meant: Meant, answer: Response<upstream::Body>) -> Result<Held, Miss> {
    let (mut head, mut rest) = answer.into_parts();
    if head.status.is_redirection() {
        // Followed neither by us nor by the client: either would carry a credential elsewhere.
        return Err(Miss::Misconfigured("it answers with a redirect".to_owned()));
    }
    if !head.status.is_success() {
        let body = gather(Vec::new(), &mut rest, None).await;
        return Err(meant.error(head, body));
    }
    let turn = meant.turn(&mut head);
    let mut watch = Watch::new(&head.headers, asked.accepts_gzip(), turn);
    let mut chunks = Vec::new();
    loop {
        if watch.begins_well() {
            return Ok(Held { head, chunks, rest, watch });
        }
        if let First::Error(failure) = watch.first() {
            let kind = failure.kind.clone().unwrap_or_default();
            let body = gather(chunks, &mut rest, Some(&mut watch)).await;
            return Err(Miss::FirstEvent { head: Box::new(head), body, kind });
        }
        match rest.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    chunks.push(watch.observe(data)?);
                }
            }
            Some(Err(error)) => {
                return Err(Miss::Unreachable(format!("the answer broke off: {error}")));
            }
            None if watch.is_stream() => {
                return Err(Miss::Unreachable(
                    "the stream ended before its first event".to_owned(),
                ));
            }
            None if watch.gathers() => {
                // Whether it can be told to the client must be known before it is.
                chunks.push(watch.observe_end()?);
                return Ok(Held { head, chunks, rest, watch });
            }
            None => return Ok(Held { head, chunks, rest, watch }),
        }
    }
}

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
    /// The same, as the decision about it wants it.
    pub(crate) fn failure(&self) -> verdict::Failure<'_> {
        match self {
            Self::Answered { head, body, .. } => verdict::Failure::Status(verdict::Answer {
                status: head.status.as_u16(),
                retry_after: retry_after_of(&head.headers),
                reset: reset_of(&head.headers),
                family: family_of(&head.headers),
                body: std::str::from_utf8(body).unwrap_or_default(),
            }),
            Self::FirstEvent { kind, .. } => verdict::Failure::FirstEvent { kind },
            Self::Unreachable(_) | Self::Misconfigured(_) => verdict::Failure::Unreachable,
            Self::Timeout => verdict::Failure::Timeout,
            Self::BadRequest(_) => verdict::Failure::NotAsked,
        }
    }

    /// What the client gets when nothing better was had: the upstream's own words, if it had any.
    pub(crate) fn into_answer(self, asked: &Asked) -> Result<Response<Body>, Refusal> {
        match self {
            Self::Answered { clients: Some(clients), .. } => {
                let (head, body) = *clients;
                let head = reply::relayed_head(asked, &head);
                Ok(Response::from_parts(head, Body::ready(body)))
            }
            Self::Answered { head, body, .. } | Self::FirstEvent { head, body, .. } => {
                let head = reply::relayed_head(asked, &head);
                Ok(Response::from_parts(head, Body::ready(body)))
            }
            Self::Unreachable(_) => Err(Refusal::unreachable()),
            Self::Misconfigured(_) => Err(Refusal::misconfigured()),
            Self::Timeout => Err(Refusal::timeout()),
            Self::BadRequest(why) => Err(Refusal::bad_request(&why)),
        }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { head, .. } => write!(out, "answered {}", head.status.as_u16()),
            Self::FirstEvent { kind, .. } => write!(out, "the stream began with {kind}"),
            Self::Unreachable(why) => write!(out, "unreachable: {why}"),
            Self::Timeout => out.write_str("no answer in time"),
            Self::BadRequest(why) => write!(out, "not asked: {why}"),
            Self::Misconfigured(why) => write!(out, "cannot be called: {why}"),
        }
    }
}
