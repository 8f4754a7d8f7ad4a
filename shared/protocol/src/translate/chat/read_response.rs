//! Reads answers of Chat Completions, as chunks or whole.
//!
//! Some servers send the output in another field than OpenAI: gateways that make a stream of a whole
//! answer send `message` in a chunk, `MiniMax` repeats all of it in its last chunk, and servers of text
//! completions send `text` (API references and reports of clients, 2026-11). Of thinking, of text and
//! of calls, the first of these fields that has any counts, because the others can repeat it. A
//! `message` in a later chunk can repeat the earlier ones, too. Of texts that begin with all that came
//! before, only the rest is new.

use super::call_list::{CallLabel, CallList};
use super::part_sequence::{PartKey, PartSequence};
use crate::json::JsonValue;
use crate::meter::{UpstreamFailure, UsageTally, is_void_error};
use crate::sse::SseEvent;
use crate::translate::continuation::{PendingState, ReasoningField};
use crate::translate::json_reader::{ObjectReader, parse_document};
use crate::translate::json_writer::write_object;
use crate::translate::neutral_response::{
    NamedEnd, PartStart, ReadProgress, ResponseStep, StopReason,
};
use crate::translate::surrogates::SurrogateJoiner;
use std::collections::BTreeMap;

/// The highest number of tool calls in one answer. Each fragment is compared with all of them.
const CALLS_MAX: usize = 256;

/// The most bytes that are kept of a finish reason, and the longest stop sequence that is kept.
const REASON_BYTES_MAX: usize = 200;
const STOP_BYTES_MAX: usize = 64 * 1024;

/// Reads one answer. A whole message has the fields of a delta, so it is read as one.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(in crate::translate) struct ChatReader {
    tally: UsageTally,
    sequence: PartSequence,
    calls: CallList,
    id: String,
    /// Whether the answer is not streamed. Each element of its list is then a call.
    is_whole: bool,
    is_started: bool,
    is_refused: bool,
    /// The index of the choice that is read, once one has come.
    choice_index: Option<u64>,
    /// The field that thinking, text and calls come in, once any has come.
    output_fields: [Option<OutputField>; 3],
    /// The field that is read.
    field: OutputField,
    /// The text of each block so far, if it comes in `message`, and the details of the last one as JSON.
    message_texts: BTreeMap<Block, String>,
    /// Whether the one call comes in the field `function_call`, which OpenAI has replaced by
    /// `tool_calls` (API reference, 2026-11).
    has_function_call: bool,
    has_usage: bool,
    /// The finish reason, and the stop sequence that some vendors report with it.
    finish: Option<(String, Option<String>)>,
    /// The finish reason of an answer that the upstream could not finish and reported no error for.
    broken_end: Option<String>,
    surrogates: SurrogateJoiner,
}

/// A field of a choice that can hold the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum OutputField {
    #[default]
    Delta,
    Message,
    Text,
}

/// What comes in one of these fields. Each has its place in `output_fields`.
#[derive(Debug, Clone, Copy)]
enum OutputKind {
    Thinking,
    Text,
    Calls,
}

impl From<PartKey> for OutputKind {
    fn from(key: PartKey) -> Self {
        match key {
            PartKey::Thinking => Self::Thinking,
            PartKey::Text | PartKey::Refusal => Self::Text,
            PartKey::Call(_) => Self::Calls,
        }
    }
}

/// A block of text, as for [`SurrogateJoiner`]. Each call is one more block.
type Block = (u64, u64);
const THINKING_BLOCK: Block = (0, 0);
const TEXT_BLOCK: Block = (0, 1);
const REFUSAL_BLOCK: Block = (0, 2);
const DETAILS_BLOCK: Block = (0, 3);

impl ChatReader {
    /// A reader of an answer of the upstream's model `model`.
    pub(in crate::translate) fn new(model: &str) -> Self {
        Self { sequence: PartSequence::new(PendingState::new(model)), ..Self::default() }
    }

    /// Reads a chunk.
    pub(in crate::translate) fn read_event(
        &mut self,
        event: &SseEvent<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> ReadProgress {
        let data = event.data.trim_ascii();
        if data == b"[DONE]" {
            self.finish_answer(emit_step);
            return ReadProgress::Done;
        }
        // Gateways send texts to keep a connection open. Errors are objects or lists.
        if !data.starts_with(b"{") && !data.starts_with(b"[{") {
            return ReadProgress::Open;
        }
        let document = parse_document(data).ok();
        let chunk =
            document.as_ref().and_then(|document| ObjectReader::from_value(document.root()));
        self.has_usage |= self.tally.read_answer(data);
        let chunk = chunk.filter(|chunk| !reports_error(chunk, data));
        if chunk.is_some_and(|chunk| self.read_chunk(chunk, emit_step)) {
            ReadProgress::Open
        } else {
            let failure = self.broken_end.take().map(|reason| write_broken_end(&reason));
            ReadProgress::Failed(failure.unwrap_or_else(|| event.data.to_vec()))
        }
    }

    /// The bytes of memory that calls, text that waits for a call to be whole, repeated messages and
    /// the state of the model take.
    pub(in crate::translate) fn held_bytes(&self) -> usize {
        let messages = self.message_texts.values().map(String::len).sum::<usize>();
        self.calls.held_bytes() + self.sequence.held_bytes() + messages
    }

    /// Ends a stream that stopped without `[DONE]`. Returns whether the answer was finished
    /// nevertheless, as with some vendors (fixture `openai_chat_no_done`). The usage of an answer
    /// without any choice is its last chunk, too.
    pub(in crate::translate) fn finish_unterminated(
        &mut self,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> bool {
        let is_empty = self.choice_index.is_none() && self.has_usage;
        let finished = self.finish.is_some() || is_empty;
        if finished {
            self.finish_answer(emit_step);
        }
        finished
    }

    /// Reads a completion that is not streamed. Returns whether it was one.
    pub(in crate::translate) fn read_completion(
        body: &str,
        model: &str,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> bool {
        let Ok(document) = parse_document(body.as_bytes()) else { return false };
        let Some(completion) = ObjectReader::from_value(document.root()) else { return false };
        let mut reader = Self { is_whole: true, ..Self::new(model) };
        reader.has_usage = reader.tally.read_answer(body.as_bytes());
        let is_answer = completion.has_field("choices")
            && !reports_error(&completion, body.as_bytes())
            && reader.read_chunk(completion, emit_step);
        if is_answer {
            reader.finish_answer(emit_step);
        }
        is_answer
    }

    /// Reads one choice of a chunk or a whole answer. Returns false if it is an error.
    fn read_chunk(
        &mut self,
        mut chunk: ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> bool {
        let is_answer = chunk.has_field("choices");
        if chunk.take_value("error").is_some_and(|error| !(is_answer && is_void_error(error))) {
            return false;
        }
        if !std::mem::replace(&mut self.is_started, true) {
            self.id = chunk.take_id().unwrap_or_default();
            emit_step(ResponseStep::Start {
                id: Some(self.id.clone()).filter(|id| !id.is_empty()),
            });
        }
        let Some(mut choice) = self.take_choice(chunk) else { return true };
        if !self.read_output(&mut choice, emit_step) {
            return false;
        }
        if let Some(reason) = choice.take_nonempty_text("finish_reason") {
            if NamedEnd::from_name(&reason) == NamedEnd::Broken {
                // OpenRouter reports the error inside of the choice.
                let reason = shorten_reason(&reason);
                self.broken_end = choice.take_value("error").is_none().then_some(reason);
                return false;
            }
            // The names that vLLM and SGLang have for the matched stop sequence.
            let sequence =
                choice.take_text("stop_reason").or_else(|| choice.take_text("matched_stop"));
            let is_short = |text: &String| text.len() <= STOP_BYTES_MAX;
            self.finish = Some((shorten_reason(&reason), sequence.filter(is_short)));
        }
        true
    }

    /// Takes the choice that is read: the first one that came, and of several the one with the
    /// lowest index. Some servers send an object in place of a list of one.
    fn take_choice<'a>(&mut self, mut chunk: ObjectReader<'a>) -> Option<ObjectReader<'a>> {
        let one = chunk.take_object("choices");
        let choices = one.into_iter().chain(chunk.take_objects("choices"));
        let mut numbered =
            choices.map(|mut choice| (choice.take_number("index").unwrap_or(0), choice));
        let first = match self.choice_index {
            None => numbered.min_by_key(|(index, _)| *index),
            Some(known) => numbered.find(|(index, _)| *index == known),
        };
        let (index, choice) = first?;
        self.choice_index = Some(index);
        Some(choice)
    }

    /// Reads the output of a choice. Returns false if it has more calls than an answer can have.
    fn read_output(
        &mut self,
        choice: &mut ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> bool {
        use OutputField::{Delta, Message, Text};
        let fields = if self.is_whole { [Message, Delta, Text] } else { [Delta, Message, Text] };
        for field in fields {
            self.field = field;
            let part = match field {
                Delta => choice.take_object("delta"),
                Message => choice.take_object("message"),
                Text => {
                    let text = choice.take_delta("text", &mut self.surrogates, TEXT_BLOCK);
                    if let Some(text) = text {
                        self.push_text(PartKey::Text, PartStart::Text, &text, emit_step);
                    }
                    None
                }
            };
            if part.is_some_and(|part| !self.read_delta(part, emit_step)) {
                return false;
            }
        }
        true
    }

    /// Whether what is read can have this kind of output, because no other field has had it.
    fn can_have(&self, kind: OutputKind) -> bool {
        self.output_fields[kind as usize].is_none_or(|known| known == self.field)
    }

    /// Whether the `message` of a chunk is read.
    fn is_in_message(&self) -> bool {
        self.field == OutputField::Message && !self.is_whole
    }

    /// Reads a delta. Returns false if it has more calls than an answer can have.
    fn read_delta(
        &mut self,
        mut delta: ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> bool {
        if self.can_have(OutputKind::Thinking)
            && let Some(text) = self.read_reasoning(&mut delta)
        {
            self.push_text(PartKey::Thinking, PartStart::Thinking, &text, emit_step);
        }
        self.read_content(&mut delta, emit_step);
        if let Some(text) = self.take_new_text(&mut delta, "refusal", REFUSAL_BLOCK) {
            self.is_refused = true;
            self.push_text(PartKey::Refusal, PartStart::Refusal, &text, emit_step);
        }
        // Of sound, other protocols can have only the words.
        let words = delta
            .take_object("audio")
            .and_then(|mut audio| self.take_new_text(&mut audio, "transcript", TEXT_BLOCK));
        if let Some(words) = words {
            self.push_text(PartKey::Text, PartStart::Text, &words, emit_step);
        }
        !self.can_have(OutputKind::Calls) || self.read_calls(&mut delta, emit_step)
    }

    /// Reads the calls of a delta. Returns false if an answer cannot have so many.
    fn read_calls(
        &mut self,
        delta: &mut ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> bool {
        self.calls.begin_list();
        for (mut call, number) in delta.take_objects("tool_calls").zip(0..) {
            let index = call.take_number("index").or(self.is_in_message().then_some(number));
            let function = call.take_object("function").unwrap_or_default();
            self.read_call(index, call, function, emit_step);
            if self.calls.calls.len() > CALLS_MAX {
                return false;
            }
        }
        // Some servers send a call in both fields.
        if (self.calls.calls.is_empty() || self.has_function_call)
            && let Some(function) = delta.take_object("function_call")
        {
            self.has_function_call = true;
            self.read_call(Some(0), ObjectReader::default(), function, emit_step);
        }
        true
    }

    /// Takes the text of a field that continues `block`, as far as it is new. `None` if nothing is.
    fn take_new_text(
        &mut self,
        object: &mut ObjectReader<'_>,
        name: &str,
        block: Block,
    ) -> Option<String> {
        let kind = if block == THINKING_BLOCK { OutputKind::Thinking } else { OutputKind::Text };
        if !self.can_have(kind) {
            return None;
        }
        let text = object.take_delta(name, &mut self.surrogates, block)?;
        Some(self.new_text(block, text)).filter(|text| !text.is_empty())
    }

    /// The part of `text` that is new: behind the text of `block` so far if a `message` repeats it.
    fn new_text(&mut self, block: Block, mut text: String) -> String {
        if !self.is_in_message() {
            return text;
        }
        let known = self.message_texts.entry(block).or_default();
        if text.starts_with(known.as_str()) {
            text.drain(..known.len());
        }
        known.push_str(&text);
        text
    }

    /// Reads content, which is a string. Mistral sends a list of texts and, for models that think,
    /// of thinking (docs.mistral.ai, "Reasoning", `thinking` chunks, 2026-11).
    fn read_content(
        &mut self,
        delta: &mut ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        if let Some(text) = self.take_new_text(delta, "content", TEXT_BLOCK) {
            return self.push_text(PartKey::Text, PartStart::Text, &text, emit_step);
        }
        for mut part in delta.take_objects("content") {
            for mut thought in part.take_objects("thinking") {
                let text = thought.take_delta("text", &mut self.surrogates, THINKING_BLOCK);
                if let Some(text) = text {
                    self.push_text(PartKey::Thinking, PartStart::Thinking, &text, emit_step);
                }
            }
            let thought = part.take_delta("thinking", &mut self.surrogates, THINKING_BLOCK);
            if let Some(text) = thought {
                self.push_text(PartKey::Thinking, PartStart::Thinking, &text, emit_step);
            }
            if let Some(text) = part.take_delta("text", &mut self.surrogates, TEXT_BLOCK) {
                self.push_text(PartKey::Text, PartStart::Text, &text, emit_step);
            }
        }
    }

    /// Adds text, behind the calls that have begun.
    fn push_text(
        &mut self,
        key: PartKey,
        part_start: PartStart,
        text: &str,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        let kind = OutputKind::from(key);
        if self.can_have(kind) {
            self.output_fields[kind as usize] = Some(self.field);
            self.open_named_calls(None, emit_step);
            self.sequence.push_delta(key, || part_start, text, emit_step);
        }
    }

    /// Opens the calls that have a name and no arguments yet, except for the one at `continued`.
    fn open_named_calls(
        &mut self,
        continued: Option<usize>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        for (position, call) in self.calls.calls.iter_mut().enumerate() {
            if call.is_open || call.name.is_empty() || Some(position) == continued {
                continue;
            }
            call.is_open = true;
            let text = call.take_unsent();
            let part_start = || call.part_start();
            self.sequence.push_delta(PartKey::Call(position), part_start, &text, emit_step);
        }
    }

    /// Reads the text of thinking, and the state that comes with it.
    fn read_reasoning(&mut self, delta: &mut ObjectReader<'_>) -> Option<String> {
        let fields = [ReasoningField::ReasoningContent, ReasoningField::Reasoning];
        let text = fields.into_iter().find_map(|field| {
            let text = self.take_new_text(delta, field.as_str(), THINKING_BLOCK)?;
            self.sequence.state.note_field(field);
            Some(text)
        });
        let Some(details) = delta.take_value("reasoning_details") else { return text };
        let detail_text = PendingState::detail_text(details);
        self.add_details(details, &detail_text);
        text.or_else(|| Some(self.new_text(THINKING_BLOCK, detail_text)))
            .filter(|text| !text.is_empty())
    }

    /// Keeps details for the upstream. Those of a `message` can repeat the earlier ones.
    fn add_details(&mut self, details: JsonValue<'_>, text: &str) {
        if self.is_in_message() {
            let raw = details.raw();
            let earlier = self.message_texts.insert(DETAILS_BLOCK, raw.to_owned());
            if earlier.as_deref() == Some(raw) {
                return;
            }
            let known = self.message_texts.get(&THINKING_BLOCK);
            if known.is_none_or(|known| text.starts_with(known.as_str())) {
                self.sequence.state.remove_details();
            }
        }
        self.sequence.state.add_details(details);
    }

    /// Reads a fragment of a call. Each element of a whole answer is a complete call, also if ids are
    /// repeated.
    fn read_call(
        &mut self,
        index: Option<u64>,
        mut fragment: ObjectReader<'_>,
        mut function: ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        self.output_fields[OutputKind::Calls as usize] = Some(self.field);
        let id = fragment.take_nonempty_text("id").unwrap_or_default();
        let extra = fragment.take_value("extra_content").map(JsonValue::raw);
        let name = function.take_nonempty_text("name").unwrap_or_default();
        let mut label = CallLabel { index, id, name };
        let (position, arguments) =
            self.place_fragment(&mut label, function.take_value("arguments"));
        self.open_named_calls(Some(position), emit_step);
        if position == self.calls.calls.len() {
            self.calls.push(&label, &self.id);
        }
        self.calls.change(position, |call| {
            call.add_name(&label.name);
            call.arguments.push_str(&arguments);
        });
        let Some(call) = self.calls.calls.get_mut(position) else { return };
        if let Some(extra) = extra {
            self.sequence.add_call_state(position, &call.unique_id, extra);
        }
        let has_arguments = !arguments.trim().is_empty();
        if call.name.is_empty() || !(call.is_open || has_arguments || self.is_whole) {
            return;
        }
        call.is_open = true;
        let unsent = call.take_unsent();
        let part_start = || call.part_start();
        self.sequence.push_delta(PartKey::Call(position), part_start, &unsent, emit_step);
    }

    /// The number of the call that a fragment belongs to, and the arguments that it adds: none if it
    /// only repeats a call. A call that begins gets a name.
    fn place_fragment(
        &mut self,
        label: &mut CallLabel,
        raw: Option<JsonValue<'_>>,
    ) -> (usize, String) {
        let text = raw.map(|raw| raw.text().unwrap_or_else(|| raw.raw().into()));
        let mut text = text.unwrap_or_default();
        let known = match (self.is_whole, self.is_in_message()) {
            (true, _) => None,
            (false, true) => self.calls.find_in_message(label, &text),
            (false, false) => self.calls.find(label),
        };
        let next = self.calls.calls.len();
        let position = known.unwrap_or(next);
        if let Some(call) = self.calls.calls.get(position) {
            let can_repeat = self.is_in_message() && self.calls.can_be_repeated(position);
            if can_repeat && text.starts_with(&call.arguments) {
                text = text.get(call.arguments.len()..).unwrap_or_default().to_owned().into();
            }
            // A whole object cannot go on.
            if call.is_open && self.sequence.is_whole_call(position) {
                let arguments = self.calls.take_next_arguments(position, label, &text);
                return arguments.map_or((position, String::new()), |arguments| (next, arguments));
            }
        }
        if let (OutputField::Delta, Some(halves)) =
            (self.field, raw.and_then(JsonValue::surrogate_text))
        {
            let block = (1, u64::try_from(position).unwrap_or(u64::MAX));
            return (position, self.surrogates.join(block, &halves));
        }
        (position, text.into_owned())
    }

    fn finish_answer(&mut self, emit_step: &mut impl FnMut(ResponseStep<'_>)) {
        self.open_named_calls(None, emit_step);
        self.sequence.finish(emit_step);
        let called = self.calls.calls.iter().any(|call| !call.name.is_empty());
        let (reason, sequence) = self.finish.take().unwrap_or_default();
        let NamedEnd::Reason(named) = NamedEnd::from_name(&reason) else { return };
        emit_step(ResponseStep::Stop(match named {
            _ if self.is_refused => StopReason::Refusal,
            // Some vendors report `stop` after calls, some `tool_calls` without any.
            StopReason::End | StopReason::ToolUse if called => StopReason::ToolUse,
            StopReason::End if reason == "stop" && sequence.is_some() => {
                StopReason::Sequence(sequence)
            }
            StopReason::ToolUse => StopReason::End,
            named => named,
        }));
        emit_step(ResponseStep::Usage(self.tally.reported_usage()));
    }
}

/// Whether a chunk or a whole answer is an error: it has no choice and says that it is one.
fn reports_error(answer: &ObjectReader<'_>, json: &[u8]) -> bool {
    !answer.has_filled("choices") && UpstreamFailure::from_reported(json).is_some()
}

/// A finish reason, which is cut if it is longer than any vendor's.
fn shorten_reason(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

/// The error for an answer that the upstream could not finish.
fn write_broken_end(reason: &str) -> Vec<u8> {
    let is_overloaded = reason == "insufficient_system_resource";
    let mut body = Vec::new();
    write_object(&mut body, |body| {
        body.object("error", |error| {
            error.text("type", if is_overloaded { "overloaded_error" } else { "api_error" });
            error.text(
                "message",
                &format!(
                    "The upstream did not finish its answer (`finish_reason` is `{reason}`). \
                     Send the request again."
                ),
            );
        });
    });
    body
}

#[cfg(test)]
mod tests;
