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
    // Gateways that copy Anthropic's counts: not part of the prompt.
    check(
        r#"{"prompt_tokens":500,"completion_tokens":300,"total_tokens":14100,"prompt_tokens_details":{"cached_tokens":13300}}"#,
        [500, 13_300, 0, 300],
    );
    check(
        r#"{"prompt_tokens":500,"completion_tokens":300,"total_tokens":1000,"prompt_tokens_details":{"cached_tokens":100,"cache_write_tokens":100}}"#,
        [500, 100, 100, 300],
    );
    // xAI (docs.x.ai, 2026-11): reasoning is not part of the answer. OpenAI: it is.
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

/// The counts `[input, cache read, cache write, output]` of an answer of Chat and of its stream, and
/// whether they are marked as estimated.
fn check_chat(usage: &str, expect: [u64; 4], estimated: bool) {
    let body = format!(
        r#"{{"model":"m","choices":[{{"message":{{"content":"x"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
    );
    let chunks = format!(
        "data: {{\"model\":\"m\",\"choices\":[{{\"delta\":{{\"content\":\"x\"}},\"finish_reason\":\"stop\"}}]}}\n\n\
         data: {{\"model\":\"m\",\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n"
    );
    for reading in [whole(&body), stream(&chunks)] {
        assert_eq!(counts(&reading.usage), expect, "{usage}");
        assert_eq!(reading.usage.estimated, estimated, "{usage}");
    }
}

#[test]
fn thinking_that_only_the_total_shows_is_output() {
    // Google's OpenAI-compatible endpoint (Clarifai/clarifai-python #978; discuss.ai.google.dev,
    // topic 127400; mozilla-ai/any-llm #1290, 2026-08-16).
    check_chat(
        r#"{"completion_tokens":3,"prompt_tokens":9,"total_tokens":105}"#,
        [9, 0, 0, 96],
        false,
    );
    check_chat(
        r#"{"prompt_tokens":20,"completion_tokens":0,"total_tokens":623}"#,
        [20, 0, 0, 603],
        false,
    );
    check_chat(r#"{"prompt_tokens":20,"total_tokens":623}"#, [20, 0, 0, 603], false);
    check_chat(
        r#"{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1500,"prompt_tokens_details":{"cached_tokens":800}}"#,
        [200, 800, 0, 500],
        false,
    );
    // A part that is reported, and more that is not.
    check_chat(
        r#"{"prompt_tokens":100,"completion_tokens":10,"total_tokens":310,"completion_tokens_details":{"reasoning_tokens":50}}"#,
        [100, 0, 0, 210],
        false,
    );
    // A prompt of nothing is a contradiction.
    check_chat(
        r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":623}"#,
        [0, 0, 0, 623],
        true,
    );
    // Less than the sum says nothing.
    check_chat(
        r#"{"prompt_tokens":20,"completion_tokens":5,"total_tokens":7}"#,
        [20, 0, 0, 5],
        false,
    );
    let response = r#"{"object":"response","status":"completed","model":"m","output":[],"usage":{"input_tokens":20,"output_tokens":3,"total_tokens":500,"output_tokens_details":{"reasoning_tokens":0}}}"#;
    assert_eq!(counts(&whole(response).usage), [20, 0, 0, 480]);
    // The counts of one answer in two events do not make a difference to the total.
    let split = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":2000,\"total_tokens\":2000}}\n\n\
                 data: {\"choices\":[],\"usage\":{\"completion_tokens\":1000,\"total_tokens\":3000}}\n\ndata: [DONE]\n\n";
    assert_eq!(counts(&stream(split).usage), [2000, 0, 0, 1000]);
}

#[test]
fn cached_tokens_are_billed_once_whatever_their_names_are() {
    // LiteLLM, and any-llm (mozilla-ai/any-llm #1335): OpenAI's prompt, which includes the cache,
    // with Anthropic's names.
    check_chat(
        r#"{"prompt_tokens":200000,"completion_tokens":100,"total_tokens":200100,"cache_read_input_tokens":190000,"cache_creation_input_tokens":0,"prompt_tokens_details":{"cached_tokens":190000}}"#,
        [10_000, 190_000, 0, 100],
        false,
    );
    check_chat(
        r#"{"prompt_tokens":2000,"completion_tokens":100,"total_tokens":2100,"cache_read_input_tokens":1900,"cache_creation_input_tokens":50,"prompt_tokens_details":{"cached_tokens":1900},"completion_tokens_details":null}"#,
        [50, 1900, 50, 100],
        false,
    );
    check_chat(
        r#"{"prompt_tokens":2000,"completion_tokens":100,"total_tokens":2100,"cache_creation_input_tokens":1500,"prompt_tokens_details":{"cached_tokens":400}}"#,
        [100, 400, 1500, 100],
        false,
    );
    for zero in ["0", "null"] {
        check_chat(
            &format!(
                r#"{{"prompt_tokens":2000,"completion_tokens":100,"cache_read_input_tokens":{zero},"cache_creation_input_tokens":{zero},"prompt_tokens_details":{{"cached_tokens":1900}}}}"#
            ),
            [100, 1900, 0, 100],
            false,
        );
    }
    // Alibaba Cloud Model Studio ("Context cache", 2026-11) and LiteLLM: inside of the details.
    for split in [
        r#""cache_creation_input_tokens":1500,"cache_creation":{"ephemeral_5m_input_tokens":1500}"#,
        r#""cache_creation_tokens":1500,"cache_creation_token_details":{"ephemeral_5m_input_tokens":1500,"ephemeral_1h_input_tokens":0}"#,
        r#""cached_creation_tokens":1500"#,
    ] {
        check_chat(
            &format!(
                r#"{{"prompt_tokens":2000,"completion_tokens":100,"total_tokens":2100,"prompt_tokens_details":{{"cached_tokens":0,{split}}}}}"#
            ),
            [500, 0, 1500, 100],
            false,
        );
    }
    // The same names with a total that is larger by the cached tokens.
    check_chat(
        r#"{"prompt_tokens":100,"completion_tokens":100,"total_tokens":2100,"cache_read_input_tokens":1900}"#,
        [100, 1900, 0, 100],
        false,
    );
    // new-api copies Anthropic's counts. A part that is larger than its whole contradicts it.
    check_chat(
        r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":1900},"input_tokens":100,"output_tokens":50,"claude_cache_creation_5_m_tokens":0,"claude_cache_creation_1_h_tokens":0}"#,
        [100, 1900, 0, 50],
        true,
    );
    check_chat(
        r#"{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":1900}}"#,
        [100, 1900, 0, 50],
        true,
    );
    // Anthropic's own form: the prompt does not include the cache.
    let message = r#"{"type":"message","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":2000,"cache_read_input_tokens":1900,"cache_creation_input_tokens":50,"output_tokens":9}}"#;
    let reading = whole(message);
    assert_eq!(counts(&reading.usage), [2000, 1900, 50, 9]);
    assert!(!reading.usage.estimated);
}

#[test]
fn counts_are_read_under_every_name() {
    // new-api fills Anthropic's names with zeros.
    check_chat(
        r#"{"prompt_tokens":2000,"completion_tokens":793,"total_tokens":2793,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":759},"input_tokens":0,"output_tokens":0,"input_tokens_details":null}"#,
        [2000, 0, 0, 793],
        false,
    );
    // Moonshot and DeepSeek (API references, 2026-11).
    check_chat(
        r#"{"prompt_tokens":1336,"completion_tokens":800,"total_tokens":2136,"cached_tokens":1280}"#,
        [56, 1280, 0, 800],
        false,
    );
    check_chat(
        r#"{"prompt_tokens":2000,"completion_tokens":100,"total_tokens":2100,"prompt_cache_hit_tokens":1900,"prompt_cache_miss_tokens":100}"#,
        [100, 1900, 0, 100],
        false,
    );
}

#[test]
fn usage_is_read_in_every_place() {
    let usage = r#"{"prompt_tokens":1336,"completion_tokens":800,"total_tokens":2136,"cached_tokens":1280}"#;
    let start = r#"{"model":"m","choices":[{"index":0,"delta":{"content":"word"}}]}"#;
    for last in [
        // Moonshot (northes/go-moonshot #17; earendil-works/pi #2017, 2026-03-10).
        format!(
            r#"{{"model":"m","choices":[{{"index":0,"delta":{{}},"finish_reason":"stop","usage":{usage}}}]}}"#
        ),
        format!(
            r#"{{"model":"m","usage":null,"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop","usage":{usage}}}]}}"#
        ),
        format!(
            r#"{{"model":"m","usage":{{"prompt_tokens":0,"completion_tokens":0}},"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop","usage":{usage}}}]}}"#
        ),
        // Groq without `include_usage` (groq-python, `XGroq`, 2026-11).
        format!(
            r#"{{"model":"m","choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}],"x_groq":{{"id":"r","usage":{usage}}}}}"#
        ),
    ] {
        let reading = stream(&format!("data: {start}\n\ndata: {last}\n\ndata: [DONE]\n\n"));
        assert_eq!(counts(&reading.usage), [56, 1280, 0, 800], "{last}");
        assert!(!reading.usage.estimated && !reading.hides_usage, "{last}");
        let body = last.replace(r#""delta":{}"#, r#""message":{"content":"word"}"#);
        let reading = whole(&body);
        assert_eq!(counts(&reading.usage), [56, 1280, 0, 800], "{body}");
        assert!(!reading.usage.estimated && !reading.hides_usage, "{body}");
    }
}

#[test]
fn counts_that_fall_during_a_stream_are_marked() {
    let check = |usages: &[&str], expect, estimated| {
        let chunk = |usage: &&str| {
            format!(
                "data: {{\"model\":\"m\",\"choices\":[{{\"delta\":{{\"content\":\"x\"}}}}],\"usage\":{usage}}}\n\n"
            )
        };
        let chunks: String = usages.iter().map(chunk).collect();
        let reading = stream(&format!("{chunks}data: [DONE]\n\n"));
        assert_eq!(counts(&reading.usage), expect, "{usages:?}");
        assert_eq!(reading.usage.estimated, estimated, "{usages:?}");
    };
    let large = r#"{"prompt_tokens":2000,"completion_tokens":900}"#;
    check(&[large, r#"{"prompt_tokens":1,"completion_tokens":1}"#], [1, 0, 0, 900], true);
    check(&[large, r#"{"prompt_tokens":2000,"completion_tokens":1}"#], [2000, 0, 0, 900], true);
    check(&[large, r#"{"prompt_tokens":1,"completion_tokens":901}"#], [1, 0, 0, 901], true);
    check(&[large, r#"{"prompt_tokens":0,"completion_tokens":0}"#], [2000, 0, 0, 900], false);
    check(&[large, r#"{"prompt_tokens":2000,"completion_tokens":901}"#], [2000, 0, 0, 901], false);
    // The same prompt in other classes.
    check(
        &[large, r#"{"prompt_tokens":2000,"completion_tokens":901,"cached_tokens":1900}"#],
        [100, 1900, 0, 901],
        false,
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
