//! Tables of errors that come with usage or output. The upstream bills both.

use super::test_readings::{stream, whole};
use super::*;

const ANTHROPIC: &str = r#""usage":{"input_tokens":700,"output_tokens":90}"#;
const OPENAI: &str = r#""usage":{"prompt_tokens":700,"completion_tokens":90}"#;

/// Each form of an error in a stream, with `usage` in its place.
fn error_events(anthropic: &str, openai: &str) -> Vec<String> {
    let error = r#""error":{"type":"overloaded_error","message":"m"}"#;
    vec![
        format!("event: error\ndata: {{\"type\":\"error\",{error},{anthropic}}}\n\n"),
        format!(
            "event: error\ndata: {{\"type\":\"error\",{error},\"message\":{{{anthropic}}}}}\n\n"
        ),
        format!("data: {{\"type\":\"error\",{error},{anthropic}}}\n\n"),
        format!("data: {{{error},{openai}}}\n\n"),
        format!("data: {{{openai},{error}}}\n\n"),
        format!("data: {{\"error\":{{\"message\":\"m\",\"code\":502,{openai}}}}}\n\n"),
        format!("data: {{\"choices\":[],{error},{openai}}}\n\n"),
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"\"}},\"finish_reason\":\"error\",{error}}}],{openai}}}\n\n"
        ),
        format!(
            "event: response.failed\ndata: {{\"type\":\"response.failed\",\"response\":{{\"status\":\"failed\",{error},{anthropic}}}}}\n\n"
        ),
        format!(
            "event: error\ndata: {{\"type\":\"error\",\"code\":\"c\",\"message\":\"m\",{anthropic}}}\n\n"
        ),
    ]
}

#[test]
fn usage_of_an_error_event_is_billed() {
    for event in error_events(ANTHROPIC, OPENAI) {
        let reading = stream(&event);
        assert!(matches!(reading.end, AnswerEnd::Error(_)), "{event}: {reading:?}");
        let tokens = reading.usage.tokens;
        assert_eq!((tokens.input, tokens.output), (700, 90), "{event}");
        assert!(reading.has_billed_part && !reading.usage.estimated, "{event}: {reading:?}");
    }
}

#[test]
fn usage_of_an_error_after_output_is_billed() {
    let chat = "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"half of\"}}]}\n\n";
    let messages = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":700,\"output_tokens\":1}}}\n\n";
    for start in [chat, messages] {
        for event in error_events(ANTHROPIC, OPENAI) {
            let reading = stream(&format!("{start}{event}"));
            let tokens = reading.usage.tokens;
            assert_eq!((tokens.input, tokens.output), (700, 90), "{start}{event}");
            assert!(reading.has_billed_part && !reading.usage.estimated, "{event}: {reading:?}");
        }
    }
}

#[test]
fn errors_without_usage_are_free() {
    let zero =
        (r#""usage":{"input_tokens":0,"output_tokens":0}"#, r#""usage":{"prompt_tokens":0}"#);
    for (anthropic, openai) in
        [(r#""usage":null"#, r#""usage":null"#), (r#""x":1"#, r#""x":1"#), zero]
    {
        for event in error_events(anthropic, openai) {
            let reading = stream(&event);
            assert!(matches!(reading.end, AnswerEnd::Error(_)), "{event}: {reading:?}");
            assert_eq!(reading.usage, BilledUsage::default(), "{event}");
            assert!(!reading.has_billed_part, "{event}: {reading:?}");
        }
    }
}

#[test]
fn output_in_an_error_chunk_is_billed() {
    let reading = stream(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"half of it\"},\"error\":{\"code\":502}}]}\n\n",
    );
    assert!(matches!(reading.end, AnswerEnd::Error(_)), "{reading:?}");
    assert_eq!((reading.usage.tokens.input, reading.usage.tokens.output), (1_000, 3));
    assert!(reading.has_billed_part && reading.usage.estimated, "{reading:?}");
}

#[test]
fn usage_of_a_whole_error_is_billed() {
    let error = r#""error":{"type":"api_error","code":"server_error","message":"m"}"#;
    for body in [
        format!(r#"{{"type":"error",{error},{ANTHROPIC}}}"#),
        format!("{{{error},{OPENAI}}}"),
        format!(r#"{{"error":{{"message":"m",{OPENAI}}}}}"#),
        format!(r#"{{"choices":[],{error},{OPENAI}}}"#),
        format!(
            r#"{{"choices":[{{"index":0,{error},"message":{{"content":""}},"finish_reason":"error"}}],{OPENAI}}}"#
        ),
        format!(r#"{{"object":"response","status":"failed",{error},"output":[],{ANTHROPIC}}}"#),
        format!("[{{{error},{OPENAI}}}]"),
    ] {
        let reading = whole(&body);
        let tokens = reading.usage.tokens;
        assert_eq!((tokens.input, tokens.output), (700, 90), "{body}");
        assert!(reading.has_billed_part && !reading.usage.estimated, "{body}: {reading:?}");
    }
    for body in [format!("{{{error}}}"), format!(r#"{{"type":"error",{error},"usage":null}}"#)] {
        let reading = whole(&body);
        assert_eq!(reading.usage, BilledUsage::default(), "{body}");
        assert!(!reading.has_billed_part, "{body}");
    }
}
