//! The memory in which a request is translated has a bound that depends on the body's length.
#![expect(clippy::cast_precision_loss, reason = "for show")]
#![expect(clippy::too_many_lines, reason = "a table")]

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
