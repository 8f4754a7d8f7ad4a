//! How an account's answer is meant for the client: what was said going out (`speak`) decides how
//! a good answer is turned (`turn`), and an error told.

use crate::attempt::Miss;
use crate::receipt::Bill;
use crate::speak::{Form, Speech};
use crate::turn::{Events, Turn};
use crate::watch::Watch;
use baton_domain::verdict::ErrorFields;
use baton_wire::bedrock::{EVENT_STREAM, FromSse, ToSse, counted, counted_there, told};
use baton_wire::translate;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use http::response::Parts;

/// A vendor's id of the request, under each vendor's name.
const REQUEST_IDS: [HeaderName; 3] = [
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-amzn-requestid"),
];
const AMZN_ERROR: HeaderName = HeaderName::from_static("x-amzn-errortype");
const SSE: &str = "text/event-stream";
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const FRAMES: HeaderValue = HeaderValue::from_static(EVENT_STREAM);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the answer must know of the request.
pub(crate) struct Meant {
    pub(crate) speech: Speech,
    pub(crate) bill: Bill,
    pub(crate) known: Known,
}

/// What the request's body alone tells.
pub(crate) enum Known {
    /// Nothing.
    Nothing,
    /// The client has not asked for the usage that will be told.
    NoUsage,
    /// How the answer is put in the client's words.
    Asked(Box<translate::Asked>),
}

impl Meant {
    /// How a good answer with this head is turned; the head becomes the client's.
    pub(crate) fn turn(self, head: &mut Parts) -> Turn {
        let is = |text: &str| {
            let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            kind.is_some_and(|kind| kind.starts_with(text))
        };
        let (turn, content_type) = match (self.known, self.speech) {
            (Known::Asked(asked), Speech::Translated(_, form)) => {
                let (sent, given) = match form {
                    Form::Plain => (SSE, EVENTS),
                    Form::IntoBedrock => (EVENT_STREAM, EVENTS),
                    Form::OutOfBedrock => (SSE, FRAMES),
                };
                if is(sent) {
                    (Turn::Events(Box::new(Events::new(asked.stream(), form))), Some(given))
                } else {
                    (Turn::Whole(asked, BytesMut::new()), Some(JSON))
                }
            }
            (Known::NoUsage, _) if is(SSE) => (Turn::WithoutUsage(Box::default()), None),
            (_, Speech::IntoBedrock) if is(EVENT_STREAM) => {
                (Turn::IntoEvents(ToSse::default()), Some(EVENTS))
            }
            (_, Speech::OutOfBedrock) if is(SSE) => {
                (Turn::IntoFrames(FromSse::default()), Some(FRAMES))
            }
            (_, Speech::Bedrock) if is(EVENT_STREAM) => (Turn::Overheard(ToSse::default()), None),
            (_, Speech::IntoBedrock) if self.bill == Bill::Free => {
                (Turn::Count(counted, BytesMut::new()), None)
            }
            (_, Speech::OutOfBedrock) if self.bill == Bill::Free => {
                (Turn::Count(counted_there, BytesMut::new()), None)
            }
            _ => (Turn::Same, None),
        };
        if let Some(content_type) = content_type {
            head.headers.insert(CONTENT_TYPE, content_type);
        }
        if turn.changes() {
            head.headers.remove(CONTENT_LENGTH);
        }
        self.speech.name_request(&mut head.headers);
        turn
    }

    /// The error answer as accounts are judged by it, and beside it what the client gets, where
    /// that is another.
    pub(crate) fn error(self, mut head: Parts, body: Bytes) -> Miss {
        self.speech.name_request(&mut head.headers);
        let named = head.headers.get(AMZN_ERROR).and_then(|value| value.to_str().ok());
        let told = match self.speech {
            Speech::IntoBedrock | Speech::Bedrock | Speech::Translated(_, Form::IntoBedrock) => {
                told(head.status.as_u16(), named, &body)
            }
            _ => None,
        };
        let as_it_was = (head.clone(), body.clone());
        let (head, body) = match told {
            Some(told) => {
                head.status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::BAD_GATEWAY);
                head.headers.remove(AMZN_ERROR);
                (rewritten(head), told.body())
            }
            None => (head, body),
        };
        let clients = match self.known {
            Known::Asked(asked) => {
                let body = asked.error(head.status.as_u16(), &body).into();
                Some((rewritten(head.clone()), body))
            }
            _ if self.speech == Speech::Bedrock => Some(as_it_was),
            _ => None,
        };
        Miss::Answered { head: Box::new(head), body, clients: clients.map(Box::new) }
    }
}

/// An error that came as a whole answer with 200, with the status that it stands for; nothing where
/// the answer is none.
pub(crate) fn whole_error(head: &Parts, watch: &Watch) -> Option<Miss> {
    let (body, asked) = watch.whole_error()?;
    let status = ErrorFields::read(&body).implied_status();
    let mut head = head.clone();
    head.status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    head.headers.remove(CONTENT_LENGTH);
    // The body is what the meter has seen, decoded.
    head.headers.remove(CONTENT_ENCODING);
    let clients = asked.map(|asked| {
        let body = asked.error(status, &body).into();
        Box::new((rewritten(head.clone()), body))
    });
    Some(Miss::Answered { head: Box::new(head), body, clients })
}

fn rewritten(mut head: Parts) -> Parts {
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, JSON);
    head
}

impl Speech {
    /// The upstream's id of the request, where the client looks for it, too.
    fn name_request(self, headers: &mut HeaderMap) {
        if matches!(self, Self::Same | Self::Counted | Self::Bedrock) {
            return;
        }
        let Some(id) = REQUEST_IDS.iter().find_map(|name| headers.get(name)).cloned() else {
            return;
        };
        for name in REQUEST_IDS {
            headers.entry(name).or_insert_with(|| id.clone());
        }
    }
}
