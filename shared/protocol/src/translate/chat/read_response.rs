//! Reads answers of Chat Completions, as chunks or whole.

use super::part_sequence::{PartKey, PartSequence};
use crate::json::JsonValue;
use crate::meter::{UsageTally, is_void_error};
use crate::sse::SseEvent;
use crate::translate::continuation::{PendingState, ReasoningField};
use crate::translate::json_reader::{ObjectReader, parse_document};
use crate::translate::json_writer::write_object;
use crate::translate::neutral_response::{
    NamedEnd, PartStart, ReadProgress, ResponseStep, StopReason,
};
use crate::translate::surrogates::SurrogateJoiner;

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
    /// The finish reason of an answer that the upstream could not finish and reported no error for.
    broken_end: Option<String>,
    surrogates: SurrogateJoiner,
}

/// The blocks of text that [`SurrogateJoiner`] joins. Each call is one more block.
const THINKING_BLOCK: (u64, u64) = (0, 0);
const TEXT_BLOCK: (u64, u64) = (0, 1);
const REFUSAL_BLOCK: (u64, u64) = (0, 2);

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
    /// The name so far. Some servers send it in pieces, so it can grow until the arguments begin.
    name: String,
    buffered_text: String,
    /// Whether the call is in the sequence of parts.
    is_open: bool,
}

impl PendingToolCall {
    fn part_start(&self) -> PartStart {
        PartStart::Call { id: self.unique_id.clone(), name: self.name.clone() }
    }
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
        self.has_usage |= self.tally.read_answer(data);
        if chunk.is_some_and(|chunk| self.read_chunk(chunk, "delta", emit_step)) {
            ReadProgress::Open
        } else {
            let failure = self.broken_end.take().map(|reason| write_broken_end(&reason));
            ReadProgress::Failed(failure.unwrap_or_else(|| event.data.to_vec()))
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
        reader.has_usage = reader.tally.read_answer(body.as_bytes());
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
            if NamedEnd::from_name(&reason) == NamedEnd::Broken {
                // OpenRouter reports the error inside of the choice.
                self.broken_end = choice.take_value("error").is_none().then_some(reason);
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
            self.push_text((PartKey::Thinking, PartStart::Thinking), &text, emit_step);
        }
        self.read_content(&mut delta, emit_step);
        if let Some(text) = delta.take_delta("refusal", (&mut self.surrogates, REFUSAL_BLOCK)) {
            self.is_refused = true;
            self.push_text((PartKey::Refusal, PartStart::Refusal), &text, emit_step);
        }
        for call in delta.take_objects("tool_calls") {
            self.read_call(call, emit_step);
            if self.calls.len() > CALLS_MAX {
                return false;
            }
        }
        true
    }

    /// Reads content, which is a string. Mistral sends a list of texts and, for models that think,
    /// of thinking (docs.mistral.ai, "Reasoning", `thinking` chunks, 2026-11).
    fn read_content(
        &mut self,
        delta: &mut ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        if let Some(text) = delta.take_delta("content", (&mut self.surrogates, TEXT_BLOCK)) {
            return self.push_text((PartKey::Text, PartStart::Text), &text, emit_step);
        }
        for mut part in delta.take_objects("content") {
            for mut thought in part.take_objects("thinking") {
                let text = thought.take_delta("text", (&mut self.surrogates, THINKING_BLOCK));
                if let Some(text) = text {
                    self.push_text((PartKey::Thinking, PartStart::Thinking), &text, emit_step);
                }
            }
            let thought = part.take_delta("thinking", (&mut self.surrogates, THINKING_BLOCK));
            if let Some(text) = thought {
                self.push_text((PartKey::Thinking, PartStart::Thinking), &text, emit_step);
            }
            if let Some(text) = part.take_delta("text", (&mut self.surrogates, TEXT_BLOCK)) {
                self.push_text((PartKey::Text, PartStart::Text), &text, emit_step);
            }
        }
    }

    /// Adds text, behind the calls that have begun.
    fn push_text(
        &mut self,
        (key, part_start): (PartKey, PartStart),
        text: &str,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        self.open_named_calls(None, emit_step);
        self.held_bytes += self.sequence.bytes_to_hold(text);
        self.sequence.push_delta(key, || part_start, text, emit_step);
    }

    /// Opens the calls that have a name and no arguments yet, except for the one at `continued`.
    fn open_named_calls(
        &mut self,
        continued: Option<usize>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        for (position, call) in self.calls.iter_mut().enumerate() {
            if call.is_open || call.name.is_empty() || Some(position) == continued {
                continue;
            }
            call.is_open = true;
            let text = std::mem::take(&mut call.buffered_text);
            let part_start = || call.part_start();
            self.sequence.push_delta(PartKey::Call(position), part_start, &text, emit_step);
        }
    }

    /// Reads the text of thinking, and the state that comes with it.
    fn read_reasoning(&mut self, delta: &mut ObjectReader<'_>) -> Option<String> {
        let fields = [ReasoningField::ReasoningContent, ReasoningField::Reasoning];
        let text = fields.into_iter().find_map(|field| {
            let joiner = (&mut self.surrogates, THINKING_BLOCK);
            let text = delta.take_delta(field.as_str(), joiner)?;
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
        let has_arguments = arguments
            .is_some_and(|raw| raw.text().is_none_or(|arguments| !arguments.trim().is_empty()));
        let known = self.calls.iter().rposition(|call| {
            let is_other = !id.is_empty() && !name.is_empty() && call.id != id;
            let is_same = !id.is_empty() && call.id == id;
            call.index == index && !is_other && (index.is_some() || name.is_empty() || is_same)
        });
        let known = known.filter(|&known| {
            let is_named_anew = !name.is_empty() && self.calls[known].name != name;
            // A whole object cannot go on. Google's layer gives every call the index 0, some
            // bridges without an id (NousResearch/hermes-agent #62940, su-kaka/gcli2api #406).
            let goes_on = is_named_anew || has_arguments;
            let is_next = id.is_empty()
                && goes_on
                && self.calls[known].is_open
                && self.sequence.is_whole_call(known);
            if is_next && name.is_empty() {
                name.clone_from(&self.calls[known].name);
            }
            !self.is_whole && !is_next
        });
        let position = known.unwrap_or(self.calls.len());
        let block = (1, u64::try_from(position).unwrap_or(u64::MAX));
        let arguments = arguments.map_or_else(String::new, |raw| {
            let text = raw.surrogate_text().map(|text| self.surrogates.join(block, &text));
            text.unwrap_or_else(|| raw.raw().to_owned())
        });
        self.held_bytes += arguments.len();
        self.open_named_calls(Some(position), emit_step);
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
        // Some servers repeat the whole name.
        if !call.is_open && call.name != name {
            self.held_bytes += name.len();
            call.name.push_str(&name);
        }
        call.buffered_text.push_str(&arguments);
        if call.name.is_empty() || !(call.is_open || has_arguments || self.is_whole) {
            return;
        }
        call.is_open = true;
        let buffered_text = std::mem::take(&mut call.buffered_text);
        let part_start = || call.part_start();
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
        self.open_named_calls(None, emit_step);
        self.sequence.finish(emit_step);
        let called = self.calls.iter().any(|call| !call.name.is_empty());
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

    /// What a client receives for the chunks of a stream.
    fn translate(client: ClientProtocol, choices: &[Value]) -> String {
        let mut stream = context(client).stream_translator();
        let mut out = Vec::new();
        for choice in choices {
            let chunk = json!({"id": "c", "choices": [choice]});
            stream.push(format!("data: {chunk}\n\n").as_bytes(), &mut out);
        }
        stream.push(b"data: [DONE]\n\n", &mut out);
        String::from_utf8(out).unwrap()
    }

    fn delta(delta: Value) -> Value {
        json!({"index": 0, "delta": delta})
    }

    #[test]
    fn every_finish_reason_has_its_end() {
        const BROKEN: [&str; 2] = ["event: error", "\"status\":\"failed\""];
        let complete = ["\"stop_reason\":\"end_turn\"", "\"status\":\"completed\""];
        let incomplete = ["\"stop_reason\":\"max_tokens\"", "\"status\":\"incomplete\""];
        let window =
            ["\"stop_reason\":\"model_context_window_exceeded\"", "\"status\":\"incomplete\""];
        let refused = ["\"stop_reason\":\"refusal\"", "\"type\":\"refusal\""];
        for (reason, expected) in [
            ("stop", complete),
            ("eos", complete),
            ("end_turn", complete),
            ("STOP", complete),
            ("tool_calls", complete),
            ("length", incomplete),
            ("max_tokens", incomplete),
            ("model_length", window),
            ("content_filter", refused),
            ("sensitive", refused),
            ("RECITATION", refused),
            ("content_filter: SAFETY", refused),
            ("error", BROKEN),
            ("network_error", BROKEN),
            ("insufficient_system_resource", BROKEN),
            ("function_call_filter: MALFORMED_FUNCTION_CALL", BROKEN),
            ("abort", BROKEN),
            ("a_reason_of_tomorrow", incomplete),
        ] {
            let clients = [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiResponses];
            for (client, expected) in clients.into_iter().zip(expected) {
                let half = delta(json!({"content": "half"}));
                let end = json!({"index": 0, "delta": {}, "finish_reason": reason});
                let text = translate(client, &[half, end]);
                assert!(text.contains(expected), "{reason} {client:?}: {text}");
                let is_broken = BROKEN.contains(&expected);
                assert_eq!(text.contains(&format!("`{reason}`")), is_broken, "{reason}: {text}");
                let answer = json!({"id": "c", "choices": [{"index": 0,
                    "message": {"role": "assistant", "content": "half"}, "finish_reason": reason}]});
                let whole = context(client).translate_response(answer.to_string().as_bytes());
                assert_eq!(whole.is_err(), is_broken, "{reason}");
                if let Ok(whole) = whole {
                    let text = String::from_utf8(whole).unwrap();
                    assert!(text.contains(expected), "{reason} {client:?}: {text}");
                }
            }
        }
    }

    #[test]
    fn names_of_calls_are_joined_until_the_arguments_begin() {
        let fragment =
            |function: Value| delta(json!({"tool_calls": [{"index": 0, "function": function}]}));
        let first = |function: Value| {
            delta(
                json!({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": function}]}),
            )
        };
        for (fragments, name) in [
            (
                vec![first(json!({"name": "get_"})), fragment(json!({"name": "weather"}))],
                "get_weather",
            ),
            (vec![first(json!({"name": "get_weather", "arguments": ""}))], "get_weather"),
            (
                vec![
                    first(json!({"name": "get_weather"})),
                    fragment(json!({"name": "get_weather", "arguments": "{\"a\":"})),
                    fragment(json!({"name": "get_weather", "arguments": "1}"})),
                ],
                "get_weather",
            ),
        ] {
            for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiResponses] {
                let text = translate(client, &fragments);
                assert!(text.contains(&format!("\"name\":\"{name}\"")), "{client:?}: {text}");
            }
        }
        // A call without arguments stays before the text that follows it.
        let text = translate(
            ClientProtocol::AnthropicMessages,
            &[first(json!({"name": "f"})), delta(json!({"content": "later"}))],
        );
        assert!(text.find("\"tool_use\"").unwrap() < text.find("later").unwrap(), "{text}");
    }

    #[test]
    fn halves_of_surrogate_pairs_in_two_deltas_are_joined() {
        let half = |name: &str, half: &str| {
            format!(r#"data: {{"id":"c","choices":[{{"index":0,"delta":{{"{name}":"{half}"}}}}]}}"#)
        };
        for name in ["content", "reasoning_content", "refusal"] {
            for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiResponses] {
                let mut stream = context(client).stream_translator();
                let mut out = Vec::new();
                for half in [half(name, "a\\ud83d"), half(name, "\\ude00b")] {
                    stream.push(format!("{half}\n\n").as_bytes(), &mut out);
                }
                stream.push(b"data: [DONE]\n\n", &mut out);
                let text = String::from_utf8(out).unwrap();
                assert!(!text.contains('\u{FFFD}'), "{name}: {text}");
                let is_hidden =
                    name == "reasoning_content" && client == ClientProtocol::AnthropicMessages;
                assert!(is_hidden || text.contains("\u{1F600}b"), "{name}: {text}");
            }
        }
    }

    /// Mistral's parts of content (docs.mistral.ai, "Reasoning", 2026-11).
    #[test]
    fn thinking_in_the_content_is_thinking() {
        let thought =
            |text: &str| json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]});
        let choices = [
            delta(json!({"content": [thought("one ")]})),
            delta(json!({"content": [thought("two")]})),
            delta(json!({"content": [{"type": "text", "text": "three"}]})),
            delta(json!({"content": " four"})),
        ];
        let text = translate(ClientProtocol::OpenaiResponses, &choices);
        assert!(text.contains("\"text\":\"one two\""), "{text}");
        assert!(text.contains("\"text\":\"three four\""), "{text}");
        let message = json!({"role": "assistant", "content": [
            thought("one two"), {"type": "text", "text": "three four"}]});
        let answer = json!({"id": "c", "choices": [{"index": 0, "message": message}]}).to_string();
        let whole = context(ClientProtocol::OpenaiResponses).translate_response(answer.as_bytes());
        let text = String::from_utf8(whole.unwrap()).unwrap();
        assert!(text.contains("\"text\":\"one two\""), "{text}");
        assert!(text.contains("\"text\":\"three four\""), "{text}");
    }

    /// The usage is the same in the translation, wherever and however it is reported.
    #[test]
    fn usage_of_every_place_reaches_the_client() {
        let usage = json!({"prompt_tokens": 1336, "completion_tokens": 3, "total_tokens": 2136,
            "cached_tokens": 1280, "input_tokens": 0});
        let message = json!({"role": "assistant", "content": "x"});
        for answer in [
            json!({"id": "c", "choices": [{"index": 0, "message": message}], "usage": usage}),
            json!({"id": "c", "choices": [{"index": 0, "message": message, "usage": usage}]}),
            json!({"id": "c", "choices": [{"index": 0, "message": message}], "x_groq": {"usage": usage}}),
        ] {
            let context = context(ClientProtocol::AnthropicMessages);
            let whole = context.translate_response(answer.to_string().as_bytes()).unwrap();
            let whole: Value = serde_json::from_slice(&whole).unwrap();
            let read = &whole["usage"];
            let counts = ["input_tokens", "cache_read_input_tokens", "output_tokens"]
                .map(|name| &read[name]);
            assert_eq!(counts, [56, 1280, 800], "{answer}");
        }
    }
}
