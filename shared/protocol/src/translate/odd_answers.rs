//! Tables of whole answers in unusual forms that are translated.

use super::*;

const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
const MESSAGES: &str =
    r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;

fn context(client: ClientProtocol, upstream: UpstreamProtocol) -> ResponseContext {
    let body = if matches!(client, ClientProtocol::OpenaiChat) { CHAT } else { MESSAGES };
    let pair = ProtocolPair::between(client, upstream).unwrap();
    let options = TranslationOptions::new("m", "req_1");
    pair.translate_request(body.as_bytes(), &options).unwrap().context
}

fn check(context: &ResponseContext, body: &str, is_answer: bool) {
    let whole = context.translate_response(body.as_bytes());
    let events = context.translate_response_to_events(body.as_bytes());
    for translated in [whole, events] {
        assert_eq!(translated.is_ok(), is_answer, "{body}");
        if let Ok(text) = translated {
            assert!(String::from_utf8(text).unwrap().contains("Hello"), "{body}");
        }
    }
}

const COMPLETION: &str = r#""choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7}"#;
const RESPONSE: &str = r#""id":"r","object":"response","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hello"}]}]"#;
const MESSAGE: &str = r#""role":"assistant","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","usage":{"input_tokens":11,"output_tokens":7}"#;

#[test]
fn errors_that_say_nothing_marks_and_infinite_numbers_are_no_obstacle() {
    let messages = ClientProtocol::AnthropicMessages;
    let answers = [
        (context(messages, UpstreamProtocol::Chat), COMPLETION),
        (context(messages, UpstreamProtocol::Responses), RESPONSE),
    ];
    for (context, fields) in &answers {
        for error in ["null", "\"\"", "{}", "false", "0", "[]", r#"{"code":0,"message":""}"#] {
            check(context, &format!(r#"{{{fields},"error":{error}}}"#), true);
        }
        for error in ["\"no\"", "true", r#"{"code":5}"#, r#"{"code":0,"message":"no"}"#] {
            check(context, &format!(r#"{{{fields},"error":{error}}}"#), false);
        }
        check(context, &format!("\u{feff}{{{fields}}}"), true);
        check(context, &format!(r#"{{{fields},"x":[NaN,-Infinity]}}"#), true);
        check(context, r#"{"error":{}}"#, false);
    }
    let context = context(ClientProtocol::OpenaiChat, UpstreamProtocol::Messages);
    check(&context, &format!("{{{MESSAGE}}}"), true);
    check(&context, &format!("\u{feff}{{\"type\":\"message\",{MESSAGE}}}"), true);
    check(&context, &format!("{{\"type\":\"other\",{MESSAGE}}}"), false);
    check(&context, "{}", false);
}

#[test]
fn errors_in_events_that_say_nothing_are_no_obstacle() {
    let context = context(ClientProtocol::AnthropicMessages, UpstreamProtocol::Responses);
    for (error, is_answer) in [
        ("null", true),
        ("\"\"", true),
        ("[]", true),
        ("{}", true),
        (r#"{"code":0,"message":""}"#, true),
        (r#"{"code":5,"message":"no"}"#, false),
    ] {
        let created = r#""type":"response.created","response":{"status":"in_progress"}"#;
        let completed = format!(r#""type":"response.completed","response":{{{RESPONSE}}}"#);
        let body: String = [created, &completed]
            .map(|fields| format!("data: {{{fields},\"error\":{error}}}\n\n"))
            .concat();
        let events = context.translate_response_to_events(body.as_bytes());
        assert_eq!(events.is_ok(), is_answer, "{error}: {events:?}");
    }
}

#[test]
fn events_without_their_content_type_are_translated() {
    let context = context(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat);
    let chunk =
        r#"data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":END}]}"#;
    let end = chunk.replace("END", "\"stop\"");
    for body in [
        format!("{end}\n\ndata: [DONE]\n\n"),
        format!("{end}\n\n"),
        format!("\u{feff}: comment\n\n{end}\n\ndata: [DONE]\n\n"),
        format!("\n event: x\n{end}\n\ndata: [DONE]"),
    ] {
        let events = context.translate_response_to_events(body.as_bytes()).unwrap();
        let events = String::from_utf8(events).unwrap();
        assert!(events.contains("Hello") && events.contains("message_stop"), "{body}: {events}");
    }
    for body in [
        format!("{}\n\n", chunk.replace("END", "null")),
        "data: {\"error\":{\"message\":\"m\"}}\n\n".to_owned(),
        "data: [DONE]\n\n".to_owned(),
        ": comment\n\n".to_owned(),
    ] {
        assert!(context.translate_response_to_events(body.as_bytes()).is_err(), "{body}");
    }
}
