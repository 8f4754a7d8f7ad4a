//! Request conversion: chooses, for each attempt, what has to change between the client and the
//! account, and converts the request.
//!
//! [`ConversionPlan::convert_request`] makes the address, headers and body. `response_conversion`
//! does the same for the answer. If both sides speak the same protocol, bytes pass unchanged.
//!
//! There are two kinds of difference, and both can occur together: the protocol itself, and
//! Bedrock's form of Anthropic's protocol (another address, other places for fields, event-stream
//! frames instead of server-sent events).

use crate::attempt_error::AttemptError;
use crate::body_facts::BodyFacts;
use crate::body_workers::{COPYING, LONG_BYTES, READING, TRANSLATING};
use crate::forward::OutboundCall;
use crate::memory_budget::{MemoryLimitReached, MemoryPermit, MemoryRequest};
use crate::pending_usage::Metering;
use crate::response_conversion::{ResponseHint, ResponsePlan};
use crate::{RelayState, RequestContext};
use baton_domain::account::{Account, Provider};
use baton_domain::model::{anthropic_id, base_id, foundation_id, map};
use baton_domain::protocol::ClientProtocol;
use baton_protocol::bedrock::{
    BedrockAction, BedrockBodyError, EVENT_STREAM, MessagesRequest, add_request_headers,
    build_path, count_tokens_from_bedrock, count_tokens_to_bedrock, guardrail,
    invoke_model_to_messages, messages_to_invoke_model,
};
use baton_protocol::cost_scan::BodyProtocol;
use baton_protocol::model_path::ModelIdError;
use baton_protocol::translate::{
    ClientApi, MaxTokensField, ProtocolPair, TranslationError, TranslationOptions, UpstreamProtocol,
};
use baton_protocol::usage_chunk::ask_for_usage;
use baton_providers::headers::build_request_headers;
use baton_runtime::upstream::UpstreamAddress;
use baton_store::PoolMember;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

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
    pub(crate) response_plan: ResponsePlan,
}

impl ConversionPlan {
    /// Chooses the conversion from the client's protocol and the account's settings.
    pub(crate) fn for_account(
        request: &RequestContext,
        is_stream: bool,
        account: &Account,
    ) -> Self {
        let upstream = match account.provider {
            Provider::Anthropic | Provider::Bedrock => UpstreamProtocol::Messages,
            Provider::OpenaiCompatible => UpstreamProtocol::Chat,
        };
        let client = match request.protocol {
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
        let forms = (request.bedrock.is_some(), account.uses_invoke_model());
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
        request: &RequestContext,
        member: &PoolMember,
        model: &str,
    ) -> CostVariant {
        let model = self.upstream_model(member, model);
        let options = OwnedOptions::new(request, &member.account, &model);
        let form = (options.max_tokens, options.caches_prompts);
        let (translation, body_protocol) = match self {
            Self::Translated(translation, from) => {
                let body_protocol = match member.account.provider {
                    Provider::OpenaiCompatible => BodyProtocol::Chat,
                    Provider::Anthropic | Provider::Bedrock => BodyProtocol::Messages,
                };
                (Some((translation, from, form)), body_protocol)
            }
            _ => (None, Self::body_protocol(request.protocol)),
        };
        CostVariant { translation, body_protocol, model }
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

    /// Converts the request for `member` and `model`, on another thread if its body is long.
    ///
    /// # Errors
    /// The account's credential is not a valid header value, its protocol cannot express the
    /// request, or there is no memory for the converted body.
    pub(crate) async fn convert_request(
        self,
        relay: &RelayState,
        request: &RequestContext,
        member: &PoolMember,
        call: &OutboundCall,
        model: &str,
    ) -> Result<UpstreamRequest, AttemptError> {
        let stream = call.model_call.stream;
        // Answers that the relay converts are not compressed, because it would have to decompress
        // them.
        let encodes =
            matches!(self, Self::PassThrough | Self::PassThroughWithUsage | Self::OutOfBedrock);
        // Streams are not compressed. For other answers gzip is the only encoding that the meter can
        // read.
        let encodes = encodes && !stream && request.accepts_gzip();
        let encoding = if encodes { "gzip" } else { "identity" };
        let (account, client_headers) = (&member.account, &request.head.headers);
        let headers = build_request_headers(account, &member.credential, client_headers, encoding);
        let mut headers =
            headers.map_err(|_| AttemptError::Misconfigured(BAD_CREDENTIAL.to_owned()))?;
        // The relay has read the body as JSON, whatever content type the client gave.
        headers.insert(CONTENT_TYPE, JSON);
        self.check_guardrail(request)?;
        let conversion = BodyConversion::new(self, request, (member, call), model);
        let ConvertedBody { path, body, hint, betas, dropped } =
            Box::pin(convert_long_body(relay, conversion)).await?;
        if !dropped.is_empty() {
            let dropped = dropped.join(", ");
            tracing::debug!(request_id = %request.id, dropped, "translated the request for {path}");
        }
        self.add_protocol_headers(request, member, (stream, betas), &mut headers);
        let meant = ResponsePlan { plan: self, metering: call.model_call.metering, hint };
        let address = UpstreamAddress::new(&member.account.base_url, &path);
        Ok(UpstreamRequest { address, headers, body, response_plan: meant })
    }

    /// Sets the headers that the account's form of the protocol needs. `betas` were in the body.
    fn add_protocol_headers(
        self,
        request: &RequestContext,
        member: &PoolMember,
        (stream, betas): (bool, Option<String>),
        headers: &mut HeaderMap,
    ) {
        match self {
            Self::PassThrough | Self::PassThroughWithUsage => {}
            Self::IntoBedrock | Self::Translated(_, BedrockFraming::IntoBedrock) => {
                headers.remove(BETA);
                headers.remove(VERSION);
                headers.insert(ACCEPT, if stream { FRAMES } else { JSON });
            }
            Self::OutOfBedrock => {
                if let Some(betas) = betas.and_then(|betas| HeaderValue::try_from(betas).ok()) {
                    headers.append(BETA, betas);
                }
                headers.entry(VERSION).or_insert(VERSION_KNOWN);
            }
            Self::BedrockPassThrough => add_request_headers(headers, &request.head.headers),
            Self::Translated(..) => {
                if member.account.provider != Provider::OpenaiCompatible {
                    headers.entry(VERSION).or_insert(VERSION_KNOWN);
                }
            }
        }
    }

    /// Returns the memory for converting the body of `call`, as a multiple of its length.
    fn copies(self, call: &OutboundCall, model: &str) -> usize {
        match self {
            Self::BedrockPassThrough => READING,
            Self::PassThrough if model == call.model_call.model => READING,
            Self::PassThrough
            | Self::PassThroughWithUsage
            | Self::IntoBedrock
            | Self::OutOfBedrock => COPYING,
            Self::Translated(..) => TRANSLATING,
        }
    }
}

impl ConversionPlan {
    /// Refuses a guardrail if the account cannot apply it. Without the guardrail, the client would
    /// get an unchecked answer that it did not ask for.
    fn check_guardrail(self, request: &RequestContext) -> Result<(), AttemptError> {
        let leaves_bedrock =
            matches!(self, Self::OutOfBedrock | Self::Translated(_, BedrockFraming::OutOfBedrock));
        match guardrail(&request.head.headers).filter(|_| leaves_bedrock) {
            Some(name) => Err(AttemptError::Untranslatable(format!(
                "{name}: the account that serves this model does not support guardrails. Send the \
                 request without this header."
            ))),
            None => Ok(()),
        }
    }
}

/// How long a request waits for memory for its converted body. Others release it when they have
/// been converted and sent.
const CONVERTED_PATIENCE: Duration = Duration::from_secs(30);

/// Converts the body of a call. A long one is converted on another thread. Its converted form counts
/// as held by its key until it is sent.
async fn convert_long_body(
    relay: &RelayState,
    conversion: BodyConversion,
) -> Result<ConvertedBody, AttemptError> {
    let key = conversion.call.model_call.caller.key().id.clone();
    let size = (conversion.call.body.len(), conversion.copies);
    let is_counted = size.0 >= LONG_BYTES && conversion.copies != READING;
    let most = relay.converted.bytes_max();
    let taken = MemoryRequest { bytes: size.0.min(most), is_metered: false, concurrency: None };
    let stopping = |_| AttemptError::Unreachable("the relay is shutting down".to_owned());
    let turn = relay.workers.acquire_turn(&key, size.0).await.map_err(stopping)?;
    let permit = if is_counted {
        Some(relay.converted.acquire_bytes_within(&key, taken, CONVERTED_PATIENCE).await?)
    } else {
        None
    };
    let work = move || conversion.convert_body();
    let mut converted = relay.workers.run_in_turn(turn, size, work).await.map_err(stopping)??;
    if let Some(mut permit) = permit {
        permit.grow_to(converted.body.len().min(most))?;
        converted.body = Bytes::from_owner(CountedBody { body: converted.body, _permit: permit });
    }
    Ok(converted)
}

/// A converted body with its share of the memory budget. The HTTP client drops it when it is sent.
struct CountedBody {
    body: Bytes,
    _permit: MemoryPermit,
}

impl AsRef<[u8]> for CountedBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// The work of converting a body. It borrows nothing, so that another thread can do it.
struct BodyConversion {
    plan: ConversionPlan,
    call: OutboundCall,
    /// See [`ConversionPlan::copies`].
    copies: usize,
    options: OwnedOptions,
    /// The path and query of the client's request.
    path: String,
    /// The values of the client's `anthropic-beta` headers, if they have to be in the body.
    betas: Vec<String>,
    /// The action of a client that speaks Bedrock.
    action: Option<BedrockAction>,
}

/// A body for an account.
struct ConvertedBody {
    path: String,
    body: Bytes,
    hint: ResponseHint,
    /// Betas that the body contained and that have to be in a header.
    betas: Option<String>,
    /// The fields that the account's protocol does not support.
    dropped: Vec<String>,
}

impl BodyConversion {
    fn new(
        plan: ConversionPlan,
        request: &RequestContext,
        (member, call): (&PoolMember, &OutboundCall),
        model: &str,
    ) -> Self {
        let betas = request.head.headers.get_all(BETA).iter();
        let betas = match plan {
            ConversionPlan::IntoBedrock
            | ConversionPlan::Translated(_, BedrockFraming::IntoBedrock) => {
                betas.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        let path = match plan {
            ConversionPlan::PassThrough | ConversionPlan::PassThroughWithUsage => {
                request.path_and_query()
            }
            _ => String::new(),
        };
        Self {
            plan,
            call: call.clone(),
            copies: plan.copies(call, model),
            options: OwnedOptions::new(request, &member.account, model),
            path,
            betas,
            action: request.bedrock.as_ref().map(|(_, action)| *action),
        }
    }

    fn convert_body(self) -> Result<ConvertedBody, AttemptError> {
        let model = self.options.model.as_str();
        let (mut hint, mut betas, mut dropped) = (ResponseHint::Nothing, None, Vec::new());
        let (path, body) = match self.plan {
            ConversionPlan::PassThrough => (self.path, self.call.body_for(model)),
            ConversionPlan::PassThroughWithUsage => {
                let mut body = self.call.body_for(model);
                if let Some(asking) = ask_for_usage(&body) {
                    (body, hint) = (asking, ResponseHint::HideUsage);
                }
                (self.path, body)
            }
            ConversionPlan::IntoBedrock => self.convert_to_bedrock(&self.call.body)?,
            ConversionPlan::OutOfBedrock => {
                let (path, message) = convert_request_from_bedrock(&self.call, model)?;
                betas = message.betas;
                (path.to_owned(), message.body)
            }
            ConversionPlan::BedrockPassThrough => {
                let action = self.action.unwrap_or(BedrockAction::Invoke);
                (build_path(model, action)?, self.call.body.clone())
            }
            ConversionPlan::Translated(pair, framing) => {
                let question = &self.call.model_call;
                let own = (&self.call.body, question.model.as_str(), question.stream);
                let body = convert_body_from_bedrock(framing, own)?;
                let translated = pair.translate_request(&body, &self.options.as_options())?;
                hint = ResponseHint::Translation(Box::new(translated.context));
                dropped = translated.dropped;
                match framing {
                    BedrockFraming::IntoBedrock => self.convert_to_bedrock(&translated.body)?,
                    BedrockFraming::Plain | BedrockFraming::OutOfBedrock => {
                        (translated.path.to_owned(), translated.body.into())
                    }
                }
            }
        };
        Ok(ConvertedBody { path, body, hint, betas, dropped })
    }

    /// Converts a Messages API request to Bedrock's form. Returns its path and body.
    fn convert_to_bedrock(&self, body: &[u8]) -> Result<(String, Bytes), AttemptError> {
        let (model, betas) = (self.options.model.as_str(), self.betas.iter().map(String::as_str));
        let action = match (self.call.model_call.metering, self.call.model_call.stream) {
            (Metering::Free, _) => BedrockAction::CountTokens,
            (Metering::Metered, true) => BedrockAction::Stream,
            (Metering::Metered, false) => BedrockAction::Invoke,
        };
        let (model, body) = match action {
            BedrockAction::CountTokens => {
                (foundation_id(model), count_tokens_to_bedrock(body, betas))
            }
            BedrockAction::Invoke | BedrockAction::Stream => {
                (model, messages_to_invoke_model(body, betas))
            }
        };
        Ok((build_path(model, action)?, body?))
    }
}

/// How an account would receive a request, as far as that decides its cost. Accounts with equal
/// variants receive the same body, except for addresses and ids.
#[derive(PartialEq, Eq)]
pub(crate) struct CostVariant {
    translation: Option<(ProtocolPair, BedrockFraming, (MaxTokensField, bool))>,
    /// The format that the account's upstream reads.
    pub(crate) body_protocol: BodyProtocol,
    /// The upstream's name for the model.
    pub(crate) model: String,
}

impl CostVariant {
    /// Returns a function that translates the body, or `None` if the account gets the client's
    /// body. The function borrows nothing, so that a long body can be translated on another thread.
    pub(crate) fn translation(
        &self,
        request: &RequestContext,
        account: &Account,
        body: &Bytes,
        facts: &BodyFacts,
    ) -> Option<impl FnOnce() -> Result<Vec<u8>, AttemptError> + Send + 'static> {
        let (pair, framing, _) = self.translation?;
        let (body, client_model, stream) = (body.clone(), facts.model.clone(), facts.stream);
        let options = OwnedOptions::new(request, account, &self.model);
        Some(move || {
            let body = convert_body_from_bedrock(framing, (&body, &client_model, stream))?;
            Ok(pair.translate_request(&body, &options.as_options())?.body)
        })
    }
}

/// Converts the client's body from Bedrock's form, if it has that form.
fn convert_body_from_bedrock(
    framing: BedrockFraming,
    (body, model, stream): (&Bytes, &str, bool),
) -> Result<Bytes, BedrockBodyError> {
    Ok(match framing {
        BedrockFraming::OutOfBedrock => invoke_model_to_messages(body, model, stream)?.body,
        BedrockFraming::Plain | BedrockFraming::IntoBedrock => body.clone(),
    })
}

/// Converts a Bedrock client's request to the Messages API. Returns its path and body.
fn convert_request_from_bedrock(
    call: &OutboundCall,
    model: &str,
) -> Result<(&'static str, MessagesRequest), BedrockBodyError> {
    Ok(match call.model_call.metering {
        Metering::Free => {
            ("/v1/messages/count_tokens", count_tokens_from_bedrock(&call.body, model)?)
        }
        Metering::Metered => {
            ("/v1/messages", invoke_model_to_messages(&call.body, model, call.model_call.stream)?)
        }
    })
}

/// The translation options for an account and model.
struct OwnedOptions {
    /// The upstream's name for the model.
    model: String,
    id: String,
    created: u64,
    max_tokens: MaxTokensField,
    caches_prompts: bool,
}

impl OwnedOptions {
    /// Chooses the options. OpenAI's reasoning models refuse `max_tokens` (platform.openai.com,
    /// "Reasoning models", 2026-11), and many other vendors support nothing else. Bedrock's form
    /// has no top-level cache control.
    fn new(request: &RequestContext, account: &Account, model: &str) -> Self {
        let name = base_id(model);
        let reasons =
            ["gpt-5", "gpt-6", "o1", "o3", "o4"].iter().any(|start| name.starts_with(start));
        let is_openai = account.base_url.contains("//api.openai.com");
        Self {
            model: model.to_owned(),
            id: request.id.as_str().to_owned(),
            created: u64::try_from(request.at.as_second()).unwrap_or_default(),
            max_tokens: if reasons || is_openai {
                MaxTokensField::Completion
            } else {
                MaxTokensField::Plain
            },
            caches_prompts: !account.uses_invoke_model(),
        }
    }

    fn as_options(&self) -> TranslationOptions<'_> {
        let Self { model, id, created, max_tokens, caches_prompts } = self;
        let (created, max_tokens, caches_prompts) = (*created, *max_tokens, *caches_prompts);
        TranslationOptions {
            created,
            max_tokens,
            caches_prompts,
            ..TranslationOptions::new(model, id)
        }
    }
}

impl From<MemoryLimitReached> for AttemptError {
    fn from(full: MemoryLimitReached) -> Self {
        Self::Crowded(full)
    }
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
