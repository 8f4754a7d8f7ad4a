//! Which form of an API a client and an account speak, and what lies between the two: chosen once
//! an attempt, from the route and the account's provider.
//!
//! Going out, [`Speech::outgoing`] makes address, headers and body; coming back, a [`Turn`] makes
//! the client's bytes of the upstream's and shows the meter an event stream. Where both speak the
//! same, bytes pass.

use crate::attempt::Miss;
use crate::forward::Call;
use crate::receipt::Bill;
use crate::{Asked, attempt};
use baton_cloud::store::PoolMember;
use baton_cloud::upstream::trimmed;
use baton_domain::account::Account;
use baton_domain::model::{anthropic_id, foundation_id, map};
use baton_wire::bedrock::{
    Action, BadBody, BadFrame, EVENT_STREAM, FromSse, ToSse, counted, counted_there, path,
    to_count, to_count_messages, to_invoke, to_messages, told,
};
use baton_wire::meter::Meter;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;

const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const AMZN_ERROR: HeaderName = HeaderName::from_static("x-amzn-errortype");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const FRAMES: HeaderValue = HeaderValue::from_static(EVENT_STREAM);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The two forms: the client's and the account's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Both speak the Messages API.
    Same,
    /// The client speaks it, the account is Bedrock.
    IntoBedrock,
    /// The client speaks Bedrock, the account the Messages API.
    OutOfBedrock,
    /// Both speak Bedrock.
    Bedrock,
}

/// A request as it goes to the account, but for its signature.
pub(crate) struct Outgoing {
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Speech {
    pub(crate) fn between(asked: &Asked, account: &Account) -> Self {
        match (asked.bedrock.is_some(), account.takes_invoke_model()) {
            (false, false) => Self::Same,
            (false, true) => Self::IntoBedrock,
            (true, false) => Self::OutOfBedrock,
            (true, true) => Self::Bedrock,
        }
    }

    /// What the account is asked for when the client asks for `model`.
    pub(crate) fn model(self, member: &PoolMember, model: &str) -> String {
        let mapped = map(&member.account.model_map, model);
        let own = if self == Self::OutOfBedrock { anthropic_id(model) } else { model };
        mapped.unwrap_or(own).to_owned()
    }

    /// The request to `member` for `model`.
    pub(crate) fn outgoing(
        self,
        asked: &Asked,
        member: &PoolMember,
        call: &Call,
        model: &str,
    ) -> Result<Outgoing, Miss> {
        let base = trimmed(&member.account.base_url);
        let is_count = call.question.bill == Bill::Free;
        let stream = call.question.stream;
        let encodes = matches!(self, Self::Same | Self::OutOfBedrock);
        let mut headers = attempt::headers(asked, member, stream || !encodes)
            .map_err(|_| Miss::Misconfigured("its credential is no header value".to_owned()))?;
        let (path, body) = match self {
            Self::Same => (asked.path_and_query(), call.body_for(model)),
            Self::IntoBedrock => {
                let betas = asked.head.headers.get_all(BETA).iter();
                let betas = betas.filter_map(|value| value.to_str().ok());
                let action = match (is_count, stream) {
                    (true, _) => Action::CountTokens,
                    (false, true) => Action::Stream,
                    (false, false) => Action::Invoke,
                };
                let (model, body) = match action {
                    Action::CountTokens => (foundation_id(model), to_count(&call.body, betas)),
                    Action::Invoke | Action::Stream => (model, to_invoke(&call.body, betas)),
                };
                headers.remove(BETA);
                headers.remove(VERSION);
                headers.insert(CONTENT_TYPE, JSON);
                headers.insert(ACCEPT, if stream { FRAMES } else { JSON });
                (path(model, action), body?)
            }
            Self::OutOfBedrock => {
                let (path, message) = if is_count {
                    ("/v1/messages/count_tokens", to_count_messages(&call.body, model)?)
                } else {
                    ("/v1/messages", to_messages(&call.body, model, stream)?)
                };
                let betas = message.betas.and_then(|betas| HeaderValue::try_from(betas).ok());
                if let Some(betas) = betas {
                    headers.append(BETA, betas);
                }
                headers.entry(VERSION).or_insert(HeaderValue::from_static("2023-06-01"));
                (path.to_owned(), message.body)
            }
            Self::Bedrock => {
                // Of Amazon's headers these are about the request, not about its way.
                let own = asked.head.headers.iter();
                for (name, value) in own.filter(|(name, _)| is_of_bedrock(name)) {
                    headers.append(name.clone(), value.clone());
                }
                let action = asked.bedrock.as_ref().map_or(Action::Invoke, |(_, action)| *action);
                (path(model, action), call.body.clone())
            }
        };
        Ok(Outgoing { url: format!("{base}{path}"), headers, body })
    }

    /// How a good answer with this head is turned; the head becomes the client's.
    pub(crate) fn turn(self, head: &mut Parts, bill: Bill) -> Turn {
        let is = |text: &str| {
            let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            kind.is_some_and(|kind| kind.starts_with(text))
        };
        let turn = match self {
            Self::IntoBedrock if is(EVENT_STREAM) => Turn::IntoEvents(ToSse::default()),
            Self::OutOfBedrock if is("text/event-stream") => Turn::IntoFrames(FromSse::default()),
            Self::Bedrock if is(EVENT_STREAM) => Turn::Overheard(ToSse::default()),
            Self::IntoBedrock if bill == Bill::Free => Turn::Count(counted, BytesMut::new()),
            Self::OutOfBedrock if bill == Bill::Free => Turn::Count(counted_there, BytesMut::new()),
            Self::Same | Self::IntoBedrock | Self::OutOfBedrock | Self::Bedrock => Turn::Same,
        };
        let content_type = match turn {
            Turn::IntoEvents(_) => Some(EVENTS),
            Turn::IntoFrames(_) => Some(FRAMES),
            Turn::Same | Turn::Overheard(_) | Turn::Count(..) => None,
        };
        if let Some(content_type) = content_type {
            head.headers.insert(CONTENT_TYPE, content_type);
        }
        if turn.changes() {
            head.headers.remove(CONTENT_LENGTH);
        }
        self.name_request(&mut head.headers);
        turn
    }

    /// The error answer as a client of the Messages API gets it, and as accounts are judged by;
    /// beside it the original, where the client speaks Bedrock itself.
    pub(crate) fn error(self, mut head: Parts, body: Bytes) -> Miss {
        self.name_request(&mut head.headers);
        let named = head.headers.get(AMZN_ERROR).and_then(|value| value.to_str().ok());
        let told = match self {
            Self::IntoBedrock | Self::Bedrock => told(head.status.as_u16(), named, &body),
            Self::Same | Self::OutOfBedrock => None,
        };
        let Some(told) = told else {
            return Miss::Answered { head: Box::new(head), body, original: None };
        };
        let original = (self == Self::Bedrock).then(|| Box::new((head.clone(), body)));
        head.status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::BAD_GATEWAY);
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(AMZN_ERROR);
        head.headers.insert(CONTENT_TYPE, JSON);
        Miss::Answered { head: Box::new(head), body: told.body(), original }
    }

    /// The upstream's id of the request, where the client looks for it.
    fn name_request(self, headers: &mut HeaderMap) {
        let (from, to) = match self {
            Self::Same | Self::Bedrock => return,
            Self::IntoBedrock => (AMZN_REQUEST_ID, REQUEST_ID),
            Self::OutOfBedrock => (REQUEST_ID, AMZN_REQUEST_ID),
        };
        if let Some(id) = headers.get(from).cloned() {
            headers.entry(to).or_insert(id);
        }
    }
}

fn is_of_bedrock(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-amzn-bedrock-")
}

impl From<BadBody> for Miss {
    fn from(error: BadBody) -> Self {
        Self::BadRequest(error.to_string())
    }
}

/// How an answer's bytes become the client's, and what the meter sees of them.
pub(crate) enum Turn {
    /// As they are.
    Same,
    /// Frames become events.
    IntoEvents(ToSse),
    /// Events become frames.
    IntoFrames(FromSse),
    /// Frames pass as they are; the meter sees their events.
    Overheard(ToSse),
    /// A count is told in other words, once it is whole.
    Count(fn(&[u8]) -> Option<Bytes>, BytesMut),
}

impl Turn {
    /// Takes the upstream's next bytes; what the client gets for them.
    pub(crate) fn take(&mut self, chunk: Bytes, meter: &mut Meter) -> Result<Bytes, BadFrame> {
        match self {
            Self::Same => {
                meter.observe(&chunk);
                Ok(chunk)
            }
            Self::IntoEvents(frames) => {
                let events = frames.push(&chunk)?;
                meter.observe(&events);
                Ok(events)
            }
            Self::IntoFrames(events) => {
                meter.observe(&chunk);
                Ok(events.push(&chunk))
            }
            Self::Overheard(frames) => {
                meter.observe(&frames.push(&chunk)?);
                Ok(chunk)
            }
            Self::Count(_, held) => {
                held.extend_from_slice(&chunk);
                Ok(Bytes::new())
            }
        }
    }

    /// What is left to be said at the end.
    pub(crate) fn end(&mut self) -> Bytes {
        match self {
            Self::Count(recount, held) => recount(held).unwrap_or_else(|| held.split().freeze()),
            Self::IntoFrames(events) => events.end(),
            Self::Same | Self::IntoEvents(_) | Self::Overheard(_) => Bytes::new(),
        }
    }

    /// Whether the client gets other bytes than the upstream sent.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::Same | Self::Overheard(_))
    }

    /// Whether the upstream has no sign of life of its own that the client would understand.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::IntoEvents(_))
    }

    /// Whether the client gets frames.
    pub(crate) fn is_framed(&self) -> bool {
        matches!(self, Self::IntoFrames(_) | Self::Overheard(_))
    }

    /// Whether what the client has ends inside a frame that is not ours.
    pub(crate) fn is_mid_frame(&self) -> bool {
        matches!(self, Self::Overheard(frames) if frames.is_mid_frame())
    }
}

/// An event of ours as the client gets it.
pub(crate) fn own_event(event: Bytes, is_framed: bool) -> Bytes {
    if is_framed { FromSse::default().push(&event) } else { event }
}
