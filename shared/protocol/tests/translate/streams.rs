//! Properties of streams: cuts do not matter, a stream means the same as the whole answer, and a
//! broken stream never ends normally.

use crate::assemble;
use crate::exchange::{all, streamed};
use baton_protocol::meter::{AnswerEnd, MeterReading, UsageMeter};
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, ResponseContext, TranslationOptions, UpstreamProtocol,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// An answer, independent of a protocol.
#[derive(Debug, Clone)]
struct GeneratedAnswer {
    thinking: Option<String>,
    text: Option<String>,
    calls: Vec<Value>,
    stop: usize,
}

/// Stop reasons of Messages and finish reasons of chat, in pairs.
const STOPS: [(&str, &str); 3] =
    [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", "content_filter")];

fn answer() -> impl Strategy<Value = GeneratedAnswer> {
    let text = || prop::option::of("[a-zé\"\\\\\n {}]{1,12}");
    let call = prop::collection::btree_map("[a-z]{1,4}", "[a-zé\"\\\\}{ ]{0,8}", 0..3);
    let call = call.prop_map(|arguments| json!(arguments));
    (text(), text(), prop::collection::vec(call, 0..4), 0..STOPS.len())
        .prop_map(|(thinking, text, calls, stop)| GeneratedAnswer { thinking, text, calls, stop })
}

/// Cuts a text into non-empty fragments at positions that `cuts` selects.
fn fragments(text: &str, cuts: &[usize]) -> Vec<String> {
    let mut fragments = vec![String::new()];
    for (index, c) in text.chars().enumerate() {
        if index > 0 && cuts.iter().any(|cut| index % (cut + 1) == 0) {
            fragments.push(String::new());
        }
        fragments.last_mut().unwrap().push(c);
    }
    fragments.retain(|fragment| !fragment.is_empty());
    fragments
}

fn tool(index: usize) -> (String, String) {
    (format!("call_{index}"), format!("tool_{}", index % 2))
}

impl GeneratedAnswer {
    fn stop(&self) -> (&'static str, &'static str) {
        match (self.calls.is_empty(), STOPS[self.stop]) {
            (false, ("end_turn", _)) => ("tool_use", "tool_calls"),
            (_, stop) => stop,
        }
    }

    fn message(&self) -> Value {
        let mut blocks = Vec::new();
        let thinking = self.thinking.iter();
        blocks
            .extend(thinking.map(|it| json!({"type":"thinking","thinking":it,"signature":"c2ln"})));
        blocks.extend(self.text.iter().map(|it| json!({"type":"text","text":it})));
        for (index, input) in self.calls.iter().enumerate() {
            let (id, name) = tool(index);
            blocks.push(json!({"type":"tool_use","id":id,"name":name,"input":input}));
        }
        json!({"id":"msg_1","type":"message","role":"assistant","model":"m","content":blocks,
            "stop_reason":self.stop().0,"stop_sequence":null,
            "usage":{"input_tokens":7,"cache_read_input_tokens":4,"output_tokens":9}})
    }

    /// The message as events.
    fn message_events(&self, cuts: &[usize]) -> String {
        let mut message = self.message();
        let blocks = message["content"].take();
        let stop = message["stop_reason"].take();
        message["content"] = json!([]);
        let usage = json!({"input_tokens":7,"cache_read_input_tokens":4,"output_tokens":1});
        message["usage"] = usage;
        let mut events = vec![json!({"type":"message_start","message":message})];
        for (index, block) in blocks.as_array().unwrap().iter().enumerate() {
            let kind = block["type"].as_str().unwrap();
            let (field, delta, text) = match kind {
                "text" => ("text", "text_delta", block["text"].as_str().unwrap().to_owned()),
                "thinking" => {
                    ("thinking", "thinking_delta", block["thinking"].as_str().unwrap().to_owned())
                }
                _ => ("partial_json", "input_json_delta", block["input"].to_string()),
            };
            let mut part = block.clone();
            for (field, empty) in [
                ("text", json!("")),
                ("thinking", json!("")),
                ("signature", json!("")),
                ("input", json!({})),
            ] {
                if !part[field].is_null() {
                    part[field] = empty;
                }
            }
            part.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            events.push(json!({"type":"content_block_start","index":index,"content_block":part}));
            events.push(json!({"type":"ping"}));
            for text in fragments(&text, cuts) {
                let delta = json!({"type":delta,field:text});
                events.push(json!({"type":"content_block_delta","index":index,"delta":delta}));
            }
            if kind == "thinking" {
                let delta = json!({"type":"signature_delta","signature":"c2ln"});
                events.push(json!({"type":"content_block_delta","index":index,"delta":delta}));
            }
            events.push(json!({"type":"content_block_stop","index":index}));
        }
        let delta = json!({"stop_reason":stop,"stop_sequence":null});
        events.push(json!({"type":"message_delta","delta":delta,"usage":{"output_tokens":9}}));
        events.push(json!({"type":"message_stop"}));
        let lines = events
            .iter()
            .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
        lines.collect()
    }

    fn completion(&self) -> Value {
        let calls: Vec<Value> = self
            .calls
            .iter()
            .enumerate()
            .map(|(index, input)| {
                let (id, name) = tool(index);
                let function = json!({"name":name,"arguments":input.to_string()});
                json!({"id":id,"type":"function","function":function})
            })
            .collect();
        let mut message = json!({"role":"assistant","content":self.text});
        if let Some(thinking) = &self.thinking {
            message["reasoning_content"] = thinking.as_str().into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        json!({"id":"chat_1","object":"chat.completion","model":"m",
            "choices":[{"index":0,"message":message,"finish_reason":self.stop().1}],
            "usage":{"prompt_tokens":11,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}})
    }

    /// The completion as chunks. `order` selects how calls are interleaved.
    fn completion_chunks(&self, cuts: &[usize], order: &[usize]) -> String {
        let mut deltas = vec![json!({"role":"assistant","content":""})];
        for (field, text) in [("reasoning_content", &self.thinking), ("content", &self.text)] {
            let text = text.as_deref().unwrap_or_default();
            deltas.extend(fragments(text, cuts).into_iter().map(|text| json!({field: text})));
        }
        let mut calls: Vec<Vec<Value>> = Vec::new();
        for (index, input) in self.calls.iter().enumerate() {
            let (id, name) = tool(index);
            let function = json!({"name":name,"arguments":""});
            let begin = json!({"index":index,"id":id,"type":"function","function":function});
            let rest = fragments(&input.to_string(), cuts).into_iter();
            let rest = rest.map(|text| json!({"index":index,"function":{"arguments":text}}));
            calls.push(std::iter::once(begin).chain(rest).rev().collect());
        }
        // Calls begin in order. Their remaining fragments come in any order.
        let begins: Vec<Value> = calls.iter_mut().filter_map(Vec::pop).collect();
        deltas.extend(begins.into_iter().map(|call| json!({"tool_calls":[call]})));
        let mut turns = order.iter().cycle();
        while calls.iter().any(|call| !call.is_empty()) {
            let turn = *turns.next().unwrap();
            let open_containers: Vec<usize> =
                (0..calls.len()).filter(|at| !calls[*at].is_empty()).collect();
            let call = calls[open_containers[turn % open_containers.len()]].pop().unwrap();
            deltas.push(json!({"tool_calls":[call]}));
        }
        let chunk = |delta: Value, finish: Value| json!({"id":"chat_1","choices":[{"index":0,"delta":delta,"finish_reason":finish}]});
        let mut chunks: Vec<Value> = deltas.into_iter().map(|it| chunk(it, Value::Null)).collect();
        chunks.push(chunk(json!({}), self.stop().1.into()));
        chunks.push(json!({"id":"chat_1","choices":[],"usage":self.completion()["usage"]}));
        let lines: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        lines.join(": hm\n\n") + "data: [DONE]\n\n"
    }
}

/// A Responses upstream's answer.
impl GeneratedAnswer {
    fn items(&self) -> Vec<Value> {
        let mut items = Vec::new();
        items.extend(self.thinking.iter().map(|it| {
            json!({"id":"rs_1","type":"reasoning","encrypted_content":"c2ln",
                "summary":[{"type":"summary_text","text":it}]})
        }));
        items.extend(self.text.iter().map(|it| {
            json!({"id":"msg_1","type":"message","status":"completed","role":"assistant",
                "content":[{"type":"output_text","text":it,"annotations":[]}]})
        }));
        for (index, input) in self.calls.iter().enumerate() {
            let (id, name) = tool(index);
            items.push(json!({"id":format!("fc_{index}"),"type":"function_call","call_id":id,
                "name":name,"arguments":input.to_string(),"status":"completed"}));
        }
        items
    }

    fn response(&self) -> Value {
        let reason = match self.stop().1 {
            "length" => Some("max_output_tokens"),
            "content_filter" => Some("content_filter"),
            _ => None,
        };
        json!({"id":"resp_1","object":"response","model":"m","error":null,
            "status":if reason.is_some() {"incomplete"} else {"completed"},
            "incomplete_details":reason.map(|reason| json!({"reason":reason})),
            "output":self.items(),
            "usage":{"input_tokens":11,"input_tokens_details":{"cached_tokens":4},"output_tokens":9}})
    }

    /// The response as events. `has_done` says whether items are ended.
    fn response_events(&self, cuts: &[usize], has_done: bool) -> String {
        let response = self.response();
        let begun = json!({"id":"resp_1","status":"in_progress","output":[]});
        let mut events = vec![json!({"type":"response.created","response":begun})];
        for (index, item) in self.items().iter().enumerate() {
            let (kind, field) = match item["type"].as_str().unwrap() {
                "reasoning" => ("reasoning_summary_text", "summary"),
                "message" => ("output_text", "content"),
                _ => ("function_call_arguments", "arguments"),
            };
            let text = item[field][0]["text"].as_str().or(item[field].as_str()).unwrap();
            let mut begun = item.clone();
            begun[field] = if item[field].is_array() { json!([]) } else { "".into() };
            events.push(
                json!({"type":"response.output_item.added","output_index":index,"item":begun}),
            );
            let deltas = fragments(text, cuts).into_iter().map(|text| {
                json!({"type":format!("response.{kind}.delta"),"output_index":index,
                    "content_index":0,"summary_index":0,"delta":text})
            });
            events.extend(deltas);
            let is_cut = index + 1 == response["output"].as_array().unwrap().len() && !has_done;
            if !is_cut || item["type"] == "reasoning" {
                events.push(
                    json!({"type":"response.output_item.done","output_index":index,"item":item}),
                );
            }
        }
        let end = format!("response.{}", response["status"].as_str().unwrap());
        events.push(json!({"type":end,"response":response}));
        let lines = events
            .iter()
            .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
        lines.collect()
    }
}

fn asked(client: ClientProtocol, upstream: UpstreamProtocol) -> ResponseContext {
    let body = match client {
        ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
            json!({"model":"asked","max_tokens":9,"messages":[],"stream":true})
        }
        ClientProtocol::OpenaiChat => {
            json!({"model":"asked","messages":[],"stream":true,"stream_options":{"include_usage":true}})
        }
        ClientProtocol::OpenaiResponses => {
            json!({"model":"asked","input":"hi","stream":true,"tools":[
            {"type":"custom","name":"tool_1"}]})
        }
    };
    let translation = ProtocolPair::between(client, upstream).unwrap();
    let options =
        TranslationOptions { created: 1, ..TranslationOptions::new("claude-opus-5-5", "req_1") };
    translation.translate_request(body.to_string().as_bytes(), &options).unwrap().context
}

fn assembled(client: ClientProtocol, stream: &str) -> Value {
    match client {
        ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
            assemble::message(stream)
        }
        ClientProtocol::OpenaiChat => assemble::completion(stream),
        ClientProtocol::OpenaiResponses => assemble::response(stream),
    }
}

fn check(client: ClientProtocol, upstream: UpstreamProtocol, stream: &str, whole: &Value) {
    let context = asked(client, upstream);
    let (translated, told) = streamed(&context, &[stream.as_bytes()]);
    assert!(told, "{stream}");
    let whole = context.translate_response(whole.to_string().as_bytes()).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(assembled(client, &translated), whole);
}

/// A stream of the corpus.
struct Source {
    name: String,
    context: ResponseContext,
    bytes: Vec<u8>,
    /// The translation of the stream in one piece.
    expect: (String, bool),
}

static STREAMS: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let streams = all().into_iter().filter_map(|exchange| {
        let (context, bytes) = (exchange.request().ok()?.context, exchange.stream_bytes()?);
        let expect = streamed(&context, &[&bytes]);
        Some(Source { name: exchange.name, context, bytes, expect })
    });
    streams.collect()
});

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn message_stream_equals_whole_message(
        answer in answer(),
        cuts in prop::collection::vec(0_usize..6, 0..3),
    ) {
        let (stream, whole) = (answer.message_events(&cuts), answer.message());
        for client in [ClientProtocol::OpenaiChat, ClientProtocol::OpenaiResponses] {
            check(client, UpstreamProtocol::Messages, &stream, &whole);
        }
    }

    #[test]
    fn chat_stream_equals_whole_completion(
        answer in answer(),
        cuts in prop::collection::vec(0_usize..6, 0..3),
        order in prop::collection::vec(0_usize..7, 1..9),
    ) {
        let (stream, whole) = (answer.completion_chunks(&cuts, &order), answer.completion());
        for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiResponses] {
            check(client, UpstreamProtocol::Chat, &stream, &whole);
        }
    }

    #[test]
    fn response_stream_equals_whole_response(
        answer in answer(),
        cuts in prop::collection::vec(0_usize..6, 0..3),
        has_done: bool,
    ) {
        let (stream, whole) = (answer.response_events(&cuts, has_done), answer.response());
        for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiChat] {
            check(client, UpstreamProtocol::Responses, &stream, &whole);
        }
    }

    #[test]
    fn chunk_boundaries_do_not_matter(sizes in prop::collection::vec(1_usize..40, 1..20)) {
        for Source { name, context, bytes, expect } in STREAMS.iter() {
            let (mut chunks, mut rest) = (Vec::new(), bytes.as_slice());
            for size in sizes.iter().cycle() {
                let (chunk, tail) = rest.split_at((*size).min(rest.len()));
                chunks.push(chunk);
                rest = tail;
                if rest.is_empty() { break }
            }
            prop_assert_eq!(&streamed(context, &chunks), expect, "{}", name);
        }
    }

    /// A stream that is cut before its end never ends normally for the client.
    #[test]
    fn broken_stream_never_ends_cleanly(answer in answer(), at: prop::sample::Index) {
        let chunks = answer.completion_chunks(&[3], &[1]);
        let sources = [
            (UpstreamProtocol::Messages, answer.message_events(&[3]), "\"message_stop\"}"),
            (UpstreamProtocol::Chat, chunks, "\"finish_reason\":\""),
            (UpstreamProtocol::Responses, answer.response_events(&[3], true), "\"usage\":"),
        ];
        for (upstream, source, end) in sources {
            let cut = &source.as_bytes()[..at.index(source.len())];
            let has_ended = String::from_utf8_lossy(cut).contains(end);
            for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiChat, ClientProtocol::OpenaiResponses] {
                if has_ended || ProtocolPair::between(client, upstream).is_none() { continue }
                let (stream, told) = streamed(&asked(client, upstream), &[cut]);
                prop_assert!(!told, "{stream}");
                for end in ["message_stop", "[DONE]", "response.completed", "response.incomplete"] {
                    prop_assert!(!stream.contains(end), "{stream}");
                }
            }
        }
    }
}

/// The client receives the counts that the meter reads, so both give the same bill.
#[test]
fn reported_usage_equals_metered_usage() {
    let read = |bytes: &[u8]| {
        let mut meter = UsageMeter::for_stream();
        meter.observe(bytes);
        meter.finish(0)
    };
    let mut count = 0;
    for Source { name, bytes, expect: (stream, _), .. } in STREAMS.iter() {
        let (source, told) = (read(bytes), read(stream.as_bytes()));
        // A chat client that did not ask for usage receives none.
        let is_told = !source.usage.estimated && !told.usage.estimated;
        if !is_told || !source.started || source.end != AnswerEnd::Complete {
            continue;
        }
        count += 1;
        // The other protocol has no field for the lifetime of cache writes.
        let counts = |reading: &MeterReading| {
            let tokens = reading.usage.tokens;
            (tokens.input, tokens.output, tokens.cache_read, tokens.prompt_tokens())
        };
        assert_eq!(counts(&told), counts(&source), "{name}");
        assert_eq!(told.end, source.end, "{name}");
    }
    assert!(count > 20, "{count}");
}

#[test]
fn relay_error_is_sent_once_in_the_client_format() {
    let check = |client, upstream, expect: &str| {
        let (mut stream, mut out) = (asked(client, upstream).stream_translator(), Vec::new());
        stream.fail("timeout_error", "It was silent.", &mut out);
        assert!(stream.is_over());
        stream.fail("api_error", "again", &mut out);
        stream.push(b"data: [DONE]\n\n", &mut out);
        assert!(stream.finish(&mut out));
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(expect) && text.ends_with("}\n\n"), "{text}");
        assert_eq!(text.matches("It was silent.").count(), 1);
    };
    let message = r#"event: error
data: {"type":"error","error":{"type":"timeout_error","message":"It was silent."},"request_id":"req_1"}"#;
    check(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat, message);
    let chunk = r#"data: {"error":{"message":"It was silent.","type":"timeout_error","#;
    check(ClientProtocol::OpenaiChat, UpstreamProtocol::Messages, chunk);
    check(ClientProtocol::OpenaiResponses, UpstreamProtocol::Chat, "event: response.failed\n");
}

/// Some upstreams ignore `stream`. The client gets the events of a stream all the same.
#[test]
fn whole_answer_becomes_a_stream() {
    let completion = json!({"id":"chat_1","choices":[{"index":0,"finish_reason":"tool_calls",
        "message":{"role":"assistant","content":"hi","tool_calls":[{"id":"call_1","type":"function",
            "function":{"name":"f","arguments":"{\"a\":1}"}}]}}],"usage":{"prompt_tokens":3}});
    for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiResponses] {
        let context = asked(client, UpstreamProtocol::Chat);
        let body = completion.to_string();
        let stream = context.translate_response_to_events(body.as_bytes()).unwrap();
        let whole = context.translate_response(body.as_bytes()).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(assembled(client, &String::from_utf8(stream).unwrap()), whole);
        assert!(context.translate_response_to_events(b"{\"error\":{}}").is_err());
    }
}
