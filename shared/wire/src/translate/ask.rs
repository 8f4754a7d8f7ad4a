//! A request in nobody's words: what any dialect's request means, as far as two of them share it.
//!
//! Readers fill it, writers say it again. Values that pass unchanged borrow from the body.

use super::read::{Dropped, Object, is_object, parse};
use super::write::object_text;
use std::collections::{BTreeMap, HashSet};
use xxhash_rust::xxh3::xxh3_64;

/// A request.
#[derive(Debug, Default)]
pub(super) struct Ask<'a> {
    pub(super) model: String,
    /// Adjacent turns have different roles, except systems.
    pub(super) turns: Vec<Turn>,
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) choice: Option<Choice>,
    /// Whether several tools may be called at once; `None`: the upstream's default.
    pub(super) parallel: Option<bool>,
    pub(super) max_tokens: Option<u64>,
    pub(super) temperature: Option<&'a str>,
    pub(super) top_p: Option<&'a str>,
    pub(super) stop: Vec<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// How hard to think, in the words that both sides share: `none` to `max`.
    pub(super) effort: Option<String>,
    /// Whether a summary of the thinking was asked for.
    pub(super) summary: bool,
    pub(super) format: Option<Format<'a>>,
    /// Who asks, as the client tells upstreams.
    pub(super) user: Option<String>,
    /// Fields that have the same name and meaning in both of OpenAI's dialects.
    pub(super) shared: Vec<(&'static str, &'a str)>,
    /// Tools that are something else to the client.
    pub(super) aliases: Aliases,
    /// What a response must repeat of its request.
    pub(super) echo: Vec<(&'static str, &'a str)>,
    /// What found no place here.
    pub(super) dropped: Dropped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) role: Role,
    pub(super) parts: Vec<Part>,
}

/// A piece of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Image(Source),
    Document {
        title: Option<String>,
        source: Source,
    },
    /// Thinking of an earlier answer; only the upstream that signed it can read the signature.
    Thinking {
        text: String,
        signature: Option<String>,
    },
    /// Thinking that nobody else can read.
    Redacted(String),
    Call(Call),
    Result {
        id: String,
        parts: Vec<Part>,
        is_error: bool,
    },
}

/// A tool that was called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON text, as the model wrote it.
    pub(super) arguments: String,
}

impl Call {
    /// The arguments, if they are an object; the empty one where a model broke off.
    pub(super) fn input(&self) -> &str {
        if is_object(&self.arguments) { &self.arguments } else { "{}" }
    }
}

/// Where an image or a document is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Base64.
    Data {
        media_type: String,
        data: String,
    },
    Url(String),
}

impl Source {
    /// A source from a URL, which may hold the data itself (RFC 2397).
    pub(super) fn of_url(url: String) -> Self {
        let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
        match data {
            Some((media_type, data)) => {
                Self::Data { media_type: media_type.to_owned(), data: data.to_owned() }
            }
            None => Self::Url(url),
        }
    }

    /// The source as a URL.
    pub(super) fn to_url(&self) -> String {
        match self {
            Self::Data { media_type, data } => format!("data:{media_type};base64,{data}"),
            Self::Url(url) => url.clone(),
        }
    }
}

/// A tool that the client runs.
#[derive(Debug)]
pub(super) struct Tool<'a> {
    pub(super) name: String,
    pub(super) description: Option<String>,
    /// JSON text.
    pub(super) schema: Option<&'a str>,
    pub(super) strict: Option<bool>,
}

impl Tool<'_> {
    /// A tool that takes free text (`custom`), which other dialects do not know: a function with
    /// the one argument `input`. A grammar becomes words.
    pub(super) fn freeform(
        name: String,
        description: Option<String>,
        grammar: Option<&str>,
    ) -> Self {
        let mut text = description.unwrap_or_default();
        if let Some(grammar) = grammar {
            text.push_str("\n\nThe input follows this grammar:\n");
            text.push_str(grammar);
        }
        Self { name, description: Some(text), schema: Some(FREEFORM_SCHEMA), strict: None }
    }
}

const FREEFORM_SCHEMA: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;

/// Free text as the argument of a freeform tool.
pub(super) fn freeform_arguments(input: &str) -> String {
    object_text(|arguments| arguments.text("input", input))
}

/// The free text that a model gave as arguments; what is no such object is the text itself.
pub(super) fn freeform_input(arguments: &str) -> String {
    let document = parse(arguments.as_bytes()).ok();
    let object = document.as_ref().and_then(|document| Object::of(document.root()));
    let input = object.and_then(|mut object| object.text("input"));
    input.unwrap_or_else(|| arguments.to_owned())
}

/// What a tool is to the client, where that differs from a plain function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Alias {
    /// Whether the client takes free text instead of arguments.
    pub(super) freeform: bool,
    /// The name that the client gave it, and where.
    pub(super) name: String,
    pub(super) namespace: Option<String>,
}

/// Tools by the name that the model sees.
pub(super) type Aliases = BTreeMap<String, Alias>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    Auto,
    Any,
    None,
    Named(String),
}

/// The form that the answer shall have.
#[derive(Debug)]
pub(super) enum Format<'a> {
    /// Any JSON; the field that said so.
    Json(&'static str),
    Schema {
        name: Option<String>,
        schema: &'a str,
        strict: Option<bool>,
    },
}

impl Ask<'_> {
    /// Adds parts to the conversation. The Messages API and several vendors want roles to
    /// alternate; parts of one role are one turn.
    pub(super) fn say(&mut self, role: Role, parts: Vec<Part>) {
        match self.turns.last_mut() {
            Some(last) if last.role == role && role != Role::System => last.parts.extend(parts),
            _ => self.turns.push(Turn { role, parts }),
        }
    }

    /// Keeps only the tools that may be called (`allowed_tools`).
    pub(super) fn allow_only(&mut self, names: &HashSet<String>) {
        self.tools.retain(|tool| names.contains(&tool.name));
    }

    /// Shortens the names of tools to what the upstream takes, `max` bytes; the answer is told
    /// under the client's own.
    pub(super) fn shorten_names(&mut self, max: usize) {
        let mut long = BTreeMap::new();
        for tool in &mut self.tools {
            if tool.name.len() > max {
                let shortened = short(&tool.name, max);
                let full = std::mem::replace(&mut tool.name, shortened);
                let plain = Alias { name: full.clone(), ..Alias::default() };
                let alias = self.aliases.remove(&full).unwrap_or(plain);
                self.aliases.insert(tool.name.clone(), alias);
                long.insert(full, tool.name.clone());
            }
        }
        let parts = self.turns.iter_mut().flat_map(|turn| &mut turn.parts);
        let calls =
            parts.filter_map(|part| if let Part::Call(call) = part { Some(call) } else { None });
        let chosen = self.choice.iter_mut();
        let chosen = chosen
            .filter_map(|choice| if let Choice::Named(name) = choice { Some(name) } else { None });
        for name in calls.map(|call| &mut call.name).chain(chosen).filter(|name| name.len() > max) {
            *name = long.get(name).cloned().unwrap_or_else(|| short(name, max));
        }
    }

    /// Forgets a choice of a tool that is not there: it was the upstream's own kind.
    pub(super) fn settle_choice(&mut self) {
        let is_there = match &self.choice {
            Some(Choice::Named(name)) => self.tools.iter().any(|tool| tool.name == *name),
            Some(_) => !self.tools.is_empty(),
            None => true,
        };
        if !is_there {
            if matches!(self.choice, Some(Choice::Named(_) | Choice::Any)) {
                self.dropped.add("tool_choice");
            }
            self.choice = None;
        }
    }
}

/// A name's beginning and a hash of it all.
fn short(name: &str, max: usize) -> String {
    let hash = format!("_{:016x}", xxh3_64(name.as_bytes()));
    let kept = name.floor_char_boundary(max.saturating_sub(hash.len()));
    format!("{}{hash}", &name[..kept])
}
