//! Checks that the meter reads each recorded stream as `manifest.json` says, however it is cut.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use baton_protocol::meter::{AnswerEnd, AnswerStart, MeterReading, UsageMeter};
use proptest::prelude::*;
use serde_json::Value;
use std::path::Path;
use std::sync::LazyLock;

/// The length of the request, for estimates.
const REQUEST_BYTES: u64 = 4_000;

struct Fixture {
    name: String,
    bytes: Vec<u8>,
    message: Value,
}

/// The recorded streams, except Gemini's, which no route of the relay serves.
static FIXTURES: LazyLock<Vec<Fixture>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/sse");
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: serde_json::Map<String, Value> = serde_json::from_slice(&manifest).unwrap();
    manifest
        .into_iter()
        .filter(|(_, message)| message["proto"] != "gemini")
        .map(|(name, message)| {
            let file = folder.join(format!("{name}.sse"));
            let bytes = if name == "long_line_1mb" {
                long_line(&std::fs::read(folder.join("text.sse")).unwrap())
            } else {
                std::fs::read(file).unwrap()
            };
            Fixture { name, bytes, message }
        })
        .collect()
});

/// `text.sse` with one delta of a million characters, and 30 tokens of output.
fn long_line(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    let long = format!(r#""text":"{}""#, "x".repeat(1_000_000));
    let text = text.replace(r#""text":"Hello""#, &long);
    text.replace(r#""output_tokens":7"#, r#""output_tokens":30"#).into_bytes()
}

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> MeterReading {
    let mut meter = UsageMeter::for_stream();
    for chunk in chunks {
        meter.observe(chunk);
    }
    meter.finish(REQUEST_BYTES)
}

fn check(fixture: &Fixture, reading: &MeterReading) {
    let Fixture { name, message, .. } = fixture;
    let expect = &message["expect"];
    let ended_well = reading.end == AnswerEnd::Complete;
    assert_eq!(ended_well, message["complete"] == true, "{name}: {:?}", reading.end);
    check_tokens(name, message, reading);
    check_words(name, expect, reading);
    check_text(name, expect, reading);
    if let Some(error) = expect["error"].as_str() {
        check_error(name, error, reading);
    }
}

fn check_tokens(name: &str, message: &Value, reading: &MeterReading) {
    let (expect, proto) = (&message["expect"], &message["proto"]);
    let count = |field: &str| expect[field].as_u64();
    let (tokens, usage) = (&reading.usage.tokens, &reading.usage);
    let beyond = match expect["billed_extra_iterations"]["compaction"].as_array() {
        Some(pair) => (pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap()),
        // The totals are those of the pass that finished. The refused pass is billed, too.
        None if name == "fallback_iterations" => (500, 5),
        None => (0, 0),
    };
    // OpenAI's prompt counts include cached tokens.
    let cached = if proto == "anthropic" { 0 } else { tokens.cache_read };
    let same = |field: &str, ours: u64| {
        if let Some(told) = count(field) {
            assert_eq!(ours, told, "{name}: {field}");
        }
    };
    same("input_tokens", tokens.input + cached - beyond.0);
    same("prompt_tokens", tokens.input + cached);
    same("cached_tokens", tokens.cache_read);
    same("output_tokens", tokens.output - beyond.1);
    same("completion_tokens", tokens.output);
    same("cache_read_input_tokens", tokens.cache_read);
    same("cache_creation_input_tokens", tokens.cache_write_5m + tokens.cache_write_1h);
    same("cache_creation_5m", tokens.cache_write_5m);
    same("cache_creation_1h", tokens.cache_write_1h);
    same("web_search_requests", usage.web_searches);
    if let Some(least) = count("output_tokens_at_least") {
        assert!(tokens.output >= least && usage.estimated, "{name}");
    }
}

fn check_words(name: &str, expect: &Value, reading: &MeterReading) {
    let usage = &reading.usage;
    let same = |field: &str, ours: Option<&str>| {
        if let Some(told) = expect[field].as_str() {
            assert_eq!(ours, Some(told), "{name}: {field}");
        }
    };
    same("stop_reason", reading.stop_reason.as_deref());
    same("service_tier", usage.service_tier.as_deref());
    same("inference_geo", usage.inference_geo.as_deref());
    same("speed", usage.speed.as_deref());
    if let Some(models) = expect["iterations_models"].as_array() {
        let ours: Vec<_> =
            usage.iterations.iter().map(|iteration| iteration.model.as_deref()).collect();
        let told: Vec<_> = models.iter().map(Value::as_str).collect();
        assert_eq!(ours, told, "{name}");
    }
}

/// Counts characters of text, thinking and tool input. None must be lost, whatever else a delta
/// counts.
fn check_text(name: &str, expect: &Value, reading: &MeterReading) {
    let chars = |field: &str| expect[field].as_str().map_or(0, |text| text.chars().count());
    let told = chars("text") + chars("thinking") + chars("text_prefix");
    assert!(reading.output_chars >= told as u64, "{name}: {}", reading.output_chars);
    if let (Some(_), true) = (expect["text"].as_str(), expect["tools"].is_null()) {
        let extra = match name {
            // The model generates the name of a call and its input.
            "server_tool_web_search" => r#"web_search{"query":"example"}"#.len(),
            // Only its encrypted form shows the thinking.
            "thinking_omitted" => "b3BhcXVl".len(),
            "compaction_iterations" => "Summary.".len(),
            _ => 0,
        };
        assert_eq!(reading.output_chars, (told + extra) as u64, "{name}");
    }
}

fn check_error(name: &str, error: &str, reading: &MeterReading) {
    let AnswerEnd::Error(failure) = &reading.end else { panic!("{name}: {:?}", reading.end) };
    match error {
        "(not JSON)" => {
            assert_eq!((failure.kind.as_deref(), &*failure.message), (None, "upstream exploded"));
        }
        told if told.starts_with('(') => assert_eq!(failure.kind.as_deref(), Some("server_error")),
        told => assert!(
            failure.kind.as_deref() == Some(told) || failure.message == told,
            "{name}: {failure:?}"
        ),
    }
    let is_first = matches!(reading.first, AnswerStart::Error(_));
    // The second one has no output before its end.
    let is_expected = ["error_first", "openai_responses_failed"].contains(&name);
    assert_eq!(is_first, is_expected, "{name}: {:?}", reading.first);
}

#[test]
fn streams_in_one_chunk_are_metered() {
    for fixture in FIXTURES.iter() {
        check(fixture, &read([fixture.bytes.as_slice()]));
    }
}

#[test]
fn streams_cut_at_every_byte_are_metered() {
    for fixture in FIXTURES.iter().filter(|fixture| fixture.bytes.len() < 100_000) {
        let integer_part = read([fixture.bytes.as_slice()]);
        for index in 0..=fixture.bytes.len() {
            let (left, right) = fixture.bytes.split_at(index);
            assert_eq!(read([left, right]), integer_part, "{} cut at {index}", fixture.name);
        }
    }
}

#[test]
fn streams_in_chunks_of_each_size_are_metered() {
    for fixture in FIXTURES.iter() {
        let integer_part = read([fixture.bytes.as_slice()]);
        for size in [1, 2, 3, 5, 7, 13, 64, 1000] {
            assert_eq!(
                read(fixture.bytes.chunks(size)),
                integer_part,
                "{} by {size}",
                fixture.name
            );
        }
    }
}

#[test]
fn missing_usage_is_estimated() {
    let check = |name: &str, input, output, estimated| {
        let fixture = FIXTURES.iter().find(|fixture| fixture.name == name).unwrap();
        let usage = read([fixture.bytes.as_slice()]).usage;
        let ours = (usage.tokens.input, usage.tokens.output, usage.estimated);
        assert_eq!(ours, (input, output, estimated), "{name}");
    };
    check("text", 25, 7, false);
    check("no_message_stop", 25, 7, false);
    check("no_trailing_newline", 25, 7, false);
    check("error_first", 0, 0, false);
    // "par" is a token; "Hello, " is two.
    check("error_midstream", 25, 1, true);
    check("truncated_clean", 25, 2, true);
    check("truncated_mid_event", 25, 2, true);
    check("error_api_after_block", 25, 2, true);
    // No byte arrived, but the upstream possibly read the prompt of 4,000 bytes.
    check("empty", 1_000, 0, true);
    // OpenAI reports usage only if the request asks for it.
    check("openai_chat", 7, 7, false);
    check("openai_chat_tools", 1_000, 3, true);
    check("openai_responses_failed", 0, 0, false);
}

#[test]
fn usage_before_more_output_is_not_final() {
    let text = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
        "x".repeat(4_000)
    );
    let usage = |output: u32| {
        let counts = format!("{{\"prompt_tokens\":10,\"completion_tokens\":{output}}}");
        format!("data: {{\"choices\":[],\"usage\":{counts}}}\n\n")
    };
    let delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\
                 \"usage\":{\"output_tokens\":1}}\n\n";
    let block = format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\
         \"delta\":{{\"type\":\"text_delta\",\"text\":\"{}\"}}}}\n\n",
        "x".repeat(4_000)
    );
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let done = "data: [DONE]\n\n";
    let (early, late) = (usage(1), usage(900));
    for (events, output, is_hidden) in [
        (vec![early.as_str(), &text, done], 1_000, true),
        (vec![&early, &text, &late, done], 900, false),
        (vec![&text, &late, done], 900, false),
        (vec![delta, &block, stop], 1_000, true),
    ] {
        let reading = read(events.iter().map(|event| event.as_bytes()));
        assert_eq!(reading.usage.tokens.output, output, "{events:.80?}");
        assert_eq!(reading.hides_usage, is_hidden, "{events:.80?}");
        assert_eq!(reading.usage.estimated, is_hidden, "{events:.80?}");
    }
}

#[test]
fn unreadable_events_never_hide_usage() {
    let nan = "data: {\"choices\":[{\"logprobs\":NaN,\"delta\":{\"content\":\"abcd\"}}]}\n\n";
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":4}}\n\n";
    let done = "data: [DONE]\n\n";
    let bedrock = "data: {\"type\":\"content_block_delta\",\"x\":NaN}\n\n";
    for (chunks, output, hides_usage) in [
        (vec![nan, usage, done], 4, false),
        (vec![nan, nan, done], 2, true),
        (vec![bedrock, done], 0, true),
        (vec!["data: keep-alive\n\n", nan, usage, done], 4, false),
    ] {
        let reading = read(chunks.iter().map(|chunk| chunk.as_bytes()));
        assert_eq!(reading.usage.tokens.output, output, "{chunks:?}");
        assert_eq!(reading.hides_usage, hides_usage, "{chunks:?}");
        assert_eq!(reading.end, AnswerEnd::Complete, "{chunks:?}");
    }
    // A text alone is the error.
    let reading = read([b"data: quota exceeded\n\n".as_slice()]);
    assert!(matches!(reading.first, AnswerStart::Error(_)), "{reading:?}");
    assert_eq!(reading.usage.tokens.input, 0);
}

#[test]
fn first_event_is_recognized() {
    let check = |chunks: &[&str], expect: AnswerStart| {
        let mut meter = UsageMeter::for_stream();
        for chunk in chunks {
            meter.observe(chunk.as_bytes());
        }
        assert_eq!(meter.first_event(), &expect, "{chunks:?}");
    };
    check(&[], AnswerStart::Nothing);
    check(&[": hi\n\n", "\n"], AnswerStart::Nothing);
    check(&["event: ping\ndata: {}"], AnswerStart::Nothing);
    check(&["event: ping\ndata: {}\n\n"], AnswerStart::Nothing);
    let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let filter = "data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n";
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let done = "data: [DONE]\n\n";
    check(&[filter, role], AnswerStart::Nothing);
    check(&[filter, role, text], AnswerStart::Event);
    check(&[role, done], AnswerStart::Event);
    check(&["event: keep-alive\n\n", "data:\n\n", filter], AnswerStart::Nothing);
    check(&["event: keep-alive\n\n", text], AnswerStart::Event);
    check(&["event: message_start\ndata: {}\n\n", "event: error\ndata: x\n\n"], AnswerStart::Event);
    let error =
        "event: error\ndata: {\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n";
    check(&[error], AnswerStart::Nothing);
    let told = |kind: Option<&str>, code: Option<&str>, message: &str| {
        AnswerStart::Error(baton_protocol::meter::UpstreamFailure {
            kind: kind.map(str::to_owned),
            code: code.map(str::to_owned),
            message: message.to_owned(),
        })
    };
    let dead = "data: {\"object\":\"error\",\"message\":\"m\",\"type\":\"T\",\"code\":500}\n\n";
    let limit = "data: {\"error\":{\"code\":\"429\",\"message\":\"m\"}}\n\n";
    let proxy = "data: upstream connect error\n\n";
    for empty in ["", filter, role, "event: ping\ndata: {}\n\n"] {
        check(&[empty, dead], told(Some("T"), Some("500"), "m"));
        check(&[empty, limit], told(Some("429"), Some("429"), "m"));
        // A text can be an error or keep the connection open. The next event decides.
        check(&[empty, proxy], AnswerStart::Nothing);
        check(&[empty, proxy, done], told(None, None, "upstream connect error"));
        check(&[empty, proxy, text], AnswerStart::Event);
        check(&[empty, proxy, dead], told(Some("T"), Some("500"), "m"));
        check(&[empty, "data: <html>502</html>\n\n"], told(None, None, "<html>502</html>"));
        check(&[empty, "data: {\"error\":\"m\"}\n\n"], told(None, None, "m"));
        // So can an object that has only a message.
        check(&[empty, "data: {\"detail\":\"m\"}\n\n"], AnswerStart::Nothing);
        check(&[empty, "data: {\"detail\":\"m\"}\n\n", text], AnswerStart::Event);
        check(&[empty, "data: {\"detail\":\"m\"}\n\n", done], told(None, None, "m"));
        check(
            &[empty, "data: [{\"error\":{\"code\":503,\"message\":\"m\"}}]\n\n"],
            told(None, Some("503"), "m"),
        );
    }
    for ignored in ["null", "[]", "\"\"", "OPENROUTER PROCESSING", "1"] {
        let ignored = format!("data: {ignored}\n\n");
        check(&[&ignored], AnswerStart::Nothing);
        check(&[&ignored, filter, text], AnswerStart::Event);
    }
    // JSON that is not strict, as Python writes it by default, is output that Baton cannot read.
    let infinite =
        "data: {\"choices\":[{\"logprobs\":-Infinity,\"delta\":{\"content\":\"a\"}}]}\n\n";
    check(&[filter, infinite], AnswerStart::Event);
    check(&["data: {\"type\":\"message_start\",\"x\":NaN}\n\n"], AnswerStart::Event);
    let broken = "{\"error\":{\"message\":\"m\",\"x\":NaN}}";
    check(&[&format!("data: {broken}\n\n")], told(None, None, broken));
    check(&[done], told(None, None, "the stream was done before it began"));
    let failure = baton_protocol::meter::UpstreamFailure {
        kind: Some("overloaded_error".into()),
        code: None,
        message: "m".into(),
    };
    check(&[error, "\n"], AnswerStart::Error(failure));
}

#[test]
fn body_that_is_not_a_stream_is_an_error() {
    let check = |body: &str, kind: Option<&str>, message: &str| {
        let reading = read([body.as_bytes()]);
        let AnswerEnd::Error(failure) = reading.end else { panic!("{body}") };
        assert_eq!((failure.kind.as_deref(), &*failure.message), (kind, message));
        assert_eq!(reading.usage.tokens.total(), 0);
        assert!(matches!(reading.first, AnswerStart::Error(_)));
    };
    check("upstream exploded", None, "upstream exploded");
    let error = r#"{"type":"error","error":{"type":"api_error","message":"no"}}"#;
    check(error, Some("api_error"), "no");
}

#[test]
fn other_forms_than_events_are_recognized() {
    let check = |body: &str, is_foreign: bool| {
        let reading = read([body.as_bytes()]);
        assert_eq!(reading.is_foreign, is_foreign, "{body}: {reading:?}");
        let is_error = matches!(reading.first, AnswerStart::Error(_));
        assert_eq!(is_error, is_foreign, "{body}: {reading:?}");
        assert!(!is_foreign || !reading.has_billed_part, "{body}: {reading:?}");
    };
    for body in [
        "<html><body>login</body></html>",
        "upstream exploded",
        "{\"status\":\"ok\"}",
        "{\"error\":{\"message\":\"without an event\"}}",
        "data: hello\n\n",
        "data: 42\n\n",
        "data: <html>\n\n",
        "data: {}\n\n",
        "data: {\"status\":\"ok\"}\n\n",
        "data: {\"a\":NaN}\n\n",
        "data: hello\n\ndata: [DONE]\n\n",
        "data: {}\n\ndata: [DONE]\n\n",
        "data: [DONE]\n\n",
        "event: ping\ndata: {}\n\ndata: {}\n\n",
    ] {
        check(body, true);
    }
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    for first in
        ["", "data: hello\n\n", "data: {}\n\n", "data: {\"a\":NaN}\n\n", "event: x\ndata: y\n\n"]
    {
        check(&format!("{first}{text}"), false);
        check(&format!("{first}event: message_start\ndata: {{}}\n\n"), false);
        check(&format!("{first}data: {{\"x\":1,\"type\":\"message_start\"}}\n\n"), false);
        check(&format!("{first}event: response.output_item.added\ndata: {{}}\n\n"), false);
        check(&format!("{first}event: other\n{text}"), false);
        check(&format!("{first}data: {{\"usage\":{{\"prompt_tokens\":1}}}}\n\n"), false);
    }
}

/// Bytes that are not text are perhaps an answer in a coding that no header names.
#[test]
fn binary_bytes_in_place_of_events_are_estimated() {
    let mut meter = UsageMeter::for_stream();
    meter.observe(&[0x28, 0xb5, 0x2f, 0xfd, 4, 0, 7, 9].repeat(50));
    let reading = meter.finish(4_000);
    assert!(reading.started && reading.hides_usage && reading.usage.estimated, "{reading:?}");
    assert!(reading.has_billed_part && reading.usage.tokens.output >= 50, "{reading:?}");
}

/// An empty list of choices is not an answer, and the SDKs see an error only by a field `error`.
#[test]
fn error_beside_no_choices_is_an_error() {
    for (error, is_seen) in [
        (r#"{"choices":[],"base_resp":{"status_code":1000,"status_msg":"m"}}"#, false),
        (r#"{"choices": [ ],"code":500,"message":"m","object":"error"}"#, false),
        (r#"{"choices":null,"code":500,"message":"m"}"#, false),
        (r#"{"choices":{},"code":500,"message":"m"}"#, false),
        (r#"{"choices":[],"code":500,"message":"m","details":{"error":"x"}}"#, false),
        (r#"{"code":500,"message":"m","error":null,"details":{"error":"x"}}"#, false),
        (r#"{"choices":[],"error":{"code":500,"message":"m"}}"#, true),
        (r#"{"code":500,"message":"m","error":"m"}"#, true),
    ] {
        for output in ["", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"] {
            let mut meter = UsageMeter::for_stream();
            meter.observe(format!("{output}data: {error}\n\n").as_bytes());
            assert!(meter.has_error(), "{error}");
            let reading = meter.finish(100);
            assert_eq!(reading.has_reported_end, is_seen, "{error}");
        }
    }
    for chunk in [
        r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        r#"{"choices":[],"error":null,"prompt_filter_results":[{"prompt_index":0}]}"#,
    ] {
        let mut meter = UsageMeter::for_stream();
        meter.observe(format!("data: {chunk}\n\n").as_bytes());
        assert!(!meter.has_error(), "{chunk}");
    }
}

/// The most that can be billed has a token for each byte of rare characters, and images.
#[test]
fn tokens_max_is_a_bound() {
    let mut meter = UsageMeter::for_stream();
    let rare = "\u{13000}".repeat(100);
    meter.observe(
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{rare}\",\"images\":[\"u\"]}}}}]}}\n\n")
            .as_bytes(),
    );
    let reading = meter.finish(1_000);
    assert_eq!(reading.tokens_max.output, 400 + 1_290);
    assert_eq!((reading.usage.tokens.output, reading.output_chars), (25 + 1_290, 100));
}

/// A total that exceeds the answer by less than any prompt of this length has does not replace it.
#[test]
fn rest_of_a_total_counts_as_the_prompt_if_it_can_be_one() {
    for (total, input, output) in [(41, 1_000, 41), (1_040, 0, 1_040)] {
        let usage =
            format!(r#"{{"prompt_tokens":0,"completion_tokens":40,"total_tokens":{total}}}"#);
        let mut meter = UsageMeter::for_whole_body();
        meter.observe(format!(r#"{{"choices":[],"usage":{usage}}}"#).as_bytes());
        let tokens = meter.finish(4_000).usage.tokens;
        assert_eq!((tokens.input, tokens.output), (input, output), "{total}");
    }
}

#[test]
fn reported_end_is_recognized() {
    for fixture in FIXTURES.iter() {
        let reading = read([fixture.bytes.as_slice()]);
        // Anthropic's SDKs ignore an error without an `event:` line.
        let knows = reading.end != AnswerEnd::Truncated && fixture.name != "error_openai_shape";
        assert_eq!(reading.has_reported_end, knows, "{}", fixture.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streams_cut_anywhere_keep_their_usage(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let fixture = which.get(&FIXTURES);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(fixture.bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for cut in cuts {
            chunks.push(&fixture.bytes[from..cut]);
            from = cut;
        }
        chunks.push(&fixture.bytes[from..]);
        check(fixture, &read(chunks));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, cut: prop::sample::Index) {
        let (left, right) = bytes.split_at(cut.index(bytes.len() + 1));
        read([left, right]);
        let mut whole = UsageMeter::for_whole_body();
        whole.observe(&bytes);
        whole.finish(u64::MAX);
    }

    #[test]
    fn broken_streams_do_not_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        junk: Vec<u8>,
    ) {
        let fixture = which.get(&FIXTURES);
        let (left, right) = fixture.bytes.split_at(at.index(fixture.bytes.len() + 1));
        read([left, &junk, right]);
    }
}
