//! A client of one dialect, an upstream of another: requests, answers, streams and errors, said
//! again. Bytes in, bytes out; no I/O, no clock.
//!
//! # How it is used
//!
//! ```
//! # use baton_wire::translate::{Client, MaxTokens, Options, Speaks, Translation};
//! # let body = br#"{"model":"claude-opus-5-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
//! # let (chunk, from_upstream) = (&b"data: [DONE]\n\n"[..], &b"{}"[..]);
//! // Same dialect on both sides: `None`, and bytes pass as they are.
//! let translation = Translation::between(Client::Messages, Speaks::Chat).expect("they differ");
//! let options = Options { created: 1_795_000_000, ..Options::new("gpt-5.5", "req_1") };
//! let translated = translation.request(body, &options)?; // else a 400 with the error's words
//! // Send `translated.body` to `translated.path`; log `translated.dropped` for debugging.
//! let asked = translated.asked; // lives as long as the exchange
//!
//! // The answer is an event stream: meter the upstream's bytes, then translate them.
//! let mut stream = asked.stream();
//! let mut to_client = Vec::new();
//! stream.push(chunk, &mut to_client);
//! if !stream.is_over() && !stream.finish(&mut to_client) {
//!     stream.fail("api_error", "The upstream broke off.", &mut to_client);
//! }
//! // Or it is whole, or an error:
//! let whole = asked.response(from_upstream);
//! let error = asked.error(429, from_upstream); // the status is the upstream's
//! # Ok::<(), baton_wire::translate::Untranslatable>(())
//! ```
//!
//! * **Usage** is read by [`crate::meter`] from the *upstream's* bytes, never from ours.
//! * **Models**: `TranslationOptions::model` goes upstream, the client hears the name that it asked for.
//! * **Comments** of an upstream tell nothing and yield nothing: whoever relays keeps the client
//!   alive itself. A `ping` becomes a `ping` event or a comment, as the client knows it.
//! * **Headers** are not known here. A translated body is JSON or `text/event-stream`, always
//!   identity-encoded; the client's `anthropic-*` headers mean nothing to a chat upstream.
//! * **Bedrock** speaks Messages: `UpstreamProtocol::Messages` with the model moved by its own code, and
//!   `TranslationOptions::caches_prompts` off where top-level cache control is not known.
//!
//! # How it is made
//!
//! Each dialect has a module with one file a direction: `ask_in`, `ask_out`, `answer_in`,
//! `answer_out`. Between them stand a request and an answer in nobody's words ([`neutral_request`],
//! [`neutral_response`]), so two readers and three writers make four pairs, and a stream is put together by
//! the same steps as a whole body. A Responses upstream would be one more pair of files.

mod chat;
mod error;
mod json_reader;
mod json_writer;
mod messages;
mod neutral_request;
mod neutral_response;
mod responses;
mod stream_translator;

pub use stream_translator::StreamTranslator;

use crate::json::{CONTAINERS_MAX, JsonError};
use error::NeutralError;
use json_reader::ObjectReader;
use neutral_request::ToolAliases;
use neutral_response::NeutralResponse;
use thiserror::Error;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientApi {
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Chat Completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
}

/// What an upstream speaks, as far as we translate for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Chat Completions, as many vendors have it.
    Chat,
}

impl UpstreamProtocol {
    /// The longest name of a tool (references of both APIs, 2026-11).
    fn tool_name_max(self) -> usize {
        match self {
            Self::Messages => 128,
            Self::Chat => 64,
        }
    }
}

/// A pair of dialects that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProtocolPair {
    client: ClientApi,
    upstream: UpstreamProtocol,
}

/// Which field bounds the answer's length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MaxTokensField {
    /// `max_tokens`: what most vendors know.
    #[default]
    Plain,
    /// `max_completion_tokens`: what OpenAI's reasoning models demand.
    Completion,
}

/// What the account and the moment add to a request.
#[derive(Debug, Clone)]
pub struct TranslationOptions<'a> {
    /// The model to ask the upstream for.
    pub model: &'a str,
    /// The request's id: an error names it, and an answer without an id of its own takes it.
    pub id: &'a str,
    /// Now, in Unix seconds: OpenAI's answers carry it.
    pub created: u64,
    /// The field that bounds the answer of a chat upstream.
    pub max_tokens: MaxTokensField,
    /// The most that the model may be asked to answer with; a client's larger wish is cut to it.
    pub output_tokens_max: Option<u64>,
    /// Whether a chat upstream's model takes `reasoning_effort`.
    pub takes_effort: bool,
    /// Whether a chat upstream takes earlier thinking back, as `reasoning_content`.
    pub takes_reasoning: bool,
    /// Whether a Messages upstream shall cache what it can, as OpenAI's do unasked: top-level
    /// `cache_control` (platform.claude.com, "Prompt caching", automatic caching, 2026-11).
    pub caches_prompts: bool,
}

impl<'a> TranslationOptions<'a> {
    /// What suits most upstreams: effort is told, earlier thinking is not, prompts are cached.
    pub fn new(model: &'a str, id: &'a str) -> Self {
        Self {
            model,
            id,
            created: 0,
            max_tokens: MaxTokensField::Plain,
            output_tokens_max: None,
            takes_effort: true,
            takes_reasoning: false,
            caches_prompts: true,
        }
    }
}

/// A request in the upstream's words.
#[derive(Debug)]
pub struct TranslatedRequest {
    /// The body, as JSON.
    pub body: Vec<u8>,
    /// Where it goes, without the account's base.
    pub path: &'static str,
    /// Fields that found no place, as `tools[].cache_control`: names only, never values.
    pub dropped: Vec<String>,
    /// What the answer needs to know of the request.
    pub asked: ResponseContext,
}

/// Why a request cannot be put in the upstream's words. The text is for the client, as a 400.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TranslationError {
    /// The body is no JSON object.
    #[error("the request body is not a JSON object")]
    NotAnObject,
    /// `model` is no string.
    #[error("model: a string is required")]
    NoModel,
    /// There is no conversation, or it is not a list of messages.
    #[error("a conversation is required: a list, as `messages` or `input`")]
    NoMessages,
    /// Arrays and objects inside each other.
    #[error(
        "the request body is nested too deeply for this model: at most {} levels are accepted",
        json_reader::DEPTH_MAX
    )]
    TooDeep,
    /// Arrays and objects, in all.
    #[error(
        "the request body has too many arrays and objects for this model: at most \
         {CONTAINERS_MAX} are accepted"
    )]
    ManyContainers,
    /// Content blocks or tools inside each other.
    #[error(
        "content blocks or tools are nested too deeply for this model: at most {} inside each \
         other are accepted",
        json_reader::NESTED_CONTENT_MAX
    )]
    NestedContent,
    /// The upstream has nothing like it, and the answer would mean something else without.
    #[error("{name}: {advice}")]
    Field {
        /// The field.
        name: &'static str,
        /// What to do in its place.
        advice: &'static str,
    },
}

impl TranslationError {
    fn field(name: &'static str, advice: &'static str) -> Self {
        Self::Field { name, advice }
    }
}

/// The upstream's answer is none in its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the upstream's answer is not one in its dialect")]
pub struct InvalidResponse;

/// What an answer must know of its request.
#[derive(Debug, Clone)]
pub struct ResponseContext {
    translation: ProtocolPair,
    model: String,
    id: String,
    created: u64,
    include_usage: bool,
    stops: Vec<String>,
    aliases: ToolAliases,
    /// Fields that a response repeats, as JSON.
    echo: Vec<(&'static str, String)>,
}

impl ProtocolPair {
    /// The translation between two dialects; `None` when they are the same.
    pub fn between(client: ClientApi, upstream: UpstreamProtocol) -> Option<Self> {
        let same = matches!(
            (client, upstream),
            (ClientApi::Messages, UpstreamProtocol::Messages)
                | (ClientApi::Chat, UpstreamProtocol::Chat)
        );
        (!same).then_some(Self { client, upstream })
    }

    /// Puts a request in the upstream's words.
    ///
    /// # Errors
    /// When the body is no request, or asks for what the upstream has nothing like.
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
        let mut ask = match self.client {
            ClientApi::Messages => messages::read_request::read_request(object),
            ClientApi::Chat => chat::read_request::read_request(object),
            ClientApi::Responses => responses::read_request::read_request(object),
        }?;
        if let (Some(asked), Some(max)) = (ask.max_tokens, options.output_tokens_max) {
            ask.max_tokens = Some(asked.min(max));
        }
        ask.shorten_names(self.upstream.tool_name_max());
        let (body, path) = match self.upstream {
            UpstreamProtocol::Messages => {
                (messages::write_request::write_request(&mut ask, options), "/v1/messages")
            }
            UpstreamProtocol::Chat => {
                (chat::write_request::write_request(&mut ask, options), "/v1/chat/completions")
            }
        };
        let echo = ask.echo.iter().map(|(name, raw)| (*name, (*raw).to_owned())).collect();
        let asked = ResponseContext {
            translation: self,
            model: ask.model,
            id: options.id.to_owned(),
            created: options.created,
            include_usage: ask.include_usage,
            stops: ask.stop,
            aliases: ask.aliases,
            echo,
        };
        Ok(TranslatedRequest { body, path, dropped: ask.dropped.into_paths(), asked })
    }
}

impl ResponseContext {
    /// Puts a whole answer in the client's words.
    ///
    /// # Errors
    /// When the body is no answer in the upstream's dialect; it may be an error or HTML.
    pub fn translate_response(&self, body: &[u8]) -> Result<Vec<u8>, InvalidResponse> {
        let text = std::str::from_utf8(body).map_err(|_| InvalidResponse)?;
        let mut answer = NeutralResponse::default();
        let mut take = |step: neutral_response::ResponseStep<'_>| answer.apply_step(&step);
        let is_answer = match self.translation.upstream {
            UpstreamProtocol::Messages => {
                messages::read_response::MessagesReader::read_message(text, &mut take)
            }
            UpstreamProtocol::Chat => {
                chat::read_response::ChatReader::read_completion(text, &mut take)
            }
        };
        if !is_answer {
            return Err(InvalidResponse);
        }
        Ok(match self.translation.client {
            ClientApi::Messages => messages::write_response::write_message(self, &answer),
            ClientApi::Chat => chat::write_response::write_completion(self, &answer),
            ClientApi::Responses => responses::write_response::write_whole_response(self, &answer),
        })
    }

    /// Puts an error in the client's words: its text as it is, its type as the client knows it.
    /// The status stays the upstream's. OpenAI's dialects have their errors in common, so those
    /// pass as they are.
    pub fn translate_error(&self, status: u16, body: &[u8]) -> Vec<u8> {
        let ProtocolPair { client, upstream } = self.translation;
        if (client, upstream) == (ClientApi::Responses, UpstreamProtocol::Chat)
            && error::is_openai_error(body)
        {
            return body.to_vec();
        }
        NeutralError::from_body(Some(status), body).to_body(client, &self.id)
    }

    /// A translator for the answer's event stream.
    pub fn stream_translator(&self) -> StreamTranslator {
        StreamTranslator::new(self.clone())
    }

    /// The name that the client gave a tool.
    fn tool_name<'a>(&'a self, tool: &'a str) -> &'a str {
        self.aliases.get(tool).map_or(tool, |alias| &alias.name)
    }

    /// Whether the client takes a tool's arguments as free text.
    fn is_freeform(&self, tool: &str) -> bool {
        self.aliases.get(tool).is_some_and(|alias| alias.freeform)
    }
}
