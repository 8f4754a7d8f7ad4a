//! An answer independent of a protocol: the steps of a stream, and the answer that they make up.
//!
//! A reader produces the same steps for a whole body as for a stream, so both mean the same.

use super::neutral_request::ToolCall;
use crate::meter::{ReportedUsage, has_answer};

/// One step of an upstream's answer. Parts do not overlap: each is closed before the next opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ResponseStep<'a> {
    /// The answer begins. It has the upstream's id.
    Start {
        id: Option<String>,
    },
    Open(PartStart),
    /// More of the open part: text, thinking, or the JSON text of arguments.
    Delta(&'a str),
    /// The signature of the open thinking.
    Signature(&'a str),
    Close,
    /// Why the model stopped.
    Stop(StopReason),
    /// The tokens that were used so far. The last report counts.
    Usage(ReportedUsage),
    /// A sign of life of the upstream.
    Ping,
}

/// How a part begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PartStart {
    Text,
    /// The words by which a model refuses, where the upstream marks them.
    Refusal,
    Thinking,
    Redacted(String),
    Call {
        id: String,
        name: String,
    },
}

/// Why a model stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum StopReason {
    #[default]
    End,
    MaxTokens,
    ToolUse,
    Sequence(Option<String>),
    Refusal,
    /// The upstream's turn is not over (`pause_turn`).
    Pause,
    /// The context window is full.
    Window,
}

/// The names of vendors for each reason, in lower case. OpenAI and Anthropic have the first ones of
/// each list. The others are from references and from reports of clients, 2026-11: Text Generation
/// Inference (`eos_token`), Together (`eos`), Cohere (`complete`), Mistral (`model_length`), Zhipu (`sensitive`, `network_error`,
/// `model_context_window_exceeded`), `DeepSeek` (`insufficient_system_resource`), `vLLM` and `SGLang`
/// (`abort`), Bedrock (`guardrail_intervened`, `content_filtered`), Google's names of
/// `FinishReason`, and its `function_call_filter: MALFORMED_FUNCTION_CALL`, which is the answer to a
/// call that it could not parse.
const STOP_NAMES: [(NamedEnd, &[&str]); 7] = [
    (
        NamedEnd::Reason(StopReason::End),
        &["", "stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed"],
    ),
    (
        NamedEnd::Reason(StopReason::ToolUse),
        &["tool_calls", "function_call", "tool_use", "tool_call"],
    ),
    (
        NamedEnd::Reason(StopReason::MaxTokens),
        &["length", "max_tokens", "max_output_tokens", "max_completion_tokens"],
    ),
    (NamedEnd::Reason(StopReason::Window), &["model_context_window_exceeded", "model_length"]),
    (
        NamedEnd::Reason(StopReason::Refusal),
        &[
            "content_filter",
            "refusal",
            "sensitive",
            "content_filtered",
            "guardrail_intervened",
            "safety",
            "image_safety",
            "recitation",
            "blocklist",
            "prohibited_content",
            "spii",
        ],
    ),
    (NamedEnd::Reason(StopReason::Pause), &["pause_turn"]),
    (
        NamedEnd::Broken,
        &[
            "error",
            "network_error",
            "insufficient_system_resource",
            "function_call_filter",
            "malformed_function_call",
            "unexpected_tool_call",
            "abort",
            "aborted",
        ],
    ),
];

/// The end of an answer by the upstream's name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NamedEnd {
    Reason(StopReason),
    /// The upstream could not finish its answer. No client protocol has a reason for that, so the
    /// client gets an error.
    Broken,
}

impl NamedEnd {
    /// Reads a name. An unknown one is not a clean end, so the client gets the reason for an
    /// incomplete answer: `max_tokens`, `length`, or the status `incomplete`.
    pub(super) fn from_name(name: &str) -> Self {
        // Google's names have details behind a colon.
        let name = name.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        let known = STOP_NAMES.into_iter().find(|(_, names)| names.contains(&name.as_str()));
        known.map_or(Self::Reason(StopReason::MaxTokens), |(end, _)| end)
    }
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ResponsePart {
    Text(String),
    Refusal(String),
    Thinking { text: String, signature: Option<String> },
    Redacted(String),
    Call(ToolCall),
}

impl From<PartStart> for ResponsePart {
    fn from(part_start: PartStart) -> Self {
        match part_start {
            PartStart::Text => Self::Text(String::new()),
            PartStart::Refusal => Self::Refusal(String::new()),
            PartStart::Thinking => Self::Thinking { text: String::new(), signature: None },
            PartStart::Redacted(data) => Self::Redacted(data),
            PartStart::Call { id, name } => {
                Self::Call(ToolCall { id, name, arguments: String::new() })
            }
        }
    }
}

impl ResponsePart {
    /// The text, or the JSON text of the arguments.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text)
            | Self::Refusal(text)
            | Self::Thinking { text, .. }
            | Self::Redacted(text) => text,
            Self::Call(call) => &call.arguments,
        }
    }

    fn append_text(&mut self, delta: &str) {
        match self {
            Self::Text(text) | Self::Refusal(text) | Self::Thinking { text, .. } => {
                text.push_str(delta);
            }
            Self::Call(call) => call.arguments.push_str(delta),
            Self::Redacted(_) => {}
        }
    }
}

/// The words of a refusal for which the upstream has none.
pub(super) const REFUSED: &str = "The model declined to answer this request.";

/// An answer as far as its steps have arrived.
#[derive(Debug, Default)]
pub(super) struct NeutralResponse {
    pub(super) id: Option<String>,
    pub(super) parts: Vec<ResponsePart>,
    pub(super) stop_reason: StopReason,
    pub(super) usage: ReportedUsage,
}

impl NeutralResponse {
    /// Whether the model refused without words that are marked as such.
    pub(super) fn lacks_refusal(&self) -> bool {
        let is_refusal = |part: &ResponsePart| matches!(part, ResponsePart::Refusal(_));
        self.stop_reason == StopReason::Refusal && !self.parts.iter().any(is_refusal)
    }

    /// Adds a step.
    pub(super) fn apply_step(&mut self, step: &ResponseStep<'_>) {
        match step {
            ResponseStep::Start { id } => self.id.clone_from(id),
            ResponseStep::Open(part_start) => self.parts.push(part_start.clone().into()),
            ResponseStep::Delta(delta) => {
                if let Some(last) = self.parts.last_mut() {
                    last.append_text(delta);
                }
            }
            ResponseStep::Signature(signature) => {
                if let Some(ResponsePart::Thinking { signature: slot, .. }) = self.parts.last_mut()
                {
                    slot.get_or_insert_default().push_str(signature);
                }
            }
            ResponseStep::Close | ResponseStep::Ping => {}
            ResponseStep::Stop(reason) => self.stop_reason = reason.clone(),
            ResponseStep::Usage(reported_usage) => self.usage = *reported_usage,
        }
    }
}

/// Whether a model's output has been translated. What has no form in another protocol is left out, but
/// an answer must not be empty because of that. Thinking is not an answer: some clients do not get it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum OutputProgress {
    /// No output has come, or only thinking.
    #[default]
    Nothing,
    /// Output has come, and none of it could be translated.
    Untranslated,
    /// A part of the answer has begun, or it has ended for a reason that needs no words.
    Translated,
}

impl OutputProgress {
    /// Notes a step of the answer.
    pub(super) fn note_step(&mut self, step: &ResponseStep<'_>) {
        let is_translated = match step {
            ResponseStep::Open(part_start) => *part_start != PartStart::Thinking,
            // A paused turn can have calls of the upstream's own tools only.
            ResponseStep::Stop(reason) => {
                matches!(reason, StopReason::Refusal | StopReason::Pause)
            }
            _ => false,
        };
        if is_translated {
            *self = Self::Translated;
        }
    }

    /// Notes an event or a whole answer whose steps were noted before.
    pub(super) fn note_data(&mut self, data: &[u8]) {
        if *self == Self::Nothing && has_answer(data) {
            *self = Self::Untranslated;
        }
    }
}

/// The progress of the reader of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum ReadProgress {
    /// The stream continues.
    #[default]
    Open,
    /// The upstream reported the end of its answer.
    Done,
    /// The upstream reported an error. The data is unchanged.
    Failed(Vec<u8>),
}
