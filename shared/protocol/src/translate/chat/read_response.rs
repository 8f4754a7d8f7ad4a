//! Reads answers of Chat Completions, as chunks or whole.

use super::part_sequence::{PartKey, PartSequence};
use crate::json::JsonValue;
use crate::meter::{UsageTally, is_void_error};
use crate::sse::SseEvent;
use crate::translate::continuation::{PendingState, ReasoningField};
use crate::translate::json_reader::{ObjectReader, parse_document, to_items, to_text};
use crate::translate::neutral_response::{PartStart, ReadProgress, ResponseStep, StopReason};

/// The highest number of tool calls in one answer. Each fragment is compared with all of them.
const CALLS_MAX: usize = 256;

/// Reads one answer. A whole message has the fields of a delta, so it is read as one.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(in crate::translate) struct ChatReader {
    tally: UsageTally,
    sequence: PartSequence,
    calls: Vec<PendingToolCall>,
    /// The bytes of calls that were received, and of text that waits for a call.
    held_bytes: usize,
    id: String,
    /// Whether the answer is not streamed. Each element of its list is then a call.
    is_whole: bool,
    is_started: bool,
    is_refused: bool,
    /// Whether a choice has come.
    has_choice: bool,
    has_usage: bool,
    /// The finish reason, and the stop sequence that some vendors report with it.
    finish: Option<(String, Option<String>)>,
}

/// The bytes that a call counts for, however short it is.
const CALL_BYTES: usize = 256;

/// A call that has begun to arrive. It cannot open before its name has arrived.
#[derive(Debug, Default)]
struct PendingToolCall {
    index: Option<u64>,
    /// The id as the upstream sent it.
    id: String,
    /// The id in the translation, which no other call of the answer has.
    unique_id: String,
    name: String,
    buffered_text: String,
}

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
        if chunk.is_some_and(|chunk| self.read_chunk(chunk, "delta", emit_step)) {
            ReadProgress::Open
        } else {
            ReadProgress::Failed(event.data.to_vec())
        }
    }

    /// The bytes of calls that are held, and of text that waits for a call to be whole.
    pub(in crate::translate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Ends a stream that stopped without `[DONE]`. Returns whether the answer was finished
    /// nevertheless, as with some vendors (fixture `openai_chat_no_done`). The usage of an answer
    /// without any choice is its last chunk, too.
    pub(in crate::translate) fn finish_unterminated(
        &mut self,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> bool {
        let is_empty = !self.has_choice && self.has_usage;
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
        let is_answer =
            completion.has_field("choices") && reader.read_chunk(completion, "message", emit_step);
        if is_answer {
            reader.finish_answer(emit_step);
        }
        is_answer
    }

    /// Reads `part` of the first choice. Returns false if it is an error.
    fn read_chunk(
        &mut self,
        mut chunk: ObjectReader<'_>,
        part: &str,
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
        if let Some(usage) = chunk.take_value("usage") {
            self.tally.read_usage(usage.raw());
            self.has_usage = true;
        }
        let mut choices = chunk.take_objects("choices");
        let first = choices.find_map(|mut choice| {
            (choice.take_number("index").unwrap_or(0) == 0).then_some(choice)
        });
        let Some(mut choice) = first else { return true };
        self.has_choice = true;
        if let Some(delta) = choice.take_object(part)
            && !self.read_delta(delta, emit_step)
        {
            return false;
        }
        if let Some(reason) = choice.take_nonempty_text("finish_reason") {
            // OpenRouter's finish reason for an answer that broke off.
            if reason == "error" {
                return false;
            }
            // The names that vLLM and SGLang have for the matched stop sequence.
            let sequence =
                choice.take_text("stop_reason").or_else(|| choice.take_text("matched_stop"));
            self.finish = Some((reason, sequence));
        }
        true
    }

    /// Reads a delta. Returns false if it has more calls than an answer can have.
    fn read_delta(
        &mut self,
        mut delta: ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> bool {
        if let Some(text) = self.read_reasoning(&mut delta) {
            self.held_bytes += self.sequence.bytes_to_hold(&text);
            self.sequence.push_delta(PartKey::Thinking, || PartStart::Thinking, &text, emit_step);
        }
        if let Some(text) = read_content(&mut delta) {
            self.held_bytes += self.sequence.bytes_to_hold(&text);
            self.sequence.push_delta(PartKey::Text, || PartStart::Text, &text, emit_step);
        }
        if let Some(text) = delta.take_nonempty_text("refusal") {
            self.is_refused = true;
            self.held_bytes += self.sequence.bytes_to_hold(&text);
            self.sequence.push_delta(PartKey::Refusal, || PartStart::Refusal, &text, emit_step);
        }
        for call in delta.take_objects("tool_calls") {
            self.read_call(call, emit_step);
            if self.calls.len() > CALLS_MAX {
                return false;
            }
        }
        true
    }

    /// Reads the text of thinking, and the state that comes with it.
    fn read_reasoning(&mut self, delta: &mut ObjectReader<'_>) -> Option<String> {
        let fields = [ReasoningField::ReasoningContent, ReasoningField::Reasoning];
        let text = fields.into_iter().find_map(|field| {
            let text = delta.take_nonempty_text(field.as_str())?;
            self.sequence.state.note_field(field);
            Some(text)
        });
        let Some(details) = delta.take_value("reasoning_details").map(JsonValue::raw) else {
            return text;
        };
        self.held_bytes += details.len();
        self.sequence.state.add_details(details);
        text.or_else(|| Some(PendingState::detail_text(details)).filter(|text| !text.is_empty()))
    }

    /// Reads a fragment of a call. Some vendors leave out the index, repeat the id, or give several
    /// calls one index. A new id with a name is therefore a new call. Each element
    /// of a whole answer is a complete call, also if ids are repeated.
    fn read_call(
        &mut self,
        mut fragment: ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        let index = fragment.take_number("index");
        let id = fragment.take_nonempty_text("id").unwrap_or_default();
        let extra = fragment.take_value("extra_content").map(JsonValue::raw);
        let mut function = fragment.take_object("function").unwrap_or_default();
        let mut name = function.take_nonempty_text("name").unwrap_or_default();
        let arguments = function.take_value("arguments");
        let arguments = arguments
            .map(|raw| to_text(raw).unwrap_or_else(|| raw.raw().to_owned()))
            .unwrap_or_default();
        let known = self.calls.iter().rposition(|call| {
            let is_other = !id.is_empty() && !name.is_empty() && call.id != id;
            let is_same = !id.is_empty() && call.id == id;
            call.index == index && !is_other && (index.is_some() || name.is_empty() || is_same)
        });
        let known = known.filter(|&known| {
            let is_named_anew = !name.is_empty() && self.calls[known].name != name;
            // A whole object cannot go on. Google's layer gives every call the index 0, some
            // bridges without an id (NousResearch/hermes-agent #62940, su-kaka/gcli2api #406).
            let goes_on = is_named_anew || !arguments.trim().is_empty();
            let is_next = id.is_empty()
                && goes_on
                && !self.calls[known].name.is_empty()
                && self.sequence.is_whole_call(known);
            if is_next && name.is_empty() {
                name.clone_from(&self.calls[known].name);
            }
            !self.is_whole && !is_next
        });
        let position = known.unwrap_or(self.calls.len());
        self.held_bytes += arguments.len();
        if known.is_none() {
            let unique_id = self.unique_call_id(&id);
            self.held_bytes += CALL_BYTES + id.len() + unique_id.len() + name.len();
            self.calls.push(PendingToolCall { index, id, unique_id, ..PendingToolCall::default() });
        }
        let Some(call) = self.calls.get_mut(position) else { return };
        if let Some(extra) = extra {
            self.held_bytes += extra.len();
            self.sequence.add_call_state(position, &call.unique_id, extra);
        }
        if call.name.is_empty() {
            call.name = name;
        }
        call.buffered_text.push_str(&arguments);
        if call.name.is_empty() {
            return;
        }
        let buffered_text = std::mem::take(&mut call.buffered_text);
        let part_start = || PartStart::Call { id: call.unique_id.clone(), name: call.name.clone() };
        self.sequence.push_delta(PartKey::Call(position), part_start, &buffered_text, emit_step);
    }

    /// The id of the next call in the translation: the received one, or a made one if it is empty or
    /// another call has it. A client matches results with calls by their ids.
    fn unique_call_id(&self, received: &str) -> String {
        let is_free = |id: &String| self.calls.iter().all(|call| call.unique_id != *id);
        let position = self.calls.len();
        let mut id = received.to_owned();
        if id.is_empty() || !is_free(&id) {
            id = format!("call_{}_{position}", self.id);
        }
        while !is_free(&id) {
            id.push('_');
        }
        id
    }

    fn finish_answer(&mut self, emit_step: &mut impl FnMut(ResponseStep<'_>)) {
        self.sequence.finish(emit_step);
        let called = self.calls.iter().any(|call| !call.name.is_empty());
        let (reason, sequence) = self.finish.take().unwrap_or_default();
        emit_step(ResponseStep::Stop(match reason.as_str() {
            _ if self.is_refused => StopReason::Refusal,
            "length" => StopReason::MaxTokens,
            "content_filter" => StopReason::Refusal,
            // Some vendors report `stop` after calls, some `tool_calls` without any.
            _ if called => StopReason::ToolUse,
            "stop" if sequence.is_some() => StopReason::Sequence(sequence),
            _ => StopReason::End,
        }));
        emit_step(ResponseStep::Usage(self.tally.reported_usage()));
    }
}

/// Content is a string, except that Mistral sends a list of parts.
fn read_content(delta: &mut ObjectReader<'_>) -> Option<String> {
    let raw = delta.take_value("content")?;
    let text = to_text(raw).unwrap_or_else(|| {
        let parts = to_items(raw).into_iter().flatten();
        parts.filter_map(|part| ObjectReader::from_value(part)?.take_text("text")).collect()
    });
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::translate::{
        ClientProtocol, ProtocolPair, ResponseContext, TranslationOptions, UpstreamProtocol,
    };
    use serde_json::{Value, json};

    fn context(client: ClientProtocol) -> ResponseContext {
        let body: &[u8] = match client {
            ClientProtocol::OpenaiResponses => br#"{"model":"m","input":"hi"}"#,
            _ => br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#,
        };
        let pair = ProtocolPair::between(client, UpstreamProtocol::Chat).unwrap();
        pair.translate_request(body, &TranslationOptions::new("m", "req_1")).unwrap().context
    }

    /// The id, name and arguments of each call in a translated answer.
    fn calls_in(answer: &Value) -> Vec<[String; 3]> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let parts = answer["content"].as_array().or(answer["output"].as_array()).unwrap();
        let calls = parts.iter().filter_map(|part| match part["type"].as_str()? {
            "tool_use" => Some([&part["id"], &part["name"], &part["input"]]),
            "function_call" => Some([&part["call_id"], &part["name"], &part["arguments"]]),
            _ => None,
        });
        calls.map(|call| call.map(text)).collect()
    }

    fn call(index: Option<usize>, id: Option<&str>, number: usize) -> Value {
        let arguments = format!("{{\"n\":{number}}}");
        let mut call = json!({"type": "function",
            "function": {"name": format!("f{number}"), "arguments": arguments}});
        if let Some(index) = index {
            call["index"] = index.into();
        }
        if let Some(id) = id {
            call["id"] = id.into();
        }
        call
    }

    #[test]
    fn tool_calls_of_a_whole_answer_have_different_ids() {
        for (ids, expect) in [
            (vec![Some("a"), Some("b")], ["a", "b"].as_slice()),
            (vec![Some("a"), Some("a")], &["a", "call_c_1"]),
            (vec![Some(""), Some("")], &["call_c_0", "call_c_1"]),
            (vec![None, None, None], &["call_c_0", "call_c_1", "call_c_2"]),
            (vec![None, Some("call_c_0")], &["call_c_0", "call_c_1"]),
            (vec![Some("call_c_2"), Some("a"), Some("a")], &["call_c_2", "a", "call_c_2_"]),
        ] {
            let expected = expect.iter().zip(0..);
            let expected: Vec<_> = expected
                .map(|(id, n)| [(*id).into(), format!("f{n}"), format!("{{\"n\":{n}}}")])
                .collect();
            for index in [None, Some(0)] {
                let calls: Vec<_> =
                    ids.iter().zip(0..).map(|(id, n)| call(index, *id, n)).collect();
                let answer = json!({"id": "c", "object": "chat.completion", "choices": [{"index": 0,
                    "message": {"role": "assistant", "content": null, "tool_calls": calls},
                    "finish_reason": "tool_calls"}]});
                for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiResponses] {
                    let body = answer.to_string();
                    let out = context(client).translate_response(body.as_bytes()).unwrap();
                    let got = calls_in(&serde_json::from_slice(&out).unwrap());
                    assert_eq!(got, expected, "{ids:?} {index:?} {client:?}");
                }
            }
        }
    }

    #[test]
    fn tool_calls_of_a_stream_are_separated_by_index() {
        for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiResponses] {
            let mut stream = context(client).stream_translator();
            let mut out = Vec::new();
            for (index, number) in [(0, 0), (1, 1)] {
                let calls = json!([call(Some(index), Some("a"), number)]);
                let chunk =
                    json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": calls}}]});
                stream.push(format!("data: {chunk}\n\n").as_bytes(), &mut out);
            }
            stream.push(b"data: [DONE]\n\n", &mut out);
            let text = String::from_utf8(out).unwrap();
            for word in ["\"a\"", "\"call_c_1\"", "\"f0\"", "\"f1\""] {
                assert!(text.contains(word), "{client:?} {word}: {text}");
            }
        }
    }
}
