//! Compares each exchange with its stored translation. `cargo insta review` shows what changed.

use crate::exchange::{Exchange, all, plain, streamed};
use std::fmt::Write;

/// Formats JSON on several lines without changing the order of fields or the numbers.
fn indented(json: &str) -> String {
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0_usize, false, false);
    for c in json.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ if c.is_whitespace() => continue,
            _ => in_string = c == '"',
        }
        if matches!(c, '}' | ']') && !out.ends_with(['{', '[']) {
            out.push('\n');
            out.push_str(&" ".repeat(depth));
        } else if out.ends_with(['{', '[', ',']) && !matches!(c, '}' | ']') {
            let level = depth - usize::from(matches!(c, '{' | '['));
            out.push('\n');
            out.push_str(&" ".repeat(level));
        }
        out.push(c);
        if c == ':' {
            out.push(' ');
        }
    }
    out
}

fn words(exchange: &Exchange) -> String {
    let mut text = String::new();
    let translated = match exchange.request() {
        Ok(translated) => translated,
        Err(why) => return format!("REFUSED {why}\n"),
    };
    let body = String::from_utf8(translated.body).unwrap();
    writeln!(text, "POST {}\n{}", translated.path, indented(&body)).unwrap();
    writeln!(text, "DROPPED {}", translated.dropped.join(", ")).unwrap();
    if let Some(response) = &exchange.answer {
        match translated.context.translate_response(plain(response).as_bytes()) {
            Ok(body) => {
                writeln!(text, "ANSWER {}", indented(&String::from_utf8(body).unwrap())).unwrap();
            }
            Err(why) => writeln!(text, "NO ANSWER {why}").unwrap(),
        }
    }
    if let Some(error) = &exchange.error {
        let body = translated.context.translate_error(error.status, plain(&error.body).as_bytes());
        writeln!(text, "ERROR {}", indented(&String::from_utf8(body).unwrap())).unwrap();
    }
    if let Some(bytes) = exchange.stream_bytes() {
        text.push_str("STREAM\n");
        let (stream, told) = streamed(&translated.context, &[&bytes]);
        write!(text, "{stream}{}", if told { "" } else { "BROKEN OFF\n" }).unwrap();
    }
    text
}

#[test]
fn each_exchange_translates_as_expected() {
    let exchanges = all();
    assert!(exchanges.len() >= 110, "{}", exchanges.len());
    for exchange in &exchanges {
        let path = "../../../../tests/fixtures/translate/expected";
        let note = exchange.note.as_str();
        insta::with_settings!({
            snapshot_path => path, prepend_module_to_snapshot => false, omit_expression => true,
            description => note,
        }, {
            insta::assert_snapshot!(exchange.name.as_str(), words(exchange));
        });
    }
}

/// A translated body is JSON and asks for the account's model.
#[test]
fn each_body_is_one_object() {
    for exchange in all() {
        let Ok(translated) = exchange.request() else { continue };
        let body: serde_json::Value = serde_json::from_slice(&translated.body).unwrap();
        let conversation = if exchange.is_to_responses() { "input" } else { "messages" };
        let is_whole = body["model"].is_string() && body[conversation].is_array();
        assert!(is_whole, "{}", exchange.name);
        if let Some(response) = &exchange.answer
            && let Ok(body) = translated.context.translate_response(plain(response).as_bytes())
        {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let requested: serde_json::Value =
                serde_json::from_str(&exchange.request_body()).unwrap();
            assert_eq!(body["model"], requested["model"], "{}", exchange.name);
        }
    }
}
