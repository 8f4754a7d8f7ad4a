//! Translates requests, answers, streams and errors between a client and an upstream that speak
//! different protocols. It works on bytes, does no I/O and reads no clock.
//!
//! # Usage
//!
//! ```
//! # use baton_protocol::translate::{ClientProtocol, ProtocolPair, TranslationOptions, UpstreamProtocol};
//! # let body = br#"{"model":"claude-opus-5-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
//! # let (chunk, from_upstream) = (&b"data: [DONE]\n\n"[..], &b"{}"[..]);
//! // `None` means that both sides speak the same protocol, and bytes pass unchanged.
//! let (client, upstream) = (ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat);
//! let pair = ProtocolPair::between(client, upstream).expect("they differ");
//! let options = TranslationOptions {
//!     created: 1_795_000_000,
//!     ..TranslationOptions::new("gpt-5.5", "req_1")
//! };
//! let translated = pair.translate_request(body, &options)?; // answer an error with 400
//! // Send `translated.body` to `translated.path`. Log `translated.dropped` for debugging.
//! let context = translated.context; // lives as long as the exchange
//!
//! // If the answer is an event stream, meter the upstream's bytes and then translate them.
//! let mut stream = context.stream_translator();
//! let mut to_client = Vec::new();
//! stream.push(chunk, &mut to_client);
//! if !stream.is_over() && !stream.finish(&mut to_client) {
//!     stream.fail("api_error", "The upstream broke off.", &mut to_client);
//! }
//! // Answers without a stream, and errors:
//! let whole = context.translate_response(from_upstream);
//! let error = context.translate_error(429, from_upstream); // 429 is the upstream's status
//! # Ok::<(), baton_protocol::translate::TranslationError>(())
//! ```
//!
//! * **Usage**: [`crate::meter`] reads it from the *upstream's* bytes, never from translated ones.
//! * **Models**: the upstream receives `TranslationOptions::model`. The client sees the name that
//!   it sent.
//! * **Comments** of an upstream are ignored and produce no output, so the caller has to keep the
//!   client's connection alive. A `ping` becomes a `ping` event or a comment, depending on the
//!   client's protocol.
//! * **Headers** are not handled here. A translated body is JSON or `text/event-stream` and always
//!   identity-encoded. The client's `anthropic-*` headers mean nothing to a chat upstream.
//! * **Bedrock** speaks Messages: use `UpstreamProtocol::Messages`. The [`crate::bedrock`] module
//!   moves the model, and `TranslationOptions::prompt_caching` says where the cache control stands.
//!
//! # Implementation
//!
//! Each protocol has a module with one file for each direction: `read_request`, `write_request`,
//! `read_response` and `write_response`. Between them stand a neutral request ([`neutral_request`])
//! and a neutral answer ([`neutral_response`]). Three readers and three writers therefore make six
//! pairs, and streams and whole bodies are put together by the same steps. Responses' streams have
//! files of their own (`read_events`, `write_events`), because they say much more than deltas.

mod chat;
mod continuation;
mod echo;
mod error;
mod fit;
mod json_reader;
mod json_writer;
mod media;
mod messages;
mod neutral_request;
mod neutral_response;
#[cfg(test)]
mod odd_answers;
mod reasoning_details;
mod responses;
mod step_queue;
mod stream_translator;
mod surrogates;

pub use baton_domain::protocol::{ClientProtocol, UpstreamProtocol};
pub use continuation::may_have_baton_state;
pub(crate) use continuation::{FOREIGN_CALL, STATE_PREFIX};
pub use error::{says_context_overflow, to_openai_error};
pub(crate) use fit::{PassedSettings, fit_call_id};
pub(crate) use messages::sanitize_id;
pub(crate) use neutral_request::ONLY_SERVER_TOOL;
pub(crate) use responses::REASONING_ID_PREFIX;
pub use stream_translator::StreamTranslator;

use crate::json::{CONTAINERS_MAX, JsonError, to_strict_json};
use crate::response_form::begins_with_event;
use baton_domain::account::Provider;
use baton_domain::model_capabilities::ModelCapabilities;
use error::NeutralError;
use json_reader::ObjectReader;
use neutral_request::ToolAliases;
use neutral_response::{NeutralResponse, OutputProgress, REFUSED, ResponsePart};
use std::borrow::Cow;
use thiserror::Error;

/// A client protocol and a different upstream protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProtocolPair {
    /// From Anthropic Messages to Chat Completions.
    MessagesToChat,
    /// From Chat Completions to Anthropic Messages.
    ChatToMessages,
    /// From Responses to Anthropic Messages.
    ResponsesToMessages,
    /// From Responses to Chat Completions.
    ResponsesToChat,
    /// From Anthropic Messages to Responses.
    MessagesToResponses,
    /// From Chat Completions to Responses.
    ChatToResponses,
}

/// How a Messages upstream is asked to cache the prompt, which OpenAI's upstreams do by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PromptCaching {
    /// With a top-level `cache_control` (platform.claude.com, "Prompt caching", automatic caching,
    /// 2026-11).
    #[default]
    Automatic,
    /// With `cache_control` on blocks, for upstreams without a top-level one.
    Blocks,
    /// Not at all.
    Off,
}

/// The values of a request that come from the account and the current time.
#[derive(Debug, Clone)]
pub struct TranslationOptions<'a> {
    /// The model that the upstream is asked for.
    pub model: &'a str,
    /// The request's id. Errors contain it, and an answer without an id gets it.
    pub id: &'a str,
    /// The current time in Unix seconds, for OpenAI's answers.
    pub created: u64,
    /// What the model accepts. Without it, the model's name decides.
    pub capabilities: Option<ModelCapabilities>,
    /// The bound of an answer whose client set none, where the API requires one. Without it, it is
    /// the most that the model gives.
    pub output_tokens_default: Option<u64>,
    /// Whether a chat upstream accepts earlier thinking, as `reasoning_content`.
    pub takes_reasoning: bool,
    /// How a Messages upstream is asked to cache the prompt.
    pub prompt_caching: PromptCaching,
}

impl<'a> TranslationOptions<'a> {
    /// Options for most upstreams: the model's name says what it accepts, and prompts are cached.
    pub fn new(model: &'a str, id: &'a str) -> Self {
        Self {
            model,
            id,
            created: 0,
            capabilities: None,
            output_tokens_default: None,
            takes_reasoning: false,
            prompt_caching: PromptCaching::Automatic,
        }
    }

    /// What the model accepts at an upstream with this protocol.
    fn capabilities(&self, upstream: UpstreamProtocol) -> ModelCapabilities {
        let provider = match upstream {
            UpstreamProtocol::Messages => Provider::Anthropic,
            UpstreamProtocol::Chat | UpstreamProtocol::Responses => Provider::OpenaiCompatible,
        };
        self.capabilities.unwrap_or_else(|| ModelCapabilities::of(provider, self.model, ""))
    }
}

/// The options of a writer.
#[derive(Debug)]
struct WriteOptions<'a> {
    translation: &'a TranslationOptions<'a>,
    capabilities: &'a ModelCapabilities,
}

/// A request in the upstream's protocol.
#[derive(Debug)]
pub struct TranslatedRequest {
    /// The body, as JSON.
    pub body: Vec<u8>,
    /// The path, without the base of the account's address.
    pub path: &'static str,
    /// Fields that the upstream does not support, as `tools[].cache_control`: only names, never
    /// values.
    pub dropped: Vec<String>,
    /// The facts about the request that the translation of the answer needs.
    pub context: ResponseContext,
}

/// Why a request cannot be translated. The text is for the client, as a 400.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TranslationError {
    /// The body is not a JSON object.
    #[error("The request body must be a JSON object.")]
    NotAnObject,
    /// `model` is not a string.
    #[error("model: must be a string")]
    NoModel,
    /// The conversation is missing, or is not a list of messages.
    #[error("The request has no conversation. Send it as a list in `messages` or `input`.")]
    NoMessages,
    /// Arrays and objects are nested too deeply.
    #[error(
        "The request body is nested too deeply for this model. At most {} levels are accepted.",
        json_reader::DEPTH_MAX
    )]
    TooDeep,
    /// The body has too many arrays and objects in total.
    #[error(
        "The request body has too many arrays and objects for this model. At most {CONTAINERS_MAX} \
         are accepted."
    )]
    ManyContainers,
    /// The upstream's form of the request is too long.
    #[error(
        "The request becomes too long in the API of this model, because it has very many short \
         tools or blocks. Send fewer of them in one request."
    )]
    TooLong,
    /// Content blocks or tools are nested too deeply.
    #[error(
        "Content blocks or tools are nested too deeply for this model. At most {} levels are \
         accepted.",
        json_reader::NESTED_CONTENT_MAX
    )]
    NestedContent,
    /// The upstream keeps no message threads. Anthropic's SDKs then send the whole conversation
    /// (anthropic-sdk-python 2.14.0, `lib/tools/_beta_runner.py`).
    #[error(
        "thread: the upstream of this model keeps no message threads. Send the whole conversation \
         in `messages`, without this field."
    )]
    Thread,
    /// The upstream does not support the field, and without it the answer would be different.
    #[error("{name}: {advice}")]
    Field {
        /// The field.
        name: Cow<'static, str>,
        /// The advice for the client.
        advice: &'static str,
    },
}

impl TranslationError {
    pub(crate) fn field(name: impl Into<Cow<'static, str>>, advice: &'static str) -> Self {
        Self::Field { name: name.into(), advice }
    }
}

/// The upstream's answer does not follow its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the upstream's answer does not follow its API")]
pub struct InvalidResponse;

/// The facts about a request that the translation of its answer needs.
#[derive(Debug, Clone)]
pub struct ResponseContext {
    translation: ProtocolPair,
    model: String,
    /// The model's name at the upstream.
    upstream_model: String,
    id: String,
    created: u64,
    include_usage: bool,
    /// Whether a Messages client has asked for thinking, or a Responses client for its summary.
    shows_thinking: bool,
    stops: Vec<String>,
    aliases: ToolAliases,
    /// Fields that a response repeats, as JSON.
    echo: Vec<(&'static str, String)>,
    /// The bytes of memory of all of these.
    held_bytes: usize,
}

impl ProtocolPair {
    /// The pair of two protocols, or `None` if the upstream reads the client's body as it is. A
    /// client that speaks Bedrock speaks Messages.
    pub fn between(client: ClientProtocol, upstream: UpstreamProtocol) -> Option<Self> {
        use UpstreamProtocol::{Chat, Messages, Responses};
        match (client.body_protocol(), upstream) {
            (Messages, Chat) => Some(Self::MessagesToChat),
            (Chat, Messages) => Some(Self::ChatToMessages),
            (Responses, Messages) => Some(Self::ResponsesToMessages),
            (Responses, Chat) => Some(Self::ResponsesToChat),
            (Messages, Responses) => Some(Self::MessagesToResponses),
            (Chat, Responses) => Some(Self::ChatToResponses),
            (Messages, Messages) | (Chat, Chat) | (Responses, Responses) => None,
        }
    }

    /// The longest name of a tool at the upstream, in bytes (references of both APIs, 2026-11).
    fn tool_name_max(self) -> usize {
        match self.upstream() {
            UpstreamProtocol::Messages => 128,
            UpstreamProtocol::Chat | UpstreamProtocol::Responses => 64,
        }
    }

    /// The protocol of the client's bodies.
    fn client(self) -> ClientProtocol {
        match self {
            Self::MessagesToChat | Self::MessagesToResponses => ClientProtocol::AnthropicMessages,
            Self::ChatToMessages | Self::ChatToResponses => ClientProtocol::OpenaiChat,
            Self::ResponsesToMessages | Self::ResponsesToChat => ClientProtocol::OpenaiResponses,
        }
    }

    /// The upstream's protocol.
    fn upstream(self) -> UpstreamProtocol {
        match self {
            Self::ChatToMessages | Self::ResponsesToMessages => UpstreamProtocol::Messages,
            Self::MessagesToChat | Self::ResponsesToChat => UpstreamProtocol::Chat,
            Self::MessagesToResponses | Self::ChatToResponses => UpstreamProtocol::Responses,
        }
    }

    /// Translates a request for the upstream.
    ///
    /// # Errors
    /// The body is not a request, or asks for something that the upstream does not support.
    pub fn translate_request(
        self,
        body: &[u8],
        options: &TranslationOptions<'_>,
    ) -> Result<TranslatedRequest, TranslationError> {
        let text = std::str::from_utf8(body).map_err(|_| TranslationError::NotAnObject)?;
        let document =
            json_reader::parse_document(text.as_bytes()).map_err(|error| match error {
                JsonError::TooDeep => TranslationError::TooDeep,
                JsonError::ManyContainers => TranslationError::ManyContainers,
                _ => TranslationError::NotAnObject,
            })?;
        let object =
            ObjectReader::from_value(document.root()).ok_or(TranslationError::NotAnObject)?;
        let mut request = match self.client().body_protocol() {
            UpstreamProtocol::Messages => messages::read_request::read_request(object),
            UpstreamProtocol::Chat => chat::read_request::read_request(object),
            UpstreamProtocol::Responses => responses::read_request::read_request(object),
        }?;
        request.refuse_missing_tools();
        if let Some(refusal) = request.dropped.take_refusal() {
            return Err(refusal);
        }
        request.drop_missing_choice();
        request.body_bytes = body.len();
        request.check_stops()?;
        echo::check_echo(&request.echo)?;
        let capabilities = options.capabilities(self.upstream());
        fit::fit_request(&mut request, &capabilities, self.upstream())?;
        request.shorten_names(self.tool_name_max());
        let options = WriteOptions { translation: options, capabilities: &capabilities };
        let (body, path) = match self.upstream() {
            UpstreamProtocol::Messages => {
                (messages::write_request::write_request(&mut request, &options), "/v1/messages")
            }
            UpstreamProtocol::Chat => {
                (chat::write_request::write_request(&mut request, &options), "/v1/chat/completions")
            }
            UpstreamProtocol::Responses => {
                (responses::write_request::write_request(&mut request, &options), "/v1/responses")
            }
        };
        if body.len() > request.output_bytes_max() {
            return Err(TranslationError::TooLong);
        }
        let echo = request.echo.iter().map(|(name, raw)| (*name, (*raw).to_owned())).collect();
        let mut context = ResponseContext {
            translation: self,
            model: request.model,
            upstream_model: options.translation.model.to_owned(),
            id: options.translation.id.to_owned(),
            created: options.translation.created,
            include_usage: request.include_usage,
            shows_thinking: request.shows_thinking,
            stops: request.stop_sequences,
            aliases: request.aliases,
            echo,
            held_bytes: 0,
        };
        context.held_bytes = context.count_bytes();
        Ok(TranslatedRequest { body, path, dropped: request.dropped.into_paths(), context })
    }
}

impl ResponseContext {
    /// Translates a whole answer for the client.
    ///
    /// # Errors
    /// The body is not an answer in the upstream's protocol; it can be an error or HTML.
    pub fn translate_response(&self, body: &[u8]) -> Result<Vec<u8>, InvalidResponse> {
        let body = to_strict_json(body);
        let text = std::str::from_utf8(&body).map_err(|_| InvalidResponse)?;
        let mut response = NeutralResponse::default();
        if !self.read_whole(text, &mut |step| response.apply_step(&step)) {
            return Err(InvalidResponse);
        }
        Ok(match self.translation.client().body_protocol() {
            UpstreamProtocol::Messages => messages::write_response::write_message(self, &response),
            UpstreamProtocol::Chat => chat::write_response::write_completion(self, &response),
            UpstreamProtocol::Responses => {
                if response.lacks_refusal() {
                    response.parts.push(ResponsePart::Refusal(REFUSED.to_owned()));
                }
                responses::write_response::write_whole_response(self, &response)
            }
        })
    }

    /// Translates a whole answer into the events of a stream. Some upstreams ignore `stream` and
    /// answer with one body, or send events without their content type.
    ///
    /// # Errors
    /// The body is not an answer in the upstream's protocol.
    pub fn translate_response_to_events(&self, body: &[u8]) -> Result<Vec<u8>, InvalidResponse> {
        let mut out = Vec::new();
        if begins_with_event(body) {
            let mut stream = self.stream_translator();
            stream.push(body.trim_ascii_start(), &mut out);
            let is_answer = (stream.is_over() || stream.finish(&mut out)) && !stream.has_failed();
            return is_answer.then_some(out).ok_or(InvalidResponse);
        }
        let body = to_strict_json(body);
        let text = std::str::from_utf8(&body).map_err(|_| InvalidResponse)?;
        let is_answer =
            self.stream_translator().translate_whole(|take| self.read_whole(text, take), &mut out);
        is_answer.then_some(out).ok_or(InvalidResponse)
    }

    /// Reads a whole answer of the upstream. Returns whether it was one, and not one whose output
    /// cannot be translated.
    fn read_whole(
        &self,
        text: &str,
        emit_step: &mut dyn FnMut(neutral_response::ResponseStep<'_>),
    ) -> bool {
        let model = &self.upstream_model;
        let mut output = OutputProgress::default();
        let mut emit_step = |step: neutral_response::ResponseStep<'_>| {
            output.note_step(&step);
            emit_step(step);
        };
        let is_answer = match self.translation.upstream() {
            UpstreamProtocol::Messages => {
                messages::read_response::MessagesReader::read_message(text, &mut emit_step)
            }
            UpstreamProtocol::Chat => {
                chat::read_response::ChatReader::read_completion(text, model, &mut emit_step)
            }
            UpstreamProtocol::Responses => {
                responses::read_response::read_response(text, model, &mut emit_step)
            }
        };
        output.note_data(text.as_bytes());
        is_answer && output != OutputProgress::Untranslated
    }

    /// Translates an error for the client. Its text stays, and its type becomes one that the client
    /// knows. The client gets the upstream's status. OpenAI's protocols share their error format,
    /// so an error passes unchanged between them.
    pub fn translate_error(&self, status: u16, body: &[u8]) -> Vec<u8> {
        let is_shared_form = match self.translation {
            ProtocolPair::ResponsesToChat | ProtocolPair::ChatToResponses => true,
            ProtocolPair::MessagesToChat
            | ProtocolPair::ChatToMessages
            | ProtocolPair::ResponsesToMessages
            | ProtocolPair::MessagesToResponses => false,
        };
        if is_shared_form && error::is_openai_error(status, body) {
            return body.to_vec();
        }
        NeutralError::from_body(Some(status), body).to_body(self.translation.client(), &self.id)
    }

    /// A translator for the answer's event stream.
    pub fn stream_translator(&self) -> StreamTranslator {
        StreamTranslator::new(self.clone())
    }

    /// The bytes of memory that the context keeps of its request.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn count_bytes(&self) -> usize {
        let fixed = self.model.len() + self.upstream_model.len() + self.id.len();
        let stops = self.stops.iter().map(|stop| stop.len() + size_of::<String>());
        let aliases = self.aliases.iter().map(|(tool, alias)| {
            let names = tool.len()
                + alias.name.len()
                + alias.namespace.as_ref().map_or(0, |name| name.len());
            names + size_of::<(String, neutral_request::ToolAlias)>()
        });
        let echo = self.echo.iter().map(|(_, json)| json.len() + size_of::<(&str, String)>());
        fixed + stops.chain(aliases).chain(echo).sum::<usize>()
    }

    /// The name that the client gave a tool.
    fn tool_name<'a>(&'a self, tool: &'a str) -> &'a str {
        self.aliases.get(tool).map_or(tool, |alias| &alias.name)
    }

    /// Whether the client expects a tool's arguments as free text.
    fn is_freeform(&self, tool: &str) -> bool {
        self.aliases.get(tool).is_some_and(|alias| alias.freeform)
    }
}
