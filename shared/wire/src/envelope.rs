//! The few fields of a request body that a relay needs, found by one scan; the body stays as
//! received.
//!
//! The scan checks that the whole body is JSON. Which account serves the model is `domain`'s
//! business; the session of a request that names none is [`crate::session`]'s.

use crate::session::{Opening, Prefix, written};
use bytes::Bytes;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// What a request body says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The model asked for.
    pub model: Cow<'a, str>,
    /// Where the model's JSON string stands in the body, quotes included.
    pub model_span: Range<usize>,
    /// Whether `stream` is `true`.
    pub stream: bool,
    /// The largest bound on the answer that it sets: `max_tokens`, or OpenAI's
    /// `max_completion_tokens` and `max_output_tokens`. One that is no whole number is no bound.
    pub max_tokens: Option<u64>,
    /// Whether `speed` is `"fast"`.
    pub fast: bool,
    /// Whether `background` is anything but `false` or `null`: OpenAI's Responses would go on after
    /// their answer.
    pub is_background: bool,
    /// The session it names: in Claude Code's `metadata.user_id`, which is JSON text with a
    /// `session_id` (or any other text, taken whole), else OpenAI's `prompt_cache_key`.
    pub session: Option<Cow<'a, str>>,
    /// What a conversation is known by that names no session.
    pub prefix: Prefix<'a>,
}

/// Why a body cannot be relayed. The texts are for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// Not JSON, or JSON with something after it.
    #[error("the request body is not valid JSON (line {line}, column {column})")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("the request body must be a JSON object")]
    NotAnObject,
    /// No `model`, or an empty one.
    #[error("model: field required")]
    NoModel,
    /// `model` is something else.
    #[error("model: must be a string")]
    ModelNotAString,
    /// Which of two values counts is for each parser to say: the relay might charge for one
    /// while the upstream serves the other.
    #[error("{0}: field given twice")]
    Twice(&'static str),
}

impl<'a> Envelope<'a> {
    /// Reads a request body.
    ///
    /// # Errors
    /// It is not a JSON object with one `model` that is a string.
    pub fn read(body: &'a [u8]) -> Result<Self, BadBody> {
        let fields = fields(body)?;
        let raw = fields.get(Field::Model).ok_or(BadBody::NoModel)?;
        let model = text(raw).ok_or(BadBody::ModelNotAString)?;
        if model.is_empty() {
            return Err(BadBody::NoModel);
        }
        let stream = fields.get(Field::Stream) == Some("true");
        Ok(Self { model_span: span(body, raw), ..Self::of(fields, model, stream) })
    }

    /// Reads a body whose model and stream are said by the path. Its `model_span` is empty.
    ///
    /// # Errors
    /// It is not a JSON object.
    pub fn beside(body: &'a [u8], model: &'a str, stream: bool) -> Result<Self, BadBody> {
        Ok(Self::of(fields(body)?, Cow::Borrowed(model), stream))
    }

    fn of(fields: Fields<'a>, model: Cow<'a, str>, stream: bool) -> Self {
        let bounds = [Field::MaxTokens, Field::MaxCompletionTokens, Field::MaxOutputTokens];
        let session = fields.get(Field::Metadata).and_then(session_of_metadata);
        Self {
            model,
            model_span: 0..0,
            stream,
            max_tokens: bounds.iter().filter_map(|name| fields.get(*name)?.parse().ok()).max(),
            fast: fields.get(Field::Speed).and_then(text).is_some_and(|speed| speed == "fast"),
            is_background: fields
                .get(Field::Background)
                .is_some_and(|value| !matches!(value, "false" | "null")),
            session: session.or_else(|| fields.get(Field::PromptCacheKey).and_then(text)),
            prefix: Prefix {
                tools: fields.get(Field::Tools),
                system: fields.get(Field::System),
                instructions: fields.get(Field::Instructions),
                input: fields.get(Field::Input),
                messages: fields.messages,
            },
        }
    }
}

/// The body with another model: these bytes are replaced, every other stays.
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

/// The session in `metadata.user_id` (facts: real clients, 2026-11-22).
fn session_of_metadata(raw: &str) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        user_id: Option<Cow<'a, str>>,
    }
    #[derive(serde::Deserialize)]
    struct UserId {
        session_id: Option<String>,
    }
    let user_id = serde_json::from_str::<Metadata>(raw).ok()?.user_id?;
    let session = serde_json::from_str::<UserId>(&user_id).ok().and_then(|user| user.session_id);
    Some(session.map_or(user_id, Cow::Owned)).filter(|session| !session.is_empty())
}

/// A JSON string, borrowed unless it has escapes.
fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = written(raw)?;
    if inner.contains('\\') {
        serde_json::from_str(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// Where `part`, a piece of `whole`, stands in it.
fn span(whole: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// The fields that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
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
}

impl Field {
    /// Whether it is a part of the prompt, of which the relay does not care what it says.
    fn is_prompt(self) -> bool {
        matches!(self, Self::Tools | Self::System | Self::Instructions | Self::Input)
    }
}

const NAMES: [(&str, Field); 14] = [
    ("model", Field::Model),
    ("stream", Field::Stream),
    ("max_tokens", Field::MaxTokens),
    ("max_completion_tokens", Field::MaxCompletionTokens),
    ("max_output_tokens", Field::MaxOutputTokens),
    ("speed", Field::Speed),
    ("metadata", Field::Metadata),
    ("prompt_cache_key", Field::PromptCacheKey),
    ("tools", Field::Tools),
    ("system", Field::System),
    ("instructions", Field::Instructions),
    ("input", Field::Input),
    ("messages", Field::Messages),
    ("background", Field::Background),
];

/// The raw values of the fields that are read, in the order of [`NAMES`].
#[derive(Default)]
struct Fields<'a> {
    raw: [Option<&'a str>; NAMES.len()],
    messages: Option<Opening<'a>>,
    twice: Option<&'static str>,
}

impl<'a> Fields<'a> {
    fn get(&self, field: Field) -> Option<&'a str> {
        self.raw[field as usize]
    }
}

fn fields(body: &[u8]) -> Result<Fields<'_>, BadBody> {
    let read = |visitor| {
        let mut parser = serde_json::Deserializer::from_slice(body);
        let fields = de::Deserializer::deserialize_map(&mut parser, visitor)?;
        parser.end().map(|()| fields)
    };
    // Messages of another form are for the upstream to refuse.
    let fields = read(FieldsVisitor { reads_messages: true })
        .or_else(|_| read(FieldsVisitor { reads_messages: false }))
        .map_err(|error| {
            let is_other = !matches!(body.trim_ascii_start().first(), None | Some(b'{'));
            if error.is_data() && is_other {
                BadBody::NotAnObject
            } else {
                BadBody::NotJson { line: error.line(), column: error.column() }
            }
        })?;
    fields.twice.map_or(Ok(fields), |name| Err(BadBody::Twice(name)))
}

struct FieldsVisitor {
    reads_messages: bool,
}

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(field) = map.next_key_seed(Key)? {
            match field {
                Some(Field::Messages) if self.reads_messages => {
                    fields.messages = Some(map.next_value()?);
                }
                None | Some(Field::Messages) => drop(map.next_value::<IgnoredAny>()?),
                Some(field) => {
                    let raw = map.next_value::<&RawValue>()?.get();
                    let is_twice = fields.raw[field as usize].replace(raw).is_some();
                    if is_twice && !field.is_prompt() {
                        fields.twice = Some(NAMES[field as usize].0);
                    }
                }
            }
        }
        Ok(fields)
    }
}

/// The field that a key names, without copying the key.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<Field>;

    fn deserialize<D: de::Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(NAMES.iter().find(|(name, _)| *name == key).map(|(_, field)| *field))
    }
}
