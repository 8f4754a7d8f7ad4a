//! Steps of an answer that wait until the client's earlier events are written.

use super::error::NeutralError;
use super::neutral_response::ResponseStep;
use std::collections::VecDeque;

/// What is still to be written, in order.
#[derive(Debug, Default)]
pub(super) struct StepQueue {
    entries: VecDeque<QueueEntry>,
    held_bytes: usize,
}

/// An entry of the queue.
#[derive(Debug)]
pub(super) enum QueueEntry {
    /// More text of the open part.
    Delta(String),
    /// The signature of the open thinking.
    Signature(String),
    /// A step without text of the answer.
    Step(ResponseStep<'static>),
    /// The end of the answer.
    End,
    /// The error that ends the stream.
    Failure(NeutralError),
}

impl QueueEntry {
    fn held_bytes(&self) -> usize {
        let text = match self {
            Self::Delta(text) | Self::Signature(text) => text.len(),
            Self::Step(_) | Self::End | Self::Failure(_) => 0,
        };
        size_of::<Self>() + text
    }
}

impl From<ResponseStep<'_>> for QueueEntry {
    fn from(step: ResponseStep<'_>) -> Self {
        match step {
            ResponseStep::Delta(text) => Self::Delta(text.to_owned()),
            ResponseStep::Signature(text) => Self::Signature(text.to_owned()),
            ResponseStep::Start { id } => Self::Step(ResponseStep::Start { id }),
            ResponseStep::Open(part_start) => Self::Step(ResponseStep::Open(part_start)),
            ResponseStep::Close => Self::Step(ResponseStep::Close),
            ResponseStep::Stop(reason) => Self::Step(ResponseStep::Stop(reason)),
            ResponseStep::Usage(usage) => Self::Step(ResponseStep::Usage(usage)),
            ResponseStep::Ping => Self::Step(ResponseStep::Ping),
        }
    }
}

impl StepQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of memory that the queue takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn push(&mut self, entry: impl Into<QueueEntry>) {
        let entry = entry.into();
        self.held_bytes += entry.held_bytes();
        self.entries.push_back(entry);
    }

    pub(super) fn pop(&mut self) -> Option<QueueEntry> {
        let entry = self.entries.pop_front()?;
        self.held_bytes -= entry.held_bytes();
        if self.entries.is_empty() {
            // A queue that has grown keeps its memory otherwise.
            self.entries = VecDeque::new();
        }
        Some(entry)
    }
}
