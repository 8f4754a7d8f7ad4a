//! An answer in nobody's words: step by step as a stream tells it, and put together.
//!
//! A reader says the same steps for a whole body as for a stream, so that both mean the same.

use super::ask::Call;
use crate::meter::Told;

/// One thing that an upstream says. Parts do not overlap: one is closed before the next opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// The answer begins, under the upstream's id.
    Start {
        id: Option<String>,
    },
    Open(Opening),
    /// More of the open part: text, thinking, or the JSON text of arguments.
    Delta(&'a str),
    /// The signature of the open thinking.
    Signature(&'a str),
    Close,
    /// Why the model stopped.
    Stop(Stop),
    /// What was consumed so far; the last word counts.
    Usage(Told),
    /// The upstream is still there.
    Ping,
}

/// How a part begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opening {
    Text,
    Thinking,
    Redacted(String),
    Call { id: String, name: String },
}

/// Why a model stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Stop {
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

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Thinking { text: String, signature: Option<String> },
    Redacted(String),
    Call(Call),
}

impl From<Opening> for Piece {
    fn from(opening: Opening) -> Self {
        match opening {
            Opening::Text => Self::Text(String::new()),
            Opening::Thinking => Self::Thinking { text: String::new(), signature: None },
            Opening::Redacted(data) => Self::Redacted(data),
            Opening::Call { id, name } => Self::Call(Call { id, name, arguments: String::new() }),
        }
    }
}

impl Piece {
    fn grow(&mut self, delta: &str) {
        match self {
            Self::Text(text) | Self::Thinking { text, .. } => text.push_str(delta),
            Self::Call(call) => call.arguments.push_str(delta),
            Self::Redacted(_) => {}
        }
    }
}

/// An answer, as far as it has been told.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) id: Option<String>,
    pub(super) pieces: Vec<Piece>,
    pub(super) stop: Stop,
    pub(super) usage: Told,
}

impl Answer {
    /// Takes in a step.
    pub(super) fn take(&mut self, step: &Step<'_>) {
        match step {
            Step::Start { id } => self.id.clone_from(id),
            Step::Open(opening) => self.pieces.push(opening.clone().into()),
            Step::Delta(delta) => {
                if let Some(last) = self.pieces.last_mut() {
                    last.grow(delta);
                }
            }
            Step::Signature(signature) => {
                if let Some(Piece::Thinking { signature: slot, .. }) = self.pieces.last_mut() {
                    slot.get_or_insert_default().push_str(signature);
                }
            }
            Step::Close | Step::Ping => {}
            Step::Stop(reason) => self.stop = reason.clone(),
            Step::Usage(told) => self.usage = *told,
        }
    }
}

/// Where a reader of a stream stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Progress {
    /// The upstream has more to say.
    #[default]
    Open,
    /// It said that it was done.
    Done,
    /// It told an error: its data, as it came.
    Failed(Vec<u8>),
}
