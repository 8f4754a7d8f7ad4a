//! Answers without any content: a model can end its turn at once, and a filter can remove all. The
//! client gets a whole and empty answer with its usage, not an error.

use baton_protocol::meter::UsageMeter;
use baton_protocol::response_form::check_whole_response;
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, ResponseContext, TranslationOptions, UpstreamProtocol,
};
use serde_json::{Value, json};

const CLIENTS: [ClientProtocol; 3] = [
    ClientProtocol::AnthropicMessages,
    ClientProtocol::OpenaiChat,
    ClientProtocol::OpenaiResponses,
];

fn context(client: ClientProtocol, upstream: UpstreamProtocol) -> Option<ResponseContext> {
    let pair = ProtocolPair::between(client, upstream)?;
    let body = json!({
        "model": "m", "max_tokens": 9, "input": [{"role": "user", "content": "hi"}],
        "messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": true},
        "stream": true,
    });
    let options = TranslationOptions { created: 1, ..TranslationOptions::new("m", "req_1") };
    Some(pair.translate_request(body.to_string().as_bytes(), &options).unwrap().context)
}

fn stream(context: &ResponseContext, events: &str) -> Result<String, String> {
    for size in [events.len(), 7] {
        let (mut translator, mut out) = (context.stream_translator(), Vec::new());
        events.as_bytes().chunks(size.max(1)).for_each(|bytes| translator.push(bytes, &mut out));
        let is_whole = translator.is_over() || translator.finish(&mut out);
        let text = String::from_utf8(out).unwrap();
        if !is_whole || translator.has_failed() {
            return Err(text);
        }
        if size == 7 {
            return Ok(text);
        }
    }
    unreachable!("two sizes")
}

/// Checks the client's whole answer: nothing is said, the usage is there, and it has ended.
fn check_whole(client: ClientProtocol, answer: &Value) {
    let text = answer.to_string();
    match client {
        ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
            assert_eq!(answer["content"], json!([]), "{text}");
            assert_eq!(answer["stop_reason"], "end_turn", "{text}");
            assert_eq!(answer["usage"]["input_tokens"], 7, "{text}");
        }
        ClientProtocol::OpenaiChat => {
            let choice = &answer["choices"][0];
            assert_eq!(choice["finish_reason"], "stop", "{text}");
            assert!(choice["message"]["content"].as_str().unwrap_or_default().is_empty(), "{text}");
            assert_eq!(answer["usage"]["prompt_tokens"], 7, "{text}");
        }
        ClientProtocol::OpenaiResponses => {
            assert_eq!(answer["status"], "completed", "{text}");
            assert_eq!(answer["usage"]["input_tokens"], 7, "{text}");
        }
    }
}

/// Checks the client's stream.
fn check_stream(client: ClientProtocol, events: &str) {
    let ends: &[&str] = match client {
        ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
            &["event: message_start", "\"end_turn\"", "event: message_stop"]
        }
        ClientProtocol::OpenaiChat => &["\"finish_reason\":\"stop\"", "data: [DONE]"],
        ClientProtocol::OpenaiResponses => &["response.created", "response.completed"],
    };
    for end in ends {
        assert!(events.contains(end), "{client:?}: no {end} in {events}");
    }
    assert!(!events.contains("\"error\":{"), "{client:?}: {events}");
}

const CHAT_USAGE: &str = r#""usage":{"prompt_tokens":7,"completion_tokens":0,"total_tokens":7}"#;

#[test]
fn answer_without_choices_is_empty_in_every_translation() {
    let wholes = [
        format!(r#"{{"id":"c","object":"chat.completion","choices":[],{CHAT_USAGE}}}"#),
        format!(r#"{{"id":"c","object":"chat.completion","choices":null,{CHAT_USAGE}}}"#),
        format!(
            r#"{{"id":"c","choices":[{{"index":0,"message":{{"role":"assistant","content":null}},"finish_reason":"stop"}}],{CHAT_USAGE}}}"#
        ),
    ];
    let chunk =
        format!(r#"data: {{"id":"c","object":"chat.completion.chunk","choices":[],{CHAT_USAGE}}}"#);
    let filters = r#"data: {"id":"","choices":[],"prompt_filter_results":[]}"#;
    let streams = [
        format!("{chunk}\n\ndata: [DONE]\n\n"),
        format!("{chunk}\n\n"),
        format!("{filters}\n\n{chunk}\n\ndata: [DONE]\n\n"),
        format!("{}\n\ndata: [DONE]\n\n", chunk.replace("\"choices\":[]", "\"choices\":null")),
    ];
    for client in CLIENTS {
        let Some(context) = context(client, UpstreamProtocol::Chat) else { continue };
        for whole in &wholes {
            check_whole_response(Some(b"application/json"), whole.as_bytes(), false).unwrap();
            let answer = context.translate_response(whole.as_bytes());
            let answer = answer.unwrap_or_else(|_| panic!("{client:?}: {whole}"));
            check_whole(client, &serde_json::from_slice(&answer).unwrap());
            let events = context.translate_response_to_events(whole.as_bytes()).unwrap();
            check_stream(client, &String::from_utf8(events).unwrap());
        }
        for events in &streams {
            let text = stream(&context, events).unwrap_or_else(|text| panic!("{events}: {text}"));
            check_stream(client, &text);
        }
        // Without a usage or an end, nothing says that the answer is whole.
        assert!(stream(&context, &format!("{filters}\n\n")).is_err(), "{client:?}");
    }
}

#[test]
fn answer_without_content_is_empty_in_every_translation() {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 7, "output_tokens": 0},
    });
    let response = json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [],
        "usage": {"input_tokens": 7, "output_tokens": 0, "total_tokens": 7},
    });
    for (upstream, whole) in
        [(UpstreamProtocol::Messages, message), (UpstreamProtocol::Responses, response)]
    {
        for client in CLIENTS {
            let Some(context) = context(client, upstream) else { continue };
            let answer = context.translate_response(whole.to_string().as_bytes()).unwrap();
            check_whole(client, &serde_json::from_slice(&answer).unwrap());
            let events = context.translate_response_to_events(whole.to_string().as_bytes());
            check_stream(client, &String::from_utf8(events.unwrap()).unwrap());
        }
    }
}

/// The meter reads the same answers: they are whole, and their usage counts.
#[test]
fn usage_of_an_empty_answer_counts() {
    let chunk = format!(r#"data: {{"id":"c","choices":[],{CHAT_USAGE}}}"#);
    for events in [format!("{chunk}\n\ndata: [DONE]\n\n"), format!("{chunk}\n\n")] {
        let mut meter = UsageMeter::for_stream();
        meter.observe(events.as_bytes());
        let reading = meter.finish(100);
        assert_eq!(reading.usage.tokens.input, 7, "{events}");
    }
}
