//! Tables of usage that is missing or cannot be true, in streams and in whole answers.

use super::test_readings::{stream, whole};
use super::*;
use proptest::prelude::*;

/// An answer of 400 characters in Anthropic's stream.
fn messages_stream(start: &str, delta: &str) -> String {
    let text = "word".repeat(100);
    format!(
        "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"model\":\"m\",{start}}}}}\n\n\
         event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
         \"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n\
         event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},{delta}}}\n\n\
         event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
    )
}

fn message(usage: &str) -> String {
    let text = "word".repeat(100);
    format!(
        r#"{{"type":"message","model":"m","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn",{usage}}}"#
    )
}

fn completion(usage: &str) -> String {
    let text = "word".repeat(100);
    format!(
        r#"{{"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],{usage}}}"#
    )
}

fn chat_stream(usage: &str) -> String {
    let text = "word".repeat(100);
    format!(
        "data: {{\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}]}}\n\n\
         data: {{\"model\":\"m\",\"choices\":[],{usage}}}\n\ndata: [DONE]\n\n"
    )
}

fn responses_stream(usage: &str) -> String {
    let text = "word".repeat(100);
    format!(
        "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"delta\":\"{text}\"}}\n\n\
         event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"status\":\"completed\",\"model\":\"m\",{usage}}}}}\n\n"
    )
}

/// Invalid counts, in the form in which they are written in the answer.
const ODD: [&str; 10] =
    ["-5", "12.5", "\"many\"", "true", "[]", "{}", "1e18", "1e309", "60000000000", "null"];

#[test]
fn unreported_prompt_is_estimated() {
    let check = |reading: &MeterReading, output: Option<u64>, why: &str| {
        assert_eq!(reading.usage.tokens.input, 1_000, "{why}");
        if let Some(output) = output {
            assert_eq!(reading.usage.tokens.output, output, "{why}");
        }
        assert!(reading.usage.estimated && reading.hides_usage, "{why}: {reading:?}");
    };
    for odd in ODD {
        let anthropic = format!(r#""usage":{{"input_tokens":{odd},"output_tokens":7}}"#);
        let openai = format!(r#""usage":{{"prompt_tokens":{odd},"completion_tokens":7}}"#);
        check(&whole(&message(&anthropic)), Some(7), odd);
        check(&whole(&completion(&openai)), Some(7), odd);
        check(&stream(&chat_stream(&openai)), Some(7), odd);
        check(&stream(&responses_stream(&anthropic)), Some(7), odd);
        let streamed = messages_stream(&anthropic, r#""usage":{"output_tokens":7}"#);
        check(&stream(&streamed), Some(7), odd);
    }
    for missing in
        [r#""usage":{"output_tokens":7}"#, r#""usage":null"#, r#""usage":[]"#, r#""x":1"#]
    {
        check(&whole(&message(missing)), None, missing);
        check(&stream(&responses_stream(missing)), None, missing);
        let streamed = messages_stream(missing, r#""usage":{"output_tokens":7}"#);
        check(&stream(&streamed), Some(7), missing);
    }
}

/// Some servers report zeros in streams, and no prompt is empty.
#[test]
fn prompt_of_zero_is_estimated() {
    for (output, total) in [("0", ""), ("7", ""), ("7", r#","total_tokens":7"#)] {
        let anthropic = format!(r#""usage":{{"input_tokens":0,"output_tokens":{output}{total}}}"#);
        let openai =
            format!(r#""usage":{{"prompt_tokens":0,"completion_tokens":{output}{total}}}"#);
        for reading in [
            whole(&message(&anthropic)),
            whole(&completion(&openai)),
            stream(&chat_stream(&openai)),
            stream(&responses_stream(&anthropic)),
            stream(&messages_stream(&anthropic, &anthropic)),
        ] {
            assert_eq!(reading.usage.tokens.input, 1_000, "{openai}: {reading:?}");
            assert!(reading.usage.estimated && reading.hides_usage, "{openai}: {reading:?}");
        }
    }
    for cached in [
        r#""usage":{"input_tokens":0,"cache_read_input_tokens":9,"output_tokens":7}"#,
        r#""usage":{"input_tokens":0,"cache_creation_input_tokens":9,"output_tokens":7}"#,
        r#""usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":9},"output_tokens":7}"#,
    ] {
        let reading = whole(&message(cached));
        assert_eq!(reading.usage.tokens.prompt_tokens(), 9, "{cached}");
        assert!(!reading.usage.estimated && !reading.hides_usage, "{cached}: {reading:?}");
    }
}

#[test]
fn unreported_output_is_estimated() {
    let check = |reading: &MeterReading, least: u64, why: &str| {
        assert_eq!(reading.usage.tokens.input, 10, "{why}");
        let output = reading.usage.tokens.output;
        assert!((least..100_000).contains(&output), "{why}: {output}");
        assert!(reading.usage.estimated && reading.hides_usage, "{why}: {reading:?}");
    };
    for odd in ODD {
        let anthropic = format!(r#""usage":{{"input_tokens":10,"output_tokens":{odd}}}"#);
        let openai = format!(r#""usage":{{"prompt_tokens":10,"completion_tokens":{odd}}}"#);
        check(&whole(&message(&anthropic)), 100, odd);
        check(&whole(&completion(&openai)), 100, odd);
        check(&stream(&chat_stream(&openai)), 100, odd);
        check(&stream(&responses_stream(&anthropic)), 100, odd);
        let start = r#""usage":{"input_tokens":10,"output_tokens":1}"#;
        let delta = format!(r#""usage":{{"output_tokens":{odd}}}"#);
        check(&stream(&messages_stream(start, &delta)), 100, odd);
    }
}

#[test]
fn impossible_count_is_replaced_by_an_estimate() {
    for count in ["100000001", "60000000000", "1e18", "1e309", "18446744073709551615"] {
        for class in ["input_tokens", "output_tokens", "cache_read_input_tokens"] {
            let rest = r#""input_tokens":10,"output_tokens":7"#;
            let usage = format!(r#""usage":{{{rest},"{class}":{count}}}"#);
            let reading = whole(&message(&usage));
            assert!(reading.has_excessive_count && reading.usage.estimated, "{usage}");
            assert!(reading.usage.tokens.total() < 10_000, "{usage}: {reading:?}");
        }
    }
    let reading = whole(&message(r#""usage":{"input_tokens":100000000,"output_tokens":7}"#));
    assert!(!reading.has_excessive_count && !reading.usage.estimated, "{reading:?}");
}

#[test]
fn unreadable_optional_counts_are_zero_and_marked() {
    let check = |more: &str, estimated: bool| {
        let usage = format!(r#""usage":{{"input_tokens":10,"output_tokens":7{more}}}"#);
        let reading = whole(&message(&usage));
        assert_eq!(reading.usage.tokens.prompt_tokens(), 10, "{usage}");
        assert_eq!(reading.usage.estimated, estimated, "{usage}");
        assert!(!reading.hides_usage, "{usage}");
    };
    check("", false);
    check(r#","cache_read_input_tokens":null,"cache_creation":null,"iterations":null"#, false);
    for odd in ["-1", "\"x\"", "{}", "1.5"] {
        check(&format!(r#","cache_read_input_tokens":{odd}"#), true);
        check(&format!(r#","cache_creation_input_tokens":{odd}"#), true);
        check(&format!(r#","cache_creation":{{"ephemeral_1h_input_tokens":{odd}}}"#), true);
        check(&format!(r#","server_tool_use":{{"web_search_requests":{odd}}}"#), true);
        check(&format!(r#","output_tokens_details":{{"thinking_tokens":{odd}}}"#), true);
        check(
            &format!(r#","iterations":[{{"type":"message","cache_read_input_tokens":{odd}}}]"#),
            true,
        );
    }
}

#[test]
fn duplicate_count_uses_the_last_value_and_is_marked() {
    let check = |usage: &str, input: u64, estimated: bool| {
        for reading in [whole(&message(usage)), stream(&responses_stream(usage))] {
            assert_eq!(reading.usage.tokens.input, input, "{usage}");
            assert_eq!(reading.usage.estimated, estimated, "{usage}");
        }
    };
    check(r#""usage":{"input_tokens":10,"output_tokens":7,"input_tokens":20}"#, 20, true);
    check(r#""usage":{"input_tokens":10,"output_tokens":7,"input_tokens":10}"#, 10, false);
    let other = r#""usage":{"input_tokens":20,"output_tokens":7}"#;
    check(&format!(r#""usage":{{"input_tokens":10,"output_tokens":7}},{other}"#), 20, true);
    check(&format!("{other},{other}"), 20, false);
    check(r#""usage":{"input_tokens":10,"output_tokens":7,"input_tokens":null}"#, 1_000, true);
}

#[test]
fn anthropic_stream_keeps_usage_from_its_start() {
    let start = r#""usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":1}"#;
    for delta in [
        r#""usage":{"output_tokens":7}"#,
        r#""usage":{"input_tokens":null,"cache_read_input_tokens":null,"output_tokens":7}"#,
        r#""usage":{"input_tokens":0,"output_tokens":7}"#,
    ] {
        let reading = stream(&messages_stream(start, delta));
        let tokens = reading.usage.tokens;
        assert_eq!((tokens.input, tokens.cache_read, tokens.output), (10, 5, 7), "{delta}");
        assert!(!reading.usage.estimated, "{delta}");
    }
}

/// Any JSON value, also ones that Rust cannot represent as a number.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        (0_u64..2_000).prop_map(|number| number.to_string()),
        (-1e300..1e300_f64).prop_map(|number| format!("{number:e}")),
        "[0-9]{1,30}".prop_map(|digits| format!("1{digits}")),
        "-?[1-9][0-9]{0,3}e[0-9]{1,3}",
        "[a-z0-9 .-]{0,6}".prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(inner, 0..3).prop_map(|items| {
                let fields = items.iter().map(|item| format!("\"input_tokens\":{item}"));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

#[test]
fn dropped_events_count_as_output_in_every_protocol() {
    for start in [
        r#"data: {"choices":[{"index":0,"delta":{"content":""#,
        "event: content_block_delta\ndata: {\"delta\":{\"text\":\"",
        "event: response.output_text.delta\ndata: {\"delta\":\"",
    ] {
        for end in ["", "\"}\n\n"] {
            let mut meter = UsageMeter::for_stream();
            meter.observe(format!("{start}{}", "a".repeat(1000)).as_bytes());
            meter.drop_event();
            meter.observe(format!("{}{end}", "a".repeat(1000)).as_bytes());
            let reading = meter.finish(4_000);
            assert!(reading.output_chars >= 2000, "{start}: {}", reading.output_chars);
            assert!(reading.started && reading.usage.estimated, "{start}");
        }
    }
}

#[test]
fn unread_streams_hide_their_usage() {
    for bytes in [[0x1b; 400].as_slice(), b"data: {\"error\":{}}\n\n", b""] {
        let mut meter = UsageMeter::for_unread_stream();
        meter.observe(bytes);
        assert!(!meter.has_good_start() && !meter.is_mid_event());
        let reading = meter.finish(4_000);
        assert!(reading.hides_usage && reading.usage.estimated, "{bytes:?}");
        assert_eq!(reading.usage.tokens.input, 1_000, "{bytes:?}");
        assert_eq!(reading.usage.tokens.output, (bytes.len() as u64).div_ceil(4), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn any_value_of_a_usage_field_keeps_the_cost(
        name in prop::sample::select(vec![
            "input_tokens", "output_tokens", "prompt_tokens", "completion_tokens",
            "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation",
            "server_tool_use", "iterations", "prompt_tokens_details", "output_tokens_details",
        ]),
        value in any_json(),
        is_nested in any::<bool>(),
    ) {
        use baton_domain::money::PicoUsd;
        use baton_domain::price::PriceTable;
        let usage = if is_nested { value.clone() } else {
            let is_input = matches!(name, "input_tokens" | "prompt_tokens");
            let is_output = matches!(name, "output_tokens" | "completion_tokens");
            let input = if is_input { "" } else { r#""input_tokens":10,"# };
            let output = if is_output { "" } else { r#""output_tokens":7,"# };
            format!(r#"{{{input}{output}"{name}":{value}}}"#)
        };
        let usage = format!("\"usage\":{usage}");
        for reading in [
            whole(&message(&usage)),
            whole(&completion(&usage)),
            stream(&chat_stream(&usage)),
            stream(&responses_stream(&usage)),
            stream(&messages_stream(&usage, &usage)),
        ] {
            let at = jiff::Timestamp::UNIX_EPOCH;
            let cost = PriceTable::builtin().cost(&reading.usage, "claude-opus-4-1", at).amount;
            prop_assert!(cost >= PicoUsd::ZERO);
            prop_assert!(reading.usage.tokens.total() <= 20 * REPORTED_COUNT_MAX, "{:?}", reading);
            let is_plain = value.parse::<u64>().is_ok_and(|count| count <= REPORTED_COUNT_MAX);
            let tokens = &reading.usage.tokens;
            let required = ["input_tokens", "output_tokens", "prompt_tokens", "completion_tokens"];
            if required.contains(&name) && !is_nested && !is_plain && !reading.usage.estimated {
                // A whole number in another spelling: in quotes, with a point or an exponent.
                let number = value.trim_matches('"').parse::<f64>().unwrap();
                prop_assert!(number >= 0.0 && number.fract() == 0.0, "{}: {:?}", value, reading);
            }
            if reading.usage.estimated && required.contains(&name) && !is_nested {
                prop_assert!(tokens.prompt_tokens() > 0 && tokens.output > 0, "{:?}", reading);
            }
        }
    }
}

/// A prompt that was cached as a whole has zero other tokens. Moonshot's gateway for Anthropic
/// estimates the prompt in `message_start` (recorded from kimi-k2.6, 2026-10).
#[test]
fn prompt_that_was_cached_as_a_whole_is_counted_once() {
    let gateway = concat!(
        r#"data: {"type":"message_start","message":{"type":"message","role":"assistant","model":"kimi-k2.6","content":[],"usage":{"input_tokens":20591,"cache_read_input_tokens":0,"output_tokens":0}}}"#,
        "\n\n",
        r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello"}}"#,
        "\n\n",
        r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":0,"cache_read_input_tokens":20591,"output_tokens":70,"prompt_tokens":20591,"total_tokens":20661,"cached_tokens":20591}}"#,
        "\n\n",
        "data: {\"type\":\"message_stop\"}\n\n",
    );
    let tokens = stream(gateway).usage.tokens;
    assert_eq!((tokens.input, tokens.cache_read, tokens.output), (0, 20_591, 70));
    let own = whole(
        r#"{"type":"message","role":"assistant","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":0,"cache_creation_input_tokens":5120,"cache_read_input_tokens":0,"output_tokens":4}}"#,
    );
    assert_eq!((own.usage.tokens.input, own.usage.tokens.cache_write_5m), (0, 5120));
    assert!(!own.usage.estimated);
}
