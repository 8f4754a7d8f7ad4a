//! How much a stream keeps, and in which steps it is written.

use super::*;
use crate::translate::{ClientProtocol, ProtocolPair, TranslationOptions};

fn stream(client: ClientProtocol, upstream: UpstreamProtocol, body: &[u8]) -> StreamTranslator {
    let translation = ProtocolPair::between(client, upstream).unwrap();
    translation
        .translate_request(body, &TranslationOptions::new("m", "req_1"))
        .unwrap()
        .context
        .stream_translator()
}

/// The text that a client receives for `events`, and how many bytes of the upstream were read
/// for it.
fn translate_until_end(
    mut stream: StreamTranslator,
    events: impl Iterator<Item = String>,
) -> (String, usize) {
    let (mut last, mut read) = (Vec::new(), 0);
    for event in events {
        last.clear();
        read += event.len();
        stream.push(event.as_bytes(), &mut last);
        if stream.is_over() {
            break;
        }
    }
    assert!(stream.is_over(), "after {read} bytes");
    (String::from_utf8(last).unwrap(), read)
}

fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

#[test]
fn kept_bytes_are_bounded_and_end_the_stream_with_an_error() {
    const RESPONSES: &[u8] = br#"{"model":"m","input":"hi"}"#;
    const MESSAGES: &[u8] =
        br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let long = "x".repeat(50_000);
    let start = event(r#"{"type":"message_start","message":{"id":"msg_1","usage":{}}}"#);
    let open = |kind: &str| {
        event(&format!(r#"{{"type":"content_block_start","index":0,"content_block":{kind}}}"#))
    };
    let delta = event(&format!(
        r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{long}"}}}}"#
    ));
    let text = [start.clone(), open(r#"{"type":"text","text":""}"#)].into_iter();
    let endless = text.chain(std::iter::repeat_n(delta, 200));
    let (said, read) = translate_until_end(
        stream(ClientProtocol::OpenaiResponses, UpstreamProtocol::Messages, RESPONSES),
        endless,
    );
    assert!(said.contains("response.failed"), "{}", &said[..200]);
    assert!(read < 5_000_000, "{read}");

    let close = event(r#"{"type":"content_block_stop","index":0}"#);
    let part = [open(r#"{"type":"text","text":""}"#), close].concat();
    let parts = std::iter::once(start).chain(std::iter::repeat_n(part, 100_000));
    let (said, _) = translate_until_end(
        stream(ClientProtocol::OpenaiResponses, UpstreamProtocol::Messages, RESPONSES),
        parts,
    );
    assert!(said.contains("response.failed"));

    let call = |index: usize| {
        event(&format!(
            r#"{{"id":"c","choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":{index},"id":"call_{index}","function":{{"name":"f","arguments":"{{ {long}"}}}}]}}}}]}}"#
        ))
    };
    for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiResponses] {
        let body =
            if matches!(client, ClientProtocol::AnthropicMessages) { MESSAGES } else { RESPONSES };
        let one = std::iter::repeat_n(call(0), 200);
        let (_, read) = translate_until_end(stream(client, UpstreamProtocol::Chat, body), one);
        assert!(read < 6_000_000, "one call: {read}");
        let (_, read) =
            translate_until_end(stream(client, UpstreamProtocol::Chat, body), (0..200).map(call));
        assert!(read < 6_000_000, "many calls: {read}");
    }
}

/// Checks that a Responses client gets `events` in `steps` steps, each of which has one event that
/// repeats a text of `longest` bytes at most.
fn check_steps(upstream: UpstreamProtocol, events: &str, longest: usize, steps: usize) {
    let begin = || {
        let request = br#"{"model":"m","input":"hi","reasoning":{"summary":"auto"}}"#;
        stream(ClientProtocol::OpenaiResponses, upstream, request)
    };
    let (mut at_once, mut expected) = (begin(), Vec::new());
    at_once.push(events.as_bytes(), &mut expected);
    assert!(at_once.is_over());

    let (mut in_steps, mut out, mut count) = (begin(), Vec::new(), 0);
    let mut rest = events.as_bytes();
    while !rest.is_empty() || in_steps.has_pending() {
        assert!(!in_steps.is_over());
        let mut step = Vec::new();
        rest = in_steps.push_step(rest, &mut step);
        assert!(step.len() < STEP_BYTES + longest + 2000, "{}", step.len());
        out.append(&mut step);
        count += 1;
    }
    assert!(in_steps.is_over());
    assert_eq!(count, steps);
    let without_time =
        |events: Vec<u8>| String::from_utf8(events).unwrap().replace(char::is_numeric, "");
    assert_eq!(without_time(out), without_time(expected));
}

#[test]
fn events_that_repeat_the_answer_are_written_one_at_a_time() {
    let long = "x".repeat(400_000);
    let events = [
        event(r#"{"type":"message_start","message":{"id":"msg_1","usage":{}}}"#),
        event(
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        ),
        event(&format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{long}"}}}}"#
        )),
        event(r#"{"type":"content_block_stop","index":0}"#),
        event(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}"#),
        event(r#"{"type":"message_stop"}"#),
    ];
    // A delta and four events that repeat its text.
    check_steps(UpstreamProtocol::Messages, &events.concat(), long.len(), 5);
}

#[test]
fn parts_that_open_together_are_written_one_at_a_time() {
    let long = "x".repeat(200_000);
    let delta = |delta: &str| {
        event(&format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{{delta}}}}}]}}"#))
    };
    let call = |arguments: &str| {
        delta(&format!(
            r#""tool_calls":[{{"index":0,"id":"a","function":{{"name":"f","arguments":"{arguments}"}}}}]"#
        ))
    };
    let part = |at: usize| {
        let field = if at.is_multiple_of(2) { "content" } else { "reasoning_content" };
        delta(&format!(r#""{field}":"{long}""#))
    };
    let waiting: String = (0..4).map(part).collect();
    let end = "data: [DONE]\n\n";
    let of_chat = [&call("{"), &waiting, &call("}"), end].concat();
    // Four events for each part, and one that repeats all of them.
    let all = 4 * long.len();
    check_steps(UpstreamProtocol::Chat, &of_chat, all, 17);
    let texts = vec![format!(r#"{{"type":"text","text":"{long}"}},{{"thinking":"{long}"}}"#); 2];
    let in_one_event = delta(&format!(r#""content":[{}]"#, texts.join(",")));
    check_steps(UpstreamProtocol::Chat, &[&in_one_event, end].concat(), all, 17);
    let item = |at: usize| {
        event(&format!(
            r#"{{"type":"response.output_item.done","output_index":{at},"item":{{"type":"message","content":[{{"type":"output_text","text":"{long}"}}]}}}}"#
        ))
    };
    let mut other = stream(
        ClientProtocol::AnthropicMessages,
        UpstreamProtocol::Responses,
        br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#,
    );
    let open = event(
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message"}}"#,
    );
    other.push((open + &(1..5).map(item).collect::<String>()).as_bytes(), &mut Vec::new());
    let close =
        event(r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message"}}"#);
    let (mut rest, mut count) = (close.as_bytes(), 0);
    while !rest.is_empty() || other.has_pending() {
        let mut step = Vec::new();
        rest = other.push_step(rest, &mut step);
        assert!(step.len() < STEP_BYTES + long.len() + 2000, "{}", step.len());
        count += 1;
    }
    assert_eq!(count, 5, "four texts and the end of the last one");
}

#[test]
fn texts_that_reader_and_writer_keep_count_twice() {
    let long = "x".repeat(100_000);
    let chunk = event(&format!(
        r#"{{"id":"c","choices":[{{"index":0,"message":{{"content":"{long}"}}}}]}}"#
    ));
    let body = br#"{"model":"m","input":"hi"}"#;
    let mut stream = stream(ClientProtocol::OpenaiResponses, UpstreamProtocol::Chat, body);
    stream.push(chunk.as_bytes(), &mut Vec::new());
    assert!(stream.held_bytes() >= 2 * long.len(), "{}", stream.held_bytes());
}

#[test]
fn forwarded_text_is_unbounded() {
    let chunk = |text: &str| {
        event(&format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#))
    };
    let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let mut stream = stream(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat, body);
    let mut out = Vec::new();
    for _ in 0..200 {
        out.clear();
        stream.push(chunk(&"x".repeat(50_000)).as_bytes(), &mut out);
    }
    assert!(!stream.is_over());
}
