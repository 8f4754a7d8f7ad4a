//! Response conversion: chooses the body transform for a successful answer, and converts errors for
//! the client. Both follow from the conversion plan of the request.

use crate::attempt_error::AttemptError;
use crate::body_transform::{BodyTransform, TranslatedEvents};
use crate::memory_budget::MemoryPermit;
use crate::metered_body::{MeteredBody, SSE, has_media_type};
use crate::model_call::Metering;
use baton_domain::protocol::{Framing, UpstreamProtocol};
use baton_domain::verdict::ErrorFields;
use baton_protocol::bedrock::{
    EVENT_STREAM, FramesToSse, SseToFrames, count_result_from_bedrock, count_result_to_bedrock,
    to_messages_error,
};
use baton_protocol::response_form::{
    ResponseFormError, check_content_type, check_response_fields, check_whole_response,
};
use baton_protocol::translate::{ResponseContext, to_openai_error};
use baton_providers::conversion::{ConversionPlan, ResponseHint};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;

/// The names under which vendors send their id of a request.
const REQUEST_IDS: [HeaderName; 3] = [
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-amzn-requestid"),
];
const AMZN_ERROR: HeaderName = HeaderName::from_static("x-amzn-errortype");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const FRAMES: HeaderValue = HeaderValue::from_static(EVENT_STREAM);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the conversion of the answer needs to know about the request.
pub(crate) struct ResponsePlan {
    pub(crate) plan: ConversionPlan,
    pub(crate) metering: Metering,
    pub(crate) hint: ResponseHint,
    /// Memory for a hint that keeps much of the request.
    pub(crate) permit: Option<MemoryPermit>,
}

impl ResponsePlan {
    /// Returns the protocol of the upstream's answer. A token count has another form.
    pub(crate) fn answer_protocol(&self) -> Option<UpstreamProtocol> {
        (self.metering == Metering::Metered).then_some(self.plan.upstream_protocol)
    }

    /// Chooses the body transform for a successful answer with this head. Changes the head into the
    /// client's.
    pub(crate) fn into_body_transform(
        self,
        head: &mut Parts,
        asks_for_stream: bool,
    ) -> BodyTransform {
        let is = |kind: &str| has_media_type(&head.headers, kind);
        let ConversionPlan { client_framing, upstream_framing, .. } = self.plan;
        // A server between here and the upstream can have converted the stream.
        let sent_framing = if is(SSE) {
            Some(Framing::ServerSentEvents)
        } else if is(EVENT_STREAM) {
            Some(Framing::AwsEventStream)
        } else {
            None
        };
        let upstream_framing = sent_framing.unwrap_or(upstream_framing);
        let (transform, content_type) = match self.hint {
            ResponseHint::Translation(context) => {
                let given = match client_framing {
                    Framing::ServerSentEvents => EVENTS,
                    Framing::AwsEventStream => FRAMES,
                };
                if sent_framing.is_some() {
                    let events = TranslatedEvents::new(
                        context.stream_translator(),
                        client_framing,
                        upstream_framing,
                    );
                    (BodyTransform::TranslateEvents(Box::new(events)), Some(given))
                } else if asks_for_stream {
                    // Some upstreams ignore `stream` and answer with one body.
                    (BodyTransform::TranslateIntoStream(context, client_framing), Some(given))
                } else {
                    (BodyTransform::TranslateWhole(context), Some(JSON))
                }
            }
            ResponseHint::HideUsage if is(SSE) => {
                (BodyTransform::RemoveUsage(Box::default()), None)
            }
            ResponseHint::Nothing | ResponseHint::HideUsage => {
                choose_framing_transform(client_framing, upstream_framing, is, self.metering)
            }
        };
        if let Some(content_type) = content_type {
            head.headers.insert(CONTENT_TYPE, content_type);
        }
        copy_request_id(self.plan, &mut head.headers);
        transform
    }

    /// Makes the failure from an error answer: the form by which accounts are judged and, if it
    /// differs, the form that the client gets.
    pub(crate) fn into_attempt_error(
        self,
        mut head: Parts,
        body: Bytes,
        permit: Option<MemoryPermit>,
    ) -> AttemptError {
        copy_request_id(self.plan, &mut head.headers);
        let error_name = head.headers.get(AMZN_ERROR).and_then(|value| value.to_str().ok());
        let error = match self.plan.upstream_framing {
            Framing::AwsEventStream => to_messages_error(head.status.as_u16(), error_name, &body),
            Framing::ServerSentEvents => None,
        };
        let original = (head.clone(), body.clone());
        let (head, body) = match error {
            Some(error) => {
                head.status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_GATEWAY);
                head.headers.remove(AMZN_ERROR);
                (with_json_content_type(head), error.to_body())
            }
            None => (head, body),
        };
        let client_response = match self.hint {
            ResponseHint::Translation(context) => {
                let body = context.translate_error(head.status.as_u16(), &body).into();
                Some((with_json_content_type(head.clone()), body))
            }
            ResponseHint::Nothing | ResponseHint::HideUsage => {
                let is_original = self.plan.is_bedrock_pass_through();
                let protocol = self.plan.upstream_protocol;
                is_original
                    .then_some(original)
                    .or_else(|| to_readable_error(&head, &body, protocol))
            }
        };
        AttemptError::ErrorResponse {
            head: Box::new(head),
            body,
            client_response: client_response.map(Box::new),
            reading: Box::default(),
            permit,
        }
    }
}

/// Chooses the transform of an answer that is not translated, by the framings of client and
/// upstream. Also returns the content type for the client if it differs.
fn choose_framing_transform(
    client_framing: Framing,
    upstream_framing: Framing,
    has_content_type: impl Fn(&str) -> bool,
    metering: Metering,
) -> (BodyTransform, Option<HeaderValue>) {
    use Framing::{AwsEventStream, ServerSentEvents};
    let is_free = metering == Metering::Free;
    let convert_count = |convert| (BodyTransform::TokenCount(convert, BytesMut::new()), None);
    match (client_framing, upstream_framing) {
        (ServerSentEvents, AwsEventStream) if has_content_type(EVENT_STREAM) => {
            (BodyTransform::IntoEvents(FramesToSse::default()), Some(EVENTS))
        }
        (ServerSentEvents, AwsEventStream) if is_free => convert_count(count_result_from_bedrock),
        (AwsEventStream, ServerSentEvents) if has_content_type(SSE) => {
            (BodyTransform::IntoFrames(SseToFrames::default()), Some(FRAMES))
        }
        (AwsEventStream, ServerSentEvents) if is_free => convert_count(count_result_to_bedrock),
        (AwsEventStream, AwsEventStream) if has_content_type(EVENT_STREAM) => {
            (BodyTransform::MeteredFrames(FramesToSse::default()), None)
        }
        (ServerSentEvents | AwsEventStream, ServerSentEvents | AwsEventStream) => {
            (BodyTransform::PassThrough, None)
        }
    }
}

/// How the upstream declares a successful answer, before its head is changed for the client.
#[derive(Clone)]
pub(crate) struct DeclaredForm {
    content_type: Option<HeaderValue>,
    asks_for_stream: bool,
    protocol: Option<UpstreamProtocol>,
}

impl DeclaredForm {
    /// `protocol` is that of an answer of a model.
    pub(crate) fn new(
        head: &Parts,
        asks_for_stream: bool,
        protocol: Option<UpstreamProtocol>,
    ) -> Self {
        Self { content_type: head.headers.get(CONTENT_TYPE).cloned(), asks_for_stream, protocol }
    }

    /// The protocol of the answer, if it is one of a model.
    pub(crate) fn protocol(&self) -> Option<UpstreamProtocol> {
        self.protocol
    }

    /// Checks that a whole answer is one of the vendor's API and not a page or nothing.
    ///
    /// # Errors
    /// [`ResponseFormError`]
    pub(crate) fn check_whole_response(
        &self,
        metered_body: &MeteredBody,
    ) -> Result<(), ResponseFormError> {
        let content_type = self.content_type.as_ref().map(HeaderValue::as_bytes);
        match metered_body.whole_body() {
            // A body that cannot be read is passed on, unless the header says that it is a page.
            Some(body) if metered_body.is_unread() && !body.is_empty() => {
                check_content_type(content_type, self.asks_for_stream)
            }
            Some(body) => {
                check_whole_response(content_type, body, self.asks_for_stream)?;
                self.protocol.map_or(Ok(()), |protocol| check_response_fields(body, protocol))
            }
            None => Ok(()),
        }
    }
}

/// Makes the failure of a whole answer with status 200 that is an error. Its status becomes the one
/// that the error implies. `body` has no coding.
///
/// `context` is there if the answer is translated, and `protocol` if it is one of a model.
pub(crate) fn whole_error(
    mut head: Parts,
    body: Bytes,
    context: Option<&ResponseContext>,
    protocol: Option<UpstreamProtocol>,
    permit: MemoryPermit,
) -> AttemptError {
    let status = ErrorFields::from_body(&body).implied_status();
    head.status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    head.headers.remove(CONTENT_ENCODING);
    let client_response = match context {
        Some(context) => {
            let body = context.translate_error(status, &body).into();
            Some((with_json_content_type(head.clone()), body))
        }
        None => protocol.and_then(|protocol| to_readable_error(&head, &body, protocol)),
    };
    AttemptError::ErrorResponse {
        head: Box::new(head),
        body,
        client_response: client_response.map(Box::new),
        reading: Box::default(),
        permit: Some(permit),
    }
}

/// The error of an upstream with this protocol in a form that its clients' SDKs read, if its own is
/// none. Anthropic's SDKs show every body.
fn to_readable_error(
    head: &Parts,
    body: &Bytes,
    protocol: UpstreamProtocol,
) -> Option<(Parts, Bytes)> {
    match protocol {
        UpstreamProtocol::Messages => None,
        UpstreamProtocol::Chat | UpstreamProtocol::Responses => {
            let readable = to_openai_error(head.status.as_u16(), body)?;
            Some((with_json_content_type(head.clone()), readable.into()))
        }
    }
}

fn with_json_content_type(mut head: Parts) -> Parts {
    head.headers.insert(CONTENT_TYPE, JSON);
    head
}

/// Copies the upstream's request id to the header names that the client knows.
fn copy_request_id(plan: ConversionPlan, headers: &mut HeaderMap) {
    if plan.is_pass_through() {
        return;
    }
    let Some(id) = REQUEST_IDS.iter().find_map(|name| headers.get(name)).cloned() else {
        return;
    };
    for name in REQUEST_IDS {
        headers.entry(name).or_insert_with(|| id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Framing::{AwsEventStream, ServerSentEvents};
    use baton_domain::account::{Account, CredentialKind, Provider};
    use baton_domain::id::AccountId;
    use baton_domain::model_capabilities::OwnCapabilities;
    use baton_protocol::translate::{ClientProtocol, ProtocolPair, TranslationOptions};
    use baton_providers::rules;

    /// The kind of the transform for a stream of this content type, and the client's content type.
    fn transform_of(
        plan: ConversionPlan,
        hint: ResponseHint,
        content_type: &'static str,
    ) -> (&'static str, HeaderValue) {
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let plan = ResponsePlan { plan, metering: Metering::Metered, hint, permit: None };
        let kind = match plan.into_body_transform(&mut head, true) {
            BodyTransform::PassThrough => "pass",
            BodyTransform::IntoEvents(_) => "into events",
            BodyTransform::IntoFrames(_) => "into frames",
            BodyTransform::MeteredFrames(_) => "metered frames",
            BodyTransform::TranslateEvents(_) => "translate events",
            BodyTransform::TranslateIntoStream(..) => "translate into stream",
            _ => "other",
        };
        (kind, head.headers[CONTENT_TYPE].clone())
    }

    /// The content type decides the framing of a stream, whatever the account's framing is.
    #[test]
    fn streams_in_the_other_framing_are_read() {
        let (id, credential) = (AccountId::from_bits(1), CredentialKind::Bearer);
        let account = Account::new(id, Provider::Anthropic, "https://a.example", credential);
        let target = (rules(account.provider).target_capabilities)(
            &account,
            "m",
            OwnCapabilities::default(),
        );
        for upstream_framing in [ServerSentEvents, AwsEventStream] {
            let plan = |client_framing, translation| ConversionPlan {
                upstream_protocol: UpstreamProtocol::Messages,
                translation,
                client_framing,
                upstream_framing,
                asks_for_usage: false,
                target,
            };
            for (client, content_type, expected, given) in [
                (ServerSentEvents, SSE, "pass", SSE),
                (ServerSentEvents, EVENT_STREAM, "into events", "text/event-stream; charset=utf-8"),
                (AwsEventStream, SSE, "into frames", EVENT_STREAM),
                (AwsEventStream, EVENT_STREAM, "metered frames", EVENT_STREAM),
            ] {
                let made = transform_of(plan(client, None), ResponseHint::Nothing, content_type);
                assert_eq!(
                    made,
                    (expected, HeaderValue::from_static(given)),
                    "{upstream_framing:?}"
                );
            }
            let client = ClientProtocol::OpenaiChat;
            let pair = ProtocolPair::between(client, UpstreamProtocol::Messages).unwrap();
            let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
            for (content_type, expected) in [
                (SSE, "translate events"),
                (EVENT_STREAM, "translate events"),
                ("application/json", "translate into stream"),
            ] {
                let options = TranslationOptions::new("m", "req_1");
                let context = pair.translate_request(body, &options).unwrap().context;
                let hint = ResponseHint::Translation(Box::new(context));
                let made = transform_of(plan(ServerSentEvents, Some(pair)), hint, content_type);
                assert_eq!(made, (expected, EVENTS), "{upstream_framing:?} {content_type}");
            }
        }
    }
}
