//! The memory in which an answer is metered and translated has a bound that depends on its length, and
//! what is kept of it is counted.
#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::print_stdout, reason = "for show")]

use baton_protocol::meter::UsageMeter;
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, ResponseContext, StreamTranslator, TranslationOptions,
    UpstreamProtocol,
};

/// The memory at any time, as a multiple of the longest event.
const MOST: u64 = 14;
/// The memory between two events, as a multiple of the bytes that are counted.
const KEPT: u64 = 3;
/// The memory that is not counted: an empty meter and translator, and names and counts that have a
/// bound of their own.
const UNCOUNTED: u64 = 256 * 1024;

fn context(client: ClientProtocol, upstream: UpstreamProtocol) -> ResponseContext {
    let body =
        r#"{"model":"m","max_tokens":9,"input":"hi","messages":[{"role":"user","content":"hi"}]}"#;
    let pair = ProtocolPair::between(client, upstream).unwrap();
    let options = TranslationOptions::new("m", "req_1");
    pair.translate_request(body.as_bytes(), &options).unwrap().context
}

/// A list of `item`s that takes `bytes`.
fn list(item: &str, bytes: usize) -> String {
    format!("[{}]", vec![item; bytes / (item.len() + 1)].join(","))
}

fn delta(delta: &str) -> String {
    format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{{delta}}}}}]}}"#)
}

fn check(name: &str, upstream: UpstreamProtocol, events: &[String]) {
    let clients = [
        ClientProtocol::AnthropicMessages,
        ClientProtocol::OpenaiChat,
        ClientProtocol::OpenaiResponses,
    ];
    for client in clients {
        if ProtocolPair::between(client, upstream).is_some() {
            check_client(name, client, upstream, events);
        }
    }
}

fn check_client(name: &str, client: ClientProtocol, upstream: UpstreamProtocol, events: &[String]) {
    let context = context(client, upstream);
    let longest = events.iter().map(String::len).max().unwrap() as u64;
    let mut stream: Option<StreamTranslator> = None;
    let mut meter = None;
    let (mut peak, mut kept) = (0, 0);
    let begin = allocation_counter::measure(|| {
        stream = Some(context.stream_translator());
        meter = Some(UsageMeter::for_stream());
    });
    kept += begin.bytes_current;
    let (stream, meter) = (stream.as_mut().unwrap(), meter.as_mut().unwrap());
    for data in events {
        let event = format!("data: {data}\n\n");
        let before = u64::try_from(kept).unwrap();
        let memory = allocation_counter::measure(|| {
            meter.observe(event.as_bytes());
            let mut rest = event.as_bytes();
            while !rest.is_empty() || stream.has_pending() {
                rest = stream.push_step(rest, &mut Vec::new());
            }
        });
        kept += memory.bytes_current;
        peak = peak.max(memory.bytes_max);
        let counted = (stream.held_bytes() + meter.held_bytes()) as u64;
        let now = u64::try_from(kept).unwrap();
        assert!(
            now <= KEPT * counted + UNCOUNTED,
            "{name} for {client:?}: {now} bytes are kept, {counted} are counted"
        );
        assert!(
            memory.bytes_max <= MOST * longest + 2 * before + UNCOUNTED,
            "{name} for {client:?}: {} bytes for {longest}",
            memory.bytes_max
        );
    }
    let peak = peak / longest;
    println!("{peak:4} times the event, {kept:9} kept, {name} for {client:?}");
}

const BYTES: usize = 1_000_000;

fn of(item: &str) -> String {
    list(item, BYTES)
}

#[test]
fn memory_of_long_usage_and_choices_is_bounded() {
    let usage = |iterations: String| {
        format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":5,"completion_tokens":4,"iterations":{iterations}}}}}"#
        )
    };
    let long_kind = format!(r#"{{"type":"{}"}}"#, "k".repeat(2_000));
    for (name, event) in [
        ("iterations", usage(of("{}"))),
        ("iterations with numbers", usage(of(r#"{"input_tokens":1}"#))),
        ("iterations with long kinds", usage(of(&long_kind))),
        ("choices", format!(r#"{{"choices":{}}}"#, of("{}"))),
        ("finished choices", format!(r#"{{"choices":{}}}"#, of(r#"{"finish_reason":"stop"}"#))),
        ("choices with usage", format!(r#"{{"choices":{}}}"#, of(r#"{"usage":{"a":1}}"#))),
        ("numbers as choices", format!(r#"{{"choices":{}}}"#, of("0"))),
        (
            "a finish reason",
            delta(&format!(r#""content":"a"}},"finish_reason":"{}","x":{{"#, "x".repeat(BYTES))),
        ),
        ("a model", format!(r#"{{"model":"{}","choices":[]}}"#, "m".repeat(BYTES))),
        (
            "searches",
            format!(
                r#"{{"choices":[],"x":"web_search_call","output":[{{"type":"web_search_call"}},{}]}}"#,
                &of("{}")[1..].trim_end_matches(']')
            ),
        ),
    ] {
        check(name, UpstreamProtocol::Chat, &[delta(r#""content":"a""#), event]);
    }
}

#[test]
fn memory_of_long_states_and_errors_is_bounded() {
    for (name, event) in [
        ("details", delta(&format!(r#""reasoning_details":{}"#, of("{}")))),
        ("details with numbers", delta(&format!(r#""reasoning_details":{}"#, of(r#"{"a":0}"#)))),
        (
            "details with lists",
            delta(&format!(r#""reasoning_details":[{{"text":"a","x":{}}}]"#, of("0"))),
        ),
        (
            "details with texts",
            delta(&format!(r#""reasoning_details":{}"#, of(r#"{"text":"a","index":0}"#))),
        ),
        (
            "details of other kinds",
            delta(&format!(r#""reasoning_details":{}"#, of(r#"{"text":"a","signature":"s"}"#))),
        ),
        ("an error", format!(r#"{{"error":{{"message":{}}}}}"#, of("0"))),
        ("an error with objects", format!(r#"{{"error":{{"message":{}}}}}"#, of(r#"{"a":0}"#))),
        (
            "a list of errors",
            format!(r#"[{{"error":{{"message":"no"}}}},{}]"#, of("0").trim_matches(['[', ']'])),
        ),
        (
            "the state of a call",
            delta(&format!(
                r#""tool_calls":[{{"index":0,"id":"a","function":{{"name":"f","arguments":"{{}}"}},"extra_content":{}}}]"#,
                of("0")
            )),
        ),
        ("parts of content", delta(&format!(r#""content":{}"#, of(r#"{"text":"some words"}"#)))),
    ] {
        check(name, UpstreamProtocol::Chat, &[delta(r#""content":"a""#), event]);
    }
}

#[test]
fn memory_of_long_events_of_other_upstreams_is_bounded() {
    for (name, event) in [
        (
            "iterations",
            format!(
                r#"{{"type":"message_delta","delta":{{}},"usage":{{"iterations":{}}}}}"#,
                of("{}")
            ),
        ),
        (
            "a stop reason",
            format!(
                r#"{{"type":"message_delta","delta":{{"stop_reason":"{}"}}}}"#,
                "x".repeat(BYTES)
            ),
        ),
        (
            "a tier",
            format!(
                r#"{{"type":"message_delta","delta":{{}},"usage":{{"service_tier":"{}"}}}}"#,
                "x".repeat(BYTES)
            ),
        ),
    ] {
        let start = r#"{"type":"message_start","message":{"id":"m","usage":{}}}"#.to_owned();
        check(name, UpstreamProtocol::Messages, &[start, event]);
    }
    for (name, event) in [
        (
            "items",
            format!(r#"{{"type":"response.completed","response":{{"output":{}}}}}"#, of("{}")),
        ),
        (
            "searches",
            format!(
                r#"{{"type":"response.completed","response":{{"output":{}}}}}"#,
                of(r#"{"type":"web_search_call"}"#)
            ),
        ),
    ] {
        let start = r#"{"type":"response.created","response":{"id":"r"}}"#.to_owned();
        check(name, UpstreamProtocol::Responses, &[start, event]);
    }
}

#[test]
fn what_is_kept_of_many_events_is_counted() {
    let many = |event: &dyn Fn(usize) -> String| (0..4_000).map(event).collect::<Vec<_>>();
    let call = r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{\"a\":\""}}"#;
    let open = || vec![delta(&format!(r#""tool_calls":[{call}]"#))];
    let arguments = r#""tool_calls":[{"index":0,"function":{"arguments":"some words "}}]"#;
    let part = |at: usize| {
        let field = if at.is_multiple_of(2) { "content" } else { "reasoning_content" };
        delta(&format!(r#""{field}":"a""#))
    };
    for (name, events) in [
        ("details", many(&|_| delta(r#""reasoning_details":[{},{},{},{},{},{}]"#))),
        (
            "details with texts",
            many(&|at| delta(&format!(r#""reasoning_details":[{{"text":"a","index":{at}}}]"#))),
        ),
        (
            "details with fields",
            many(&|at| delta(&format!(r#""reasoning_details":[{{"text":"a","x{at}":0}}]"#))),
        ),
        ("a call", [open(), many(&|_| delta(arguments))].concat()),
        ("waiting parts", [open(), many(&part)].concat()),
        (
            "states of a call",
            [
                open(),
                many(&|at| {
                    delta(&format!(r#""tool_calls":[{{"index":0,"extra_content":{{"a":{at}}}}}]"#))
                }),
            ]
            .concat(),
        ),
        (
            "messages",
            many(&|_| {
                r#"{"id":"c","choices":[{"index":0,"message":{"content":"some words "}}]}"#
                    .to_owned()
            }),
        ),
        (
            "usage",
            many(&|_| {
                r#"{"id":"c","choices":[],"usage":{"prompt_tokens":1,"iterations":[{},{}]}}"#
                    .to_owned()
            }),
        ),
    ] {
        check(name, UpstreamProtocol::Chat, &events);
    }
    let added = r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}}"#;
    let items = [
        vec![added.to_owned()],
        many(&|at| {
            format!(
                r#"{{"type":"response.output_item.done","output_index":{},"item":{{}}}}"#,
                at + 1
            )
        }),
    ];
    check("waiting items", UpstreamProtocol::Responses, &items.concat());
}
