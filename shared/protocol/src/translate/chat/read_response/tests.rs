//! Tables of answers of Chat, and what clients of other APIs receive for them.

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
            let calls: Vec<_> = ids.iter().zip(0..).map(|(id, n)| call(index, *id, n)).collect();
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

fn delta(delta: &Value) -> Value {
    json!({"index": 0, "delta": delta})
}

#[test]
fn every_finish_reason_has_its_end() {
    const BROKEN: [&str; 2] = ["event: error", "\"status\":\"failed\""];
    let complete = ["\"stop_reason\":\"end_turn\"", "\"status\":\"completed\""];
    let incomplete = ["\"stop_reason\":\"max_tokens\"", "\"status\":\"incomplete\""];
    let window = ["\"stop_reason\":\"model_context_window_exceeded\"", "\"status\":\"incomplete\""];
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
            let half = delta(&json!({"content": "half"}));
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
        |function: Value| delta(&json!({"tool_calls": [{"index": 0, "function": function}]}));
    let first = |function: Value| {
        delta(
            &json!({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": function}]}),
        )
    };
    for (fragments, name) in [
        (vec![first(json!({"name": "get_"})), fragment(json!({"name": "weather"}))], "get_weather"),
        (
            vec![first(json!({"name": "get_"})), fragment(json!({"name": "get_weather"}))],
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
        &[first(json!({"name": "f"})), delta(&json!({"content": "later"}))],
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
        delta(&json!({"content": [thought("one ")]})),
        delta(&json!({"content": [thought("two")]})),
        delta(&json!({"content": [{"type": "text", "text": "three"}]})),
        delta(&json!({"content": " four"})),
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
        let counts =
            ["input_tokens", "cache_read_input_tokens", "output_tokens"].map(|name| &read[name]);
        assert_eq!(counts, [56, 1280, 800], "{answer}");
    }
}
