//! Checks that arbitrary JSON and arbitrary bytes cause no panic, and that the output is JSON.

use crate::exchange::{Exchange, all, plain, streamed};
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, TranslationOptions, UpstreamProtocol,
};
use proptest::prelude::*;
use serde_json::Value;
use std::sync::LazyLock;

static EXCHANGES: LazyLock<Vec<Exchange>> = LazyLock::new(all);

/// Words with a meaning in one of the protocols.
const WORDS: [&str; 48] = [
    "model",
    "messages",
    "input",
    "role",
    "user",
    "assistant",
    "system",
    "tool",
    "content",
    "type",
    "text",
    "tools",
    "function",
    "name",
    "arguments",
    "tool_calls",
    "tool_use",
    "tool_result",
    "id",
    "index",
    "choices",
    "delta",
    "finish_reason",
    "stop",
    "usage",
    "thinking",
    "signature",
    "message",
    "image",
    "source",
    "stop_reason",
    "error",
    "tool_choice",
    "item",
    "stream",
    "system",
    "output",
    "output_index",
    "output_text",
    "function_call",
    "reasoning",
    "summary",
    "encrypted_content",
    "response",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.completed",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![4 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned), 1 => "\\PC{0,4}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(word(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Replaces the value at position `at` by `new`.
fn mutate(value: &mut Value, at: &mut usize, new: &Value) {
    if *at == 0 {
        *value = new.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| mutate(item, at, new)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mutate(field, at, new)),
        _ => {}
    }
}

/// Puts `new` at a position that `at` selects.
fn change(value: &mut Value, at: prop::sample::Index, new: &Value) {
    let mut index = at.index(size(value));
    mutate(value, &mut index, new);
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum(),
        _ => 0,
    }
}

fn pairs() -> impl Iterator<Item = ProtocolPair> {
    let clients = [
        ClientProtocol::AnthropicMessages,
        ClientProtocol::OpenaiChat,
        ClientProtocol::OpenaiResponses,
    ];
    let both = |client| {
        [UpstreamProtocol::Messages, UpstreamProtocol::Chat, UpstreamProtocol::Responses]
            .map(|speaks| ProtocolPair::between(client, speaks))
    };
    clients.into_iter().flat_map(both).flatten()
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok()
}

/// Translates the bytes as each kind of request, answer, error and stream.
fn survive(bytes: &[u8]) {
    for pair in pairs() {
        let options = TranslationOptions::new("claude-opus-5-5", "req_1");
        if let Ok(translated) = pair.translate_request(bytes, &options) {
            assert!(is_json(&translated.body), "{}", String::from_utf8_lossy(&translated.body));
        }
        let requested =
            pair.translate_request(br#"{"model":"m","messages":[],"input":[]}"#, &options);
        let context = requested.unwrap().context;
        assert!(is_json(&context.translate_error(500, bytes)));
        if let Ok(response) = context.translate_response(bytes) {
            assert!(is_json(&response), "{}", String::from_utf8_lossy(&response));
        }
        for framed in [bytes.to_vec(), [b"data: ", bytes, b"\n\n"].concat()] {
            for line in streamed(&context, &[&framed]).0.lines() {
                let data = line.strip_prefix("data: ").filter(|data| *data != "[DONE]");
                assert!(data.is_none_or(|data| is_json(data.as_bytes())), "{line}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_json_does_not_panic(value in value()) {
        survive(value.to_string().as_bytes());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
        survive(&bytes);
    }

    /// A real request with one change.
    #[test]
    fn changed_requests_do_not_panic(which: prop::sample::Index, at: prop::sample::Index, new in value()) {
        let exchange = &EXCHANGES[which.index(EXCHANGES.len())];
        let mut body: Value = serde_json::from_str(&exchange.request_body()).unwrap();
        change(&mut body, at, &new);
        survive(body.to_string().as_bytes());
    }

    /// A real answer, or an event of a stream, with one change.
    #[test]
    fn changed_answers_do_not_panic(which: prop::sample::Index, at: prop::sample::Index, new in value()) {
        let exchange = &EXCHANGES[which.index(EXCHANGES.len())];
        let asked = exchange.request().map(|translated| translated.context);
        let Ok(asked) = asked else { return Ok(()) };
        if let Some(answer) = &exchange.answer {
            let Ok(mut body) = serde_json::from_str::<Value>(&plain(answer)) else { return Ok(()) };
            change(&mut body, at, &new);
            if let Ok(answer) = asked.translate_response(body.to_string().as_bytes()) {
                prop_assert!(is_json(&answer));
            }
        }
        if let Some(bytes) = exchange.stream_bytes() {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let at_line = at.index(lines.len().max(1));
            let changed: Vec<String> = lines.iter().enumerate().map(|(number, line)| {
                let data = line.strip_prefix("data: ").and_then(|it| serde_json::from_str(it).ok());
                match data.filter(|_| number == at_line) {
                    Some(mut data) => {
                        change(&mut data, at, &new);
                        format!("data: {data}")
                    }
                    None => (*line).to_owned(),
                }
            }).collect();
            streamed(&asked, &[changed.join("\n").as_bytes()]);
        }
    }
}
