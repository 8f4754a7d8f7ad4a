//! Steps of an answer that wait until the client's earlier events are written.

use super::error::NeutralError;
use super::neutral_response::ResponseStep;
use std::collections::VecDeque;

/// What is still to be written, in order.
#[derive(Debug, Default)]
pub(super) struct StepQueue {
    entries: VecDeque<QueueEntry>,
    /// The bytes of the texts of all entries.
    text_bytes: usize,
}

/// The bytes that an allocation takes in addition to its content.
const ALLOCATION_BYTES: usize = 16;

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
    fn text_bytes(&self) -> usize {
        match self {
            Self::Delta(text) | Self::Signature(text) => text.capacity() + ALLOCATION_BYTES,
            Self::Step(_) | Self::End | Self::Failure(_) => 0,
        }
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
        self.text_bytes + self.entries.capacity() * size_of::<QueueEntry>()
    }

    pub(super) fn push(&mut self, entry: impl Into<QueueEntry>) {
        let entry = entry.into();
        self.text_bytes += entry.text_bytes();
        self.entries.push_back(entry);
    }

    pub(super) fn pop(&mut self) -> Option<QueueEntry> {
        let entry = self.entries.pop_front()?;
        self.text_bytes -= entry.text_bytes();
        // A queue that has grown keeps its memory otherwise.
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(2 * self.entries.len());
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_gives_back_its_memory_and_counts_it() {
        let mut queue = StepQueue::default();
        (0..10_000).for_each(|_| queue.push(ResponseStep::Close));
        assert!(queue.held_bytes() >= 10_000 * size_of::<QueueEntry>());
        (0..9_900).for_each(|_| assert!(queue.pop().is_some()));
        assert!(queue.entries.capacity() <= 500, "{}", queue.entries.capacity());
        assert_eq!(queue.held_bytes(), queue.entries.capacity() * size_of::<QueueEntry>());
        (0..100).for_each(|_| assert!(queue.pop().is_some()));
        assert_eq!((queue.pop().is_none(), queue.held_bytes()), (true, 0));
    }
}
