//! Tables of answers of Chat, and what clients of other APIs receive for them.

mod repetitions;

use crate::translate::{
    ClientProtocol, ProtocolPair, ResponseContext, TranslationOptions, UpstreamProtocol,
};
use serde_json::{Value, json};

fn context(client: ClientProtocol) -> ResponseContext {
    let body: &[u8] = match client {
        ClientProtocol::OpenaiResponses => {
            br#"{"model":"m","input":"hi","reasoning":{"summary":"auto"}}"#
        }
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

/// OpenAI tells a summary only if `reasoning.summary` asks for it. The thinking travels in the encrypted
/// content.
#[test]
fn summary_is_told_only_if_it_is_asked_for() {
    let pair = ProtocolPair::between(ClientProtocol::OpenaiResponses, UpstreamProtocol::Chat);
    for (reasoning, is_told) in [
        (json!(null), false),
        (json!({"effort": "high"}), false),
        (json!({"summary": null}), false),
        (json!({"summary": "concise"}), true),
    ] {
        let body = json!({"model": "m", "input": "hi", "reasoning": reasoning}).to_string();
        let options = TranslationOptions::new("m", "req_1");
        let translated = pair.unwrap().translate_request(body.as_bytes(), &options).unwrap();
        let mut stream = translated.context.stream_translator();
        let mut out = Vec::new();
        for choice in [delta(&json!({"reasoning_content": "hm"})), delta(&json!({"content": "a"}))]
        {
            let chunk = json!({"id": "c", "choices": [choice]});
            stream.push(format!("data: {chunk}\n\n").as_bytes(), &mut out);
        }
        stream.push(b"data: [DONE]\n\n", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.contains("reasoning_summary"), is_told, "{reasoning}: {text}");
        assert_eq!(text.contains("summary_text"), is_told, "{reasoning}: {text}");
        assert!(text.contains("hm") && text.contains("baton1_"), "{text}");
    }
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

/// What a client receives for the data of events, without OpenAI's end mark.
fn translate_events(client: ClientProtocol, events: &[&[u8]]) -> String {
    let mut stream = context(client).stream_translator();
    let mut out = Vec::new();
    for data in events {
        stream.push(&[b"data: ", *data, b"\n\n"].concat(), &mut out);
    }
    String::from_utf8(out).unwrap()
}

const CLIENTS: [(ClientProtocol, &str, &str); 2] = [
    (ClientProtocol::AnthropicMessages, "event: message_stop", "event: error"),
    (ClientProtocol::OpenaiResponses, "event: response.completed", "event: response.failed"),
];

/// Checks that a stream with these choices, each in a chunk, says `Hello`.
fn check_hello(choices: &[String]) {
    let chunks: Vec<_> =
        choices.iter().map(|choices| format!(r#"{{"id":"c","choices":{choices}}}"#)).collect();
    let mut events: Vec<_> = chunks.iter().map(String::as_bytes).collect();
    events.push(b"[DONE]");
    for (client, end, _) in CLIENTS {
        let text = translate_events(client, &events);
        let is_responses = client == ClientProtocol::OpenaiResponses;
        let is_said = if is_responses {
            text.contains(r#""text":"Hello""#)
        } else {
            text.contains(r#""text":"Hello""#)
                || (text.contains(r#""text":"Hel""#) && text.contains(r#""text":"lo""#))
        };
        assert!(is_said && text.contains(end), "{choices:?}: {text}");
        assert!(text.matches("Hel").count() <= if is_responses { 5 } else { 1 }, "{text}");
    }
    if let [whole] = chunks.as_slice() {
        let answer = context(CLIENTS[0].0).translate_response(whole.as_bytes()).unwrap();
        assert!(String::from_utf8(answer).unwrap().contains("Hello"), "{whole}");
    }
}

/// Servers send output in other fields than OpenAI's.
#[test]
fn output_in_every_field_is_translated() {
    let message = |more: &str| {
        format!(
            r#"[{{"index":0,"delta":{{}},"message":{{"role":"assistant",{more}}},"finish_reason":"stop"}}]"#
        )
    };
    let streams: &[&[String]] = &[
        &[message(r#""content":"Hello""#)],
        &[
            r#"[{"index":0,"delta":{"role":"assistant","content":""}}]"#.to_owned(),
            message(r#""content":"Hello""#),
        ],
        // MiniMax repeats all of it at the end.
        &[
            r#"[{"index":0,"delta":{"content":"Hel"}}]"#.to_owned(),
            r#"[{"index":0,"delta":{"content":"lo"}}]"#.to_owned(),
            message(r#""content":"Hello""#),
        ],
        &[
            r#"[{"index":0,"message":{"content":"Hel"}}]"#.to_owned(),
            r#"[{"index":0,"message":{"content":"lo"}}]"#.to_owned(),
        ],
        // Each message repeats the earlier ones.
        &[
            r#"[{"index":0,"delta":{},"message":{"content":"Hel"}}]"#.to_owned(),
            r#"[{"index":0,"delta":{},"message":{"content":"Hello"}}]"#.to_owned(),
            message(r#""content":"Hello""#),
        ],
        &[
            r#"[{"index":0,"delta":{"content":""},"message":{"content":"Hel"}}]"#.to_owned(),
            r#"[{"index":0,"delta":{"content":"lo"},"message":{"content":"Hello"}}]"#.to_owned(),
        ],
        &[
            r#"[{"index":0,"text":"Hel"}]"#.to_owned(),
            r#"[{"index":0,"text":"lo","finish_reason":"stop"}]"#.to_owned(),
        ],
        &[
            r#"[{"index":1,"delta":{"content":"Hel"}}]"#.to_owned(),
            r#"[{"index":1,"delta":{"content":"lo"},"finish_reason":"stop"}]"#.to_owned(),
        ],
        &[
            r#"[{"index":1,"delta":{"content":"x"}},{"index":0,"delta":{"content":"Hel"}}]"#
                .to_owned(),
            r#"[{"index":1,"delta":{"content":"x"}},{"index":0,"delta":{"content":"lo"}}]"#
                .to_owned(),
        ],
        &[r#"{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}"#.to_owned()],
        &[
            r#"[{"index":0,"delta":{"audio":{"id":"a","transcript":"Hel"}}}]"#.to_owned(),
            r#"[{"index":0,"delta":{"audio":{"data":"AAAA","transcript":"lo"}}}]"#.to_owned(),
        ],
        &[message(r#""content":null,"audio":{"id":"a","data":"AAAA","transcript":"Hello"}"#)],
    ];
    for choices in streams {
        check_hello(choices);
    }
}

/// The call of the deprecated field.
#[test]
fn function_call_is_a_call() {
    let streams: [&[&[u8]]; 3] = [
        &[
            br#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":null,"function_call":{"name":"f","arguments":""}}}]}"#,
            br#"{"id":"c","choices":[{"index":0,"delta":{"function_call":{"arguments":"{\"a\":"}}}]}"#,
            br#"{"id":"c","choices":[{"index":0,"delta":{"function_call":{"arguments":"1}"}}}]}"#,
            br#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"function_call"}]}"#,
        ],
        &[
            br#"{"id":"c","choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":"{\"a\":"}}}]}"#,
            br#"{"id":"c","choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":"1}"}}}]}"#,
        ],
        // In both fields.
        &[
            br#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"i","function":{"name":"f","arguments":"{\"a\":1}"}}],"function_call":{"name":"f","arguments":"{\"a\":1}"}}}]}"#,
        ],
    ];
    for events in streams {
        for (client, end, _) in CLIENTS {
            let text = translate_events(client, &[events, &[b"[DONE]"]].concat());
            let arguments = text.matches(r#"{\"a\":"#).count();
            let is_responses = client == ClientProtocol::OpenaiResponses;
            assert_eq!(arguments, if is_responses { 4 } else { 1 }, "{text}");
            assert!(text.contains(end) && text.contains(r#""name":"f""#), "{text}");
            assert!(is_responses || text.contains(r#""stop_reason":"tool_use""#), "{text}");
        }
    }
    let whole = json!({"id": "c", "choices": [{"index": 0, "finish_reason": "function_call",
        "message": {"content": null, "function_call": {"name": "f", "arguments": "{\"a\":1}"}}}]});
    for (client, ..) in CLIENTS {
        let answer = context(client).translate_response(whole.to_string().as_bytes()).unwrap();
        let calls = calls_in(&serde_json::from_slice(&answer).unwrap());
        assert_eq!(calls, [["call_c_0", "f", "{\"a\":1}"].map(str::to_owned)]);
    }
}

/// Output without a form in the client's protocol must not become an empty answer.
#[test]
fn answer_whose_output_cannot_be_translated_ends_with_an_error() {
    for part in [
        r#"{"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}"#,
        r#"{"audio":{"id":"a","data":"AAAA"}}"#,
        r#"{"tool_calls":[{"index":0,"id":"i","function":{"arguments":"{}"}}]}"#,
    ] {
        let chunk = format!(
            r#"{{"id":"c","choices":[{{"index":0,"delta":{part},"message":{part},"finish_reason":"stop"}}]}}"#
        );
        for (client, end, failure) in CLIENTS {
            for events in [&[chunk.as_bytes(), b"[DONE]"][..], &[chunk.as_bytes()]] {
                let mut stream = context(client).stream_translator();
                let mut out = Vec::new();
                for data in events {
                    stream.push(&[b"data: ", *data, b"\n\n"].concat(), &mut out);
                }
                stream.finish(&mut out);
                let text = String::from_utf8(out).unwrap();
                assert!(text.contains(failure) && !text.contains(end), "{part}: {text}");
            }
            let whole = context(client).translate_response(chunk.as_bytes());
            assert!(whole.is_err(), "{part}: {whole:?}");
            assert!(context(client).translate_response_to_events(chunk.as_bytes()).is_err());
        }
    }
    // A refusal, hidden thinking and no output at all are answers.
    for (part, reason) in [
        (r#"{"content":""}"#, "stop"),
        (r#"{"content":null}"#, "length"),
        (r#"{"field_of_tomorrow":"words"}"#, "content_filter"),
        (r#"{"reasoning_content":"words"}"#, "length"),
    ] {
        let chunk = format!(
            r#"{{"id":"c","choices":[{{"index":0,"delta":{part},"message":{part},"finish_reason":"{reason}"}}]}}"#
        );
        let text = translate_events(CLIENTS[0].0, &[chunk.as_bytes(), b"[DONE]"]);
        assert!(text.contains("event: message_stop"), "{part}: {text}");
        context(CLIENTS[0].0).translate_response(chunk.as_bytes()).unwrap();
    }
}

#[test]
fn error_in_place_of_a_chunk_ends_the_stream_with_an_error() {
    let chunk = br#"{"id":"c","choices":[{"index":0,"delta":{"content":"half"}}]}"#.as_slice();
    for error in [
        r#"{"object":"error","message":"NO","type":"InternalServerError","code":500}"#,
        r#"{"text":"NO","error_code":50001}"#,
        r#"{"code":50505,"message":"NO","data":null}"#,
        r#"{"id":"x","choices":null,"base_resp":{"status_code":1000,"status_msg":"NO"}}"#,
        r#"{"success":false,"msg":"NO"}"#,
        r#"[{"error":{"code":503,"message":"NO","status":"UNAVAILABLE"}}]"#,
    ] {
        for (client, end, failure) in CLIENTS {
            let text = translate_events(client, &[chunk, error.as_bytes(), b"[DONE]"]);
            assert!(text.contains(failure) && !text.contains(end), "{error}: {text}");
            assert!(text.contains("NO"), "{error}: {text}");
        }
    }
}

#[test]
fn events_that_are_not_strict_json_are_translated() {
    let chunks: [&[u8]; 3] = [
        br#"{"id":"c","choices":[{"index":0,"delta":{"content":"one "},"logprobs":NaN}]}"#,
        b"{\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"caf\xe9\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1336,\"completion_tokens\":3}}",
        b"[DONE]",
    ];
    for (client, end, _) in CLIENTS {
        let text = translate_events(client, &chunks);
        assert!(text.contains("one ") && text.contains("caf\u{fffd}"), "{text}");
        assert!(text.contains(end) && text.contains("1336"), "{text}");
    }
}

/// A call in each `message` of a stream is the same call, as far as it has arrived.
#[test]
fn call_in_messages_that_repeat_each_other_comes_once() {
    let message = |arguments: &str| {
        let call = json!({"id": "a", "function": {"name": "f", "arguments": arguments}});
        json!({"choices": [{"index": 0, "message": {"reasoning": "Hm", "tool_calls": [call]}}]})
            .to_string()
    };
    let whole = message(r#"{"x":1}"#);
    let events = [message(r#"{"x""#), whole.clone(), whole];
    let mut events: Vec<_> = events.iter().map(String::as_bytes).collect();
    events.push(b"[DONE]");
    let text = translate_events(ClientProtocol::OpenaiResponses, &events);
    assert!(text.contains(r#""arguments":"{\"x\":1}""#), "{text}");
    assert_eq!(text.matches("response.function_call_arguments.done").count(), 2, "{text}");
}

/// A model can use up its tokens before it says anything, and some fields are not output.
#[test]
fn answer_without_words_is_empty() {
    for (fields, reason) in [
        (r#""content":"","channel":"final""#, "stop"),
        (r#""content":"","extra_content":{"google":{"thought_signature":"s"}}"#, "stop"),
        (r#""content":"","future":"x""#, "length"),
        (r#""content":"","weight":"1""#, "stop"),
        (r#""content":"","reasoning":"Hm""#, "stop"),
        (r#""content":"","future":"x""#, "model_context_window_exceeded"),
    ] {
        for (client, ..) in CLIENTS {
            let choice = |field: &str| {
                format!(
                    r#"{{"choices":[{{"index":0,"{field}":{{{fields}}},"finish_reason":"{reason}"}}]}}"#
                )
            };
            let text = translate_events(client, &[choice("delta").as_bytes(), b"[DONE]"]);
            let is_ended = ["message_stop", "response.completed", "response.incomplete"]
                .iter()
                .any(|end| text.contains(&format!("event: {end}")));
            assert!(is_ended, "{fields}: {text}");
            let whole = context(client).translate_response(choice("message").as_bytes());
            assert!(whole.is_ok(), "{fields}: {whole:?}");
        }
    }
}

#[test]
fn error_beside_no_choices_is_no_empty_answer() {
    for error in [
        r#"{"choices":[],"base_resp":{"status_code":1000,"status_msg":"NO"}}"#,
        r#"{"choices":[],"code":500,"message":"NO","object":"error"}"#,
        r#"{"choices":null,"code":500,"message":"NO"}"#,
    ] {
        for (client, end, failed) in CLIENTS {
            let text = translate_events(client, &[error.as_bytes(), b"[DONE]"]);
            assert!(text.contains(failed) && !text.contains(end), "{error}: {text}");
            assert!(context(client).translate_response(error.as_bytes()).is_err(), "{error}");
        }
    }
}
