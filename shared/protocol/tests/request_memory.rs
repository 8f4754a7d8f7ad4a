//! The memory in which a request is translated has a bound that depends on the body's length.
#![expect(clippy::cast_precision_loss, reason = "for show")]
#![expect(clippy::too_many_lines, reason = "a table")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, TranslationOptions, UpstreamProtocol,
};

/// The memory of a translation as a multiple of the body's length. The relay counts with it
/// (`body_workers.rs`).
const MOST: u64 = 12;

#[test]
fn memory_of_a_translation_is_bounded() {
    let bytes = 1_000_000;
    let of = |piece: &str| vec![piece; bytes / (piece.len() + 1)].join(",");
    for (client, upstreams, bodies) in [
        (
            ClientProtocol::AnthropicMessages,
            vec![UpstreamProtocol::Chat, UpstreamProtocol::Responses],
            vec![
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":[{}]}}]}}"#,
                    of(r#"{"type":"text","text":""}"#)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{}]}}"#,
                    of(r#"{"role":"user","content":""}"#)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{}]}}"#,
                    of(r#"{"role":"user","content":"x"},{"role":"assistant","content":"y"}"#)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{}]}}"#,
                    of(r#"{"role":"system","content":"x"}"#)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"assistant","content":[{}]}}]}}"#,
                    of(r#"{"type":"tool_use","id":"","name":"","input":{}}"#)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":[{}]}}]}}"#,
                    of(r#"{"type":"tool_result","tool_use_id":""}"#)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":[{}]}}]}}"#,
                    of(
                        r#"{"type":"tool_result","tool_use_id":"","content":[{"type":"text","text":""}]}"#
                    )
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":[{}]}}]}}"#,
                    of(r#"{"type":"image","source":{"type":"url","url":""}}"#)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"x"}}],"tools":[{}]}}"#,
                    of(r#"{"name":"a","input_schema":{}}"#)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"x"}}],"tools":[{{"name":"a","input_schema":{{"enum":[{}]}}}}]}}"#,
                    of("0")
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"x"}}],"tools":[{{"name":"a","input_schema":{{"enum":[{}]}}}}]}}"#,
                    of("[]")
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"x"}}],"stop_sequences":[{}]}}"#,
                    of("\"\"")
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"{}"}}]}}"#,
                    "x".repeat(bytes)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"{}"}}]}}"#,
                    "\\n".repeat(bytes / 2)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"{}"}}]}}"#,
                    "\\ud800".repeat(bytes / 6)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"{}"}}]}}"#,
                    "\\u0001".repeat(bytes / 6)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{}"}}}}]}}]}}"#,
                    "x".repeat(bytes)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"x"}}],{}}}"#,
                    (0..4000).map(|n| format!(r#""{n}":0"#)).collect::<Vec<_>>().join(",")
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{}]}}"#,
                    of(r#"{"role":"user","content":"","a":0,"b":0,"c":0,"d":0}"#)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":[{}]}}]}}"#,
                    of(r#"{"type":"text","text":"","cache_control":{"type":"ephemeral"}}"#)
                ),
                format!(
                    r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":[{}]}}]}}"#,
                    of(r#"{"type":"text","text":"","citations":[]}"#)
                ),
            ],
        ),
        (
            ClientProtocol::OpenaiChat,
            vec![UpstreamProtocol::Messages, UpstreamProtocol::Responses],
            vec![
                format!(
                    r#"{{"model":"m","messages":[{{"role":"user","content":[{}]}}]}}"#,
                    of(r#"{"type":"text","text":""}"#)
                ),
                format!(
                    r#"{{"model":"m","messages":[{{"role":"user","content":[{}]}}]}}"#,
                    of(r#"{"type":"text","text":"a"}"#)
                ),
                format!(
                    r#"{{"model":"m","messages":[{}]}}"#,
                    of(r#"{"role":"user","content":"a"}"#)
                ),
                format!(
                    r#"{{"model":"m","messages":[{}]}}"#,
                    of(r#"{"role":"user","content":"x"},{"role":"assistant","content":"y"}"#)
                ),
                format!(
                    r#"{{"model":"m","messages":[{}]}}"#,
                    of(r#"{"role":"system","content":"a"}"#)
                ),
                format!(
                    r#"{{"model":"m","messages":[{}]}}"#,
                    of(r#"{"role":"tool","tool_call_id":"","content":""}"#)
                ),
                format!(
                    r#"{{"model":"m","messages":[{{"role":"assistant","tool_calls":[{}]}}]}}"#,
                    of(r#"{"id":"","type":"function","function":{"name":"","arguments":""}}"#)
                ),
                format!(
                    r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],"tools":[{}]}}"#,
                    of(r#"{"type":"function","function":{"name":"a"}}"#)
                ),
                format!(
                    r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],"stop":[{}]}}"#,
                    of("\"\"")
                ),
                format!(
                    r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#,
                    "x".repeat(bytes)
                ),
                format!(
                    r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#,
                    "\\ud800".repeat(bytes / 6)
                ),
                format!(
                    r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{}"}}}}]}}]}}"#,
                    "x".repeat(bytes)
                ),
            ],
        ),
        (
            ClientProtocol::OpenaiResponses,
            vec![UpstreamProtocol::Messages, UpstreamProtocol::Chat],
            responses(bytes, &of),
        ),
    ] {
        let each =
            upstreams.iter().flat_map(|upstream| bodies.iter().map(move |it| (*upstream, it)));
        for (upstream, body) in each {
            let pair = ProtocolPair::between(client, upstream).unwrap();
            let options = TranslationOptions::new("m", "req_1");
            let memory = allocation_counter::measure(|| {
                drop(pair.translate_request(body.as_bytes(), &options));
            });
            let start: String = body.chars().take(120).collect();
            // A tool without parameters gets a whole schema.
            let most = if start.contains("custom") { 20 } else { MOST };
            let most = most * body.len() as u64 + 64 * 1024;
            println!("{:5.2} {start}", memory.bytes_max as f64 / body.len() as f64);
            assert!(memory.bytes_max <= most, "{client:?}, {upstream:?}: {memory:?} {start}");
        }
    }
}

/// No value of a request is copied once for each entry of another list, and what an entry becomes is
/// not much longer than the entry.
#[test]
fn repeated_values_are_bounded() {
    let list = |count: usize, piece: &str| vec![piece; count].join(",");
    let namespace = |bytes: usize, count: usize, tool: &str| {
        let (name, tools) = ("A".repeat(bytes), list(count, tool));
        format!(
            r#"{{"model":"m","input":"a","tools":[{{"type":"namespace","name":"{name}","tools":[{tools}]}}]}}"#
        )
    };
    let messages = |content: &str, tools: &str| {
        format!(
            r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"assistant","content":[{content}]}}],"tools":[{tools}]}}"#
        )
    };
    let thinking = |json: &str| {
        let state = URL_SAFE_NO_PAD.encode(json);
        format!(r#"{{"type":"thinking","thinking":"a","signature":"baton1_{state}"}}"#)
    };
    let details = |pieces: &str| thinking(&format!(r#"{{"model":"m","details":[{pieces}]}}"#));
    let signed = thinking(&format!(r#"{{"model":"m","call":["a","{}"]}}"#, "x".repeat(100_000)));
    let calls = list(1_000, r#"{"type":"tool_use","id":"a","name":"n","input":{}}"#);
    let item = |pieces: &str| {
        format!(
            r#"{{"model":"m","input":[{{"type":"reasoning","encrypted_content":"baton1_{}"}}]}}"#,
            URL_SAFE_NO_PAD.encode(format!(r#"{{"model":"m","details":[{pieces}]}}"#))
        )
    };
    let editors = list(20_000, r#"{"type":"text_editor_20250728","name":"a"}"#);
    let (messages_client, responses_client) =
        (ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiResponses);
    let function = r#"{"type":"function","name":"t"}"#;
    for (name, client, body) in [
        ("namespace", responses_client, namespace(100_000, 1_000, function)),
        ("short namespace", responses_client, namespace(256, 30_000, function)),
        (
            "custom namespace",
            responses_client,
            namespace(256, 30_000, r#"{"type":"custom","name":"t"}"#),
        ),
        ("client tools", messages_client, messages("", &editors)),
        ("nodes", messages_client, messages(&details(&list(300_000, r#"{"":0}"#)), "")),
        ("numbers", messages_client, messages(&details(&list(700_000, "0")), "")),
        (
            "long nodes",
            messages_client,
            messages(&details(&list(100_000, r#"{"":[0,0,0,0]}"#)), ""),
        ),
        ("item", responses_client, item(&list(300_000, r#"{"":0}"#))),
        ("signed calls", messages_client, messages(&format!("{signed},{calls}"), "")),
    ] {
        for upstream in
            [UpstreamProtocol::Chat, UpstreamProtocol::Responses, UpstreamProtocol::Messages]
        {
            let Some(pair) = ProtocolPair::between(client, upstream) else { continue };
            let options = TranslationOptions::new("m", "req_1");
            let (mut bytes, mut error) = (0, None);
            let memory = allocation_counter::measure(|| {
                match pair.translate_request(body.as_bytes(), &options) {
                    Ok(made) => bytes = made.body.len(),
                    Err(refusal) => error = Some(refusal),
                }
            });
            let growth = memory.bytes_max as f64 / body.len() as f64;
            println!("{growth:6.2} {name}, {upstream:?}: {} B, {error:?}", body.len());
            let most = MOST * body.len() as u64 + 64 * 1024;
            assert!(memory.bytes_max <= most, "{name}, {upstream:?}: {memory:?}");
            assert!(bytes <= 4 * body.len() + 256 * 1024, "{name}, {upstream:?}: {bytes}");
        }
    }
}

/// Writes a tool with this name.
type ToolForm<'f> = &'f dyn Fn(&str) -> String;

#[test]
fn names_of_tools_are_bounded() {
    use ClientProtocol::{AnthropicMessages, OpenaiChat, OpenaiResponses};
    let pairs = [
        (AnthropicMessages, UpstreamProtocol::Chat),
        (AnthropicMessages, UpstreamProtocol::Responses),
        (OpenaiChat, UpstreamProtocol::Messages),
        (OpenaiChat, UpstreamProtocol::Responses),
        (OpenaiResponses, UpstreamProtocol::Messages),
        (OpenaiResponses, UpstreamProtocol::Chat),
    ];
    let wrap = |tool: &str| {
        format!(
            r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"a"}}],"tools":[{tool}]}}"#
        )
    };
    let forms: [(&[ClientProtocol], ToolForm<'_>); 7] = [
        (&[AnthropicMessages], &|name| format!(r#"{{"name":"{name}","input_schema":{{}}}}"#)),
        (&[AnthropicMessages], &|name| format!(r#"{{"type":"bash_20250124","name":"{name}"}}"#)),
        (&[OpenaiChat], &|name| format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#)),
        (&[OpenaiChat], &|name| format!(r#"{{"type":"custom","custom":{{"name":"{name}"}}}}"#)),
        (&[OpenaiResponses, OpenaiChat], &|name| {
            format!(r#"{{"type":"function","name":"{name}"}}"#)
        }),
        (&[OpenaiResponses], &|name| format!(r#"{{"type":"custom","name":"{name}"}}"#)),
        (&[OpenaiResponses], &|name| {
            format!(
                r#"{{"type":"namespace","name":"{name}","tools":[{{"type":"function","name":"a"}}]}}"#
            )
        }),
    ];
    for (client, upstream) in pairs {
        let pair = ProtocolPair::between(client, upstream).unwrap();
        for (index, (_, tool)) in
            forms.iter().enumerate().filter(|(_, (clients, _))| clients.contains(&client))
        {
            for (bytes, is_accepted) in [(256, true), (257, false)] {
                let body = wrap(&tool(&"n".repeat(bytes))).replace(
                    "messages",
                    match client {
                        OpenaiResponses => "input",
                        _ => "messages",
                    },
                );
                let made = pair
                    .translate_request(body.as_bytes(), &TranslationOptions::new("m", "req_1"))
                    .map(|_| ())
                    .map_err(|error| error.to_string());
                assert_eq!(made.is_ok(), is_accepted, "{client:?} {index} {bytes}: {made:?}");
                if let Err(text) = made {
                    assert!(text.starts_with("tools[]") && text.contains("256 bytes"), "{text}");
                }
            }
        }
    }
}

#[test]
fn stop_sequences_are_bounded() {
    let messages =
        ProtocolPair::between(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat).unwrap();
    let chat =
        ProtocolPair::between(ClientProtocol::OpenaiChat, UpstreamProtocol::Messages).unwrap();
    for (pair, field) in [(messages, "stop_sequences"), (chat, "stop")] {
        for (count, is_accepted) in [(1_024, true), (1_025, false)] {
            let stops = vec!["\"a\""; count].join(",");
            let body = format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],"{field}":[{stops}]}}"#
            );
            let made = pair
                .translate_request(body.as_bytes(), &TranslationOptions::new("m", "req_1"))
                .map(|_| ())
                .map_err(|error| error.to_string());
            assert_eq!(made.is_ok(), is_accepted, "{field} {count} {made:?}");
        }
    }
}

fn responses(bytes: usize, of: &dyn Fn(&str) -> String) -> Vec<String> {
    vec![
        format!(
            r#"{{"model":"m","input":[{{"role":"user","content":[{}]}}]}}"#,
            of(r#"{"type":"input_text","text":"a"}"#)
        ),
        format!(r#"{{"model":"m","input":[{}]}}"#, of(r#"{"role":"user","content":"a"}"#)),
        format!(
            r#"{{"model":"m","input":[{}]}}"#,
            of(r#"{"role":"user","content":"x"},{"role":"assistant","content":"y"}"#)
        ),
        format!(r#"{{"model":"m","input":[{}]}}"#, of(r#"{"type":"reasoning","summary":[]}"#)),
        format!(
            r#"{{"model":"m","input":[{}]}}"#,
            of(r#"{"type":"function_call","call_id":"","name":"a","arguments":""}"#)
        ),
        format!(
            r#"{{"model":"m","input":[{}]}}"#,
            of(r#"{"type":"function_call_output","call_id":"","output":""}"#)
        ),
        format!(
            r#"{{"model":"m","input":"a","tools":[{}]}}"#,
            of(r#"{"type":"function","name":"a"}"#)
        ),
        format!(
            r#"{{"model":"m","input":"a","tools":[{}]}}"#,
            of(r#"{"type":"custom","name":"a"}"#)
        ),
        format!(
            r#"{{"model":"m","input":"a","tools":[{{"type":"namespace","name":"a","tools":[{}]}}]}}"#,
            of(r#"{"type":"custom","name":"a"}"#)
        ),
        format!(r#"{{"model":"m","input":"{}"}}"#, "x".repeat(bytes)),
        format!(r#"{{"model":"m","input":"a","instructions":"{}"}}"#, "x".repeat(bytes)),
        format!(r#"{{"model":"m","input":"{}"}}"#, "\\ud800".repeat(bytes / 6)),
        format!(r#"{{"model":"m","input":"a","metadata":{{"a":"{}"}}}}"#, "x".repeat(bytes)),
        format!(
            r#"{{"model":"m","input":[{}]}}"#,
            of(r#"{"type":"message","role":"user","content":[]}"#)
        ),
    ]
}
