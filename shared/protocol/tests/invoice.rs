//! What an upstream bills, by the forms in which upstreams report it. Each row has its source.

use baton_domain::usage::BilledUsage;
use baton_protocol::meter::{MeterReading, UsageMeter};

fn whole(text: &str) -> MeterReading {
    let mut meter = UsageMeter::for_whole_body();
    meter.observe(text.as_bytes());
    meter.finish(4_000)
}

fn stream(text: &str) -> MeterReading {
    let mut meter = UsageMeter::for_stream();
    meter.observe(text.as_bytes());
    meter.finish(4_000)
}

fn counts(usage: &BilledUsage) -> [u64; 4] {
    let tokens = &usage.tokens;
    [tokens.input, tokens.cache_read, tokens.cache_write_5m, tokens.output]
}

#[test]
fn cached_and_thinking_tokens_are_inside_or_beside_by_the_total() {
    let check = |usage: &str, expect| {
        let body =
            format!(r#"{{"model":"m","choices":[{{"finish_reason":"stop"}}],"usage":{usage}}}"#);
        let reading = whole(&body);
        assert_eq!(counts(&reading.usage), expect, "{usage}");
        assert!(!reading.usage.estimated, "{usage}");
    };
    // OpenAI (API reference, 2026-08): cached tokens are a part of the prompt.
    check(
        r#"{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010,"prompt_tokens_details":{"cached_tokens":800}}"#,
        [200, 800, 0, 10],
    );
    check(
        r#"{"prompt_tokens":1000,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":800}}"#,
        [200, 800, 0, 10],
    );
    // OpenAI from GPT-5.6 on: cache writes are a part of the prompt, too.
    check(
        r#"{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010,"prompt_tokens_details":{"cached_tokens":700,"cache_write_tokens":200}}"#,
        [100, 700, 200, 10],
    );
    // Gateways that copy Anthropic's counts: beside the prompt.
    check(
        r#"{"prompt_tokens":500,"completion_tokens":300,"total_tokens":14100,"prompt_tokens_details":{"cached_tokens":13300}}"#,
        [500, 13_300, 0, 300],
    );
    check(
        r#"{"prompt_tokens":500,"completion_tokens":300,"total_tokens":1000,"prompt_tokens_details":{"cached_tokens":100,"cache_write_tokens":100}}"#,
        [500, 100, 100, 300],
    );
    // xAI (docs.x.ai, 2026-11): reasoning beside the answer. OpenAI: inside.
    check(
        r#"{"prompt_tokens":100,"completion_tokens":10,"total_tokens":310,"completion_tokens_details":{"reasoning_tokens":200}}"#,
        [100, 0, 0, 210],
    );
    check(
        r#"{"prompt_tokens":100,"completion_tokens":500,"total_tokens":600,"completion_tokens_details":{"reasoning_tokens":400}}"#,
        [100, 0, 0, 500],
    );
    check(
        r#"{"prompt_tokens":100,"completion_tokens":10,"total_tokens":310,"prompt_tokens_details":{"cached_tokens":40},"completion_tokens_details":{"reasoning_tokens":200}}"#,
        [60, 40, 0, 210],
    );
}

#[test]
fn tier_beside_the_usage_is_read() {
    let usage = r#""usage":{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11}"#;
    let tier = |reading: MeterReading| reading.usage.service_tier.unwrap();
    let chat = format!(
        r#"{{"model":"m","choices":[{{"finish_reason":"stop"}}],{usage},"service_tier":"priority"}}"#
    );
    assert_eq!(tier(whole(&chat)), "priority");
    let chunks = format!(
        "data: {{\"model\":\"m\",\"choices\":[{{\"delta\":{{\"content\":\"x\"}}}}],\"service_tier\":\"flex\"}}\n\n\
         data: {{\"model\":\"m\",\"choices\":[],\"service_tier\":\"flex\",{usage}}}\n\ndata: [DONE]\n\n"
    );
    assert_eq!(tier(stream(&chunks)), "flex");
    let response = r#"{"object":"response","status":"completed","model":"m","output":[],"service_tier":"flex","usage":{"input_tokens":10,"output_tokens":1}}"#;
    assert_eq!(tier(whole(response)), "flex");
    let event = format!(
        "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{response}}}\n\n"
    );
    assert_eq!(tier(stream(&event)), "flex");
}

#[test]
fn searches_among_the_items_of_a_response_are_counted() {
    let check = |items: &str, expect| {
        let response = format!(
            r#"{{"object":"response","status":"completed","model":"m","output":[{items}],"usage":{{"input_tokens":10,"output_tokens":1}}}}"#
        );
        let event = format!(
            "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{response}}}\n\n"
        );
        assert_eq!(whole(&response).usage.web_searches, expect, "{items}");
        assert_eq!(stream(&event).usage.web_searches, expect, "{items}");
    };
    let search = r#"{"type":"web_search_call","action":{"type":"search"}}"#;
    let open = r#"{"type":"web_search_call","action":{"type":"open_page"}}"#;
    let text = r#"{"type":"message","content":[{"type":"output_text","text":"web_search_call"}]}"#;
    check(&format!("{search},{search},{text}"), 2);
    check(&format!("{search},{open}"), 1);
    check(r#"{"type":"web_search_call"}"#, 1);
    check(text, 0);
}

/// platform.claude.com, release note of 2026-06-02: a refusal before any output is not billed.
#[test]
fn refusal_before_any_output_is_free() {
    let usage = r#""usage":{"input_tokens":200000,"output_tokens":1}"#;
    let message = |content: &str, reason: &str| {
        format!(
            r#"{{"type":"message","model":"m","content":{content},"stop_reason":"{reason}",{usage}}}"#
        )
    };
    let check = |reading: MeterReading, is_free: bool| {
        assert_eq!(reading.usage.tokens.input == 0, is_free, "{reading:?}");
        assert!(!reading.hides_usage && !reading.usage.estimated);
    };
    check(whole(&message("[]", "refusal")), true);
    check(whole(&message("[ ]", "refusal")), true);
    check(whole(&message("[]", "end_turn")), false);
    check(whole(&message(r#"[{"type":"text","text":"I"}]"#, "refusal")), false);
    let stream_of = |block: &str, names: bool| {
        let start = format!(
            "{{\"type\":\"message_start\",\"message\":{{\"model\":\"m\",\"content\":[],{usage}}}}}"
        );
        let delta = "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"refusal\"},\"usage\":{\"output_tokens\":1}}";
        let events = [
            ("message_start", start.as_str()),
            ("content_block_start", block),
            ("message_delta", delta),
            ("message_stop", "{\"type\":\"message_stop\"}"),
        ];
        let events = events.into_iter().filter(|(_, data)| !data.is_empty());
        let lines = events.map(|(name, data)| {
            if names {
                format!("event: {name}\ndata: {data}\n\n")
            } else {
                format!("data: {data}\n\n")
            }
        });
        stream(&lines.collect::<String>())
    };
    let block =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    for names in [true, false] {
        check(stream_of("", names), true);
        check(stream_of(block, names), false);
    }
}

#[test]
fn pass_that_declined_is_free_if_a_fallback_follows() {
    let body = |first: &str| {
        format!(
            r#"{{"type":"message","model":"m","content":[{{"type":"text","text":"x"}}],"stop_reason":"end_turn","usage":{{"input_tokens":500,"output_tokens":40,"iterations":[{first},{{"type":"fallback_message","model":"n","input_tokens":500,"output_tokens":40}}]}}}}"#
        )
    };
    let declined = r#"{"type":"message","model":"m","input_tokens":500,"output_tokens":0}"#;
    let refused_late = r#"{"type":"message","model":"m","input_tokens":500,"output_tokens":5}"#;
    assert_eq!(counts(&whole(&body(declined)).usage), [500, 0, 0, 40]);
    assert_eq!(counts(&whole(&body(refused_late)).usage), [1_000, 0, 0, 45]);
}
