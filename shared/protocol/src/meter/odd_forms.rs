//! Tables of answers in unusual forms: what the client receives is metered, and what is metered is
//! not cut.

use super::test_readings::{REQUEST_BYTES, stream, whole};
use super::*;
use crate::response_form::{check_response_fields, check_whole_response};

/// Whether the client of this protocol receives a whole answer with success.
fn is_received(text: &str, protocol: UpstreamProtocol) -> bool {
    let mut meter = UsageMeter::for_whole_body();
    meter.observe(text.as_bytes());
    meter.whole_error().is_none()
        && check_whole_response(None, text.as_bytes(), false).is_ok()
        && check_response_fields(text.as_bytes(), protocol).is_ok()
}

/// The answer field of each protocol.
const FIELDS: [(UpstreamProtocol, &str); 3] = [
    (UpstreamProtocol::Messages, "content"),
    (UpstreamProtocol::Chat, "choices"),
    (UpstreamProtocol::Responses, "output"),
];

/// Values of an answer field, most of them in a form that no API documents.
const VALUES: [&str; 8] = [
    r#"[{"type":"text","text":"words of it","message":{"content":"words of it"}}]"#,
    r#"[{"message":{"content":"words of it"}},5]"#,
    r#""words of it""#,
    r#"{"0":{"message":{"content":"words of it"}}}"#,
    "[5]",
    "[]",
    "true",
    "[NaN]",
];

/// Fields next to it that are no readable usage.
const REST: [&str; 13] = [
    "",
    r#","usage":null"#,
    r#","usage":"12""#,
    r#","usage":[]"#,
    r#","usage":{}"#,
    r#","usage":{"input_tokens":NaN}"#,
    r#","role":"assistant","stop_reason":"end_turn""#,
    r#","message":"success","status":"success","msg":"ok","detail":"fine""#,
    r#","code":0,"message":"""#,
    r#","error":null"#,
    r#","error":{"code":5,"message":"half of it"}"#,
    r#","status":"failed","error":{"code":5,"message":"half of it"}"#,
    r#","type":"error","message":"half of it""#,
];

/// Whole answers in all of these forms, each with the protocol of its field.
fn odd_answers() -> Vec<(UpstreamProtocol, String)> {
    let mut answers = Vec::new();
    for (protocol, field) in FIELDS {
        for value in VALUES {
            for rest in REST {
                answers.push((protocol, format!(r#"{{"{field}":{value}{rest}}}"#)));
            }
        }
    }
    answers
}

#[test]
fn every_received_whole_answer_is_started_and_hides_missing_usage() {
    let check = |body: &str| {
        let reading = whole(body);
        assert!(reading.started, "{body}: {reading:?}");
        assert!(reading.hides_usage && reading.usage.estimated, "{body}: {reading:?}");
        assert_eq!(reading.usage.tokens.input, 1_000, "{body}");
    };
    let (received, refused): (Vec<_>, Vec<_>) =
        odd_answers().into_iter().partition(|(protocol, body)| is_received(body, *protocol));
    for (protocol, body) in received {
        check(&body);
        let marked = format!("\u{feff}{body}");
        assert!(is_received(&marked, protocol), "{body}");
        check(&marked);
    }
    assert!(!refused.is_empty());
    for (_, body) in refused {
        assert!(body.contains("error") && body.contains(":[]"), "{body} is refused");
    }
}

#[test]
fn readable_usage_of_odd_answers_counts() {
    for (protocol, field) in FIELDS {
        for value in VALUES {
            for rest in ["", r#","error":"""#, r#","error":{}"#, r#","error":false"#, r#","x":NaN"#]
            {
                let usage = r#""usage":{"input_tokens":7,"output_tokens":5}"#;
                let body = format!(r#"{{"{field}":{value},{usage}{rest}}}"#);
                if value == "[]" && !is_received(&body, protocol) {
                    continue;
                }
                assert!(is_received(&body, protocol), "{body}");
                let reading = whole(&body);
                let tokens = reading.usage.tokens;
                assert_eq!((tokens.input, tokens.output), (7, 5), "{body}");
                assert!(!reading.hides_usage && !reading.usage.estimated, "{body}: {reading:?}");
            }
        }
    }
}

#[test]
fn only_the_outermost_object_makes_an_answer() {
    for (protocol, field) in FIELDS {
        for body in [
            format!(r#"{{"code":0,"data":{{"{field}":[1],"usage":{{"input_tokens":5}}}}}}"#),
            format!(r#"{{"{field}":null}}"#),
            format!(r#"{{"{field}":null,"usage":null,"message":"full"}}"#),
            r#"{"generation":"text","stop_reason":"stop"}"#.to_owned(),
            r#"{"usage":"12"}"#.to_owned(),
        ] {
            assert!(!is_received(&body, protocol), "{body}");
        }
        let escaped = format!("\\u{:04x}{}", u32::from(field.as_bytes()[0]), &field[1..]);
        assert!(is_received(&format!(r#"{{"{escaped}":[1]}}"#), protocol), "{escaped}");
    }
}

/// A Chat stream in which each event has this name.
fn named_chat(name: &str) -> String {
    let text = "word".repeat(100);
    let events = [
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#.to_owned(),
        format!(r#"{{"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#),
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_owned(),
        r#"{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":90}}"#.to_owned(),
        "[DONE]".to_owned(),
    ];
    events.map(|data| format!("{name}data: {data}\n\n")).concat()
}

const NAMES: [&str; 10] = [
    "",
    "event: message\n",
    "event: chat.completion.chunk\n",
    "event: completion\n",
    "event: answer\n",
    "event: add\n",
    "event: delta\n",
    "event: result\n",
    "event: token\n",
    "event: data\n",
];

#[test]
fn named_chunks_are_metered_as_unnamed_ones() {
    for name in NAMES {
        let text = named_chat(name);
        let reading = stream(&text);
        assert_eq!(reading.end, AnswerEnd::Complete, "{name}: {reading:?}");
        assert!(reading.started && reading.has_reported_end, "{name}: {reading:?}");
        assert_eq!(reading.output_chars, 400, "{name}");
        let tokens = reading.usage.tokens;
        assert_eq!((tokens.input, tokens.output), (11, 90), "{name}");
        assert!(!reading.usage.estimated && !reading.hides_usage, "{name}: {reading:?}");
        // Without the usage, and cut inside an event.
        let cut = &text[..text.find("wordword").unwrap() + 40];
        let reading = stream(cut);
        assert_eq!(reading.output_chars, 40, "{name}: {reading:?}");
        assert!(reading.started && reading.usage.estimated, "{name}: {reading:?}");
        let error = format!("{name}data: {{\"error\":{{\"code\":503,\"message\":\"m\"}}}}\n\n");
        assert!(matches!(stream(&error).first, AnswerStart::Error(_)), "{error}");
        let reading = stream(&format!("{name}data: {{\"error\":null}}\n\n{text}"));
        assert_eq!(reading.end, AnswerEnd::Complete, "{name}: {reading:?}");
        let mut meter = UsageMeter::for_stream();
        meter.observe(&text.as_bytes()[..text.find("wordword").unwrap() + 40]);
        meter.drop_event();
        meter.observe(b"more\"}}]}\n\n");
        assert!(meter.finish(REQUEST_BYTES).started, "{name}");
    }
}

#[test]
fn message_before_the_first_chunk_is_an_error_only_if_nothing_follows() {
    for first in [
        r#"{"status":"queued","message":"waiting for a slot"}"#,
        r#"{"message":"Loading model"}"#,
        r#"{"status":"loading","detail":"x"}"#,
        r#"{"object":"queue","position":3,"message":"You are in the queue"}"#,
        r#"{"code":0,"message":"ok"}"#,
        r#"{"code":"200","msg":"ok","message":"accepted"}"#,
        r#"{"error":null,"message":"starting"}"#,
        r#"{"success":true,"message":"starting"}"#,
        r#"{"warning":"deprecated","type":"warning"}"#,
    ] {
        let event = format!("data: {first}\n\n");
        let reading = stream(&format!("{event}{}", named_chat("")));
        assert_eq!(reading.first, AnswerStart::Event, "{first}");
        assert_eq!(reading.end, AnswerEnd::Complete, "{first}");
        assert_eq!(reading.usage.tokens.output, 90, "{first}");
        for end in ["", "data: [DONE]\n\n"] {
            let reading = stream(&format!("{event}{end}"));
            assert!(matches!(reading.end, AnswerEnd::Error(_)), "{first}{end}: {reading:?}");
        }
    }
    for error in [
        r#"{"error":"full","message":"m"}"#,
        r#"{"code":500,"message":"m"}"#,
        r#"{"code":"rate_limited","message":"m"}"#,
        r#"{"status":429,"message":"m"}"#,
        r#"{"status":"error","message":"m"}"#,
        r#"{"type":"error","message":"m"}"#,
        r#"{"object":"error","message":"m"}"#,
        r#"{"__type":"ThrottlingException","message":"m"}"#,
        r#"{"success":false,"message":"m"}"#,
        r#"{"error_code":7,"message":"m"}"#,
    ] {
        let mut meter = UsageMeter::for_stream();
        meter.observe(format!("data: {error}\n\n").as_bytes());
        assert!(matches!(meter.first_event(), AnswerStart::Error(_)), "{error}");
    }
}

#[test]
fn errors_that_say_nothing_do_not_end_a_stream() {
    for error in ["null", "\"\"", "{}", "false", "0", "[]", r#"{"code":0,"message":""}"#] {
        let field = format!("{{\"error\":{error},\"choices\"");
        let reading = stream(&named_chat("").replace("{\"choices\"", &field));
        assert_eq!(reading.end, AnswerEnd::Complete, "{error}");
        assert_eq!(reading.usage.tokens.output, 90, "{error}");
    }
}

/// The usage of each protocol's stream is read without the names of its events, with the type
/// behind all other keys, and next to numbers that are not finite.
#[test]
fn usage_is_read_whatever_the_order_of_keys() {
    let messages = [
        r#""message":{"id":"msg_1","model":"m","usage":{"input_tokens":11,"output_tokens":1}}X,"type":"message_start""#,
        r#""index":0,"content_block":{"type":"text","text":""}X,"type":"content_block_start""#,
        r#""index":0,"delta":{"type":"text_delta","text":"words"}X,"type":"content_block_delta""#,
        r#""index":0X,"type":"content_block_stop""#,
        r#""delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":90}X,"type":"message_delta""#,
        r#""ignored":0X,"type":"message_stop""#,
    ];
    let responses = [
        r#""response":{"id":"resp_1","model":"m","status":"in_progress","usage":null}X,"type":"response.created""#,
        r#""delta":"words","output_index":0X,"type":"response.output_text.delta""#,
        r#""response":{"id":"resp_1","model":"m","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"words"}]}],"usage":{"input_tokens":11,"output_tokens":90,"total_tokens":101}}X,"type":"response.completed""#,
    ];
    for events in [&messages[..], &responses] {
        for odd in ["", r#","x":NaN"#, r#","logprobs":[-Infinity]"#] {
            let events: Vec<_> = events
                .iter()
                .map(|fields| format!("data: {{{}}}\n\n", fields.replace('X', odd)))
                .collect();
            let text = events.concat();
            let reading = stream(&text);
            assert_eq!(reading.end, AnswerEnd::Complete, "{text}: {reading:?}");
            let tokens = reading.usage.tokens;
            assert_eq!((tokens.input, tokens.output), (11, 90), "{text}");
            assert!(!reading.usage.estimated && !reading.hides_usage, "{text}: {reading:?}");
            assert_eq!(reading.output_chars, 5, "{text}");
        }
    }
}

/// Bytes that are not UTF-8 next to the usage: text in Latin-1, and half a character.
#[test]
fn usage_is_read_beside_bytes_that_are_not_utf_8() {
    let chat = r#"{"model":"m","choices":[{"index":0,"message":{"content":"TEXT"},"delta":{"content":"TEXT"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":90}}"#;
    let response = r#"{"type":"response.completed","output":[],"response":{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"TEXT"}]}],"usage":{"input_tokens":11,"output_tokens":90}},"usage":{"input_tokens":11,"output_tokens":90}}"#;
    for answer in [chat, response] {
        for bytes in [b"caf\xe9".as_slice(), b"\xf0\x9f\x98"] {
            let (before, after) = answer.split_once("TEXT").unwrap();
            let body = [before.as_bytes(), bytes, after.as_bytes()].concat();
            let event = [b"data: ", body.as_slice(), b"\n\n"].concat();
            let meters = [(UsageMeter::for_stream(), event), (UsageMeter::for_whole_body(), body)];
            for (mut meter, bytes) in meters {
                meter.observe(&bytes);
                let reading = meter.finish(REQUEST_BYTES);
                assert_eq!(reading.end, AnswerEnd::Complete, "{answer}: {reading:?}");
                let tokens = reading.usage.tokens;
                assert_eq!((tokens.input, tokens.output), (11, 90), "{answer}");
                assert!(!reading.usage.estimated && !reading.hides_usage, "{answer}: {reading:?}");
            }
        }
    }
}

/// The forms in which servers report an error in place of a chunk, without a field `error`.
const ERRORS: [&str; 7] = [
    r#"{"object":"error","message":"out of memory","type":"InternalServerError","code":500}"#,
    r#"{"text":"NETWORK ERROR","error_code":50001}"#,
    r#"{"code":50505,"message":"busy","data":null}"#,
    r#"{"id":"x","choices":null,"base_resp":{"status_code":1000,"status_msg":"unknown error"}}"#,
    r#"{"success":false,"msg":"failed"}"#,
    r#"{"status":500,"detail":"internal"}"#,
    r#"[{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}]"#,
];

#[test]
fn error_in_place_of_a_chunk_is_one_wherever_it_comes() {
    let chunk = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"half\"}}]}\n\n";
    for error in ERRORS {
        for start in ["", chunk] {
            let reading = stream(&format!("{start}data: {error}\n\n"));
            assert!(matches!(reading.end, AnswerEnd::Error(_)), "{start}{error}: {reading:?}");
            // OpenAI's SDKs read over it, so the client has no end yet.
            assert!(!reading.has_reported_end || error.starts_with('['), "{error}");
            let reading = stream(&format!("{start}data: {error}\n\ndata: [DONE]\n\n"));
            assert!(matches!(reading.end, AnswerEnd::Error(_)), "{start}{error}: {reading:?}");
        }
    }
    for other in [
        r#"{"code":0,"message":"ok"}"#,
        r#"{"id":"x","timings":{"predicted_ms":5},"message":"done"}"#,
        r#"{"status":"success","message":"done"}"#,
        r#"{"item_id":"i","message":"x","type":"response.mcp_call.failed"}"#,
        r#"{"choices":null,"base_resp":{"status_code":0,"status_msg":""}}"#,
    ] {
        let reading = stream(&format!("{chunk}data: {other}\n\ndata: [DONE]\n\n"));
        assert_eq!(reading.end, AnswerEnd::Complete, "{other}: {reading:?}");
    }
}

/// The end of a response that is too long to be held is known by its name, or by its type at the
/// beginning of the data.
#[test]
fn end_that_is_too_long_is_an_end_with_estimated_usage() {
    let delta = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"half of it\"}\n\n";
    for kind in ["completed", "incomplete", "failed"] {
        for name in ["", "event: message\n", "event: response.KIND\n"] {
            for cut in [30, 9_000_000] {
                let name = name.replace("KIND", kind);
                let event = format!(
                    "{name}data: {{\"type\":\"response.{kind}\",\"response\":{{\"instructions\":\""
                );
                let text = "a".repeat(cut);
                let end = "\",\"usage\":{\"input_tokens\":7,\"output_tokens\":5}}}\n\n";
                let mut meter = UsageMeter::for_stream();
                meter.observe([delta, &event].concat().as_bytes());
                text.as_bytes().chunks(1 << 20).for_each(|piece| meter.observe(piece));
                meter.drop_event();
                meter.observe(end.as_bytes());
                let reading = meter.finish(REQUEST_BYTES);
                let is_complete = reading.end == AnswerEnd::Complete;
                assert_eq!(is_complete, kind != "failed", "{name}{kind}: {reading:?}");
                assert!(reading.has_reported_end && reading.usage.estimated, "{name}: {reading:?}");
                assert_eq!(reading.hides_usage, is_complete, "{name}{kind}: {reading:?}");
                let tokens = reading.usage.tokens;
                assert_eq!((tokens.input, tokens.output), (1_000, 3), "{name}{kind}");
            }
        }
    }
}

#[test]
fn id_of_an_answer_is_read() {
    for (data, expected) in [
        (
            r#"{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":1}}}"#,
            "msg_1",
        ),
        (
            r#"{"type":"response.completed","response":{"id":"resp_1","status":"completed"}}"#,
            "resp_1",
        ),
    ] {
        let mut meter = UsageMeter::for_stream();
        meter.observe(format!("data: {data}\n\n").as_bytes());
        assert_eq!(meter.finish(4).answer_id.as_deref(), Some(expected));
    }
    let mut meter = UsageMeter::for_whole_body();
    meter.observe(br#"{"id":"resp_1","object":"response","status":"completed","output":[]}"#);
    assert_eq!(meter.finish(4).answer_id.as_deref(), Some("resp_1"));
}
