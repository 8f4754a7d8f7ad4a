//! Checks that each nested construct that a reader follows has a bound, and that a hostile depth is
//! refused before it costs memory or time.

use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, TranslationError, TranslationOptions, UpstreamProtocol,
};

/// A request whose `{}` is where `open` and `close` are repeated around `inner`.
struct Construct {
    name: &'static str,
    client: ClientProtocol,
    choices: (&'static str, &'static str),
    open: &'static str,
    close: &'static str,
    inner: &'static str,
}

const USER: (&str, &str) =
    (r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":["#, "]}]}");

const fn block(name: &'static str, open: &'static str, close: &'static str) -> Construct {
    let inner = r#"{"type":"text","text":"x"}"#;
    Construct { name, client: ClientProtocol::AnthropicMessages, choices: USER, open, close, inner }
}

/// Constructs that a reader follows recursively.
const FOLLOWED: [Construct; 6] = [
    block("tool_result", r#"{"type":"tool_result","tool_use_id":"x","content":["#, "]}"),
    block("search_result", r#"{"type":"search_result","content":["#, "]}"),
    block("document", r#"{"type":"document","source":{"type":"content","content":["#, "]}}"),
    block(
        "mixed",
        r#"{"type":"tool_result","content":[{"type":"search_result","content":["#,
        "]}]}",
    ),
    Construct {
        name: "system",
        choices: (r#"{"model":"m","messages":[],"system":["#, "]}"),
        ..block("", r#"{"type":"tool_result","content":["#, "]}")
    },
    Construct {
        name: "namespace",
        client: ClientProtocol::OpenaiResponses,
        choices: (r#"{"model":"m","input":"x","tools":["#, "]}"),
        open: r#"{"type":"namespace","name":"n","tools":["#,
        close: "]}",
        inner: r#"{"type":"function","name":"f"}"#,
    },
];

const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"#;
const RESPONSES: &str = r#"{"model":"m","input":[{"role":"user","content":"#;

/// Constructs that pass unchanged or are not followed.
const OTHER: [(&str, ClientProtocol, &str, &str, &str, &str); 9] = [
    (
        "content in chat",
        ClientProtocol::OpenaiChat,
        CHAT,
        r#"[{"type":"text","content":"#,
        "}]",
        "}]}",
    ),
    (
        "content in Responses",
        ClientProtocol::OpenaiResponses,
        RESPONSES,
        r#"[{"type":"x","content":"#,
        "}]",
        "}]}",
    ),
    (
        "output in Responses",
        ClientProtocol::OpenaiResponses,
        r#"{"model":"m","input":[{"type":"function_call_output","output":"#,
        r#"[{"output":"#,
        "}]",
        "}]}",
    ),
    ("input items", ClientProtocol::OpenaiResponses, r#"{"model":"m","input":"#, "[", "]", "}"),
    ("messages", ClientProtocol::OpenaiChat, r#"{"model":"m","messages":"#, "[", "]", "}"),
    (
        "schema",
        ClientProtocol::AnthropicMessages,
        r#"{"model":"m","messages":[],"tools":[{"name":"f","input_schema":"#,
        r#"{"a":"#,
        "}",
        "}]}",
    ),
    (
        "parameters",
        ClientProtocol::OpenaiChat,
        r#"{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":"#,
        r#"{"a":"#,
        "}",
        "}}]}",
    ),
    (
        "an unknown field",
        ClientProtocol::OpenaiResponses,
        r#"{"model":"m","input":"x","y":"#,
        "[",
        "]",
        "}",
    ),
    (
        "metadata",
        ClientProtocol::OpenaiChat,
        r#"{"model":"m","messages":[],"metadata":"#,
        r#"{"a":"#,
        "}",
        "}",
    ),
];

fn request(client: ClientProtocol, body: &str) -> Result<Vec<u8>, TranslationError> {
    let upstream = if client == ClientProtocol::AnthropicMessages {
        UpstreamProtocol::Chat
    } else {
        UpstreamProtocol::Messages
    };
    let pair = ProtocolPair::between(client, upstream).unwrap();
    let options = TranslationOptions::new("claude-opus-5-5", "req_1");
    pair.translate_request(body.as_bytes(), &options).map(|translated| translated.body)
}

#[test]
fn nested_contents_are_bounded() {
    for Construct { name, client, choices, open, close, inner } in FOLLOWED {
        let body = |depth| {
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            format!("{}{open}{inner}{close}{}", choices.0, choices.1)
        };
        assert!(request(client, &body(3)).is_ok(), "{name}");
        for depth in [9, 12] {
            assert_eq!(
                request(client, &body(depth)),
                Err(TranslationError::NestedContent),
                "{name}"
            );
        }
        for depth in [64, 1_000, 100_000] {
            assert_eq!(request(client, &body(depth)), Err(TranslationError::TooDeep), "{name}");
        }
    }
}

#[test]
fn json_nesting_is_bounded() {
    for (name, client, before, open, close, after) in OTHER {
        let body = |depth| format!("{before}{}1{}{after}", open.repeat(depth), close.repeat(depth));
        for depth in [64, 1_000, 300_000] {
            assert_eq!(request(client, &body(depth)), Err(TranslationError::TooDeep), "{name}");
        }
        // Fewer levels can be refused for their form, but not for their depth.
        let few = request(client, &body(20));
        assert!(!matches!(few, Err(TranslationError::TooDeep)), "{name}: {few:?}");
    }
    let many =
        format!(r#"{{"model":"m","max_tokens":1,"messages":[],"x":[{}0]}}"#, "[],".repeat(600_000));
    assert_eq!(
        request(ClientProtocol::AnthropicMessages, &many),
        Err(TranslationError::ManyContainers)
    );
    let text = TranslationError::TooDeep.to_string();
    assert!(text.contains("At most 64"), "{text}");
    let text = TranslationError::NestedContent.to_string();
    assert!(text.contains("At most 8"), "{text}");
}

#[test]
fn deep_arguments_are_kept_as_text() {
    let deep = |depth| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let body = |arguments: &str| {
        serde_json::json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{
            "id": "a", "type": "function", "function": {"name": "f", "arguments": arguments},
        }]}]})
        .to_string()
    };
    for depth in [10, 64, 65, 100_000] {
        let sent = request(ClientProtocol::OpenaiChat, &body(&deep(depth))).unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
        let input = &sent["messages"][0]["content"][0]["input"];
        assert_eq!(input.get("arguments").is_some(), depth > 64, "{depth}");
    }
}

#[test]
fn answer_nesting_is_bounded() {
    let requested = |client: ClientProtocol| {
        let upstream = if client == ClientProtocol::AnthropicMessages {
            UpstreamProtocol::Chat
        } else {
            UpstreamProtocol::Messages
        };
        let ask = br#"{"model":"m","messages":[],"input":[]}"#;
        let pair = ProtocolPair::between(client, upstream).unwrap();
        pair.translate_request(ask, &TranslationOptions::new("claude-opus-5-5", "req_1"))
            .unwrap()
            .context
    };
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let whole = format!(r#"{{"type":"message","choices":[],"content":{deep},"error":{deep}}}"#);
    for client in [
        ClientProtocol::AnthropicMessages,
        ClientProtocol::OpenaiChat,
        ClientProtocol::OpenaiResponses,
    ] {
        let context = requested(client);
        assert!(context.translate_response(whole.as_bytes()).is_err());
        assert!(!context.translate_error(500, whole.as_bytes()).is_empty());
        let (mut stream, mut out) = (context.stream_translator(), Vec::new());
        let event = format!("event: content_block_start\ndata: {whole}\n\n");
        stream.push(event.as_bytes(), &mut out);
        assert!(stream.is_over(), "such an event is an error");
    }
}

#[test]
fn endless_upstream_repetition_is_bounded() {
    let pair =
        ProtocolPair::between(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat).unwrap();
    let ask = br#"{"model":"m","messages":[]}"#;
    let context =
        pair.translate_request(ask, &TranslationOptions::new("m", "req_1")).unwrap().context;
    let calls = |count: usize| {
        let call =
            |index| format!(r#"{{"index":{index},"id":"c{index}","function":{{"name":"f"}}}}"#);
        let calls: Vec<String> = (0..count).map(call).collect();
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{}]}}}}]}}\n\n",
            calls.join(",")
        )
    };
    for (count, is_over) in [(256, false), (257, true), (50_000, true)] {
        let (mut stream, mut out) = (context.stream_translator(), Vec::new());
        stream.push(calls(count).as_bytes(), &mut out);
        assert_eq!(stream.is_over(), is_over, "{count}");
    }
    let id = "i".repeat(100_000);
    let (mut stream, mut out) = (context.stream_translator(), Vec::new());
    stream.push(format!("data: {{\"id\":\"{id}\",\"choices\":[]}}\n\n").as_bytes(), &mut out);
    assert!(!out.is_empty() && out.len() < 10_000, "{}", out.len());
}
