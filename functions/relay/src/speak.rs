//! Which form of an API a client and an account speak, and what lies between the two: chosen once
//! an attempt, from the client's protocol and the account.
//!
//! Going out, [`Speech::outgoing`] makes address, headers and body; coming back, a [`Turn`]
//! (`turn`) makes the client's bytes of the upstream's. Where both speak the same, bytes pass.

use crate::attempt::Miss;
use crate::forward::Call;
use crate::turn::Turn;
use crate::{Asked, attempt};
use baton_cloud::store::PoolMember;
use baton_cloud::upstream::trimmed;
use baton_domain::account::{Account, Provider};
use baton_domain::model::base_id;
use baton_domain::protocol::Protocol;
use baton_wire::translate::{
    self, Client, MaxTokens, Options, Speaks, Translation, Untranslatable,
};
use baton_wire::usage_chunk::ask_for_usage;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;

const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The two forms: the client's and the account's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Both speak the same.
    Same,
    /// The same, a streamed chat completion: its usage is asked for.
    Counted,
    /// They speak different dialects.
    Translated(Translation),
}

/// A request as it goes to the account.
pub(crate) struct Outgoing {
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) meant: Meant,
}

/// What the answer must know of the request.
pub(crate) enum Meant {
    /// Nothing.
    Nothing,
    /// The client has not asked for the usage that will be told.
    NoUsage,
    /// How the answer is put in the client's words.
    Translated(Box<translate::Asked>),
}

impl Speech {
    /// What lies between a client that asks in `protocol` and the account.
    pub(crate) fn between(asked: &Asked, call: &Call, account: &Account) -> Self {
        let upstream = match account.provider {
            Provider::Anthropic | Provider::Bedrock => Speaks::Messages,
            Provider::OpenaiCompatible => Speaks::Chat,
        };
        let client = match asked.protocol {
            Protocol::AnthropicMessages => Client::Messages,
            Protocol::OpenaiChat => Client::Chat,
            Protocol::OpenaiResponses if upstream == Speaks::Chat && account.speaks_responses => {
                return Self::Same;
            }
            Protocol::OpenaiResponses => Client::Responses,
        };
        match Translation::between(client, upstream) {
            Some(translation) => Self::Translated(translation),
            None if client == Client::Chat && call.question.stream => Self::Counted,
            None => Self::Same,
        }
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
        let encodes = !matches!(self, Self::Translated(_));
        let mut headers = attempt::headers(asked, member, call.question.stream || !encodes)
            .map_err(|_| Miss::Misconfigured("its credential is no header value".to_owned()))?;
        let (path, body, meant) = match self {
            Self::Same => (asked.path_and_query(), call.body_for(model), Meant::Nothing),
            Self::Counted => {
                let body = call.body_for(model);
                let (body, meant) = match ask_for_usage(&body) {
                    Some(asking) => (asking, Meant::NoUsage),
                    None => (body, Meant::Nothing),
                };
                (asked.path_and_query(), body, meant)
            }
            Self::Translated(translation) => {
                let options = options(asked, &member.account, model);
                let translated = translation.request(&call.body, &options)?;
                tracing::debug!(
                    request_id = %asked.id, dropped = translated.dropped.join(", "),
                    "translated for {}", translated.path
                );
                headers.insert(CONTENT_TYPE, JSON);
                if member.account.provider != Provider::OpenaiCompatible {
                    headers.entry(VERSION).or_insert(HeaderValue::from_static("2023-06-01"));
                }
                let meant = Meant::Translated(Box::new(translated.asked));
                (translated.path.to_owned(), translated.body.into(), meant)
            }
        };
        Ok(Outgoing { url: format!("{base}{path}"), headers, body, meant })
    }
}

/// What the account and the moment add to a translated request. OpenAI's reasoning models refuse
/// `max_tokens` (platform.openai.com, "Reasoning models", 2026-11); many other vendors know
/// nothing else.
fn options<'a>(asked: &'a Asked, account: &Account, model: &'a str) -> Options<'a> {
    let name = base_id(model);
    let reasons = ["gpt-5", "gpt-6", "o1", "o3", "o4"].iter().any(|start| name.starts_with(start));
    let is_openai = account.base_url.contains("//api.openai.com");
    let max_tokens = if reasons || is_openai { MaxTokens::Completion } else { MaxTokens::Plain };
    let created = u64::try_from(asked.at.as_second()).unwrap_or_default();
    Options { created, max_tokens, ..Options::new(model, asked.id.as_str()) }
}

impl Meant {
    /// How a good answer with this head is turned; the head becomes the client's.
    pub(crate) fn turn(self, head: &mut Parts) -> Turn {
        let is_stream = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        let (turn, content_type) = match self {
            Self::NoUsage if is_stream => (Turn::WithoutUsage(Box::default()), None),
            Self::Nothing | Self::NoUsage => (Turn::Same, None),
            Self::Translated(asked) if is_stream => {
                (Turn::Events(Box::new(asked.stream())), Some(EVENTS))
            }
            Self::Translated(asked) => (Turn::Whole(asked, bytes::BytesMut::new()), Some(JSON)),
        };
        if turn.changes() {
            head.headers.remove(CONTENT_LENGTH);
        }
        if let Some(content_type) = content_type {
            head.headers.insert(CONTENT_TYPE, content_type);
            name_request(&mut head.headers);
        }
        turn
    }

    /// The error answer as the client gets it.
    pub(crate) fn error(&self, mut head: Parts, body: Bytes) -> Miss {
        let Self::Translated(asked) = self else {
            return Miss::Answered { head: Box::new(head), body };
        };
        let body = asked.error(head.status.as_u16(), &body).into();
        head.headers.remove(CONTENT_LENGTH);
        head.headers.insert(CONTENT_TYPE, JSON);
        name_request(&mut head.headers);
        Miss::Answered { head: Box::new(head), body }
    }
}

/// The upstream's id of the request, under the other vendor's name, too: clients look for one.
fn name_request(headers: &mut HeaderMap) {
    for (from, to) in [(REQUEST_ID, X_REQUEST_ID), (X_REQUEST_ID, REQUEST_ID)] {
        if let Some(id) = headers.get(from).cloned() {
            headers.entry(to).or_insert(id);
        }
    }
}

impl From<Untranslatable> for Miss {
    fn from(error: Untranslatable) -> Self {
        Self::BadRequest(error.to_string())
    }
}
