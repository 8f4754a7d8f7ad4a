//! An answer of Chat Completions, read: as chunks and whole.

use super::sequence::{Key, Sequence};
use crate::meter::Tally;
use crate::sse::Event;
use crate::translate::answer::{Opening, Progress, Step, Stop};
use crate::translate::read::{Object, list, parse, text};

/// The most calls of tools in one answer: each fragment is compared with all of them.
const CALLS_MAX: usize = 256;

/// Reads one answer. A whole message has the fields of a delta, so it is read as one.
#[derive(Debug, Default)]
pub(in crate::translate) struct Reader {
    tally: Tally,
    sequence: Sequence,
    calls: Vec<Call>,
    id: String,
    is_started: bool,
    is_refused: bool,
    /// The finish reason, and the stop sequence that a vendor may name with it.
    finish: Option<(String, Option<String>)>,
}

/// A call that was heard of. It waits for its name: nothing can open without.
#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    held: String,
}

impl Reader {
    /// Takes in a chunk.
    pub(in crate::translate) fn event(
        &mut self,
        event: &Event<'_>,
        on: &mut impl FnMut(Step<'_>),
    ) -> Progress {
        let data = event.data.trim_ascii();
        if data == b"[DONE]" {
            self.end(on);
            return Progress::Done;
        }
        if data.is_empty() {
            return Progress::Open;
        }
        let document = parse(data).ok();
        let chunk = document.as_ref().and_then(|document| Object::of(document.root()));
        if chunk.is_some_and(|chunk| self.chunk(chunk, "delta", on)) {
            Progress::Open
        } else {
            Progress::Failed(event.data.to_vec())
        }
    }

    /// Ends a stream that stopped without `[DONE]`; whether it had finished all the same, as some
    /// vendors have it (fixture `openai_chat_no_done`).
    pub(in crate::translate) fn stopped(&mut self, on: &mut impl FnMut(Step<'_>)) -> bool {
        let finished = self.finish.is_some();
        if finished {
            self.end(on);
        }
        finished
    }

    /// Reads a completion that came whole; whether it was one.
    pub(in crate::translate) fn whole(body: &str, on: &mut impl FnMut(Step<'_>)) -> bool {
        let Ok(document) = parse(body.as_bytes()) else { return false };
        let Some(completion) = Object::of(document.root()) else { return false };
        let mut reader = Self::default();
        let is_answer = completion.has("choices") && reader.chunk(completion, "message", on);
        if is_answer {
            reader.end(on);
        }
        is_answer
    }

    /// Takes in what `part` of the first choice says; false when it is an error.
    fn chunk(&mut self, mut chunk: Object<'_>, part: &str, on: &mut impl FnMut(Step<'_>)) -> bool {
        if chunk.raw("error").is_some() {
            return false;
        }
        if !std::mem::replace(&mut self.is_started, true) {
            self.id = chunk.id().unwrap_or_default();
            on(Step::Start { id: Some(self.id.clone()).filter(|id| !id.is_empty()) });
        }
        if let Some(usage) = chunk.raw("usage") {
            self.tally.read(usage.raw());
        }
        let mut choices = chunk.objects("choices");
        let first = choices
            .find_map(|mut choice| (choice.number("index").unwrap_or(0) == 0).then_some(choice));
        let Some(mut choice) = first else { return true };
        if let Some(delta) = choice.object(part)
            && !self.delta(delta, on)
        {
            return false;
        }
        if let Some(reason) = choice.words("finish_reason") {
            // OpenRouter's word for an answer that broke off.
            if reason == "error" {
                return false;
            }
            // vLLM's and SGLang's words for the sequence that was met.
            let sequence = choice.text("stop_reason").or_else(|| choice.text("matched_stop"));
            self.finish = Some((reason, sequence));
        }
        true
    }

    /// Takes in a delta; false when it has more calls than an answer may have.
    fn delta(&mut self, mut delta: Object<'_>, on: &mut impl FnMut(Step<'_>)) -> bool {
        let thoughts = delta.words("reasoning_content").or_else(|| delta.words("reasoning"));
        if let Some(text) = thoughts {
            self.sequence.push(Key::Thinking, || Opening::Thinking, &text, on);
        }
        if let Some(text) = content(&mut delta) {
            self.sequence.push(Key::Text, || Opening::Text, &text, on);
        }
        if let Some(text) = delta.words("refusal") {
            self.is_refused = true;
            self.sequence.push(Key::Text, || Opening::Text, &text, on);
        }
        for call in delta.objects("tool_calls") {
            self.call(call, on);
            if self.calls.len() > CALLS_MAX {
                return false;
            }
        }
        true
    }

    /// Takes in a fragment of a call. Vendors leave out the index, repeat the id, or give several
    /// calls one index: a new id with a name is a new call.
    fn call(&mut self, mut fragment: Object<'_>, on: &mut impl FnMut(Step<'_>)) {
        let index = fragment.number("index");
        let id = fragment.words("id").unwrap_or_default();
        let mut function = fragment.object("function").unwrap_or_default();
        let name = function.words("name").unwrap_or_default();
        let arguments = function.raw("arguments");
        let arguments = arguments
            .map(|raw| text(raw).unwrap_or_else(|| raw.raw().to_owned()))
            .unwrap_or_default();
        let known = self.calls.iter().rposition(|call| {
            let is_other = !id.is_empty() && !name.is_empty() && call.id != id;
            let is_same = !id.is_empty() && call.id == id;
            call.index == index && !is_other && (index.is_some() || name.is_empty() || is_same)
        });
        let at = known.unwrap_or(self.calls.len());
        if known.is_none() {
            self.calls.push(Call { index, id, ..Call::default() });
        }
        let Some(call) = self.calls.get_mut(at) else { return };
        if call.name.is_empty() {
            call.name = name;
        }
        call.held.push_str(&arguments);
        if call.name.is_empty() {
            return;
        }
        let held = std::mem::take(&mut call.held);
        // A conversation's calls must be told apart.
        let made = || format!("call_{}_{at}", self.id);
        let id = || if call.id.is_empty() { made() } else { call.id.clone() };
        let opening = || Opening::Call { id: id(), name: call.name.clone() };
        self.sequence.push(Key::Call(at), opening, &held, on);
    }

    fn end(&mut self, on: &mut impl FnMut(Step<'_>)) {
        self.sequence.finish(on);
        let called = self.calls.iter().any(|call| !call.name.is_empty());
        let (reason, sequence) = self.finish.take().unwrap_or_default();
        on(Step::Stop(match reason.as_str() {
            _ if self.is_refused => Stop::Refusal,
            "length" => Stop::MaxTokens,
            "content_filter" => Stop::Refusal,
            // Some vendors say `stop` after calls, some `tool_calls` after none.
            _ if called => Stop::ToolUse,
            "stop" if sequence.is_some() => Stop::Sequence(sequence),
            _ => Stop::End,
        }));
        on(Step::Usage(self.tally.told()));
    }
}

/// Content is a string; Mistral sends a list of parts.
fn content(delta: &mut Object<'_>) -> Option<String> {
    let raw = delta.raw("content")?;
    let text = text(raw).unwrap_or_else(|| {
        let parts = list(raw).into_iter().flatten();
        parts.filter_map(|part| Object::of(part)?.text("text")).collect()
    });
    Some(text).filter(|text| !text.is_empty())
}
