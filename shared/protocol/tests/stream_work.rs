//! The work for an answer grows at most in proportion to its length: no fragment of a stream is
//! compared with all that has arrived before it.
#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::print_stdout, reason = "for show")]

mod growth;

use baton_protocol::meter::UsageMeter;
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, TranslationOptions, UpstreamProtocol,
};
use growth::{GROWTH, assert_linear};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The pieces in which a stream with this many fragments arrives, without its end.
type Pieces = fn(usize) -> Vec<String>;

/// What ends each stream of an upstream: calls become whole, so that parts that waited for them open.
const CHAT_END: &str = concat!(
    r#"data: {"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"}"}}]}}]}"#,
    "\n\n",
    r#"data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "\n\ndata: [DONE]\n\n",
);
const MESSAGES_END: &str = concat!(
    r#"data: {"type":"content_block_stop","index":0}"#,
    "\n\n",
    r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#,
    "\n\n",
    r#"data: {"type":"message_stop"}"#,
    "\n\n",
);
const RESPONSES_END: &str = concat!(
    r#"data: {"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[]}}"#,
    "\n\n",
    r#"data: {"type":"response.completed","response":{"status":"completed","output":[]}}"#,
    "\n\n",
);

fn event(json: &str) -> String {
    format!("data: {json}\n\n")
}

fn delta(delta: &str) -> String {
    event(&format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{{delta}}}}}]}}"#))
}

/// A fragment of the call with this index. `head` has the fields other than the arguments.
fn call(index: usize, head: &str, arguments: &str) -> String {
    delta(&format!(
        r#""tool_calls":[{{"index":{index},{head}"function":{{"name":"f","arguments":"{arguments}"}}}}]"#
    ))
}

/// A fragment of the arguments of the call with this index.
fn arguments(index: usize) -> String {
    delta(&format!(r#""tool_calls":[{{"index":{index},"function":{{"arguments":"xxxxxxxxxx"}}}}]"#))
}

fn repeat(begin: &[String], fragment: impl Fn(usize) -> String, count: usize) -> Vec<String> {
    begin.iter().cloned().chain((0..count).map(fragment)).collect()
}

const OPEN: &str = r#"{\"a\":\""#;

const FROM_CHAT: [(&str, usize, Pieces); 12] = [
    ("text", 1_000, |n| repeat(&[], |_| delta(r#""content":"word ""#), n)),
    ("a call", 1_000, |n| repeat(&[call(0, r#""id":"a","#, OPEN)], |_| arguments(0), n)),
    ("a call behind an open one", 100, |n| {
        let begin = [call(0, r#""id":"a","#, OPEN), call(1, r#""id":"b","#, OPEN)];
        repeat(&begin, |_| arguments(1), n)
    }),
    ("a call behind waiting parts", 100, |n| {
        let part = |at| {
            let field = if at % 2 == 0 { "content" } else { "reasoning_content" };
            delta(&format!(r#""{field}":"a""#))
        };
        let mut pieces = repeat(&[call(0, r#""id":"a","#, OPEN)], part, n);
        pieces.extend(repeat(&[call(1, r#""id":"b","#, OPEN)], |_| arguments(1), n));
        pieces
    }),
    ("the state of a call with a long id", 100, |n| {
        let begin = [call(0, &format!(r#""id":"{}","#, "i".repeat(400 * n)), OPEN)];
        let state = r#""tool_calls":[{"index":0,"extra_content":1}]"#;
        repeat(&begin, |_| delta(state), n)
    }),
    ("the name of a call", 1_000, |n| {
        let name = r#""tool_calls":[{"index":0,"function":{"name":"n"}}]"#;
        repeat(&[], |_| delta(name), n)
    }),
    ("details of thinking", 1_000, |n| {
        let detail = r#""reasoning_details":[{"type":"reasoning.text","text":"a","index":0}]"#;
        repeat(&[], |_| delta(detail), n)
    }),
    ("calls", 16, |n| repeat(&[], |at| call(at, &format!(r#""id":"i{at}","#), "{}"), n)),
    ("text behind a call with much white space", 500, |n| {
        let begin = [call(0, "", &format!("{}{{}}", " ".repeat(20 * n)))];
        repeat(&begin, |_| arguments(0), n)
    }),
    ("repetitions of a call with much white space", 500, |n| {
        let begin = [call(0, "", &format!("{{{}}}", " ".repeat(20 * n)))];
        repeat(&begin, |at| call(0, "", if at % 2 == 0 { "{" } else { "}" }), n)
    }),
    ("choices", 500, |n| {
        let choice =
            |at| event(&format!(r#"{{"choices":[{{"index":{at},"delta":{{"content":"a"}}}}]}}"#));
        repeat(&[], choice, n)
    }),
    ("pieces of the first event", 500, |n| {
        let begin = r#"data: {"id":"c","model":""#.to_owned();
        repeat(&[begin], |_| "m".repeat(20), n)
    }),
];

const FROM_MESSAGES: [(&str, usize, Pieces); 4] = [
    ("text", 1_000, |n| {
        let begin = [
            event(r#"{"type":"message_start","message":{"id":"m","usage":{}}}"#),
            event(
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            ),
        ];
        let text =
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
        repeat(&begin, |_| event(text), n)
    }),
    ("blocks", 500, |n| {
        let begin = [event(r#"{"type":"message_start","message":{"id":"m","usage":{}}}"#)];
        let block = r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"a","signature":"s"}}"#;
        repeat(&begin, |_| event(block), n)
    }),
    ("a call", 1_000, |n| {
        let begin = [
            event(r#"{"type":"message_start","message":{"id":"m","usage":{}}}"#),
            event(
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"i","name":"f","input":{}}}"#,
            ),
        ];
        let input = r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"a"}}"#;
        repeat(&begin, |_| event(input), n)
    }),
    ("usage", 1_000, |n| {
        let begin = [event(r#"{"type":"message_start","message":{"id":"m","usage":{}}}"#)];
        let usage = |at| {
            event(&format!(
                r#"{{"type":"message_delta","delta":{{}},"usage":{{"output_tokens":{at}}}}}"#
            ))
        };
        repeat(&begin, usage, n)
    }),
];

const FROM_RESPONSES: [(&str, usize, Pieces); 3] = [
    ("text", 1_000, |n| {
        let begin = [event(
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}}"#,
        )];
        let text = r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a"}"#;
        repeat(&begin, |_| event(text), n)
    }),
    ("a call", 1_000, |n| {
        let begin = [event(
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","call_id":"c","name":"f"}}"#,
        )];
        let arguments =
            r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"a"}"#;
        repeat(&begin, |_| event(arguments), n)
    }),
    ("items behind an open one", 500, |n| {
        let begin = [event(
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}}"#,
        )];
        let item = |at| {
            let item = r#"{"type":"message","content":[{"type":"output_text","text":"a"}]}"#;
            event(&format!(
                r#"{{"type":"response.output_item.done","output_index":{},"item":{item}}}"#,
                at + 1
            ))
        };
        repeat(&begin, item, n)
    }),
];

/// The shortest time of several runs of the meter and of the translation.
fn time(client: ClientProtocol, upstream: UpstreamProtocol, pieces: &[String]) -> Duration {
    let end = match upstream {
        UpstreamProtocol::Chat => CHAT_END,
        UpstreamProtocol::Messages => MESSAGES_END,
        UpstreamProtocol::Responses => RESPONSES_END,
    };
    let pair = ProtocolPair::between(client, upstream).unwrap();
    let body =
        r#"{"model":"m","max_tokens":9,"input":"hi","messages":[{"role":"user","content":"hi"}]}"#;
    let options = TranslationOptions::new("m", "req_1");
    let context = pair.translate_request(body.as_bytes(), &options).unwrap().context;
    let run = |_| {
        let (mut meter, mut stream) = (UsageMeter::for_stream(), context.stream_translator());
        let start = Instant::now();
        for piece in pieces.iter().map(String::as_str).chain([end]) {
            meter.observe(piece.as_bytes());
            black_box(meter.has_good_start());
            let mut out = Vec::new();
            stream.push(piece.as_bytes(), &mut out);
        }
        black_box(stream.finish(&mut Vec::new()));
        drop(meter.finish(100));
        start.elapsed()
    };
    (0..3).map(run).min().unwrap()
}

fn check(client: ClientProtocol, upstream: UpstreamProtocol, streams: &[(&str, usize, Pieces)]) {
    for (name, count, pieces) in streams {
        let (short, long) = (pieces(*count), pieces(count * GROWTH));
        let label = format!("{client:?} from {upstream:?}, {name}");
        let (time_short, time_long) =
            (|| time(client, upstream, &short), || time(client, upstream, &long));
        assert_linear(&label, Duration::from_micros(200), time_short, time_long);
    }
}

#[test]
#[ignore = "it measures time: run with --ignored"]
fn work_for_streams_of_chat_is_linear() {
    check(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat, &FROM_CHAT);
    check(ClientProtocol::OpenaiResponses, UpstreamProtocol::Chat, &FROM_CHAT);
}

#[test]
#[ignore = "it measures time: run with --ignored"]
fn work_for_streams_of_messages_is_linear() {
    check(ClientProtocol::OpenaiChat, UpstreamProtocol::Messages, &FROM_MESSAGES);
    check(ClientProtocol::OpenaiResponses, UpstreamProtocol::Messages, &FROM_MESSAGES);
}

#[test]
#[ignore = "it measures time: run with --ignored"]
fn work_for_streams_of_responses_is_linear() {
    check(ClientProtocol::AnthropicMessages, UpstreamProtocol::Responses, &FROM_RESPONSES);
    check(ClientProtocol::OpenaiChat, UpstreamProtocol::Responses, &FROM_RESPONSES);
}
