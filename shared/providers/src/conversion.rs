//! Conversion between the client and the account: what has to change, and the request in the form
//! for the account.
//!
//! There are two kinds of difference, and both can occur together: the protocol itself, which is
//! translated, and the framing of Bedrock's `InvokeModel` (another address, other places for
//! fields, event-stream frames instead of server-sent events). If neither differs, bytes pass
//! unchanged.

mod cost_variant;

pub use cost_variant::{BodyVariant, CostVariant, DistinctBody, depends_on_model, distinct_bodies};

use crate::headers::{add_messages_version, remove_messages_version};
use crate::rules;
use baton_domain::account::{Account, Provider};
use baton_domain::model::{anthropic_id, find_mapped_model, foundation_id};
use baton_domain::model_capabilities::{ModelCapabilities, OwnCapabilities};
use baton_domain::protocol::{ClientProtocol, Framing, UpstreamProtocol};
use baton_protocol::bedrock::{
    BedrockAction, BedrockBodyError, EVENT_STREAM, add_request_headers, build_path,
    count_tokens_from_bedrock, count_tokens_to_bedrock, guardrail, invoke_model_to_messages,
    messages_to_invoke_model,
};
use baton_protocol::envelope::{Envelope, StatedEffort, replace_model};
use baton_protocol::model_path::ModelIdError;
use baton_protocol::passed_request::{UnfitRequest, fit_passed_request, may_need_fitting};
use baton_protocol::translate::{
    PromptCaching, ProtocolPair, ResponseContext, TranslationError, TranslationOptions,
};
use baton_protocol::usage_chunk::{ask_for_usage, remove_usage_request};
use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use std::ops::Range;

const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const FRAMES: HeaderValue = HeaderValue::from_static(EVENT_STREAM);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What has to change between the client and the account. It is chosen for each attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConversionPlan {
    /// The protocol that the account's upstream reads.
    pub upstream_protocol: UpstreamProtocol,
    /// The translation, if the client speaks another protocol.
    pub translation: Option<ProtocolPair>,
    /// The framing of the client.
    pub client_framing: Framing,
    /// The framing of the account's upstream.
    pub upstream_framing: Framing,
    /// Whether the upstream of a stream must be asked to report the usage.
    pub asks_for_usage: bool,
    /// What the account and the model accept.
    pub target: TargetCapabilities,
}

/// What the choice of a plan needs to know about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestShape {
    /// The protocol that the client speaks.
    pub client: ClientProtocol,
    /// Whether the client wants a stream.
    pub is_stream: bool,
    /// Whether the request has tools.
    pub has_tools: bool,
    /// What a Chat request says about its effort.
    pub effort: StatedEffort,
}

impl ConversionPlan {
    /// Chooses the plan for a request to `model`, the client's name for it, at the account.
    /// `own_capabilities` returns what the operator has set for the upstream's model.
    pub fn new(
        shape: RequestShape,
        account: &Account,
        model: &str,
        own_capabilities: impl FnOnce(&str) -> OwnCapabilities,
    ) -> Self {
        let rules = rules(account.provider);
        let client_framing = shape.client.framing();
        let upstream_framing = (rules.framing)(account);
        let model = upstream_name(account, model, leaves_bedrock(client_framing, upstream_framing));
        let target = (rules.target_capabilities)(account, model, own_capabilities(model));
        let chat = target.capabilities.chat;
        let upstream_protocol = (rules.upstream_protocol)(account, shape, chat);
        let translation = ProtocolPair::between(shape.client, upstream_protocol);
        Self {
            upstream_protocol,
            translation,
            client_framing,
            upstream_framing,
            asks_for_usage: shape.is_stream
                && translation.is_none()
                && upstream_protocol == UpstreamProtocol::Chat,
            target,
        }
    }

    /// Whether both sides speak the same protocol in the same framing.
    pub fn is_pass_through(self) -> bool {
        self.translation.is_none() && self.client_framing == self.upstream_framing
    }

    /// Whether both sides speak Bedrock's `InvokeModel`.
    pub fn is_bedrock_pass_through(self) -> bool {
        self.is_pass_through() && self.client_framing == Framing::AwsEventStream
    }

    /// Whether a client of Bedrock gets an account of another kind.
    fn leaves_bedrock(self) -> bool {
        leaves_bedrock(self.client_framing, self.upstream_framing)
    }

    /// Whether the upstream may compress the answer. Answers that are converted are not compressed,
    /// because they would have to be decompressed.
    pub fn allows_compression(self) -> bool {
        self.translation.is_none() && self.upstream_framing == Framing::ServerSentEvents
    }

    /// Whether the body passes unchanged. `is_renamed` says that the upstream has another name for
    /// the model.
    pub fn keeps_body(self, is_renamed: bool) -> bool {
        self.is_bedrock_pass_through()
            || (self.is_pass_through() && !self.asks_for_usage && !is_renamed)
    }

    /// The upstream's name for the client's `model`.
    pub fn upstream_model(self, account: &Account, model: &str) -> String {
        upstream_name(account, model, self.leaves_bedrock()).to_owned()
    }

    /// How the account would receive a request for `model`, as far as that decides its cost.
    pub fn cost_variant(self, account: &Account, model: &str) -> CostVariant {
        let model = self.upstream_model(account, model);
        let translation = self.translation.map(|pair| (pair, self.client_framing));
        let body = BodyVariant::new(translation, self.upstream_protocol, self.target);
        CostVariant { body, model }
    }

    /// The form in which the account would receive a request for `model`.
    pub fn request_form(self, account: &Account, model: &str) -> RequestForm {
        // Lengths change the bound of an answer, not what can be expressed.
        let plan = Self { target: self.target.without_lengths(), ..self };
        let CostVariant { body, model } = plan.cost_variant(account, model);
        let has_model_in_path = plan.upstream_framing == Framing::AwsEventStream;
        let model_in_path = has_model_in_path.then_some(model);
        RequestForm { plan, provider: account.provider, body, model_in_path }
    }

    /// Refuses a guardrail if the account cannot apply it. Without the guardrail, the client would
    /// get an unchecked answer that it did not ask for.
    ///
    /// # Errors
    /// The text is for the client.
    pub fn check_guardrail(self, client_headers: &HeaderMap) -> Result<(), ConversionError> {
        match guardrail(client_headers).filter(|_| self.leaves_bedrock()) {
            Some(name) => Err(ConversionError::new(format!(
                "{name}: the account that serves this model does not support guardrails. Send the \
                 request without this header."
            ))),
            None => Ok(()),
        }
    }

    /// Sets the headers that the account's form of the protocol needs. `betas` were in the body.
    pub fn add_protocol_headers(
        self,
        client_headers: &HeaderMap,
        is_stream: bool,
        betas: Option<String>,
        headers: &mut HeaderMap,
    ) {
        match (self.client_framing, self.upstream_framing) {
            (Framing::AwsEventStream, Framing::AwsEventStream) => {
                add_request_headers(headers, client_headers);
            }
            (Framing::ServerSentEvents, Framing::AwsEventStream) => {
                headers.remove(BETA);
                remove_messages_version(headers);
                headers.insert(ACCEPT, if is_stream { FRAMES } else { JSON });
            }
            (Framing::ServerSentEvents | Framing::AwsEventStream, Framing::ServerSentEvents) => {
                if self.is_pass_through() || self.upstream_protocol != UpstreamProtocol::Messages {
                    return;
                }
                if let Some(betas) = betas.and_then(|betas| HeaderValue::try_from(betas).ok()) {
                    headers.append(BETA, betas);
                }
                add_messages_version(headers);
            }
        }
    }
}

fn leaves_bedrock(client_framing: Framing, upstream_framing: Framing) -> bool {
    client_framing == Framing::AwsEventStream && upstream_framing == Framing::ServerSentEvents
}

/// The upstream's name for a model.
fn upstream_name<'a>(account: &'a Account, model: &'a str, leaves_bedrock: bool) -> &'a str {
    let own = if leaves_bedrock { anthropic_id(model) } else { model };
    find_mapped_model(&account.model_map, model).unwrap_or(own)
}

/// What the account and its model accept. The translation writes the request for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetCapabilities {
    /// What the model accepts.
    pub capabilities: ModelCapabilities,
    /// The bound of an answer whose client set none, where the API requires one and the model's
    /// maximum would be a disadvantage.
    pub output_tokens_default: Option<u64>,
    /// How a Messages upstream is asked to cache the prompt.
    pub prompt_caching: PromptCaching,
}

impl TargetCapabilities {
    /// The capabilities of the account's model, which its name determines, with what an operator has
    /// set for it.
    pub(crate) fn from_account(account: &Account, model: &str, own: OwnCapabilities) -> Self {
        let (_, address) = account.base_url.split_once("://").unwrap_or_default();
        let host = address.split('/').next().unwrap_or_default();
        let capabilities = ModelCapabilities::of(account.provider, model, host).with_own(own);
        let prompt_caching =
            if capabilities.prompt_caching { PromptCaching::Automatic } else { PromptCaching::Off };
        Self { capabilities, output_tokens_default: None, prompt_caching }
    }

    /// The capabilities without the lengths, which do not decide what can be expressed.
    fn without_lengths(self) -> Self {
        let capabilities = ModelCapabilities {
            context_tokens: None,
            output_tokens_max: None,
            ..self.capabilities
        };
        Self { capabilities, output_tokens_default: None, ..self }
    }
}

/// The values of the request that a translation writes.
#[derive(Debug, Clone)]
pub struct RequestIdentity {
    /// The request's id.
    pub id: String,
    /// The current time in Unix seconds.
    pub created: u64,
}

impl RequestIdentity {
    fn translation_options<'a>(
        &'a self,
        model: &'a str,
        target: TargetCapabilities,
    ) -> TranslationOptions<'a> {
        let TargetCapabilities { capabilities, output_tokens_default, prompt_caching } = target;
        TranslationOptions {
            created: self.created,
            capabilities: Some(capabilities),
            output_tokens_default,
            prompt_caching,
            ..TranslationOptions::new(model, &self.id)
        }
    }
}

/// A client's request and the plan for it. It borrows nothing, so that another thread can convert
/// it.
#[derive(Debug, Clone)]
pub struct RequestConversion {
    /// The plan.
    pub plan: ConversionPlan,
    /// The id and time of the request.
    pub identity: RequestIdentity,
    /// The client's body.
    pub body: Bytes,
    /// The client's name for the model, and its position in the body.
    pub client_model: (String, Range<usize>),
    /// The upstream's name for the model.
    pub model: String,
    /// Whether the client wants a stream.
    pub is_stream: bool,
    /// Whether the client asks for a token count.
    pub is_token_count: bool,
    /// The path and query of the client's request, as upstreams know them.
    pub path: String,
    /// The values of the client's `anthropic-beta` headers.
    pub betas: Vec<String>,
}

/// A request in the form for the account.
#[derive(Debug)]
pub struct ConvertedRequest {
    /// The path and query below the account's base URL.
    pub path: String,
    /// The body.
    pub body: Bytes,
    /// What the conversion of the answer needs to know about the body.
    pub hint: ResponseHint,
    /// Betas that the body contained and that have to be in a header.
    pub betas: Option<String>,
    /// The fields and tools that the account's protocol does not support.
    pub dropped: Vec<String>,
}

/// What only the request's body shows.
#[derive(Debug)]
pub enum ResponseHint {
    /// Nothing special.
    Nothing,
    /// The client did not ask for the usage that the upstream will report, so it is removed.
    HideUsage,
    /// How to translate the answer for the client.
    Translation(Box<ResponseContext>),
}

impl ResponseHint {
    /// The bytes of memory that it keeps of the request.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Nothing | Self::HideUsage => 0,
            Self::Translation(context) => context.held_bytes(),
        }
    }
}

/// The account's protocol cannot express the request. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversionError {
    /// What is wrong and what to do.
    pub message: String,
    /// `error.details.error_code`, if the client knows one for it.
    pub error_code: Option<&'static str>,
}

/// The code at which Anthropic's SDKs go on without message threads (anthropic-sdk-python 2.14.0,
/// `lib/tools/_beta_runner.py`, 2026-11).
const NO_THREADS: &str = "thread_unsupported_request";

impl ConversionError {
    /// An error without a code.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), error_code: None }
    }
}

/// A request whose body was searched for what the client got from another upstream.
#[derive(Debug, Clone)]
pub struct ScannedConversion {
    conversion: RequestConversion,
    may_need_fitting: bool,
}

impl ScannedConversion {
    /// Whether [`Self::convert`] parses the body and writes another one.
    pub fn parses_body(&self) -> bool {
        self.conversion.plan.translation.is_some() || self.may_need_fitting
    }

    /// Whether a body that is not parsed stays as it is, without a copy.
    pub fn keeps_body(&self) -> bool {
        let RequestConversion { plan, model, client_model, .. } = &self.conversion;
        plan.keeps_body(*model != client_model.0)
    }

    /// Converts the request. The time is linear in the length of the body.
    ///
    /// # Errors
    /// [`ConversionError`]
    pub fn convert(self) -> Result<ConvertedRequest, ConversionError> {
        let mut conversion = self.conversion;
        if self.may_need_fitting {
            conversion.fit_passed_request()?;
        }
        conversion.convert()
    }
}

impl RequestConversion {
    /// Looks for what a body that passes untranslated must not have. The time is linear in the length
    /// of the body.
    pub fn scan(self) -> ScannedConversion {
        let may_need_fitting = self.plan.translation.is_none()
            && may_need_fitting(
                &self.body,
                self.plan.upstream_protocol,
                &self.plan.target.capabilities,
            );
        ScannedConversion { conversion: self, may_need_fitting }
    }

    fn convert(self) -> Result<ConvertedRequest, ConversionError> {
        let (mut hint, mut betas, mut dropped) = (ResponseHint::Nothing, None, Vec::new());
        let ConversionPlan { translation, client_framing, upstream_framing, .. } = self.plan;
        let (path, body) = match (translation, client_framing, upstream_framing) {
            (Some(pair), ..) => {
                let options = self.identity.translation_options(&self.model, self.plan.target);
                let client_model = self.client_model.0.as_str();
                let body = unframe_body(client_framing, &self.body, client_model, self.is_stream)?;
                let translated = pair.translate_request(&body, &options)?;
                hint = ResponseHint::Translation(Box::new(translated.context));
                dropped = translated.dropped;
                match upstream_framing {
                    Framing::AwsEventStream => {
                        self.build_bedrock_request(&translated.body, &mut dropped)?
                    }
                    Framing::ServerSentEvents => {
                        (translated.path.to_owned(), translated.body.into())
                    }
                }
            }
            (None, Framing::ServerSentEvents, Framing::ServerSentEvents) => {
                let mut body = self.rename_model();
                if self.plan.asks_for_usage {
                    let capabilities = self.plan.target.capabilities;
                    if capabilities.refuses_stream_options {
                        body = remove_usage_request(&body).unwrap_or(body);
                    } else if capabilities.stream_options
                        && let Some(asking) = ask_for_usage(&body)
                    {
                        (body, hint) = (asking, ResponseHint::HideUsage);
                    }
                }
                (self.path, body)
            }
            (None, Framing::ServerSentEvents, Framing::AwsEventStream) => {
                self.build_bedrock_request(&self.body, &mut dropped)?
            }
            (None, Framing::AwsEventStream, Framing::AwsEventStream) => {
                (build_path(&self.model, self.bedrock_action())?, self.body)
            }
            (None, Framing::AwsEventStream, Framing::ServerSentEvents) => {
                let model = self.model.as_str();
                let (path, message) = if self.is_token_count {
                    let counted = count_tokens_from_bedrock(&self.body, model)?;
                    ("/v1/messages/count_tokens", counted)
                } else {
                    let message = invoke_model_to_messages(&self.body, model, self.is_stream)?;
                    ("/v1/messages", message)
                };
                betas = message.betas;
                (path.to_owned(), message.body)
            }
        };
        Ok(ConvertedRequest { path, body, hint, betas, dropped })
    }

    /// Fits the body to the upstream, which refuses settings of other models and what the client got
    /// from other upstreams.
    ///
    /// # Errors
    /// [`UnfitRequest`]
    fn fit_passed_request(&mut self) -> Result<(), UnfitRequest> {
        let capabilities = &self.plan.target.capabilities;
        let protocol = self.plan.upstream_protocol;
        if let Some(body) = fit_passed_request(&self.body, protocol, capabilities)? {
            self.body = body.into();
            let (_, span) = &mut self.client_model;
            if span.start < span.end
                && let Ok(envelope) = Envelope::parse(&self.body)
            {
                *span = envelope.model_span;
            }
        }
        Ok(())
    }

    /// The body with the upstream's name for the model. All other bytes stay the same.
    fn rename_model(&self) -> Bytes {
        let (client_model, span) = &self.client_model;
        if self.model == *client_model {
            return self.body.clone();
        }
        replace_model(&self.body, span.clone(), &self.model)
    }

    /// The path and body of a Messages API request in Bedrock's form.
    fn build_bedrock_request(
        &self,
        body: &[u8],
        dropped: &mut Vec<String>,
    ) -> Result<(String, Bytes), ConversionError> {
        let (model, betas) = (self.model.as_str(), self.betas.iter().map(String::as_str));
        let action = self.bedrock_action();
        let (model, body) = match action {
            BedrockAction::CountTokens => {
                (foundation_id(model), count_tokens_to_bedrock(body, betas)?)
            }
            BedrockAction::Invoke | BedrockAction::Stream => {
                let made = messages_to_invoke_model(body, betas)?;
                dropped.extend(made.dropped);
                (model, made.body)
            }
        };
        Ok((build_path(model, action)?, body))
    }

    fn bedrock_action(&self) -> BedrockAction {
        match (self.is_token_count, self.is_stream) {
            (true, _) => BedrockAction::CountTokens,
            (false, true) => BedrockAction::Stream,
            (false, false) => BedrockAction::Invoke,
        }
    }
}

/// The client's body as one of the Messages API, if it has Bedrock's form.
fn unframe_body(
    client_framing: Framing,
    body: &Bytes,
    model: &str,
    is_stream: bool,
) -> Result<Bytes, BedrockBodyError> {
    Ok(match client_framing {
        Framing::AwsEventStream => invoke_model_to_messages(body, model, is_stream)?.body,
        Framing::ServerSentEvents => body.clone(),
    })
}

/// The form in which an account would receive a request. If a request cannot be converted to it, it
/// cannot be for any account with an equal one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestForm {
    plan: ConversionPlan,
    provider: Provider,
    body: BodyVariant,
    /// The upstream's name for the model, if the path of the call contains it.
    model_in_path: Option<String>,
}

impl From<BedrockBodyError> for ConversionError {
    fn from(error: BedrockBodyError) -> Self {
        let error_code = match error {
            BedrockBodyError::Thread => Some(NO_THREADS),
            BedrockBodyError::Translation(error) => return error.into(),
            BedrockBodyError::NotAnObject | BedrockBodyError::NothingToCount => None,
        };
        Self { message: error.to_string(), error_code }
    }
}

impl From<UnfitRequest> for ConversionError {
    fn from(error: UnfitRequest) -> Self {
        Self::new(error.to_string())
    }
}

impl From<ModelIdError> for ConversionError {
    fn from(error: ModelIdError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<TranslationError> for ConversionError {
    fn from(error: TranslationError) -> Self {
        let error_code = (error == TranslationError::Thread).then_some(NO_THREADS);
        Self { message: error.to_string(), error_code }
    }
}

#[cfg(test)]
mod tests;
