//! Finds the few fields of a request body that a relay needs in one scan. The body stays as
//! received.
//!
//! The scan checks that the whole body is JSON, that it is not nested too deeply, and that no field
//! is given twice or under a name that some server takes for a field that the relay reads. `domain`
//! selects the account; [`crate::conversation_hash`] derives the session of a request that names
//! none.

use crate::conversation_hash::{ConversationPrefix, OpeningMessages, strip_quotes};
use crate::json::{self, CONTAINERS_MAX, DEPTH_MAX, FIELDS_MAX, JsonError};
use baton_domain::request_tier::RequestTier;
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;

/// The fields that the relay reads from a request body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Envelope<'a> {
    /// The requested model.
    pub model: Cow<'a, str>,
    /// The position of the model's JSON string in the body, quotes included.
    pub model_span: Range<usize>,
    /// Whether `stream` is `true`.
    pub stream: bool,
    /// Whether `speed` is `"fast"`, which upstreams limit separately.
    pub is_fast: bool,
    /// The tier in `service_tier`, which some upstreams limit separately.
    pub tier: RequestTier,
    /// The field that asks for an answer after the response to this request: `background` of
    /// OpenAI's Responses, `deferred` of xAI (docs.x.ai, "Deferred Chat Completions", 2026-11).
    pub deferred_field: Option<&'static str>,
    /// The session that the request names: Claude Code's `metadata.user_id`, which is JSON text
    /// with a `session_id` (any other text counts as a whole), else OpenAI's `prompt_cache_key`.
    pub session: Option<Cow<'a, str>>,
    /// The id of an earlier answer or of a conversation whose state is with one account only:
    /// OpenAI's `previous_response_id` and `conversation`, Anthropic's
    /// `thread.previous_message_id`.
    pub state_id: Option<Cow<'a, str>>,
    /// Whether OpenAI's Responses keep the answer for later requests: `store` is not `false`.
    pub is_stored: bool,
    /// Whether Anthropic keeps the answer for later requests, in a `thread`.
    pub is_thread: bool,
    /// What a Chat request says about `reasoning_effort`.
    pub effort: StatedEffort,
    /// The number of answers that a Chat request asks for: `n`, at least 1.
    pub choices: u32,
    /// The content that identifies the conversation if the request names no session.
    pub prefix: ConversationPrefix<'a>,
}

/// Why a body cannot be relayed. The texts are for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The body is empty.
    #[error("The request has no body. Send a JSON object.")]
    NoBody,
    /// The body is not JSON, or has something after the JSON.
    #[error("The request body is not valid JSON. The error is at line {line}, column {column}.")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
    },
    /// The body is JSON, but not an object.
    #[error("The request body must be a JSON object.")]
    NotAnObject,
    /// `model` is missing or empty.
    #[error("model: field required")]
    NoModel,
    /// `model` is not a string.
    #[error("model: must be a string")]
    ModelNotAString,
    /// Parsers disagree about which of two values counts: the relay might charge for one while the
    /// upstream serves the other.
    #[error("{0}: the request has this field twice. Send it once.")]
    Twice(String),
    /// The relay reads one field, and a server that compares names less strictly reads the other.
    #[error("{name}: this field is not spelled as documented. Write it as `{known_name}`.")]
    OtherCase {
        /// The name as the client wrote it.
        name: String,
        /// The field that a server can mistake it for.
        known_name: &'static str,
    },
    /// A server that is less strict about types could read a value that the relay does not see: a
    /// text `"true"`, or digits in a text.
    #[error("{name}: must be {expected}, or left out")]
    OtherType {
        /// The field.
        name: &'static str,
        /// The type that the vendors document.
        expected: &'static str,
    },
    /// Arrays and objects are nested too deeply.
    #[error("The request body is nested too deeply. At most {DEPTH_MAX} levels are accepted.")]
    TooDeep,
    /// The body has too many arrays and objects in total.
    #[error(
        "The request body has too many arrays and objects. At most {CONTAINERS_MAX} are accepted."
    )]
    ManyContainers,
    /// One object has too many fields.
    #[error(
        "An object in the request body has too many fields. At most {FIELDS_MAX} are accepted."
    )]
    ManyFields,
}

impl EnvelopeError {
    fn new(error: JsonError, body: &[u8]) -> Self {
        match error {
            JsonError::Syntax(index) => {
                let before = body.get(..index).unwrap_or(body);
                let line = memchr::memchr_iter(b'\n', before).count() + 1;
                let start = memchr::memrchr(b'\n', before).map_or(0, |feed| feed + 1);
                Self::NotJson { line, column: before.len() - start + 1 }
            }
            JsonError::NotAnObject => Self::NotAnObject,
            JsonError::TooDeep => Self::TooDeep,
            JsonError::Twice(name) => Self::Twice(printable_name(&name)),
            JsonError::OtherCase { name, known_name } => {
                Self::OtherCase { name: printable_name(&name), known_name }
            }
            JsonError::ManyFields => Self::ManyFields,
            JsonError::ManyContainers => Self::ManyContainers,
        }
    }
}

/// The form in which an error repeats a client's name: short, and without control characters.
fn printable_name(name: &str) -> String {
    name.chars().take(60).flat_map(char::escape_debug).collect()
}

/// What a request says about the effort of its thinking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StatedEffort {
    /// Nothing: the model's default counts.
    #[default]
    Unset,
    /// No thinking.
    Off,
    /// Some effort.
    On,
}

impl StatedEffort {
    fn from_raw(raw: Option<&str>) -> Self {
        match raw {
            None | Some("null") => Self::Unset,
            Some("\"none\"") => Self::Off,
            Some(_) => Self::On,
        }
    }
}

impl<'a> Envelope<'a> {
    /// Whether the request has tools.
    pub fn has_tools(&self) -> bool {
        // A list with an element that is an object.
        self.prefix.tools.is_some_and(|tools| tools.contains('{'))
    }

    /// Reads a request body.
    ///
    /// # Errors
    /// The body is not a JSON object with one `model` that is a string.
    pub fn parse(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        let fields = read_fields(body)?;
        let raw = fields.get(EnvelopeField::Model).ok_or(EnvelopeError::NoModel)?;
        let model = parse_text(raw).ok_or(EnvelopeError::ModelNotAString)?;
        if model.is_empty() {
            return Err(EnvelopeError::NoModel);
        }
        let stream = fields.get(EnvelopeField::Stream) == Some("true");
        Ok(Self { model_span: find_span(body, raw), ..Self::from_fields(fields, model, stream) })
    }

    /// Reads a body whose model and stream are part of the path. Its `model_span` is empty.
    ///
    /// # Errors
    /// The body is not a JSON object.
    pub fn parse_with_model(
        body: &'a [u8],
        model: &'a str,
        stream: bool,
    ) -> Result<Self, EnvelopeError> {
        Ok(Self::from_fields(read_fields(body)?, Cow::Borrowed(model), stream))
    }

    fn from_fields(fields: EnvelopeFields<'a>, model: Cow<'a, str>, stream: bool) -> Self {
        let conversation = fields.get(EnvelopeField::Conversation).and_then(parse_id);
        let session = fields.get(EnvelopeField::Metadata).and_then(parse_metadata_session);
        Self {
            model,
            model_span: 0..0,
            stream,
            is_fast: fields
                .get(EnvelopeField::Speed)
                .and_then(parse_text)
                .is_some_and(|speed| speed == "fast"),
            tier: fields
                .get(EnvelopeField::ServiceTier)
                .and_then(parse_text)
                .map_or(RequestTier::Standard, |tier| RequestTier::from_name(&tier)),
            deferred_field: fields.deferred_field(),
            session: session
                .or_else(|| fields.get(EnvelopeField::PromptCacheKey).and_then(parse_text))
                .or_else(|| conversation.clone()),
            state_id: fields
                .get(EnvelopeField::PreviousResponseId)
                .and_then(parse_text)
                .or(conversation)
                .or_else(|| fields.get(EnvelopeField::Thread).and_then(parse_id)),
            is_stored: fields.get(EnvelopeField::Store) != Some("false"),
            is_thread: fields.get(EnvelopeField::Thread).is_some_and(|raw| raw != "null"),
            effort: StatedEffort::from_raw(fields.get(EnvelopeField::ReasoningEffort)),
            choices: parse_choices(fields.get(EnvelopeField::N)),
            prefix: ConversationPrefix {
                tools: fields.get(EnvelopeField::Tools),
                system: fields.get(EnvelopeField::System),
                instructions: fields.get(EnvelopeField::Instructions),
                input: fields.get(EnvelopeField::Input),
                messages: fields.messages,
            },
        }
    }
}

/// Replaces the bytes of the model in the body. All other bytes stay.
///
/// `span` is [`Envelope::model_span`] of the same body.
pub fn replace_model(body: &Bytes, span: Range<usize>, model: &str) -> Bytes {
    let quoted = serde_json::Value::from(model).to_string();
    let mut changed = Vec::with_capacity(body.len() + quoted.len());
    changed.extend_from_slice(body.get(..span.start).unwrap_or_default());
    changed.extend_from_slice(quoted.as_bytes());
    changed.extend_from_slice(body.get(span.end..).unwrap_or_default());
    changed.into()
}

/// The session in `metadata.user_id` (recorded requests of Claude Code, 2026-11-22).
fn parse_metadata_session(raw: &str) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct RequestMetadata<'a> {
        #[serde(borrow)]
        user_id: Option<Cow<'a, str>>,
    }
    #[derive(serde::Deserialize)]
    struct MetadataUserId {
        session_id: Option<String>,
    }
    let user_id = serde_json::from_str::<RequestMetadata>(raw).ok()?.user_id?;
    let session =
        serde_json::from_str::<MetadataUserId>(&user_id).ok().and_then(|user| user.session_id);
    Some(session.map_or(user_id, Cow::Owned)).filter(|session| !session.is_empty())
}

/// An id that is a string, or the field of an object: `id` of a conversation, `previous_message_id`
/// of a thread.
fn parse_id(raw: &str) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct IdObject<'a> {
        #[serde(borrow, alias = "previous_message_id")]
        id: Option<Cow<'a, str>>,
    }
    let inner = || serde_json::from_str::<IdObject>(raw).ok()?.id;
    parse_text(raw).or_else(inner).filter(|id| !id.is_empty())
}

/// The value of `n`. Servers can read `2.0` as 2.
fn parse_choices(raw: Option<&str>) -> u32 {
    let number = raw.and_then(|raw| raw.parse::<f64>().ok()).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let choices = number as u32;
    choices.max(1)
}

/// A JSON string, borrowed unless it has escapes.
fn parse_text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = strip_quotes(raw)?;
    if inner.contains('\\') {
        serde_json::from_str(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The position of `part`, a slice of `input`.
fn find_span(input: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - input.as_ptr().addr();
    start..start + part.len()
}

/// The fields that the relay reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EnvelopeField {
    Model,
    Stream,
    MaxTokens,
    MaxCompletionTokens,
    MaxOutputTokens,
    Speed,
    Metadata,
    PromptCacheKey,
    Tools,
    System,
    Instructions,
    Input,
    Messages,
    Background,
    Deferred,
    StreamOptions,
    N,
    BestOf,
    ServiceTier,
    Thinking,
    PreviousResponseId,
    Conversation,
    Thread,
    Store,
    ReasoningEffort,
}

/// The type that the vendors document for a field, in addition to `null` (API references of
/// Anthropic, OpenAI, OpenRouter and xAI, 2026-11).
#[derive(Debug, Clone, Copy)]
enum JsonType {
    /// The relay accepts any type here, or refuses the field with another message.
    Any,
    Boolean,
    Number,
    Text,
    Object,
    Array,
}

impl JsonType {
    /// Whether a value has the type, judged by its first character.
    fn is_of(self, raw: &str) -> bool {
        let first = raw.as_bytes().first().copied().unwrap_or_default();
        first == b'n'
            || match self {
                Self::Any => true,
                Self::Boolean => matches!(first, b't' | b'f'),
                Self::Number => matches!(first, b'-' | b'0'..=b'9'),
                Self::Text => first == b'"',
                Self::Object => first == b'{',
                Self::Array => first == b'[',
            }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Boolean => "true or false",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Object => "an object",
            Self::Array => "an array",
        }
    }
}

impl EnvelopeField {
    /// The type of a field. Fields that decide whether an answer is a stream, what it can cost, or
    /// who serves it must have a type that every server reads in the same way.
    fn documented(self) -> JsonType {
        match self {
            Self::Stream => JsonType::Boolean,
            Self::MaxTokens
            | Self::MaxCompletionTokens
            | Self::MaxOutputTokens
            | Self::N
            | Self::BestOf => JsonType::Number,
            Self::Speed | Self::ServiceTier => JsonType::Text,
            Self::StreamOptions | Self::Thinking => JsonType::Object,
            Self::Tools => JsonType::Array,
            Self::Model
            | Self::Metadata
            | Self::PromptCacheKey
            | Self::System
            | Self::Instructions
            | Self::Input
            | Self::Messages
            | Self::Background
            | Self::Deferred
            | Self::PreviousResponseId
            | Self::Conversation
            | Self::Thread
            | Self::Store
            | Self::ReasoningEffort => JsonType::Any,
        }
    }
}

const NAMES: [(&str, EnvelopeField); 25] = [
    ("model", EnvelopeField::Model),
    ("stream", EnvelopeField::Stream),
    ("max_tokens", EnvelopeField::MaxTokens),
    ("max_completion_tokens", EnvelopeField::MaxCompletionTokens),
    ("max_output_tokens", EnvelopeField::MaxOutputTokens),
    ("speed", EnvelopeField::Speed),
    ("metadata", EnvelopeField::Metadata),
    ("prompt_cache_key", EnvelopeField::PromptCacheKey),
    ("tools", EnvelopeField::Tools),
    ("system", EnvelopeField::System),
    ("instructions", EnvelopeField::Instructions),
    ("input", EnvelopeField::Input),
    ("messages", EnvelopeField::Messages),
    ("background", EnvelopeField::Background),
    ("deferred", EnvelopeField::Deferred),
    ("stream_options", EnvelopeField::StreamOptions),
    ("n", EnvelopeField::N),
    ("best_of", EnvelopeField::BestOf),
    ("service_tier", EnvelopeField::ServiceTier),
    ("thinking", EnvelopeField::Thinking),
    ("previous_response_id", EnvelopeField::PreviousResponseId),
    ("conversation", EnvelopeField::Conversation),
    ("thread", EnvelopeField::Thread),
    ("store", EnvelopeField::Store),
    ("reasoning_effort", EnvelopeField::ReasoningEffort),
];

/// The raw values of the fields, in the order of [`NAMES`].
#[derive(Default)]
struct EnvelopeFields<'a> {
    raw: [Option<&'a str>; NAMES.len()],
    messages: Option<OpeningMessages<'a>>,
}

impl<'a> EnvelopeFields<'a> {
    fn get(&self, field: EnvelopeField) -> Option<&'a str> {
        self.raw[field as usize]
    }

    fn deferred_field(&self) -> Option<&'static str> {
        let asks = |field| self.get(field).is_some_and(|value| !matches!(value, "false" | "null"));
        let fields =
            [("background", EnvelopeField::Background), ("deferred", EnvelopeField::Deferred)];
        fields.into_iter().find(|(_, field)| asks(*field)).map(|(name, _)| name)
    }
}

fn read_fields(body: &[u8]) -> Result<EnvelopeFields<'_>, EnvelopeError> {
    if body.trim_ascii().is_empty() {
        return Err(EnvelopeError::NoBody);
    }
    let mut fields = EnvelopeFields::default();
    let read = json::for_each_field(body, |name, span| {
        let Some((known, field)) = NAMES.iter().find(|(known, _)| is_confusable(known, name))
        else {
            return Ok(());
        };
        if known != name {
            return Err(JsonError::OtherCase { name: name.to_string(), known_name: known });
        }
        let value = body.get(span.clone()).unwrap_or_default();
        if *field == EnvelopeField::Messages {
            // The upstream refuses messages of another form.
            fields.messages = OpeningMessages::parse(value);
        } else {
            let raw = std::str::from_utf8(value).map_err(|_| JsonError::Syntax(span.start))?;
            fields.raw[*field as usize] = Some(raw);
        }
        Ok(())
    });
    read.map_err(|error| EnvelopeError::new(error, body))?;
    for (name, field) in NAMES {
        if fields.get(field).is_some_and(|raw| !field.documented().is_of(raw)) {
            return Err(EnvelopeError::OtherType { name, expected: field.documented().name() });
        }
    }
    fields.get(EnvelopeField::StreamOptions).map_or(Ok(()), check_stream_options)?;
    Ok(fields)
}

/// Checks that servers can read `include_usage` in one way only.
fn check_stream_options(raw: &str) -> Result<(), EnvelopeError> {
    const KNOWN: &str = "include_usage";
    let options = json::JsonValue::from_checked(raw.as_bytes());
    for (name, value) in options.fields().into_iter().flatten() {
        if *name != *KNOWN && is_confusable(KNOWN, &name) {
            return Err(EnvelopeError::OtherCase {
                name: printable_name(&name),
                known_name: KNOWN,
            });
        }
        if name == KNOWN && !JsonType::Boolean.is_of(value.raw()) {
            let name = "stream_options.include_usage";
            return Err(EnvelopeError::OtherType { name, expected: JsonType::Boolean.name() });
        }
    }
    Ok(())
}

/// Whether some server can take `name` for the field `known_name`. Go's parser and others compare
/// names without regard to case (also of the two letters beyond ASCII that fold to `k` and `s`),
/// and some accept `maxTokens` for `max_tokens` (encoding/json and protobuf's JSON mapping,
/// 2026-11).
pub(crate) fn is_confusable(known_name: &str, name: &str) -> bool {
    if known_name == name {
        return true;
    }
    // A longer name has more characters, however they are encoded.
    if name.len() > 4 * known_name.len() {
        return false;
    }
    let is_mark = |c: &char| matches!(c, '_' | '-');
    let presence = name.chars().filter(|c| !is_mark(c)).flat_map(char::to_uppercase);
    presence.flat_map(char::to_lowercase).eq(known_name.chars().filter(|c| !is_mark(c)))
}
