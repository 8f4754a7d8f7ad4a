//! Compares answers without a stream to the same content in a stream.
#![expect(clippy::unwrap_used, reason = "a test may")]

use baton_domain::price::PriceTable;
use baton_protocol::meter::{AnswerEnd, MeterReading, UsageMeter};
use serde_json::{Value, json};
use std::path::Path;

const REQUEST_BYTES: u64 = 4_000;

fn whole(body: &[u8]) -> MeterReading {
    let mut meter = UsageMeter::for_whole_body();
    for chunk in body.chunks(100) {
        meter.observe(chunk);
    }
    meter.finish(REQUEST_BYTES)
}

fn streamed(bytes: &[u8]) -> MeterReading {
    let mut meter = UsageMeter::for_stream();
    meter.observe(bytes);
    meter.finish(REQUEST_BYTES)
}

/// The message that an SDK builds from a stream: the content of `message_start`, updated by
/// `message_delta`.
fn as_message(stream: &str) -> Value {
    let mut message = Value::Null;
    for line in stream.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        if event["type"] == "message_start" {
            message = event["message"].clone();
        } else if event["type"] == "content_block_start" {
            message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
        } else if event["type"] == "message_delta" {
            message["stop_reason"] = event["delta"]["stop_reason"].clone();
            for (field, value) in event["usage"].as_object().unwrap() {
                if !value.is_null() {
                    message["usage"][field] = value.clone();
                }
            }
        }
    }
    message
}

#[test]
fn usage_and_cost_are_equal_with_and_without_streaming() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/sse");
    let names = [
        "text",
        "thinking_text",
        "tool_use",
        "server_tool_web_search",
        "cache_usage",
        "usage_only_in_delta",
        "usage_delta_output_only",
        "usage_nulls",
        "delta_cumulative",
        "refusal",
        "pause_turn",
        "max_tokens_stop_seq",
        "compaction_iterations",
        "fallback_iterations",
    ];
    for name in names {
        let stream = std::fs::read_to_string(folder.join(format!("{name}.sse"))).unwrap();
        let message = as_message(&stream).to_string();
        let (one, other) = (streamed(stream.as_bytes()), whole(message.as_bytes()));
        assert_eq!(one.usage, other.usage, "{name}");
        assert_eq!((&one.model, &one.end), (&other.model, &other.end), "{name}");
        assert_eq!(one.stop_reason, other.stop_reason, "{name}");
        let cost = |reading: &MeterReading| {
            let index = "2026-11-22T00:00:00Z".parse().unwrap();
            PriceTable::builtin().cost(&reading.usage, reading.model.as_deref().unwrap(), index)
        };
        let (one, other) = (cost(&one), cost(&other));
        assert!(one.is_priced && one.amount.pico() > 0, "{name}");
        assert_eq!(one, other, "{name}");
    }
}

#[test]
fn usage_is_read_from_every_body_format() {
    let check = |body: &str, complete, tokens: (u64, u64, u64), estimated| {
        let reading = whole(body.as_bytes());
        let ours = reading.usage.tokens;
        assert_eq!(reading.end == AnswerEnd::Complete, complete, "{body}: {:?}", reading.end);
        assert_eq!((ours.input, ours.cache_read, ours.output), tokens, "{body}");
        assert_eq!(reading.usage.estimated, estimated, "{body}");
    };
    let message = r#"{"type":"message","model":"m","usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":5}}"#;
    check(message, true, (3, 4, 5), false);
    let chat = r#"{"object":"chat.completion","model":"m","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}}}"#;
    check(chat, true, (7, 4, 7), false);
    // Tokens that were written to a cache are not plain input either.
    let written = r#"{"object":"chat.completion","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":2}}}"#;
    check(written, true, (5, 4, 7), false);
    assert_eq!(whole(written.as_bytes()).usage.tokens.prompt_tokens(), 11);
    let response = r#"{"object":"response","status":"incomplete","usage":{"input_tokens":11,"input_tokens_details":{"cached_tokens":4},"output_tokens":7},"error":null}"#;
    check(response, true, (7, 4, 7), false);
    let failed = r#"{"object":"response","status":"failed","usage":null,"error":{"code":"c","message":"m"}}"#;
    check(failed, false, (0, 0, 0), false);
    check(
        r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#,
        false,
        (0, 0, 0),
        false,
    );
    check("<html></html>", false, (0, 0, 0), false);
    // A token count is not an answer of a model.
    check(r#"{"input_tokens":2095}"#, true, (0, 0, 0), false);
    // An answer without usage and one that was cut short, to requests of 4,000 bytes.
    check(r#"{"type":"message","content":[]}"#, true, (1_000, 0, 8), true);
    check(&message[..40], false, (1_000, 0, 10), true);
    check("", false, (1_000, 0, 0), true);
}

#[test]
fn message_about_errors_is_not_an_error() {
    let content = json!({"type":"message","message":"error","error":"no","usage":{"output_tokens":1,"input_tokens":2}});
    assert_eq!(whole(content.to_string().as_bytes()).end, AnswerEnd::Complete);
}
