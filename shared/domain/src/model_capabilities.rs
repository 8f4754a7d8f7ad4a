//! What a model accepts, derived from its name and host: plain data that requests are fitted to.
//!
//! Vendors refuse a request with a 400 if the model does not support a field, and offer no way to
//! ask before. An unknown model gets permissive values, so that nothing is taken from a request
//! that its upstream might accept. The families of models are in `families`.

mod families;
mod stated;

pub use stated::{OwnCapabilities, StatedCapabilities};
pub(crate) use stated::{StatementField, StatementMasks};

use crate::account::Provider;
use crate::model::base_id;
use serde::{Deserialize, Serialize};

/// The features that a model supports at an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct ModelCapabilities {
    /// The length of the context window in tokens.
    pub context_tokens: Option<u64>,
    /// The highest number of output tokens, thinking included.
    pub output_tokens_max: Option<u64>,
    /// Whether Chat Completions must name the bound `max_completion_tokens`.
    pub names_completion_tokens: bool,
    /// Which fields of a Chat request bound the output.
    pub output_bound: OutputBoundFields,
    /// Which sampling parameters are accepted.
    pub sampling: Sampling,
    /// Whether stop sequences are accepted.
    pub stop_sequences: bool,
    /// Whether `logprobs` and `top_logprobs` are accepted.
    pub logprobs: bool,
    /// Whether the number of calls at once can be chosen (`parallel_tool_calls`).
    pub parallel_calls: bool,
    /// The accepted levels of effort. If it is empty, the model takes no effort.
    pub efforts: EffortLevels,
    /// Further levels whose words Chat Completions accepts. The upstream takes them as one of
    /// [`Self::efforts`] or ignores them.
    pub effort_words: EffortLevels,
    /// Which requests Chat Completions accepts.
    pub chat: ChatSupport,
    /// Where system messages can stand.
    pub system_messages: SystemMessages,
    /// Whether Chat Completions knows the role `developer`, which OpenAI has for `system`.
    pub developer_role: bool,
    /// Whether an assistant's message can be last, for the model to continue.
    pub prefill: bool,
    /// Whether an answer can be bound to a JSON schema.
    pub structured_outputs: bool,
    /// Whether tools can be `strict`.
    pub strict_tools: bool,
    /// The kinds of media that are accepted.
    pub media: MediaKinds,
    /// How thinking is requested on the Messages API.
    pub thinking: ThinkingMode,
    /// The state that must come back with the conversation.
    pub continuation: RequiredContinuation,
    /// OpenAI's fields of a request that the upstream refuses, by their names in Chat Completions.
    pub refused_fields: &'static [&'static str],
    /// Whether a Chat stream can be asked for its usage. A vendor that refuses the question tells
    /// the usage anyway.
    pub stream_options: bool,
    /// Whether the host refuses `stream_options`, also that of a client.
    pub refuses_stream_options: bool,
    /// The ids of calls that Chat Completions accepts.
    pub call_ids: CallIds,
    /// Whether a user's message can follow a tool's.
    pub user_after_tool: bool,
    /// Whether `thinking` switches thinking off on Chat Completions, as a forced tool requires, and a
    /// history whose thinking is lost.
    pub thinking_switch: bool,
    /// Which fields of answers Chat Completions accepts in a conversation's history.
    pub history_fields: AcceptedHistoryFields,
    /// Whether an assistant's content on Chat Completions can have parts of thinking.
    pub thinking_parts: bool,
    /// Whether the Messages API can be asked to cache the prompt.
    pub prompt_caching: bool,
}

/// Which fields of a Chat request bound the output of a model, thinking included. An upstream that
/// does not know a field often ignores it, and then writes as much as the model can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputBoundFields {
    /// `max_tokens`. No source says that the upstream reads `max_completion_tokens`.
    MaxTokens,
    /// `max_tokens` or `max_completion_tokens`.
    Either,
    /// `max_completion_tokens`. `max_tokens` bounds only the answer, and `thinking_budget` bounds
    /// the thinking before it.
    MaxCompletionTokens,
    /// None. `max_tokens` bounds only the answer, and `thinking_budget` bounds the thinking before
    /// it.
    AnswerAndThinking,
}

/// Which sampling parameters a model accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// `temperature` and `top_p`.
    All,
    /// `temperature` or `top_p`, but not both.
    OneOf,
    /// Both, if the request's effort is `none`.
    WithoutReasoning,
    /// Neither.
    None,
}

/// Which requests a model accepts on Chat Completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatSupport {
    /// All.
    Full,
    /// Those without tools, or without a reasoning effort that the request states ("Function tools
    /// with `reasoning_effort` are not supported for gpt-5.4 in /v1/chat/completions":
    /// openai/openai-openapi#541, 2026-05). These models do not think unless asked to.
    NoToolsWithEffort,
    /// Those without tools, or that switch thinking off. These models think by default
    /// (laurent22/joplin#16451 for gpt-5.6, Wei-Shaw/sub2api#6740 for gpt-6, 2026-09).
    NoToolsWithThinking,
    /// None ("This model is only supported in v1/responses and not in v1/chat/completions":
    /// `HeyPuter/puter`#1303 for o3-pro, alvinunreal/tmuxai#82 for gpt-5-codex,
    /// aaif-goose/goose#2564 for codex-mini, 2025).
    Nothing,
}

/// The ids of calls that Chat Completions accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallIds {
    /// Any text.
    Any,
    /// At most 40 bytes.
    Short,
    /// Nine letters and digits.
    Nine,
}

/// Which fields of answers Chat Completions accepts in a conversation's history. A client returns
/// an answer as it got it, possibly to an account of another vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptedHistoryFields {
    /// Those of every vendor. The upstream ignores what it does not know, or it is unknown.
    All,
    /// Those of OpenAI. Others are an "Unknown parameter".
    Openai,
    /// `reasoning`, next to the content and the calls.
    Reasoning,
    /// The content and the calls.
    Content,
}

/// Where system messages can stand in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemMessages {
    /// Anywhere.
    Anywhere,
    /// Above the conversation, and after a user's message before an answer.
    AfterUser,
    /// Only above the conversation, as its first message or in a separate field.
    First,
}

/// How thinking is requested from a model on the Messages API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingMode {
    /// The model does not think.
    None,
    /// `{"type":"enabled","budget_tokens":…}`
    Budget,
    /// `{"type":"adaptive"}` with `output_config.effort`.
    Adaptive,
}

/// The state of an answer that only the upstream reads, and that must come back with its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredContinuation {
    /// None.
    None,
    /// `reasoning_content` next to the calls of a message. An empty one is accepted for the calls of
    /// other models.
    ReasoningContent,
    /// `extra_content.google.thought_signature` in each call.
    ThoughtSignatures,
    /// `reasoning_details` next to a message's content.
    ReasoningDetails,
}

/// The kinds of media that a model accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct MediaKinds {
    /// Images.
    pub images: bool,
    /// PDF documents.
    pub pdf: bool,
    /// Audio.
    pub audio: bool,
    /// Documents of plain text, as a separate part.
    pub text_documents: bool,
}

impl MediaKinds {
    const ALL: Self = Self { images: true, pdf: true, audio: true, text_documents: true };
    const TEXT: Self = Self { images: false, pdf: false, audio: false, text_documents: false };
    const IMAGES: Self = Self { images: true, ..Self::TEXT };
    const IMAGES_AND_PDF: Self = Self { pdf: true, ..Self::IMAGES };
    const WITHOUT_AUDIO: Self = Self { audio: false, ..Self::ALL };
    const AUDIO: Self = Self { audio: true, ..Self::TEXT };
}

/// How much a model thinks, in the words that all protocols share, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
#[serde(rename_all = "lowercase")]
pub enum EffortLevel {
    /// The model does not think.
    None,
    /// As little as possible.
    Minimal,
    /// Little.
    Low,
    /// Medium.
    Medium,
    /// Much.
    High,
    /// More.
    Xhigh,
    /// As much as possible.
    Max,
}

impl EffortLevel {
    const ALL: [Self; 7] =
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::Xhigh, Self::Max];

    /// The level that a request names.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }

    /// The level as requests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

/// A set of levels of effort, as JSON a list of their words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<EffortLevel>", into = "Vec<EffortLevel>")]
pub struct EffortLevels(u8);

impl From<Vec<EffortLevel>> for EffortLevels {
    fn from(levels: Vec<EffortLevel>) -> Self {
        Self::of(&levels)
    }
}

impl From<EffortLevels> for Vec<EffortLevel> {
    fn from(levels: EffortLevels) -> Self {
        levels.levels().collect()
    }
}

impl EffortLevels {
    /// No level.
    pub const EMPTY: Self = Self(0);
    /// Every level.
    pub const ALL: Self = Self(0x7f);

    /// The set of these levels.
    pub const fn of(levels: &[EffortLevel]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < levels.len() {
            bits |= 1 << levels[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// The levels from `from` to `to`, both included.
    const fn range(from: EffortLevel, to: EffortLevel) -> Self {
        Self((Self::ALL.0 << from as u8) & (Self::ALL.0 >> (EffortLevel::Max as u8 - to as u8)))
    }

    const fn with(self, level: EffortLevel) -> Self {
        Self(self.0 | 1 << level as u8)
    }

    /// Whether the set has no level.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set has this level.
    pub const fn contains(self, level: EffortLevel) -> bool {
        self.0 & (1 << level as u8) != 0
    }

    /// The levels from least to most.
    pub fn levels(self) -> impl Iterator<Item = EffortLevel> {
        EffortLevel::ALL.into_iter().filter(move |level| self.contains(*level))
    }

    /// The level of the set that serves the request best: the level itself, else the next lower
    /// one that thinks, else the lowest. If the request wants no thinking, that is the lowest.
    /// `max` and `xhigh` mean the most that a model offers, so each stands for the other.
    pub fn nearest(self, requested: EffortLevel) -> Option<EffortLevel> {
        use EffortLevel::{Max, None as NoEffort, Xhigh};
        if self.contains(requested) {
            return Some(requested);
        }
        match requested {
            Xhigh if self.contains(Max) => return Some(Max),
            NoEffort => return self.levels().next(),
            _ => {}
        }
        let thinking = |level: &EffortLevel| *level != NoEffort;
        let lower = self.levels().filter(|level| thinking(level) && *level < requested).last();
        lower.or_else(|| self.levels().find(thinking)).or_else(|| self.levels().next())
    }
}

/// The answer's bound on the Messages API for a model of another vendor whose maximum is unknown:
/// every such model gives as much.
const OUTPUT_TOKENS_UNKNOWN: u64 = 8_192;

impl ModelCapabilities {
    /// The values of an unknown model on Chat Completions or Responses.
    ///
    /// Only the first message can be a system's: the chat templates of many open models raise an
    /// error otherwise (vllm-project/vllm#41114, ollama/ollama#17774, read 2026-11-29), and nothing
    /// is lost for the others.
    pub const UNKNOWN: Self = Self {
        context_tokens: None,
        output_tokens_max: None,
        names_completion_tokens: false,
        output_bound: OutputBoundFields::MaxTokens,
        sampling: Sampling::All,
        stop_sequences: true,
        logprobs: true,
        parallel_calls: true,
        efforts: EffortLevels::ALL,
        effort_words: EffortLevels::EMPTY,
        chat: ChatSupport::Full,
        system_messages: SystemMessages::First,
        developer_role: true,
        prefill: true,
        structured_outputs: true,
        strict_tools: true,
        media: MediaKinds::ALL,
        thinking: ThinkingMode::Budget,
        continuation: RequiredContinuation::None,
        refused_fields: &[],
        stream_options: true,
        refuses_stream_options: false,
        call_ids: CallIds::Any,
        user_after_tool: true,
        thinking_switch: false,
        history_fields: AcceptedHistoryFields::All,
        thinking_parts: true,
        prompt_caching: true,
    };

    /// The capabilities of `model` at an upstream. `host` is the host of the account's base URL,
    /// without scheme and path.
    pub fn of(provider: Provider, model: &str, host: &str) -> Self {
        let name = model_name(model);
        let by_name = families::by_name(&name, model.contains('/'));
        match provider {
            Provider::Anthropic | Provider::Bedrock => match by_name {
                Some(families::Family::Claude(capabilities)) => capabilities,
                Some(families::Family::Other(_)) | None => Self {
                    media: MediaKinds::WITHOUT_AUDIO,
                    structured_outputs: false,
                    strict_tools: false,
                    ..Self::UNKNOWN
                },
            },
            Provider::OpenaiCompatible => {
                let capabilities = match by_name {
                    // Routers translate the effort and the place of system messages themselves.
                    Some(families::Family::Claude(capabilities)) => Self {
                        efforts: EffortLevels::ALL,
                        system_messages: SystemMessages::First,
                        ..capabilities
                    },
                    // A name with a path is a router's, which has another form of answers.
                    Some(families::Family::Other(capabilities)) if model.contains('/') => Self {
                        history_fields: AcceptedHistoryFields::All,
                        thinking_parts: true,
                        ..capabilities
                    },
                    Some(families::Family::Other(capabilities)) => capabilities,
                    None => Self::UNKNOWN,
                };
                let capabilities = families::at_host(capabilities, host);
                families::of_model_at_host(capabilities, model, host)
            }
        }
    }

    /// The bound of an answer whose client set none, where the API requires one.
    pub fn default_max_tokens(&self) -> u64 {
        self.output_tokens_max.unwrap_or(OUTPUT_TOKENS_UNKNOWN)
    }
}

/// The model's own name in small letters: without vendor, path, date and wrapping, whatever router
/// serves it (`accounts/fireworks/models/deepseek-v3p2`).
fn model_name(model: &str) -> String {
    let base = base_id(model);
    let name = base.rsplit_once('/').map_or(base, |(_, name)| name);
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
