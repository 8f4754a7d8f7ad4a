//! Tables of streams of Chat whose output comes again, in several fields, or next to what is not output.

use super::*;
use crate::sse::SseEvent;
use crate::translate::chat::read_response::ChatReader;
use crate::translate::continuation::ReturnedState;
use crate::translate::neutral_response::ResponseStep;

/// The steps of a client of the Messages API: text, and calls as `f{..}`.
fn said(events: &[&str]) -> String {
    let mut events: Vec<_> = events.iter().map(|event| event.as_bytes()).collect();
    events.push(b"[DONE]");
    let text = translate_events(ClientProtocol::AnthropicMessages, &events);
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = data.map(|data| serde_json::from_str::<Value>(data).unwrap());
    let words = events.map(|event| match event["type"].as_str().unwrap() {
        "content_block_start" => event["content_block"]["name"].as_str().unwrap_or("").to_owned(),
        "content_block_delta" => {
            let delta = &event["delta"];
            delta["text"].as_str().or(delta["partial_json"].as_str()).unwrap_or("").to_owned()
        }
        "content_block_stop" => ";".to_owned(),
        "error" => "ERROR".to_owned(),
        _ => String::new(),
    });
    words.collect()
}

fn choice(part: &str) -> String {
    format!(r#"{{"id":"c","choices":[{{"index":0,{part}}}]}}"#)
}

fn check_said(parts: &[&str], expected: &str) {
    let chunks: Vec<_> = parts.iter().map(|part| choice(part)).collect();
    let chunks: Vec<_> = chunks.iter().map(String::as_str).collect();
    assert_eq!(said(&chunks), expected, "{parts:?}");
}

/// A client runs each call that it gets.
#[test]
fn repetition_of_a_call_is_no_call() {
    let first =
        r#""delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}"#;
    let piece = |arguments: &str| {
        let arguments = Value::from(arguments);
        format!(
            r#""delta":{{"tool_calls":[{{"index":0,"function":{{"arguments":{arguments}}}}}]}}"#
        )
    };
    let named = |name: &str, arguments: &str| {
        let arguments = Value::from(arguments);
        format!(
            r#""delta":{{"tool_calls":[{{"index":0,"function":{{"name":"{name}","arguments":{arguments}}}}}]}}"#
        )
    };
    let whole = piece(r#"{"a":1}"#);
    for (repetition, expected) in [
        (vec![], r#"f{"a":1};"#),
        (vec![piece("}")], r#"f{"a":1};"#),
        (vec![piece(" ")], r#"f{"a":1};"#),
        (vec![whole.clone()], r#"f{"a":1};"#),
        (vec![piece(r#"{ "a": 1 }"#)], r#"f{"a":1};"#),
        (vec![piece(r#"{"a""#), piece(":1}")], r#"f{"a":1};"#),
        (vec![named("f", r#"{"a":1}"#), named("f", r#"{"a":1}"#)], r#"f{"a":1};"#),
        (vec![named("f", "}")], r#"f{"a":1};"#),
        (vec![named("f", r#"{"a":2}"#)], r#"f{"a":1};f{"a":2};"#),
        (vec![named("f", r#"{"a""#), named("f", ":2}")], r#"f{"a":1};f{"a":2};"#),
        (vec![named("g", r#"{"a":1}"#)], r#"f{"a":1};g{"a":1};"#),
        (vec![piece(r#"{"a":2}"#)], r#"f{"a":1};f{"a":2};"#),
        (vec![piece(r#"{ "a": 1 }"#), piece(r#"{"a":2}"#)], r#"f{"a":1};f{"a":2};"#),
        (vec![piece(r#"{ "a""#), piece(" :1}"), piece(r#"{"a":2}"#)], r#"f{"a":1};f{"a":2};"#),
    ] {
        let parts: Vec<_> =
            [first, &whole].into_iter().chain(repetition.iter().map(String::as_str)).collect();
        check_said(&parts, expected);
    }
    // White space is a part of the arguments inside of strings only.
    for (first, behind, expected) in [
        (r#"{ "a": 1 }"#, vec![r#"{"a":1}"#], r#"f{ "a": 1 };"#),
        (r#"{ "a": 1 }"#, vec![r#"{"a":1}"#, r#"{"a":2}"#], r#"f{ "a": 1 };f{"a":2};"#),
        (r#"{ "a": 1 }"#, vec![r#"{"a":1}"#, r#"{"a":1}"#], r#"f{ "a": 1 };"#),
        (r#"{"a":"x y"}"#, vec![r#"{"a":"xy"}"#], r#"f{"a":"x y"};f{"a":"xy"};"#),
        (r#"{"a":"\" y"}"#, vec![r#"{"a":"\"y"}"#], r#"f{"a":"\" y"};f{"a":"\"y"};"#),
        (r#"{"a":"x y"}"#, vec![r#"{ "a":"x"#, r#" y" }"#], r#"f{"a":"x y"};"#),
        (r#"{"a":"x y"}"#, vec![r#"{ "a":"x"#, r#"y" }"#], r#"f{"a":"x y"};f{"a":"xy" };"#),
    ] {
        let parts: Vec<_> = [first].into_iter().chain(behind).map(|it| named("f", it)).collect();
        check_said(&parts.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
    // Without an index.
    for (name, number, expected) in [
        ("f", 1, r#"f{"a":1};"#),
        ("f", 2, r#"f{"a":1};f{"a":2};"#),
        ("g", 1, r#"f{"a":1};g{"a":1};"#),
    ] {
        let call = |name: &str, number: u32| {
            let call = json!({"name": name, "arguments": format!("{{\"a\":{number}}}")});
            format!(r#""delta":{{"tool_calls":[{{"function":{call}}}]}}"#)
        };
        check_said(&[&call("f", 1), &call(name, number)], expected);
    }
    let with_id = r#""delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"a\":1}"}}]}"#;
    check_said(&[with_id, with_id], r#"f{"a":1};"#);
}

/// Elements of one list are different calls, or pieces of one, but never the same call again.
#[test]
fn elements_of_one_list_do_not_repeat_each_other() {
    let delta =
        |elements: &[String]| format!(r#""delta":{{"tool_calls":[{}]}}"#, elements.join(","));
    let message = |list: &str| list.replacen("delta", "message", 1);
    for index in ["", r#""index":0,"#] {
        let call = format!(r#"{{{index}"function":{{"name":"f","arguments":"{{}}"}}}}"#);
        let both = delta(&[call.clone(), call.clone()]);
        check_said(&[&both], "f{};f{};");
        check_said(&[&both, &both], "f{};f{};");
        check_said(&[&message(&both)], "f{};f{};");
        check_said(&[&message(&both), &message(&both)], "f{};f{};");
        let begin = format!(r#"{{{index}"function":{{"name":"f","arguments":"{{"}}}}"#);
        let end = format!(r#"{{{index}"function":{{"arguments":"}}"}}}}"#);
        check_said(&[&delta(&[begin, end])], "f{};");
    }
    let begun = r#"{"function":{"name":"f","arguments":""}}"#.to_owned();
    check_said(&[&delta(&[begun.clone(), begun])], "f{};f{};");
}

/// Each `message` of a stream can repeat the calls before, or have only the next ones.
#[test]
fn calls_in_messages_come_once() {
    let call = |name: &str, number: u32| {
        format!(r#"{{"function":{{"name":"{name}","arguments":"{{\"a\":{number}}}"}}}}"#)
    };
    let message = |calls: &[&String]| {
        format!(
            r#""message":{{"tool_calls":[{}]}}"#,
            calls.iter().map(|call| call.as_str()).collect::<Vec<_>>().join(",")
        )
    };
    let [one, two, other] = [call("f", 1), call("f", 2), call("g", 1)];
    let both = [&one, &two];
    let indexed = one.replacen('{', r#"{"index":0,"#, 1);
    let spaced = one.replace('{', "{ ").replacen("{ ", "{", 2);
    let begun = r#"{"function":{"name":"f","arguments":"{\"a\""}}"#.to_owned();
    let rest = r#"{"function":{"arguments":":1}"}}"#.to_owned();
    let id = |id: &str, call: &str| call.replacen('{', &format!(r#"{{"id":"{id}","#), 1);
    let with_ids = [id("a", &one), id("b", &other)];
    let with_ids = [&with_ids[0], &with_ids[1]];
    for (messages, expected) in [
        (vec![message(&[&one]), message(&[&one])], r#"f{"a":1};"#),
        (vec![message(&[&indexed]), message(&[&indexed])], r#"f{"a":1};"#),
        (vec![message(&[&begun]), message(&[&one])], r#"f{"a":1};"#),
        (vec![message(&[&begun]), message(&[&rest])], r#"f{"a":1};"#),
        (vec![message(&[&one]), message(&both)], r#"f{"a":1};f{"a":2};"#),
        (vec![message(&both), message(&both)], r#"f{"a":1};f{"a":2};"#),
        (vec![message(&[&one]), message(&[&two])], r#"f{"a":1};f{"a":2};"#),
        (
            vec![message(&[&spaced]), message(&[&one]), message(&[&spaced, &two])],
            r#"f{ "a":1};f{"a":2};"#,
        ),
        (
            vec![message(&[&one]), message(&[&other]), message(&[&one, &other])],
            r#"f{"a":1};g{"a":1};"#,
        ),
        (
            vec![message(&with_ids[..1]), message(&with_ids[1..]), message(&with_ids)],
            r#"f{"a":1};g{"a":1};"#,
        ),
    ] {
        let parts: Vec<_> = messages.iter().map(String::as_str).collect();
        check_said(&parts, expected);
    }
}

/// Thinking, text and calls can each come in another field.
#[test]
fn every_kind_of_output_has_its_own_field() {
    let thinking = r#""delta":{"reasoning_content":"Hm"}"#;
    let call = r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]"#;
    check_said(&[thinking, r#""message":{"content":"Hello"}"#], "Hello;");
    check_said(&[thinking, r#""delta":{},"text":"Hello""#], "Hello;");
    check_said(
        &[r#""delta":{"content":"Hello"}"#, &format!(r#""message":{{"tool_calls":{call}}}"#)],
        "Hello;f{};",
    );
    check_said(
        &[
            thinking,
            r#""delta":{"content":"Hello"}"#,
            r#""message":{"reasoning_content":"Hm","content":"Hello"}"#,
        ],
        "Hello;",
    );
    check_said(
        &[&format!(r#""delta":{{"tool_calls":{call}}},"message":{{"tool_calls":{call}}}"#)],
        "f{};",
    );
}

/// Hidden thinking is no answer, and a cut one is none if its output has no form.
#[test]
fn image_behind_thinking_is_an_error() {
    let image =
        r#""images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]"#;
    let stop = |reason: &str| format!(r#""delta":{{}},"finish_reason":"{reason}""#);
    let thinking = r#""delta":{"reasoning":"I will draw a cat."}"#.to_owned();
    let encrypted =
        r#""delta":{"reasoning_details":[{"type":"reasoning.encrypted","data":"QUJD"}]}"#;
    for start in [thinking.clone(), encrypted.to_owned(), r#""delta":{}"#.to_owned()] {
        for reason in ["stop", "length"] {
            check_said(&[&start, &format!(r#""delta":{{{image}}}"#), &stop(reason)], "ERROR");
            let both =
                format!(r#""message":{{"reasoning":"Hm",{image}}},"finish_reason":"{reason}""#);
            let whole = context(ClientProtocol::AnthropicMessages);
            assert!(whole.translate_response(choice(&both).as_bytes()).is_err());
        }
        check_said(&[&start, &stop("stop")], "");
        check_said(&[&start, &stop("length")], "");
    }
}

#[test]
fn statistics_beside_the_usage_are_no_error() {
    let usage = r#""usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9}"#;
    let text = choice(r#""delta":{"content":"Hello"},"finish_reason":"stop""#);
    for (more, is_error) in [
        (r#""code":"20000","message":"success""#, false),
        (r#""failed_requests":2,"message":"x""#, false),
        (r#""error":{"message":"no"}"#, true),
        (r#""object":"error","message":"no""#, true),
    ] {
        let last = format!(r#"{{"choices":[],{usage},{more}}}"#);
        let expected = if is_error { "HelloERROR" } else { "Hello;" };
        assert_eq!(said(&[&text, &last]), expected, "{more}");
        let mut meter = crate::meter::UsageMeter::for_stream();
        meter.observe(format!("data: {text}\n\ndata: {last}\n\n").as_bytes());
        assert_eq!(meter.has_error(), is_error, "{more}");
    }
}

/// The text of thinking, and the entries that the upstream wants back.
#[test]
fn details_in_messages_come_once() {
    let message = |entries: &[&str]| {
        choice(&format!(r#""message":{{"reasoning_details":[{}]}}"#, entries.join(",")))
    };
    let text = |text: &str| format!(r#"{{"type":"reasoning.text","text":"{text}"}}"#);
    let (hm, longer, other) = (text("Hm"), text("Hm, so"), text(", so"));
    let sealed = r#"{"type":"reasoning.encrypted","data":"QUJD"}"#;
    for (messages, shown, entries) in [
        (vec![message(&[&hm]), message(&[&hm])], "Hm", vec![hm.as_str()]),
        (vec![message(&[&hm]), message(&[&longer])], "Hm, so", vec![&longer]),
        (vec![message(&[&hm]), message(&[&hm, sealed])], "Hm", vec![&hm, sealed]),
        (vec![message(&[&hm]), message(&[sealed])], "Hm", vec![&hm, sealed]),
        (vec![message(&[&hm]), message(&[&other])], "Hm, so", vec![&longer]),
    ] {
        let (mut reader, mut text) = (ChatReader::new("m"), String::new());
        for message in &messages {
            let event = SseEvent { name: b"", data: message.as_bytes(), dropped: 0 };
            reader.read_event(&event, &mut |step| {
                if let ResponseStep::Delta(delta) = step {
                    text.push_str(delta);
                }
            });
        }
        assert_eq!(text, shown, "{messages:?}");
        let signature = reader.sequence.state.thinking_signature();
        let thinking = [(text.as_str(), signature.as_deref())].into_iter();
        let returned = ReturnedState::new("m", false, thinking);
        assert_eq!(returned.details, Some(format!("[{}]", entries.join(","))), "{messages:?}");
    }
}
