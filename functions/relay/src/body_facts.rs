//! Reads the few fields of a request body that the relay needs, once for each request.

use crate::RequestContext;
use crate::client_response::RelayError;
use baton_domain::protocol::ClientProtocol;
use baton_domain::relay_key::mask_keys;
use baton_domain::request_tier::RequestTier;
use baton_protocol::bedrock::BedrockAction;
use baton_protocol::body_form::check_body_form;
use baton_protocol::conversation_hash::session_seed;
use baton_protocol::envelope::Envelope;
use baton_protocol::model_path::{ID_BYTES_MAX, is_forbidden_char};
use baton_providers::conversion::RequestShape;
use http::HeaderMap;
use std::borrow::Cow;
use std::ops::Range;

/// What the relay reads from a request's body. It borrows nothing, so that a long body can be read
/// on another thread.
#[derive(Debug)]
pub(crate) struct BodyFacts {
    /// The requested model.
    pub(crate) model: String,
    /// The position of the model in the body.
    pub(crate) model_span: Range<usize>,
    /// What the choice of a conversion plan needs to know.
    pub(crate) shape: RequestShape,
    pub(crate) is_fast: bool,
    pub(crate) tier: RequestTier,
    /// The number of answers that the request asks for.
    pub(crate) choices: u32,
    /// The client's id of the conversation.
    pub(crate) session_id: Option<String>,
    /// The number by which sessions are spread over accounts.
    pub(crate) session_seed: Option<u64>,
    /// The id of an earlier answer or of a conversation that only one account has.
    pub(crate) state_id: Option<String>,
    /// Whether the upstream keeps the answer, so that later requests can refer to it.
    pub(crate) keeps_state: bool,
}

impl BodyFacts {
    /// Checks the form of the body and reads it. The time is linear in its length.
    ///
    /// # Errors
    /// The body cannot be read, its model name is invalid, or it asks for a deferred answer.
    pub(crate) fn read(request: &RequestContext, body: &[u8]) -> Result<Self, RelayError> {
        let envelope = read_envelope(request, body)?;
        let session_id = session_id(&request.head.headers, &envelope);
        let session_seed = session_seed(session_id.as_deref(), &envelope.prefix);
        let keeps_state = match request.protocol {
            ClientProtocol::OpenaiResponses => envelope.is_stored,
            ClientProtocol::AnthropicMessages => envelope.is_thread,
            ClientProtocol::OpenaiChat | ClientProtocol::BedrockInvokeModel => false,
        };
        let shape = RequestShape {
            client: request.protocol,
            is_stream: envelope.stream,
            has_tools: envelope.has_tools(),
            effort: envelope.effort,
        };
        let Envelope { model, model_span, is_fast, tier, state_id, choices, .. } = envelope;
        let (model, state_id) = (model.into_owned(), state_id.map(Cow::into_owned));
        Ok(Self {
            model,
            model_span,
            shape,
            is_fast,
            tier,
            choices,
            session_id,
            session_seed,
            state_id,
            keeps_state,
        })
    }
}

fn read_envelope<'a>(
    request: &'a RequestContext,
    body: &'a [u8],
) -> Result<Envelope<'a>, RelayError> {
    check_body_form(&request.head.headers)?;
    let envelope = match &request.bedrock {
        None => Envelope::parse(body)?,
        Some((model, action)) => {
            Envelope::parse_with_model(body, model, *action == BedrockAction::Stream)?
        }
    };
    if envelope.model.len() > ID_BYTES_MAX {
        return Err(RelayError::bad_request(
            "`model` is too long for the name of a model. Use the exact name of a model.",
        ));
    }
    if let Some(field) = envelope.deferred_field {
        return Err(RelayError::bad_request(&format!(
            "{field}: Baton does not support answers that are fetched later. Send the request \
             without this field."
        )));
    }
    if envelope.model.contains(is_forbidden_char) {
        return Err(RelayError::bad_request(
            "`model` has a character that is not allowed in a model name, such as a control \
             character or a look-alike of another character. Use the exact name of a model.",
        ));
    }
    Ok(envelope)
}

/// Replaces relay keys in text that the client sent.
const KEY_MASK: &str = "bt_***";
/// The most characters of client text that a record keeps.
const TEXT_CHARACTERS_MAX: usize = 200;

/// Returns the client's id of the conversation, from the most specific source that is present.
fn session_id(headers: &HeaderMap, envelope: &Envelope<'_>) -> Option<String> {
    header_text(headers, "x-claude-code-session-id")
        .or_else(|| header_text(headers, "x-session-affinity"))
        .or_else(|| envelope.session.as_deref().map(sanitize_text))
}

/// Returns a header as text for records.
pub(crate) fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(sanitize_text)
}

/// Prepares client text for records: masks relay keys and limits the length.
fn sanitize_text(text: &str) -> String {
    mask_keys(text, KEY_MASK).chars().take(TEXT_CHARACTERS_MAX).collect()
}
