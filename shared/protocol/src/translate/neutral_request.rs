//! A request independent of a protocol: the meaning of any protocol's request, as far as two
//! protocols share it.
//!
//! Readers fill it, and writers write it in another protocol. Values that pass unchanged borrow
//! from the body.

use super::TranslationError;
use super::json_reader::{DroppedFields, ObjectReader, is_object, parse_document};
use super::json_writer::object_to_string;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The meaning of a request.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct NeutralRequest<'a> {
    /// The length of the body that was read. The body that is written has a similar length.
    pub(super) body_bytes: usize,
    pub(super) model: String,
    /// Adjacent turns have different roles, except system turns.
    pub(super) turns: Vec<ConversationTurn>,
    pub(super) tools: Vec<ToolDefinition<'a>>,
    /// Schemas that were changed for the model, by the positions of their tools.
    pub(super) adapted_schemas: BTreeMap<usize, String>,
    pub(super) tool_choice: Option<ToolChoice>,
    /// Whether the model can call several tools at once. `None` means the upstream's default.
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) max_tokens: Option<u64>,
    pub(super) temperature: Option<&'a str>,
    pub(super) top_p: Option<&'a str>,
    pub(super) stop_sequences: Vec<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// How much to think, from `none` to `max`: words that both protocols share.
    pub(super) effort: Option<String>,
    /// Whether the request must switch thinking off by the upstream's own field.
    pub(super) is_thinking_off: bool,
    /// Whether the client of the Messages API asks for thinking, or that of Responses for its summary.
    pub(super) shows_thinking: bool,
    /// Whether a summary of the thinking is requested.
    pub(super) wants_summary: bool,
    pub(super) format: Option<OutputFormat<'a>>,
    /// The end user, as clients report it to upstreams.
    pub(super) user: Option<String>,
    /// Fields that have the same name and meaning in both of OpenAI's protocols.
    pub(super) shared: Vec<(&'static str, &'a str)>,
    /// Tools that the client knows under another name or in another form.
    pub(super) aliases: ToolAliases,
    /// Fields that a response must repeat.
    pub(super) echo: Vec<(&'static str, &'a str)>,
    /// The bytes of namespaces' names that became part of tools' names.
    pub(super) namespace_bytes: usize,
    /// Fields that have no place here.
    pub(super) dropped: DroppedFields,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnRole {
    System,
    User,
    Assistant,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConversationTurn {
    pub(super) role: TurnRole,
    pub(super) parts: Vec<TurnPart>,
}

/// A part of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TurnPart {
    Text(String),
    Image(MediaSource),
    Document {
        title: Option<String>,
        source: MediaSource,
    },
    /// Thinking of an earlier answer. Only the upstream that signed it can read the signature.
    Thinking {
        text: String,
        signature: Option<String>,
    },
    /// Thinking that only the upstream can read.
    Redacted(String),
    Call(ToolCall),
    Result {
        id: String,
        parts: Vec<TurnPart>,
        is_error: bool,
    },
}

/// Joins the texts among the parts. Adjacent texts are joined directly, others become paragraphs.
pub(super) fn join_texts<'p>(parts: impl IntoIterator<Item = &'p TurnPart>) -> String {
    let mut joined = String::new();
    let mut is_apart = false;
    for part in parts {
        if let TurnPart::Text(text) = part {
            if is_apart && !joined.is_empty() {
                joined.push_str("\n\n");
            }
            joined.push_str(text);
        }
        is_apart = !matches!(part, TurnPart::Text(_));
    }
    joined
}

/// A call of a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON text, as the model wrote it.
    pub(super) arguments: String,
}

impl ToolCall {
    /// The arguments as an object. Others are wrapped, so that nothing that the model wrote is lost
    /// (platform.claude.com, "Fine-grained tool streaming", invalid JSON, 2026-11).
    pub(super) fn arguments_object(&self) -> Cow<'_, str> {
        if is_object(&self.arguments) {
            self.arguments.as_str().into()
        } else if self.arguments.trim().is_empty() {
            "{}".into()
        } else {
            object_to_string(|object| object.text("INVALID_JSON", &self.arguments)).into()
        }
    }
}

/// Where an image or a document is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MediaSource {
    /// Base64.
    Data {
        media_type: String,
        data: String,
    },
    Url(String),
    /// Plain text.
    Text(String),
}

impl MediaSource {
    /// The source as a URL.
    pub(super) fn to_url(&self) -> String {
        match self {
            Self::Data { media_type, data } => format!("data:{media_type};base64,{data}"),
            Self::Url(url) => url.clone(),
            Self::Text(text) => {
                format!("data:text/plain;base64,{}", BASE64_STANDARD.encode(text))
            }
        }
    }
}

/// A tool that the client runs.
#[derive(Debug)]
pub(super) struct ToolDefinition<'a> {
    pub(super) name: String,
    pub(super) description: Option<Cow<'a, str>>,
    /// JSON text.
    pub(super) schema: Option<&'a str>,
    pub(super) strict: Option<bool>,
}

impl ToolDefinition<'_> {
    /// Converts a tool that takes free text (`custom`), which other protocols do not know, into a
    /// function with the single argument `input`. A grammar becomes part of the description.
    pub(super) fn from_freeform(
        name: String,
        description: Option<String>,
        grammar: Option<&str>,
    ) -> Self {
        let mut text = description.unwrap_or_default();
        if let Some(grammar) = grammar {
            text.push_str("\n\nThe input follows this grammar:\n");
            text.push_str(grammar);
        }
        Self { name, description: Some(text.into()), schema: Some(FREEFORM_SCHEMA), strict: None }
    }
}

const FREEFORM_SCHEMA: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;

/// Free text as the argument of a freeform tool.
pub(super) fn freeform_arguments(input: &str) -> String {
    object_to_string(|arguments| arguments.text("input", input))
}

/// The free text in the arguments that a model wrote. Arguments without such an object are the text
/// itself.
pub(super) fn freeform_input(arguments: &str) -> String {
    let document = parse_document(arguments.as_bytes()).ok();
    let object = document.as_ref().and_then(|document| ObjectReader::from_value(document.root()));
    let input = object.and_then(|mut object| object.take_text("input"));
    input.unwrap_or_else(|| arguments.to_owned())
}

/// How a client's tool differs from the plain function that the model sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ToolAlias {
    /// Whether the client expects free text instead of arguments.
    pub(super) freeform: bool,
    /// The client's name of the tool, and its namespace.
    pub(super) name: String,
    pub(super) namespace: Option<Arc<str>>,
}

/// Tools by the name that the model sees.
pub(super) type ToolAliases = BTreeMap<String, ToolAlias>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToolChoice {
    Auto,
    Any,
    None,
    Named(String),
}

/// The format of the answer.
#[derive(Debug)]
pub(super) enum OutputFormat<'a> {
    /// Any JSON.
    Json,
    Schema {
        name: Option<String>,
        schema: Cow<'a, str>,
        strict: Option<bool>,
    },
}

/// The advice for a file that only another upstream has.
pub(super) const FILE_IS_ELSEWHERE: &str =
    "the upstream of this model does not have this file. Send the file's content in the request.";

/// The advice for content that the upstream's API has no form for.
pub(super) const NO_SUCH_CONTENT: &str = "the upstream of this model does not support this. Send the request without it, or use a model \
     that supports it.";

/// The advice for a tool that only another upstream runs.
pub(crate) const ONLY_SERVER_TOOL: &str = "the upstream of this model cannot run this tool, and the request has no other one for the \
     answer. Use a model whose upstream runs it, or declare a function.";

/// The highest number of stop sequences, to bound memory. OpenAI accepts four (OpenAI API reference,
/// "Create chat completion", `stop`, 2026-11); Anthropic documents no bound.
pub(super) const STOPS_MAX: usize = 1_024;

/// The longest name of a tool or of a namespace that a request declares. OpenAI accepts 64 bytes,
/// Anthropic and the Model Context Protocol 128 (references of both APIs; MCP specification, "Tools",
/// tool names, 2026-11).
const NAME_BYTES_MAX: usize = 256;

/// The highest number of bytes of namespaces' names, which are repeated in the name of each tool.
const NAMESPACE_BYTES_MAX: usize = 1024 * 1024;

/// The highest length of a written body, as a multiple of the body that was read.
const OUTPUT_FACTOR_MAX: usize = 4;

/// What a written body can have in addition, for short requests.
const OUTPUT_EXTRA_BYTES: usize = 256 * 1024;

impl NeutralRequest<'_> {
    /// Checks the number of stop sequences. Readers take one more than is accepted.
    pub(super) fn check_stops(&self) -> Result<(), TranslationError> {
        if self.stop_sequences.len() > STOPS_MAX {
            let advice = "a translated request can have at most 1024 stop sequences";
            return Err(TranslationError::field("stop_sequences or stop", advice));
        }
        Ok(())
    }

    /// The highest length of the body that is written. An upstream's form of a real request is at
    /// most twice as long. Only many minimal tools become longer, because the upstream requires
    /// fields that they do not have.
    pub(super) fn output_bytes_max(&self) -> usize {
        self.body_bytes.saturating_mul(OUTPUT_FACTOR_MAX).saturating_add(OUTPUT_EXTRA_BYTES)
    }

    /// Accepts the name of a tool or of a namespace that the request declares. A name that is too
    /// long is refused.
    pub(super) fn accept_name(&mut self, path: &'static str, name: String) -> Option<String> {
        if name.len() > NAME_BYTES_MAX {
            self.dropped.refuse(path, "a name can have at most 256 bytes");
            return None;
        }
        Some(name)
    }

    /// Counts a namespace's name that becomes part of the name of one of its tools. Returns whether
    /// the tool is accepted.
    pub(super) fn accept_namespace_use(&mut self, namespace: &str) -> bool {
        self.namespace_bytes += namespace.len();
        let is_accepted = self.namespace_bytes <= NAMESPACE_BYTES_MAX;
        if !is_accepted {
            let advice = "the names of the namespaces of all tools can have at most 1 MiB in total";
            self.dropped.refuse("tools[](namespace)", advice);
        }
        is_accepted
    }

    /// The capacity for the body that is written. Without it, a long body would be copied several
    /// times while it grows.
    pub(super) fn output_capacity(&self) -> usize {
        self.body_bytes + self.body_bytes / 8 + 4_096
    }

    /// Adds parts to the conversation. The Messages API and several vendors require alternating
    /// roles, so adjacent parts of one role become one turn.
    pub(super) fn add_parts(&mut self, role: TurnRole, parts: Vec<TurnPart>) {
        match self.turns.last_mut() {
            Some(last) if last.role == role && role != TurnRole::System => last.parts.extend(parts),
            _ => self.turns.push(ConversationTurn { role, parts }),
        }
    }

    /// Keeps only the tools that the model is allowed to call (`allowed_tools`).
    pub(super) fn retain_tools(&mut self, names: &HashSet<String>) {
        self.tools.retain(|tool| names.contains(&tool.name));
    }

    /// Shortens names of tools to `max` bytes, the upstream's limit. The answer has the client's
    /// own names again.
    pub(super) fn shorten_names(&mut self, max: usize) {
        let mut long = BTreeMap::new();
        for tool in &mut self.tools {
            if tool.name.len() > max {
                let shortened = shorten_name(&tool.name, max);
                let full = std::mem::replace(&mut tool.name, shortened);
                let plain = ToolAlias { name: full.clone(), ..ToolAlias::default() };
                let alias = self.aliases.remove(&full).unwrap_or(plain);
                self.aliases.insert(tool.name.clone(), alias);
                long.insert(full, tool.name.clone());
            }
        }
        let parts = self.turns.iter_mut().flat_map(|turn| &mut turn.parts);
        let calls = parts
            .filter_map(|part| if let TurnPart::Call(call) = part { Some(call) } else { None });
        let chosen = self.tool_choice.iter_mut();
        let chosen =
            chosen.filter_map(
                |choice| if let ToolChoice::Named(name) = choice { Some(name) } else { None },
            );
        for name in calls.map(|call| &mut call.name).chain(chosen).filter(|name| name.len() > max) {
            *name = long.get(name).cloned().unwrap_or_else(|| shorten_name(name, max));
        }
    }

    /// Refuses a request whose only tools, or whose chosen tool, are of a kind that its own upstream
    /// runs, such as a search: the answer would be made up. Beside other tools, such a tool is left
    /// out, because clients offer it with every request.
    pub(super) fn refuse_missing_tools(&mut self) {
        let is_missing = match &self.tool_choice {
            Some(ToolChoice::Named(name)) => self.tools.iter().all(|tool| tool.name != *name),
            Some(ToolChoice::None) => false,
            Some(ToolChoice::Auto | ToolChoice::Any) | None => self.tools.is_empty(),
        };
        if is_missing && let Some(path) = self.dropped.find("tools[](").cloned() {
            self.dropped.refuse(path, ONLY_SERVER_TOOL);
        }
    }

    /// Removes a tool choice whose tool is missing. That tool was of a kind that the upstream runs.
    pub(super) fn drop_missing_choice(&mut self) {
        let is_there = match &self.tool_choice {
            Some(ToolChoice::Named(name)) => self.tools.iter().any(|tool| tool.name == *name),
            Some(_) => !self.tools.is_empty(),
            None => true,
        };
        if !is_there {
            if matches!(self.tool_choice, Some(ToolChoice::Named(_) | ToolChoice::Any)) {
                self.dropped.add_path("tool_choice");
            }
            self.tool_choice = None;
        }
    }
}

/// The beginning of a name, followed by a hash of the whole name.
pub(super) fn shorten_name(name: &str, max: usize) -> String {
    let hash = format!("_{:016x}", xxh3_64(name.as_bytes()));
    let kept = name.floor_char_boundary(max.saturating_sub(hash.len()));
    format!("{}{hash}", &name[..kept])
}
