//! Which choices of a streamed chat completion have begun and which have finished.

use super::upstream_object::FinishChoice;
use memchr::memmem;
use std::collections::BTreeSet;

/// The most choices that are followed. OpenAI documents at most 128 for `n` (API reference of Chat
/// Completions, 2026-11). The end mark ends a stream with more.
pub(super) const CHOICES_MAX: usize = 1_024;

/// The progress of the choices. A stream is complete when as many choices as were requested have
/// finished, and each choice that has begun.
#[derive(Debug)]
pub(super) struct ChoiceProgress {
    requested: usize,
    begun: BTreeSet<u64>,
    finished: BTreeSet<u64>,
}

impl Default for ChoiceProgress {
    fn default() -> Self {
        Self { requested: 1, begun: BTreeSet::new(), finished: BTreeSet::new() }
    }
}

impl ChoiceProgress {
    /// Sets the number of choices that the request asked for.
    pub(super) fn set_requested(&mut self, choices: u32) {
        self.requested = usize::try_from(choices).unwrap_or(usize::MAX).max(1);
    }

    /// Notes the choices of a chunk.
    pub(super) fn note_chunk(&mut self, choices: &[FinishChoice]) {
        for choice in choices {
            let index = choice.index.unwrap_or(0);
            if self.begun.len() < CHOICES_MAX {
                self.begun.insert(index);
            }
            if choice.has_finished && self.begun.contains(&index) {
                self.finished.insert(index);
            }
        }
    }

    /// Whether all choices have finished.
    pub(super) fn is_complete(&self) -> bool {
        !self.finished.is_empty()
            && self.finished.len() >= self.begun.len()
            && self.finished.len() >= self.requested.min(CHOICES_MAX)
    }
}

/// Whether a chunk can have a choice other than the first one: it has an `index` above 0.
pub(super) fn has_later_index(data: &[u8]) -> bool {
    let key = b"\"index\"";
    memmem::find_iter(data, key).any(|at| {
        let value = data[at + key.len()..].trim_ascii_start().strip_prefix(b":");
        let first = value.and_then(|value| value.trim_ascii_start().first());
        first.is_some_and(|digit| matches!(digit, b'1'..=b'9'))
    })
}

#[cfg(test)]
mod tests {
    use crate::meter::{AnswerEnd, MeterReading, UsageMeter};
    use proptest::prelude::*;

    /// A stream with these chunks: the index of a choice and whether it finishes.
    fn stream(requested: u32, chunks: &[(usize, bool)], is_done: bool) -> MeterReading {
        let mut meter = UsageMeter::for_stream();
        meter.expect_choices(requested);
        for (index, finishes) in chunks {
            let reason = if *finishes { "\"stop\"" } else { "null" };
            let chunk = format!(
                "data: {{\"model\":\"m\",\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"word\"}},\"finish_reason\":{reason}}}]}}\n\n"
            );
            meter.observe(chunk.as_bytes());
        }
        if is_done {
            meter.observe(b"data: [DONE]\n\n");
        }
        meter.finish(4_000)
    }

    #[test]
    fn stream_is_complete_when_all_choices_have_finished() {
        let check = |requested, chunks: &[(usize, bool)], is_complete: bool| {
            let end = stream(requested, chunks, false).end;
            let expected = if is_complete { AnswerEnd::Complete } else { AnswerEnd::Truncated };
            assert_eq!(end, expected, "{requested} {chunks:?}");
            assert_eq!(stream(requested, chunks, true).end, AnswerEnd::Complete, "{chunks:?}");
        };
        check(1, &[(0, false), (0, true)], true);
        check(1, &[(0, false)], false);
        check(2, &[(0, false), (0, true)], false);
        check(2, &[(0, false), (1, false), (0, true)], false);
        check(2, &[(0, false), (0, true), (1, false)], false);
        check(2, &[(0, true), (1, true)], true);
        check(2, &[(0, false), (1, true), (1, false), (0, true)], true);
        // More choices than were requested.
        check(1, &[(0, false), (1, false), (0, true)], false);
        check(1, &[(0, true), (3, false)], false);
        check(1, &[(0, false), (3, false), (3, true), (0, true)], true);
        check(3, &[(0, true), (1, true)], false);
    }

    #[test]
    fn one_chunk_can_have_several_choices() {
        let check = |reasons: [&str; 2], is_complete: bool| {
            let mut meter = UsageMeter::for_stream();
            let [first, second] = reasons;
            let chunk = format!(
                "data: {{\"choices\":[{{\"index\":0,\"finish_reason\":{first}}},{{\"index\":1,\"finish_reason\":{second}}}]}}\n\n"
            );
            meter.observe(chunk.as_bytes());
            assert_eq!(meter.finish(40).end == AnswerEnd::Complete, is_complete, "{reasons:?}");
        };
        check(["\"stop\"", "\"length\""], true);
        check(["\"stop\"", "null"], false);
        check(["null", "\"stop\""], false);
        check(["\"stop\"", "\"\""], false);
        check(["\"\"", "\"\""], false);
    }

    proptest! {
        #[test]
        fn cut_before_the_last_finish_is_never_complete(
            requested in 1..6_u32,
            order in prop::collection::vec((0..6_usize, any::<bool>()), 0..24),
        ) {
            let is_asked = |index: &usize| *index < usize::try_from(requested).unwrap();
            let chunks: Vec<_> = order.into_iter().filter(|(index, _)| is_asked(index)).collect();
            let finished = |index| chunks.iter().any(|(at, finishes)| *at == index && *finishes);
            let all = (0..usize::try_from(requested).unwrap()).all(finished);
            let end = stream(requested, &chunks, false).end;
            prop_assert_eq!(end == AnswerEnd::Complete, all, "{} {:?}", requested, chunks);
        }
    }
}
