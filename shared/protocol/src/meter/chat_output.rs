//! The output of a stream of Chat, whose chunks can repeat it.
//!
//! Servers send thinking, text and calls in `delta` or `text`, in `message`, or in both. Of each kind, the
//! larger amount counts, because the other one repeats it.

use super::output_count::OutputCount;
use std::collections::BTreeMap;

/// The most choices whose messages are followed. OpenAI documents at most 128 for `n` (API reference of
/// Chat Completions, 2026-11). The messages of more count as pieces.
pub(super) const CHOICES_MAX: usize = 128;

/// Output by its kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OutputByKind {
    pub(super) thinking: OutputCount,
    /// Everything but thinking and calls.
    pub(super) text: OutputCount,
    pub(super) calls: OutputCount,
}

impl OutputByKind {
    fn merge(self, other: Self, join: impl Fn(OutputCount, OutputCount) -> OutputCount) -> Self {
        Self {
            thinking: join(self.thinking, other.thinking),
            text: join(self.text, other.text),
            calls: join(self.calls, other.calls),
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        self.merge(other, OutputCount::plus)
    }

    fn max(self, other: Self) -> Self {
        self.merge(other, OutputCount::max)
    }

    /// Of each kind, this output, or the other one if there is none.
    pub(super) fn or(self, other: Self) -> Self {
        self.merge(other, |one, other| if one.has_output { one } else { other })
    }

    /// The output of all kinds.
    pub(super) fn total(self) -> OutputCount {
        self.thinking.plus(self.text).plus(self.calls)
    }

    pub(super) fn has_output(self) -> bool {
        self.thinking.has_output || self.text.has_output || self.calls.has_output
    }
}

/// The output in the `message` of a choice.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChoiceMessage {
    pub(super) index: u64,
    pub(super) output: OutputByKind,
}

/// The output of a chunk.
#[derive(Debug, Default)]
pub(super) struct ChunkOutput {
    /// All of it, without repetitions.
    pub(super) count: OutputCount,
    /// The output in the `delta` and the `text` of all choices.
    pub(super) pieces: OutputByKind,
    pub(super) messages: Vec<ChoiceMessage>,
}

/// The output of a stream so far.
#[derive(Debug, Default)]
pub(super) struct ChatOutput {
    pieces: OutputByKind,
    messages: OutputByKind,
    /// The messages of each choice, by kind.
    choices: BTreeMap<u64, ChoiceRuns>,
}

#[derive(Debug, Default)]
struct ChoiceRuns {
    thinking: MessageRuns,
    text: MessageRuns,
    calls: MessageRuns,
}

impl ChatOutput {
    /// Adds a chunk. Returns how much output it adds to all before.
    pub(super) fn add(&mut self, chunk: &ChunkOutput) -> OutputCount {
        if self.choices.is_empty() && chunk.messages.is_empty() {
            self.pieces = self.pieces.plus(chunk.pieces);
            return chunk.count;
        }
        let before = self.total();
        self.pieces = self.pieces.plus(chunk.pieces);
        for message in &chunk.messages {
            self.add_message(message);
        }
        OutputCount { has_output: chunk.count.has_output, ..self.total().minus(before) }
    }

    fn total(&self) -> OutputCount {
        self.pieces.max(self.messages).total()
    }

    fn add_message(&mut self, message: &ChoiceMessage) {
        let (index, output) = (message.index, message.output);
        let is_followed = self.choices.len() < CHOICES_MAX || self.choices.contains_key(&index);
        let added = if is_followed {
            let runs = self.choices.entry(index).or_default();
            OutputByKind {
                thinking: runs.thinking.add(output.thinking),
                text: runs.text.add(output.text),
                calls: runs.calls.add(output.calls),
            }
        } else {
            output
        };
        self.messages = self.messages.plus(added);
    }
}

/// The output of one kind in the messages of a choice. In most streams each message repeats all that
/// came before. A shorter one begins a new run of such messages. If many are not longer than the one
/// before, they are pieces.
#[derive(Debug, Default)]
struct MessageRuns {
    /// The output if all messages are pieces.
    sum: OutputCount,
    /// The output of the runs that have ended.
    ended: OutputCount,
    last: OutputCount,
    messages: u64,
    /// The number of messages that were not longer than the one before.
    repetitions: u64,
    total: OutputCount,
}

/// So many messages that are not longer than the one before can be repetitions, however few there are
/// in all. Beyond that, the messages are pieces if these are more than one of so many.
const REPETITIONS_MAX: u64 = 2;
const MESSAGES_PER_REPETITION: u64 = 4;

impl MessageRuns {
    /// Adds the output of a message. Returns how much it adds to all before.
    fn add(&mut self, count: OutputCount) -> OutputCount {
        if !count.has_output {
            return OutputCount::default();
        }
        self.messages += 1;
        self.repetitions += u64::from(!count.exceeds(self.last));
        self.sum = self.sum.plus(count);
        if self.last.exceeds(count) {
            self.ended = self.ended.plus(self.last);
            self.last = count;
        }
        self.last = self.last.max(count);
        let is_in_pieces = self.repetitions > REPETITIONS_MAX
            && self.repetitions.saturating_mul(MESSAGES_PER_REPETITION) > self.messages;
        let total = if is_in_pieces { self.sum } else { self.ended.plus(self.last) };
        let before = self.total;
        self.total = before.max(total);
        self.total.minus(before)
    }
}

#[cfg(test)]
mod tests {
    use crate::meter::UsageMeter;

    const TEXT: &str = "ten words.";

    /// The characters of output of a stream whose chunks have these choices.
    fn chars(choices: &[String]) -> u64 {
        let mut meter = UsageMeter::for_stream();
        for choice in choices {
            meter.observe(format!("data: {{\"choices\":[{{{choice}}}]}}\n\n").as_bytes());
        }
        meter.finish(100).output_chars
    }

    fn message(text: &str) -> String {
        format!(r#""message":{{"content":"{text}"}}"#)
    }

    fn delta(text: &str) -> String {
        format!(r#""delta":{{"content":"{text}"}}"#)
    }

    /// Messages that each repeat all before.
    fn cumulative(count: usize) -> Vec<String> {
        (1..=count).map(|number| message(&TEXT.repeat(number))).collect()
    }

    #[test]
    fn repeated_output_of_a_choice_counts_once() {
        let both = |number| format!("{},{}", delta("ten words."), message(&TEXT.repeat(number)));
        assert_eq!(chars(&(1..20).map(both).collect::<Vec<_>>()), 190);
        assert_eq!(chars(&cumulative(19)), 190);
        assert_eq!(chars(&[delta("ten "), delta("words."), message(TEXT)]), 10);
        assert_eq!(chars(&[message(TEXT), message(TEXT)]), 10);
        let pieces = ["ten ", "word", "s.", " ten", " words", "."].map(message);
        assert_eq!(chars(&pieces), 21);
        assert_eq!(chars(&[r#""delta":{},"text":"ten words.""#.to_owned()]), 10);
    }

    /// A few shorter messages do not make pieces of all, for each would count again.
    #[test]
    fn shorter_message_begins_a_new_run() {
        let ends = |last: &str| [cumulative(200), vec![message(last)]].concat();
        assert_eq!(chars(&ends("ten words")), 2_009);
        assert_eq!(chars(&ends("")), 2_000);
        let thrice = [cumulative(100), cumulative(50), cumulative(50), cumulative(20)].concat();
        assert_eq!(chars(&thrice), 2_200);
    }

    /// The translation takes each kind of output from another field, too.
    #[test]
    fn every_kind_of_output_counts_by_itself() {
        let thinking = |field: &str| format!(r#""{field}":{{"reasoning_content":"{TEXT}"}}"#);
        let calls = |field: &str| {
            format!(r#""{field}":{{"tool_calls":[{{"function":{{"arguments":"{TEXT}"}}}}]}}"#)
        };
        assert_eq!(chars(&[thinking("delta"), message(TEXT)]), 20);
        assert_eq!(chars(&[format!("{},{}", thinking("delta"), message(TEXT))]), 20);
        assert_eq!(chars(&[thinking("message"), delta(TEXT)]), 20);
        assert_eq!(chars(&[thinking("delta"), delta(TEXT), calls("message"), message(TEXT)]), 30);
        let all = format!(
            r#""message":{{"content":"{TEXT}","reasoning":"{TEXT}","tool_calls":[{{"id":"a","function":{{"arguments":"{TEXT}"}}}}]}}"#
        );
        assert_eq!(chars(&[thinking("delta"), delta(TEXT), calls("delta"), all.clone()]), 30);
        assert_eq!(chars(&[all.clone(), thinking("message"), all]), 30);
        assert_eq!(chars(&[thinking("delta"), format!("{},\"text\":\"{TEXT}\"", delta(""))]), 20);
    }

    #[test]
    fn choices_do_not_repeat_each_other() {
        let indexed = |index: usize, choice: &str| format!(r#"{choice},"index":{index}"#);
        let whole = [0, 1, 2].map(|index| indexed(index, &message(TEXT)));
        assert_eq!(chars(&whole), 30);
        let of_three = |number: usize| {
            [0, 1, 2].map(|index| indexed(index, &message(&TEXT.repeat(number + index))))
        };
        assert_eq!(chars(&(1..20).flat_map(of_three).collect::<Vec<_>>()), 190 + 200 + 210);
        let in_one = whole.join("},{");
        assert_eq!(chars(&[in_one.clone(), in_one]), 30);
    }
}
