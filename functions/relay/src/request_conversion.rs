//! Request conversion: chooses, for each attempt, what has to change between the client and the
//! account, and converts the request.
//!
//! [`ConversionPlan::convert_request`] makes the address, headers and body. `response_conversion`
//! does the same for the answer. If both sides speak the same protocol, bytes pass unchanged.
//!
//! There are two kinds of difference, and both can occur together: the protocol itself, and
//! Bedrock's form of Anthropic's protocol (another address, other places for fields, event-stream
//! frames instead of server-sent events).

use crate::apart::run_apart;
use crate::attempt::AttemptError;
use crate::forward::OutboundCall;
use crate::pending_usage::Metering;
use crate::response_conversion::{ResponseHint, ResponsePlan};
use crate::{RequestContext, attempt};
use baton_domain::account::{Account, Provider};
use baton_domain::model::{anthropic_id, base_id, foundation_id, map};
use baton_domain::protocol::ClientProtocol;
use baton_protocol::bedrock::{
    BedrockAction, BedrockBodyError, EVENT_STREAM, MessagesRequest, add_request_headers,
    build_path, count_tokens_from_bedrock, count_tokens_to_bedrock, guardrail,
    invoke_model_to_messages, messages_to_invoke_model,
};
use baton_protocol::cost_scan::BodyProtocol;
use baton_protocol::envelope::Envelope;
use baton_protocol::model_path::ModelIdError;
use baton_protocol::translate::{
    ClientApi, MaxTokensField, ProtocolPair, TranslatedRequest, TranslationError,
    TranslationOptions, UpstreamProtocol,
};
use baton_protocol::usage_chunk::ask_for_usage;
use baton_runtime::upstream::UpstreamAddress;
use baton_store::PoolMember;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const VERSION_KNOWN: HeaderValue = HeaderValue::from_static("2023-06-01");
const FRAMES: HeaderValue = HeaderValue::from_static(EVENT_STREAM);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BAD_CREDENTIAL: &str = "the credential has characters that a header cannot contain";

/// The conversion between the client and the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConversionPlan {
    /// Both speak the same protocol.
    PassThrough,
    /// As above, for a streamed chat completion: the relay asks the upstream to report usage.
    PassThroughWithUsage,
    /// The client speaks the Messages API, and the account is Bedrock.
    IntoBedrock,
    /// The client speaks Bedrock, and the account the Messages API.
    OutOfBedrock,
    /// Both speak Bedrock.
    BedrockPassThrough,
    /// They speak different protocols, and one side can use Bedrock's form.
    Translated(ProtocolPair, BedrockFraming),
}

/// Which side uses Bedrock's form of Anthropic's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BedrockFraming {
    /// Neither side.
    Plain,
    /// The account.
    IntoBedrock,
    /// The client.
    OutOfBedrock,
}

/// A request for the account, before it is signed.
pub(crate) struct UpstreamRequest {
    pub(crate) address: UpstreamAddress,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) meant: ResponsePlan,
}

impl ConversionPlan {
    /// Chooses the conversion from the client's protocol and the account's settings.
    pub(crate) fn for_account(asked: &RequestContext, is_stream: bool, account: &Account) -> Self {
        let upstream = match account.provider {
            Provider::Anthropic | Provider::Bedrock => UpstreamProtocol::Messages,
            Provider::OpenaiCompatible => UpstreamProtocol::Chat,
        };
        let client = match asked.protocol {
            ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
                ClientApi::Messages
            }
            ClientProtocol::OpenaiChat => ClientApi::Chat,
            ClientProtocol::OpenaiResponses
                if upstream == UpstreamProtocol::Chat && account.speaks_responses =>
            {
                return Self::PassThrough;
            }
            ClientProtocol::OpenaiResponses => ClientApi::Responses,
        };
        let forms = (asked.bedrock.is_some(), account.uses_invoke_model());
        match (ProtocolPair::between(client, upstream), forms) {
            (Some(translation), (true, _)) => {
                Self::Translated(translation, BedrockFraming::OutOfBedrock)
            }
            (Some(translation), (false, true)) => {
                Self::Translated(translation, BedrockFraming::IntoBedrock)
            }
            (Some(translation), (false, false)) => {
                Self::Translated(translation, BedrockFraming::Plain)
            }
            (None, (false, true)) => Self::IntoBedrock,
            (None, (true, false)) => Self::OutOfBedrock,
            (None, (true, true)) => Self::BedrockPassThrough,
            (None, (false, false)) if client == ClientApi::Chat && is_stream => {
                Self::PassThroughWithUsage
            }
            (None, (false, false)) => Self::PassThrough,
        }
    }

    /// Returns the upstream's name for the client's `model`.
    pub(crate) fn upstream_model(self, member: &PoolMember, model: &str) -> String {
        let mapped = map(&member.account.model_map, model);
        let is_renamed =
            matches!(self, Self::OutOfBedrock | Self::Translated(_, BedrockFraming::OutOfBedrock));
        let own = if is_renamed { anthropic_id(model) } else { model };
        mapped.unwrap_or(own).to_owned()
    }

    /// Returns how the account would receive a request for `model`, as far as that decides its
    /// cost.
    pub(crate) fn cost_variant(
        self,
        asked: &RequestContext,
        member: &PoolMember,
        model: &str,
    ) -> CostVariant {
        let model = self.upstream_model(member, model);
        let options = translation_options(asked, &member.account, &model);
        let form = (options.max_tokens, options.caches_prompts);
        let (translation, reads) = match self {
            Self::Translated(translation, from) => {
                let reads = match member.account.provider {
                    Provider::OpenaiCompatible => BodyProtocol::Chat,
                    Provider::Anthropic | Provider::Bedrock => BodyProtocol::Messages,
                };
                (Some((translation, from, form)), reads)
            }
            _ => (None, Self::body_protocol(asked.protocol)),
        };
        CostVariant { translation, reads, model }
    }

    /// Returns the format of a body that is sent in the client's own protocol.
    pub(crate) fn body_protocol(protocol: ClientProtocol) -> BodyProtocol {
        match protocol {
            ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
                BodyProtocol::Messages
            }
            ClientProtocol::OpenaiChat => BodyProtocol::Chat,
            ClientProtocol::OpenaiResponses => BodyProtocol::Responses,
        }
    }

    /// Converts the request for `member` and `model`.
    ///
    /// # Errors
    /// The account's credential is not a valid header value, or its protocol cannot express the
    /// request.
    pub(crate) async fn convert_request(
        self,
        asked: &RequestContext,
        member: &PoolMember,
        call: &OutboundCall,
        model: &str,
    ) -> Result<UpstreamRequest, AttemptError> {
        let stream = call.question.stream;
        // Answers that the relay converts are not compressed, because it would have to decompress
        // them.
        let encodes =
            matches!(self, Self::PassThrough | Self::PassThroughWithUsage | Self::OutOfBedrock);
        let mut headers = attempt::build_upstream_headers(asked, member, stream || !encodes)
            .map_err(|_| AttemptError::Misconfigured(BAD_CREDENTIAL.to_owned()))?;
        // The relay has read the body as JSON, whatever content type the client gave.
        headers.insert(CONTENT_TYPE, JSON);
        self.check_guardrail(asked)?;
        let mut known = ResponseHint::Nothing;
        let (path, body) = match self {
            Self::PassThrough => (asked.path_and_query(), call.body_for(model)),
            Self::PassThroughWithUsage => {
                let mut body = call.body_for(model);
                if let Some(asking) = ask_for_usage(&body) {
                    (body, known) = (asking, ResponseHint::HideUsage);
                }
                (asked.path_and_query(), body)
            }
            Self::IntoBedrock => {
                convert_request_to_bedrock(asked, call, (model, &call.body), &mut headers)?
            }
            Self::OutOfBedrock => {
                let (path, message) = convert_request_from_bedrock(call, model)?;
                let betas = message.betas.and_then(|betas| HeaderValue::try_from(betas).ok());
                if let Some(betas) = betas {
                    headers.append(BETA, betas);
                }
                headers.entry(VERSION).or_insert(VERSION_KNOWN);
                (path.to_owned(), message.body)
            }
            Self::BedrockPassThrough => {
                add_request_headers(&mut headers, &asked.head.headers);
                let action = asked.bedrock.as_ref().map(|(_, action)| *action);
                (build_path(model, action.unwrap_or(BedrockAction::Invoke))?, call.body.clone())
            }
            Self::Translated(translation, form) => {
                let own = (&call.body, call.question.model.as_str(), stream);
                let body = convert_body_from_bedrock(form, own)?;
                let options = translation_options(asked, &member.account, model);
                let translate = owned_translation(translation, &options);
                let translated =
                    Box::pin(run_apart(body.len(), move || translate(&body))).await.map_err(
                        |_| AttemptError::Unreachable("the relay is shutting down".to_owned()),
                    )??;
                tracing::debug!(
                    request_id = %asked.id, dropped = translated.dropped.join(", "),
                    "translated the request for {}", translated.path
                );
                if member.account.provider != Provider::OpenaiCompatible {
                    headers.entry(VERSION).or_insert(VERSION_KNOWN);
                }
                known = ResponseHint::Translation(Box::new(translated.asked));
                match form {
                    BedrockFraming::IntoBedrock => {
                        let body = (model, &translated.body[..]);
                        convert_request_to_bedrock(asked, call, body, &mut headers)?
                    }
                    BedrockFraming::Plain | BedrockFraming::OutOfBedrock => {
                        (translated.path.to_owned(), translated.body.into())
                    }
                }
            }
        };
        let meant = ResponsePlan { speech: self, bill: call.question.bill, known };
        let address = UpstreamAddress::new(&member.account.base_url, &path);
        Ok(UpstreamRequest { address, headers, body, meant })
    }
}

impl ConversionPlan {
    /// Refuses a guardrail if the account cannot apply it. Without the guardrail, the client would
    /// get an unchecked answer that it did not ask for.
    fn check_guardrail(self, asked: &RequestContext) -> Result<(), AttemptError> {
        let leaves_bedrock =
            matches!(self, Self::OutOfBedrock | Self::Translated(_, BedrockFraming::OutOfBedrock));
        match guardrail(&asked.head.headers).filter(|_| leaves_bedrock) {
            Some(name) => Err(AttemptError::Untranslatable(format!(
                "{name}: the account that serves this model does not support guardrails. Send the \
                 request without this header."
            ))),
            None => Ok(()),
        }
    }
}

/// Returns a function that translates a body. It borrows nothing, so that a long body can be
/// translated on another thread.
fn owned_translation(
    translation: ProtocolPair,
    options: &TranslationOptions<'_>,
) -> impl FnOnce(&[u8]) -> Result<TranslatedRequest, TranslationError> + Send + use<> {
    let TranslationOptions { model, id, created, max_tokens, output_tokens_max, .. } = *options;
    let TranslationOptions { takes_effort, takes_reasoning, caches_prompts, .. } = *options;
    let (model, id) = (model.to_owned(), id.to_owned());
    move |body| {
        let (model, id) = (&*model, &*id);
        let options = TranslationOptions {
            model,
            id,
            created,
            max_tokens,
            output_tokens_max,
            takes_effort,
            takes_reasoning,
            caches_prompts,
        };
        translation.translate_request(body, &options)
    }
}

/// How an account would receive a request, as far as that decides its cost. Accounts with equal
/// variants receive the same body, except for addresses and ids.
#[derive(PartialEq, Eq)]
pub(crate) struct CostVariant {
    translation: Option<(ProtocolPair, BedrockFraming, (MaxTokensField, bool))>,
    /// The format that the account's upstream reads.
    pub(crate) reads: BodyProtocol,
    /// The upstream's name for the model.
    pub(crate) model: String,
}

impl CostVariant {
    /// Returns a function that translates the body, or `None` if the account gets the client's
    /// body. The function borrows nothing, so that a long body can be translated on another thread.
    pub(crate) fn translation(
        &self,
        asked: &RequestContext,
        account: &Account,
        body: &Bytes,
        envelope: &Envelope<'_>,
    ) -> Option<impl FnOnce() -> Result<Vec<u8>, AttemptError> + Send + 'static> {
        let (translation, form, _) = self.translation?;
        let (body, asked_model) = (body.clone(), envelope.model.to_string());
        let stream = envelope.stream;
        let options = translation_options(asked, account, &self.model);
        let translate = owned_translation(translation, &options);
        Some(move || {
            let body = convert_body_from_bedrock(form, (&body, &asked_model, stream))?;
            Ok(translate(&body)?.body)
        })
    }
}

/// Converts the client's body from Bedrock's form, if it has that form.
fn convert_body_from_bedrock(
    form: BedrockFraming,
    (body, model, stream): (&Bytes, &str, bool),
) -> Result<Bytes, BedrockBodyError> {
    Ok(match form {
        BedrockFraming::OutOfBedrock => invoke_model_to_messages(body, model, stream)?.body,
        BedrockFraming::Plain | BedrockFraming::IntoBedrock => body.clone(),
    })
}

/// Converts a Messages API request to Bedrock's form. Returns its path and body.
fn convert_request_to_bedrock(
    asked: &RequestContext,
    call: &OutboundCall,
    (model, body): (&str, &[u8]),
    headers: &mut HeaderMap,
) -> Result<(String, Bytes), AttemptError> {
    let betas = asked.head.headers.get_all(BETA).iter();
    let betas = betas.filter_map(|value| value.to_str().ok());
    let stream = call.question.stream;
    let action = match (call.question.bill, stream) {
        (Metering::Free, _) => BedrockAction::CountTokens,
        (Metering::Metered, true) => BedrockAction::Stream,
        (Metering::Metered, false) => BedrockAction::Invoke,
    };
    let (model, body) = match action {
        BedrockAction::CountTokens => (foundation_id(model), count_tokens_to_bedrock(body, betas)),
        BedrockAction::Invoke | BedrockAction::Stream => {
            (model, messages_to_invoke_model(body, betas))
        }
    };
    headers.remove(BETA);
    headers.remove(VERSION);
    headers.insert(ACCEPT, if stream { FRAMES } else { JSON });
    Ok((build_path(model, action)?, body?))
}

/// Converts a Bedrock client's request to the Messages API. Returns its path and body.
fn convert_request_from_bedrock(
    call: &OutboundCall,
    model: &str,
) -> Result<(&'static str, MessagesRequest), BedrockBodyError> {
    Ok(match call.question.bill {
        Metering::Free => {
            ("/v1/messages/count_tokens", count_tokens_from_bedrock(&call.body, model)?)
        }
        Metering::Metered => {
            ("/v1/messages", invoke_model_to_messages(&call.body, model, call.question.stream)?)
        }
    })
}

/// Returns the translation options for this account and model. OpenAI's reasoning models refuse
/// `max_tokens` (platform.openai.com, "Reasoning models", 2026-11), and many other vendors support
/// nothing else. Bedrock's form has no top-level cache control.
fn translation_options<'a>(
    asked: &'a RequestContext,
    account: &Account,
    model: &'a str,
) -> TranslationOptions<'a> {
    let name = base_id(model);
    let reasons = ["gpt-5", "gpt-6", "o1", "o3", "o4"].iter().any(|start| name.starts_with(start));
    let is_openai = account.base_url.contains("//api.openai.com");
    let max_tokens =
        if reasons || is_openai { MaxTokensField::Completion } else { MaxTokensField::Plain };
    let created = u64::try_from(asked.at.as_second()).unwrap_or_default();
    let caches_prompts = !account.uses_invoke_model();
    let plain = TranslationOptions::new(model, asked.id.as_str());
    TranslationOptions { created, max_tokens, caches_prompts, ..plain }
}

impl From<BedrockBodyError> for AttemptError {
    fn from(error: BedrockBodyError) -> Self {
        Self::Untranslatable(error.to_string())
    }
}

impl From<ModelIdError> for AttemptError {
    fn from(error: ModelIdError) -> Self {
        Self::Untranslatable(error.to_string())
    }
}

impl From<TranslationError> for AttemptError {
    fn from(error: TranslationError) -> Self {
        Self::Untranslatable(error.to_string())
    }
}
